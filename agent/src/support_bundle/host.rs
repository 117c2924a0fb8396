//! What the host says of itself, as text.

use std::fmt::Write as _;
use std::fs;

use nix::sys::utsname::uname;
use palisade_dataplane::netlink::{LinkPrograms, all_chains, interfaces as all_interfaces};

/// What `/proc/net` tells of routes, addresses and other filters.
const NETWORK: [&str; 8] = [
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/net/if_inet6",
    "/proc/net/fib_trie",
    "/proc/net/dev",
    "/proc/net/ip_vs",
    "/proc/net/ip_tables_names",
    "/proc/net/ip6_tables_names",
];

const SETTINGS: [&str; 18] = [
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/ipv4/conf/default/rp_filter",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "/proc/sys/net/bridge/bridge-nf-call-iptables",
    "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "/proc/sys/net/netfilter/nf_conntrack_count",
    "/proc/sys/net/netfilter/nf_conntrack_max",
    "/proc/sys/net/netfilter/nf_conntrack_buckets",
    "/proc/sys/net/netfilter/nf_conntrack_events",
    "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal",
    "/proc/sys/net/netfilter/nf_conntrack_tcp_loose",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/wmem_max",
    "/sys/fs/cgroup/memory.max",
    "/proc/loadavg",
    "/proc/meminfo",
];

pub(super) fn versions() -> String {
    let mut text = format!("palisade {}\n", env!("CARGO_PKG_VERSION"));
    match uname() {
        Ok(name) => {
            for part in [name.sysname(), name.release(), name.version(), name.machine()] {
                text += &format!("{}\n", part.to_string_lossy());
            }
        }
        Err(error) => text += &format!("the kernel does not say its release: {error}\n"),
    }
    text
}

pub(super) fn chains() -> String {
    match all_chains() {
        Err(error) => format!("{error}\n"),
        Ok(chains) => chains.iter().fold(String::new(), |mut text, chain| {
            _ = write!(text, "{chain}");
            if let Some(priority) = chain.forward_priority {
                _ = write!(text, " hook forward priority {priority}");
            }
            text += if chain.drops_by_default { " policy drop\n" } else { "\n" };
            text
        }),
    }
}

pub(super) fn interfaces() -> String {
    let mut text = String::new();
    match all_interfaces() {
        Err(error) => text += &format!("{error}\n"),
        Ok(found) => {
            for interface in &found {
                let kind = interface.kind.as_deref().unwrap_or("-");
                let state = if interface.is_up { "up" } else { "down" };
                let mtu = interface.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string());
                let master = interface.master.and_then(|master| {
                    found.iter().find(|other| other.index == master).map(|other| &other.name)
                });
                let master = master.map_or("-", String::as_str);
                _ = writeln!(
                    text,
                    "{} {} kind {kind} {state} mtu {mtu} master {master}",
                    interface.index, interface.name
                );
            }
        }
    }
    match LinkPrograms::read() {
        Err(error) => text += &format!("programs: {error}\n"),
        Ok(programs) => {
            programs.found.iter().for_each(|program| text += &format!("program {program}\n"));
            programs.unseen.iter().for_each(|error| text += &format!("tcx programs: {error}\n"));
        }
    }
    text
}

pub(super) fn network() -> String {
    files(&NETWORK)
}

pub(super) fn settings() -> String {
    files(&SETTINGS)
}

/// The files one after another, under their names; those that are not there are left out.
fn files(paths: &[&str]) -> String {
    let mut text = String::new();
    for path in paths {
        match fs::read_to_string(path) {
            Ok(contents) if contents.lines().count() <= 1 => {
                text += &format!("{path}: {}\n", contents.trim());
            }
            Ok(contents) => text += &format!("{path}:\n{contents}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => text += &format!("{path}: {error}\n"),
        }
    }
    text
}
