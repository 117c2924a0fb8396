//! Where subjects are attached to this host: by which port of which bridge, or by no bridge.
//!
//! A pod's interface is the other end of a veth in another network namespace. The kernel tells the addresses of that end
//! (`RTM_GETADDR` with `IFA_TARGET_NETNSID`), so an address leads to its veth, and the veth's master is the bridge,
//! whether or not the bridge has an address or a route. Where no port has the address (a tap device, an address that the pod's
//! interface does not have yet), the route to it tells the bridge.
//!
//! Links are read once. After that their changes come as events; addresses in other network namespaces are no events here,
//! so they are read when a subject is looked for, and only of ports that changed since they were read.

mod ports;
mod sources;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use palisade_compiler::program::element::MacAddress;

use crate::host::HostFacts;
use crate::netlink::host_routes::DeviceRoute;
use crate::netlink::links::{Link, LinkEvent, LinkKind, Links};
use crate::netlink::route::Routes;

pub use crate::netlink::links::LinkWatch;
pub use ports::{LocalPods, PortRules, PortSources};
pub use sources::Sources;

/// Subjects that are not found at a port and are looked for again when links change. If there are more, they are looked for
/// by `look_again` only.
const MAX_RETRIED: usize = 256;

/// Addresses of a port's other end that are looked at: a pod that may configure its network can give itself any number.
const MAX_PORT_ADDRESSES: usize = 64;

/// Where a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Not behind a bridge: its packets are routed.
    Routed,
    /// Behind a port of a bridge.
    Port { port: u32, bridge: u32, is_tagged: bool },
    /// Behind a bridge, at which port is not known.
    Bridge { bridge: u32, is_tagged: bool },
    /// Reached by a VLAN of a bridge.
    Vlan { bridge: u32 },
    /// Neither a port nor a route tells, and there are bridges that it may be behind.
    Unknown,
}

impl Place {
    const fn bridge(self) -> Option<u32> {
        match self {
            Self::Port { bridge, .. } | Self::Bridge { bridge, .. } | Self::Vlan { bridge } => {
                Some(bridge)
            }
            Self::Routed | Self::Unknown => None,
        }
    }

    const fn is_tagged(self) -> bool {
        match self {
            Self::Port { is_tagged, .. } | Self::Bridge { is_tagged, .. } => is_tagged,
            Self::Vlan { .. } => true,
            Self::Routed | Self::Unknown => false,
        }
    }
}

/// Where the subjects are, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The interface indexes of the bridges that some are behind.
    pub bridges: BTreeSet<u32>,
    /// The interface indexes of the ports that lead to them; all ports of a bridge where it is not known which.
    pub ports: BTreeSet<u32>,
    /// The interface indexes of all ports of these bridges that lead to pods.
    pub pod_ports: BTreeSet<u32>,
    /// Of the ports that lead to routers, those of these bridges.
    pub router_ports: BTreeSet<u32>,
    /// Those that neither a port nor a route tells of, where there are bridges that they may be behind.
    pub unknown: BTreeSet<IpAddr>,
    /// Those whose packets carry a VLAN tag inside their bridge.
    pub tagged: BTreeSet<IpAddr>,
}

impl Placement {
    /// Whether packets between subjects may be bridged, so that they must be made to pass the forward hook.
    pub fn may_be_bridged(&self) -> bool {
        !self.bridges.is_empty() || !self.unknown.is_empty()
    }

    /// What the tables must hold of it.
    pub fn facts(&self) -> HostFacts {
        HostFacts {
            bridges: self.bridges.clone(),
            bridge_ports: self.ports.clone(),
            pod_ports: self.pod_ports.clone(),
            router_ports: self.router_ports.clone(),
            ..HostFacts::default()
        }
    }
}

/// A port of a bridge that leads to another network namespace, by what the interface at its other end has.
#[derive(Debug, Default)]
struct Port {
    addresses: Vec<IpAddr>,
    /// Its Ethernet address.
    mac: Option<MacAddress>,
    /// Whether the addresses may have changed since they were read.
    is_stale: bool,
}

