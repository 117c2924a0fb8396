//! Who holds a netlink port: the process behind a table's owner.

use std::fs;
use std::path::Path;

/// The process that holds the netfilter netlink socket with this port id in the calling thread's network namespace,
/// and its name (`comm`). `None` where it is gone, or not to be seen from here (another PID namespace, no
/// privilege).
pub fn owner_process(portid: u32) -> Option<(u32, String)> {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let link = format!("socket:[{}]", inode(&sockets, portid)?);
    let processes = fs::read_dir("/proc").ok()?;
    let (pid, path) = processes
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .find(|(_, path): &(u32, _)| holds(path, &link))?;
    let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
    Some((pid, name.trim_end().to_owned()))
}

/// `process 7 (palisade)`, or the port id where the process is not to be seen.
pub fn describe_owner(portid: u32) -> String {
    match owner_process(portid) {
        Some((pid, name)) => format!("process {pid} ({name})"),
        None => format!("netlink port {portid}, whose process cannot be seen from here"),
    }
}

/// The columns are address, protocol, port id, groups, ..., inode.
fn inode(sockets: &str, portid: u32) -> Option<&str> {
    let protocol = libc::NETLINK_NETFILTER.to_string();
    sockets.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let same = columns.nth(1)? == protocol && columns.next()?.parse() == Ok(portid);
        same.then(|| columns.last()).flatten()
    })
}

fn holds(process: &Path, link: &str) -> bool {
    fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors
            .filter_map(Result::ok)
            .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_port_is_found_by_protocol_and_port() {
        let sockets = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                       0000000000000000 0   77         00000000 0        0        0     2        0        11\n\
                       0000000000000000 12  77         00000000 0        0        0     2        0        12\n";
        assert_eq!(inode(sockets, 77), Some("12"));
        assert_eq!(inode(sockets, 78), None);
    }
}
