//! What is attached to interfaces and sees packets before or beside nftables: XDP programs, and filters of traffic control.
//!
//! Links tell their XDP program, and traffic control its filters, over rtnetlink. Programs that are attached by links of their own
//! (`tcx`) are asked for by bpf(2).

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use super::interfaces::{self, Interface};
use super::rtnetlink::{Client, number};
use super::sys::{self, TcxHook};
use super::wire::{self, Attribute, Attributes, flag};

/// `RTM_*` (linux/rtnetlink.h).
const NEWQDISC: u16 = 36;
const GETQDISC: u16 = 38;
const NEWTFILTER: u16 = 44;
const GETTFILTER: u16 = 46;

/// `TCA_*` (linux/rtnetlink.h) and `TCA_BPF_*` (linux/pkt_cls.h).
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// Parents of the filters at the two ends of a `clsact` (linux/pkt_sched.h); those of an `ingress` have the first.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// The length of `struct tcmsg`.
const TC_HEADER: usize = 20;

/// Where something is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttachmentPoint {
    Xdp,
    TcIngress,
    TcEgress,
    TcxIngress,
    TcxEgress,
}

impl fmt::Display for AttachmentPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Xdp => "XDP",
            Self::TcIngress => "tc ingress",
            Self::TcEgress => "tc egress",
            Self::TcxIngress => "tcx ingress",
            Self::TcxEgress => "tcx egress",
        })
    }
}

/// A program or filter at an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkProgram {
    pub interface: String,
    pub at: AttachmentPoint,
    /// `bpf`, or another kind of filter.
    pub kind: String,
    /// Where the kernel tells it.
    pub name: Option<String>,
    /// The id of the BPF program, where the kernel tells it.
    pub id: Option<u32>,
}

impl fmt::Display for LinkProgram {
    /// As in `eth0 tc ingress bpf cil_from_netdev (id 7)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.interface, self.at, self.kind)?;
        self.name.iter().try_for_each(|name| write!(f, " {name}"))?;
        self.id.iter().try_for_each(|id| write!(f, " (id {id})"))
    }
}

/// What is attached to the interfaces of the calling thread's network namespace, as far as it can be seen.
#[derive(Debug, Default)]
pub struct LinkPrograms {
    /// Sorted.
    pub found: Vec<LinkProgram>,
    /// Why there may be more: what could not be asked.
    pub unseen: Option<io::Error>,
}

impl LinkPrograms {
    /// # Errors
    ///
    /// Those of a netlink socket.
    pub fn read() -> io::Result<Self> {
        let mut client = Client::open(false)?;
        let links = interfaces::read(&mut client)?;
        let mut programs = Self::default();
        programs.found.extend(links.iter().filter_map(|link| {
            let (interface, kind) = (link.name.clone(), "bpf".to_owned());
            link.xdp.map(|id| LinkProgram {
                interface,
                at: AttachmentPoint::Xdp,
                kind,
                name: None,
                id,
            })
        }));
        for index in classified(&mut client)? {
            let Some(link) = links.iter().find(|link| link.index == index) else { continue };
            for (parent, at) in
                [(INGRESS, AttachmentPoint::TcIngress), (EGRESS, AttachmentPoint::TcEgress)]
            {
                programs.found.extend(filters(&mut client, link, parent, at)?);
            }
        }
        for link in &links {
            programs.add_tcx(link);
        }
        programs.found.sort();
        programs.found.dedup();
        Ok(programs)
    }

    fn add_tcx(&mut self, link: &Interface) {
        for (hook, at) in [
            (TcxHook::Ingress, AttachmentPoint::TcxIngress),
            (TcxHook::Egress, AttachmentPoint::TcxEgress),
        ] {
            match sys::tcx_programs(link.index, hook) {
                Ok(0) => {}
                Ok(count) => self.found.extend((0..count).map(|number| LinkProgram {
                    interface: link.name.clone(),
                    at,
                    kind: "bpf".to_owned(),
                    name: (count > 1).then(|| format!("number {}", number + 1)),
                    id: None,
                })),
                // A kernel before 6.6, or one without BPF, has none; and the interface may be gone.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EINVAL | libc::ENOSYS | libc::ENODEV | libc::EOPNOTSUPP)
                    ) => {}
                Err(error) => self.unseen = Some(error),
            }
        }
    }
}

