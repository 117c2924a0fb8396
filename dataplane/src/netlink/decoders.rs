//! The decoders of what the kernel writes, each of which takes a datagram: for fuzzing, and for tests of what that found.
//!
//! They decode whatever bytes they are given, and panic only where a promise about what they decoded does not hold.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use palisade_compiler::program::TableFamily;
use palisade_compiler::program::skeleton::SetName;

use super::conntrack::{self, Event, TUPLE_ORIGINAL, Tuple};
use super::elements::{self, Collector};
use super::host_routes::{DeviceRoute, RouteEvent};
use super::links::LinkEvent;
use super::nflog::{PacketHeader, Record};
use super::wire::{self, Attributes, Message};
use super::{
    batch, deny_counters, flow_tables, interfaces, inventory, link_programs, links, read, route,
    watch,
};
use crate::transaction::Element;

/// A decoder by its name.
pub type Decoder = (&'static str, fn(&[u8]));

pub const DECODERS: [Decoder; 6] = [
    ("conntrack", conntrack),
    ("nflog", nflog),
    ("nftables_events", nftables_events),
    ("nftables_objects", nftables_objects),
    ("packet_header", packet_header),
    ("rtnetlink", rtnetlink),
];

fn each(datagram: &[u8], mut visit: impl FnMut(Message<'_>)) {
    let _: ControlFlow<()> = wire::messages(datagram, |message| {
        let _: (i32, Option<u32>) = (message.errno(), message.error_offset());
        visit(message);
        ControlFlow::Continue(())
    });
}

/// Events and dumps of tracked connections.
fn conntrack(datagram: &[u8]) {
    each(datagram, |message| {
        let Some(event) = conntrack::event(message) else { return };
        let (Event::Opened(entry, _) | Event::Ended(entry, _)) = event;
        let _ = (entry.live(), entry.service(), entry.ends(), entry.is_midstream());
        // What deletes an entry names that entry and no other.
        let mut written = Vec::new();
        entry.put(&mut written);
        let tuple = Attributes(&written).get(TUPLE_ORIGINAL);
        let read = tuple.and_then(|tuple| Tuple::read(tuple.nested()));
        assert_eq!(read, Some(entry.original), "{entry:?}");
    });
}

/// Packets that rules copied to a group.
fn nflog(datagram: &[u8]) {
    each(datagram, |message| {
        if let Some(Record { packet: Ok(header), .. }) = Record::read(message) {
            judge(&header);
        }
    });
}

/// A packet from its IP header on.
fn packet_header(bytes: &[u8]) {
    if let Ok(header) = PacketHeader::read(bytes) {
        judge(&header);
    }
}

fn judge(header: &PacketHeader) {
    assert_eq!(header.packet().connection, header.connection(), "{header:?}");
}

/// What others do to our tables.
fn nftables_events(datagram: &[u8]) {
    let (mut touched, mut generation) = (BTreeSet::new(), None);
    each(datagram, |message| watch::note(message, &mut touched, &mut generation));
}

/// Tables, chains, rules, sets, elements and flow tables.
fn nftables_objects(datagram: &[u8]) {
    let restores = BTreeSet::from(["__map0".to_owned()]);
    each(datagram, |message| {
        let Some((family, attributes)) = message.nf() else { return };
        let _ = (inventory::read(family, attributes), flow_tables::read(family, attributes));
        deny_counters::counters(attributes).for_each(drop);
        let _ = (read::table_of(attributes), read::declared(attributes));
        for family in TableFamily::ALL {
            let _ = read::base_of(family, attributes);
            let _ = read::rule_of(family, &restores, attributes);
            SetName::ALL.into_iter().for_each(|set| set_elements(family, set, attributes));
        }
    });
}

fn set_elements(family: TableFamily, set: SetName, message: Attributes<'_>) {
    let decode = |list: wire::Attribute<'_>| {
        let mut collector = Collector::new(family, set);
        elements::in_list(list).for_each(|element| collector.add(element));
        collector.finish()
    };
    let Some(list) = message.get(batch::LIST_ELEMENTS) else { return };
    elements::in_list(list).for_each(|element| _ = elements::raw(element));
    let (decoded, _) = decode(list);
    // What is written back is read as the same.
    let mut written = Vec::new();
    let nest = wire::open_nest(&mut written, batch::LIST_ELEMENTS);
    decoded.iter().for_each(|element| put(&mut written, family, set, element));
    wire::close_nest(&mut written, nest);
    if written.len() <= wire::MAX_NEST
        && let Some(list) = Attributes(&written).get(batch::LIST_ELEMENTS)
    {
        assert_eq!(decode(list), (decoded, true), "{set:?} of {family:?}");
    }
}

fn put(out: &mut Vec<u8>, family: TableFamily, set: SetName, element: &Element) {
    if set.tables().contains(&family) {
        assert!(elements::fits(family, set, element), "{set:?} of {family:?}: {element:?}");
    }
    elements::put_element(out, element);
}

/// Links, addresses, routes, and filters of traffic control.
fn rtnetlink(datagram: &[u8]) {
    let mut routes = BTreeSet::new();
    each(datagram, |message| {
        let _ = links::address_of(&message);
        if let Some(LinkEvent::Route(event)) = links::event_of(&message) {
            note_route(event, &mut routes);
        }
        let _ = (interfaces::one(&message), route::route_of(&message));
        let at = link_programs::AttachmentPoint::TcIngress;
        let _ = link_programs::filter_of(&message, "eth0", at);
    });
}

/// An event leaves the routes as it says, and what it says of its route is possible.
fn note_route(event: RouteEvent, routes: &mut BTreeSet<DeviceRoute>) {
    let before = routes.len();
    event.apply_to(routes);
    let route = event.route();
    let has_come = !matches!(event, RouteEvent::Gone(_));
    assert_eq!(routes.contains(route), has_come, "{event:?}");
    match event {
        RouteEvent::Replaced(_) => {
            let place = |it: &DeviceRoute| (it.destination, it.length, it.table, it.metric);
            let there = routes.iter().filter(|it| place(it) == place(route)).count();
            assert_eq!(there, 1, "{event:?}");
        }
        RouteEvent::Come(_) | RouteEvent::Gone(_) => {
            assert!(routes.len().abs_diff(before) <= 1, "{event:?}");
        }
    }
    if let Some(host) = route.host() {
        assert!(host == route.destination && !route.has_gateway, "{event:?}");
    }
    let _ = route.is_link_local();
}