/// The attachments of subjects in one network namespace.
#[derive(Debug)]
pub struct Attachments {
    watch: LinkWatch,
    links_of: Links,
    routes: Routes,
    links: BTreeMap<u32, Link>,
    /// The routes by veths.
    device_routes: BTreeSet<DeviceRoute>,
    /// Incremented with every change of what is known of links and routes.
    changes: u64,
    ports: BTreeMap<u32, Port>,
    /// Of each address at a port's other end, the port that had it first.
    port_of: HashMap<IpAddr, u32>,
    /// Ports that lead to routers.
    routers: BTreeSet<u32>,
    /// The pods of ports, in the words of `LocalPods`.
    pod_of_port: BTreeMap<u32, String>,
    /// Incremented with every change of this host's own addresses and tunnel devices.
    address_changes: u64,
    subjects: BTreeMap<IpAddr, Place>,
    placement: Placement,
}

impl Attachments {
    /// In the network namespace of the calling thread, without subjects.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets.
    pub fn open() -> io::Result<Self> {
        // What changes while the links are read is told afterwards.
        let watch = LinkWatch::open()?;
        let mut attachments = Self {
            watch,
            links_of: Links::open()?,
            routes: Routes::open()?,
            links: BTreeMap::new(),
            device_routes: BTreeSet::new(),
            changes: 0,
            ports: BTreeMap::new(),
            port_of: HashMap::new(),
            routers: BTreeSet::new(),
            pod_of_port: BTreeMap::new(),
            address_changes: 0,
            subjects: BTreeMap::new(),
            placement: Placement::default(),
        };
        attachments.read_links()?;
        Ok(attachments)
    }

    /// Sets by which bridge ports routers are reached, by their interface indexes. To be called before `update`.
    pub fn set_routers(&mut self, routers: BTreeSet<u32>) {
        if routers != self.routers {
            self.routers = routers;
            self.changes += 1;
            self.place_all();
        }
    }

    /// The subjects that are looked for.
    pub fn subjects(&self) -> impl Iterator<Item = IpAddr> {
        self.subjects.keys().copied()
    }

    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Takes in which subjects came and went, and what changed of links since the last call. Returns whether the placement is
    /// another.
    ///
    /// # Errors
    ///
    /// Those of netlink sockets; calling it again goes on from there.
    pub fn update(
        &mut self,
        come: impl IntoIterator<Item = IpAddr>,
        gone: impl IntoIterator<Item = IpAddr>,
    ) -> io::Result<bool> {
        let mut is_changed = false;
        for subject in gone {
            let place = self.subjects.remove(&subject);
            is_changed |= place.is_some_and(|place| place != Place::Routed);
        }
        // Until it is found, and if that fails, a subject is where `look_again` seeks it.
        let mut sought: Vec<(IpAddr, Place)> = Vec::new();
        for subject in come {
            let before = self.subjects.insert(subject, Place::Unknown);
            sought.push((subject, before.unwrap_or(Place::Routed)));
        }
        if self.take_in_events()? {
            sought.extend(self.moved().into_iter().map(|subject| (subject, Place::Unknown)));
            // A bridge of which all ports count may have got another.
            is_changed = true;
        }
        for &(subject, before) in &sought {
            let place = self.place(subject)?;
            self.subjects.insert(subject, place);
            is_changed |= place != before;
        }
        // A subject that is routed adds nothing to the placement, as one that is not known.
        Ok(is_changed && self.place_all())
    }

    /// Looks for all subjects anew, whatever events told: addresses in other network namespaces change without any.
    /// Returns whether the placement is another.
    ///
    /// # Errors
    ///
    /// As `update`.
    pub fn look_again(&mut self) -> io::Result<bool> {
        self.watch.events()?;
        self.read_links()?;
        let subjects: Vec<IpAddr> = self.subjects.keys().copied().collect();
        for subject in subjects {
            let place = self.place(subject)?;
            self.subjects.insert(subject, place);
        }
        Ok(self.place_all())
    }

    fn read_links(&mut self) -> io::Result<()> {
        self.links = self.links_of.all()?;
        self.read_routes()?;
        self.address_changes += 1;
        // What ports had stays known until they are read again, so that who had an address first keeps it.
        let indexes: BTreeSet<u32> = self.links.keys().chain(self.ports.keys()).copied().collect();
        for index in indexes {
            self.note_port(index);
        }
        Ok(())
    }