/// The interfaces that have a place for filters of packets that come in or go out.
fn classified(client: &mut Client) -> io::Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let asked = client.ask(GETQDISC, flag::DUMP, &[0; TC_HEADER], |message| {
        let attributes = Attributes(message.payload.get(TC_HEADER..).unwrap_or_default());
        let kind = attributes.get(TCA_KIND).and_then(Attribute::string);
        if message.kind == NEWQDISC && matches!(kind, Some("clsact" | "ingress")) {
            found.extend(message.payload.get(4..8).and_then(number));
        }
    });
    absent_is_none(asked)?;
    Ok(found)
}

fn filters(
    client: &mut Client,
    link: &Interface,
    parent: u32,
    at: AttachmentPoint,
) -> io::Result<Vec<LinkProgram>> {
    let mut request = vec![0; 4];
    request.extend(link.index.to_ne_bytes());
    request.extend([0; 4]);
    request.extend(parent.to_ne_bytes());
    request.extend([0; 4]);
    let mut found = Vec::new();
    let asked = client.ask(GETTFILTER, flag::DUMP, &request, |message| {
        if message.kind == NEWTFILTER {
            found.extend(filter_of(&message, &link.name, at));
        }
    });
    absent_is_none(asked)?;
    Ok(found)
}

/// A filter itself; messages without options stand for the chain that holds it.
pub(super) fn filter_of(
    message: &wire::Message<'_>,
    interface: &str,
    at: AttachmentPoint,
) -> Option<LinkProgram> {
    let attributes = Attributes(message.payload.get(TC_HEADER..)?);
    let kind = attributes.get(TCA_KIND).and_then(Attribute::string)?.to_owned();
    let options = attributes.get(TCA_OPTIONS)?.nested();
    let bpf = Some(options).filter(|_| kind == "bpf");
    let name = bpf.and_then(|bpf| bpf.get(TCA_BPF_NAME)).and_then(Attribute::string);
    let id = bpf.and_then(|bpf| bpf.get(TCA_BPF_ID)).and_then(|id| number(id.value));
    let (interface, name) = (interface.to_owned(), name.map(str::to_owned));
    Some(LinkProgram { interface, at, kind, name, id })
}

/// A kernel without traffic control has none of its filters.
fn absent_is_none(asked: io::Result<()>) -> io::Result<()> {
    match asked.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOENT | libc::ENODEV)) => Ok(()),
        Ok(()) | Err(_) => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{close_nest, open_nest, put, put_str};
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> wire::Message<'_> {
        wire::Message { kind, flags: 0, sequence: 0, payload }
    }

    /// As `tcf_fill_node` and `cls_bpf_dump` write them.
    #[test]
    fn a_filter_is_named_with_its_program() {
        let mut out = vec![0; TC_HEADER];
        put_str(&mut out, TCA_KIND, "bpf");
        assert_eq!(filter_of(&message(NEWTFILTER, &out), "eth0", AttachmentPoint::TcEgress), None);
        let nest = open_nest(&mut out, TCA_OPTIONS);
        put_str(&mut out, TCA_BPF_NAME, "to_netdev");
        put(&mut out, TCA_BPF_ID, &8u32.to_ne_bytes());
        close_nest(&mut out, nest);
        let found = filter_of(&message(NEWTFILTER, &out), "eth0", AttachmentPoint::TcEgress);
        assert_eq!(found.unwrap().to_string(), "eth0 tc egress bpf to_netdev (id 8)");
    }
}