    fn read_routes(&mut self) -> io::Result<()> {
        let links = &self.links;
        let is_veth = |index| links.get(&index).is_some_and(|link| link.kind == LinkKind::Veth);
        self.device_routes = self.links_of.device_routes(is_veth)?;
        self.changes += 1;
        Ok(())
    }

    /// Takes in events; whether there were some that may change where subjects are.
    fn take_in_events(&mut self) -> io::Result<bool> {
        let (mut is_changed, mut has_stale_routes) = (false, false);
        for event in self.watch.events()? {
            self.changes += 1;
            match event {
                LinkEvent::Changed(index, link) => {
                    self.address_changes += u64::from(matches!(link.kind, LinkKind::Tunnel { .. }));
                    is_changed |= self.links.insert(index, link) != Some(link);
                    if !link.is_up {
                        self.forget_routes(index);
                    }
                    self.note_port(index);
                }
                LinkEvent::Gone(index) => {
                    is_changed |= self.links.remove(&index).is_some();
                    self.forget_routes(index);
                    self.note_port(index);
                }
                LinkEvent::Route(event) => {
                    if self.is_veth(event.route().device) {
                        event.apply_to(&mut self.device_routes);
                    }
                    is_changed |= self.has_bridges();
                }
                LinkEvent::AddressGone => {
                    has_stale_routes = true;
                    self.address_changes += 1;
                    is_changed |= self.has_bridges();
                }
                LinkEvent::AddressNew => {
                    self.address_changes += 1;
                    is_changed |= self.has_bridges();
                }
                LinkEvent::Routes => is_changed |= self.has_bridges(),
                LinkEvent::Missed => {
                    self.read_links()?;
                    is_changed = true;
                }
            }
        }
        if has_stale_routes {
            self.read_routes()?;
        }
        Ok(is_changed)
    }

    /// The kernel does not tell of the routes that go with an interface.
    fn forget_routes(&mut self, index: u32) {
        self.device_routes.retain(|route| route.device != index);
    }

    fn is_veth(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|link| link.kind == LinkKind::Veth)
    }

    fn has_bridges(&self) -> bool {
        self.links.values().any(|link| matches!(link.kind, LinkKind::Bridge { .. }))
    }

    /// Notes that a link is new, changed or gone.
    fn note_port(&mut self, index: u32) {
        if self.port(index).is_some() {
            self.ports.entry(index).or_default().is_stale = true;
        } else if let Some(port) = self.ports.remove(&index) {
            self.forget(index, &port.addresses);
        }
    }

    /// Who had an address first keeps it, as long as the interface has it.
    fn note_holder(&mut self, index: u32, addresses: &[IpAddr]) {
        for address in addresses {
            let holder = self.port_of.get(address).and_then(|holder| self.ports.get(holder));
            if holder.is_none_or(|port| !port.addresses.contains(address)) {
                self.port_of.insert(*address, index);
            }
        }
    }

    /// What a port has no more is another's that has it, if there is one.
    fn forget(&mut self, index: u32, addresses: &[IpAddr]) {
        for address in addresses {
            if self.port_of.get(address) == Some(&index) {
                self.port_of.remove(address);
                let other = self.ports.iter().find(|(_, port)| port.addresses.contains(address));
                if let Some((&other, _)) = other {
                    self.port_of.insert(*address, other);
                }
            }
        }
    }

    /// The other end of a veth that is a port, by the id of its network namespace and its index there.
    fn port(&self, index: u32) -> Option<(u32, u32)> {
        let link = self.links.get(&index)?;
        link.master?;
        (link.kind == LinkKind::Veth).then_some(link.netns?).zip(link.lower)
    }

    /// Reads the addresses behind all ports that changed since.
    fn read_ports(&mut self) -> io::Result<()> {
        let stale = self.ports.iter().filter(|(_, port)| port.is_stale).map(|(&index, _)| index);
        for index in stale.collect::<Vec<_>>() {
            let Some((netns, other)) = self.port(index) else { continue };
            let mut addresses = self.links_of.addresses(netns, other)?;
            addresses.truncate(MAX_PORT_ADDRESSES);
            let mac = self.links_of.mac_address(netns, other)?;
            let mac = self.own_mac(index, mac);
            let port = Port { addresses, mac, is_stale: false };
            self.note_holder(index, &port.addresses);
            let now = port.addresses.clone();
            if let Some(before) = self.ports.insert(index, port) {
                let gone = before.addresses.into_iter();
                let gone: Vec<IpAddr> = gone.filter(|address| !now.contains(address)).collect();
                self.forget(index, &gone);
            }
        }
        Ok(())
    }

    /// Subjects that may be elsewhere after links changed: those at a port that is no longer what it was, and those that no port
    /// was found for, up to a bound.
    fn moved(&self) -> Vec<IpAddr> {
        let retried = self.subjects.values().filter(|place| !matches!(place, Place::Port { .. }));
        let retries = retried.count() <= MAX_RETRIED;
        let moved = |place: Place| match place {
            Place::Port { port, bridge, .. } => {
                self.ports.get(&port).is_none_or(|port| port.is_stale)
                    || self.links.get(&port).is_none_or(|link| link.master != Some(bridge))
            }
            Place::Routed | Place::Bridge { .. } | Place::Vlan { .. } | Place::Unknown => retries,
        };
        self.subjects.iter().filter(|(_, place)| moved(**place)).map(|(&a, _)| a).collect()
    }

    fn place(&mut self, subject: IpAddr) -> io::Result<Place> {
        if !self.has_bridges() {
            return Ok(Place::Routed);
        }
        let known = self.port_of.get(&subject);
        if known.and_then(|port| self.ports.get(port)).is_none_or(|port| port.is_stale) {
            self.read_ports()?;
        }
        if let Some(&port) = self.port_of.get(&subject)
            && let Some(bridge) = self.links.get(&port).and_then(|link| link.master)
            && let Some(LinkKind::Bridge { vlan_filtering, .. }) =
                self.links.get(&bridge).map(|link| link.kind)
        {
            return Ok(Place::Port { port, bridge, is_tagged: vlan_filtering });
        }
        let Some(device) = self.routes.device(subject)? else { return Ok(Place::Unknown) };
        Ok(self.place_by_device(device))
    }

    fn place_by_device(&self, device: u32) -> Place {
        let kind = |index| self.links.get(&index).map(|link: &Link| link.kind);
        match (kind(device), self.links.get(&device).and_then(|link| link.lower)) {
            (Some(LinkKind::Bridge { vlan_filtering, .. }), _) => {
                Place::Bridge { bridge: device, is_tagged: vlan_filtering }
            }
            (Some(LinkKind::Vlan), Some(on))
                if matches!(kind(on), Some(LinkKind::Bridge { .. })) =>
            {
                Place::Vlan { bridge: on }
            }
            _ => Place::Routed,
        }
    }

    /// Puts the places together; whether the placement is another.
    fn place_all(&mut self) -> bool {
        let mut placement = Placement::default();
        let mut whole: BTreeSet<u32> = BTreeSet::new();
        for (&subject, &place) in &self.subjects {
            placement.bridges.extend(place.bridge());
            if place.is_tagged() {
                placement.tagged.insert(subject);
            }
            match place {
                Place::Port { port, .. } => _ = placement.ports.insert(port),
                Place::Bridge { bridge, .. } | Place::Vlan { bridge } => _ = whole.insert(bridge),
                Place::Unknown => _ = placement.unknown.insert(subject),
                Place::Routed => {}
            }
        }
        if !whole.is_empty() {
            let is_port = |link: &Link| link.master.is_some_and(|master| whole.contains(&master));
            let ports = self.links.iter().filter(|(_, link)| is_port(link));
            placement.ports.extend(ports.map(|(&index, _)| index));
        }
        let of_subjects = |index: &u32| {
            let master = self.links.get(index).and_then(|link| link.master);
            master.is_some_and(|master| placement.bridges.contains(&master))
        };
        let ports = self.ports.keys().copied().filter(of_subjects);
        let pod_ports = ports.filter(|index| self.leads_to_a_pod(*index)).collect();
        placement.router_ports = self.routers.iter().copied().filter(of_subjects).collect();
        placement.pod_ports = pod_ports;
        let is_other = placement != self.placement;
        self.placement = placement;
        is_other
    }
}
