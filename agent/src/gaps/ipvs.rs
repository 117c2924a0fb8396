//! Whether Services are balanced by IPVS, whose packets pass the input and output hooks and not the forward hook.

use std::fs;
use std::path::Path;

/// Where the kernel lists the virtual services of this network namespace; absent without IPVS.
const TABLE: &str = "/proc/net/ip_vs";

/// What is not enforced, where Services are balanced by IPVS.
pub(crate) fn gap() -> Option<String> {
    has_services(Path::new(TABLE)).then(|| {
        "Services by IPVS: their traffic passes the input and output hooks and is not judged; use kube-proxy in its nftables or \
         iptables mode"
            .to_owned()
    })
}

/// Whether a table in the form of `/proc/net/ip_vs` lists a service: a line that begins with what it is known by, a protocol
/// or a firewall mark. Lines of backends (`->`) and of the head are none.
fn has_services(table: &Path) -> bool {
    let Ok(text) = fs::read_to_string(table) else { return false };
    text.lines().any(|line| ["TCP ", "UDP ", "SCTP ", "FWM "].iter().any(|p| line.starts_with(p)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// As the kernel prints it (`ip_vs_info_seq_show`).
    const HEAD: &str = "IP Virtual Server version 1.2.1 (size=4096)\n\
                        Prot LocalAddress:Port Scheduler Flags\n  \
                        -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";

    #[test]
    fn services_by_ipvs_are_detected_whatever_they_are_known_by() {
        let path = std::env::temp_dir().join(format!("palisade-ipvs-{}", std::process::id()));
        assert!(!has_services(&path), "a kernel without IPVS has no table");
        let found = |services: &str| {
            fs::write(&path, format!("{HEAD}{services}")).unwrap();
            has_services(&path)
        };
        let cases = [
            ("", false),
            ("TCP  0A600001:01BB rr \n  -> C0A80001:192B      Masq    1      0          0\n", true),
            ("UDP  0A60000A:0035 rr \n", true),
            ("UDP  [fd00:0096:0000:0000:0000:0000:0000:000a]:0035 rr \n", true),
            ("SCTP 0A60000B:0050 rr \n", true),
            ("FWM  00000001 wlc persistent 300 FFFFFFFF\n", true),
        ];
        for (services, expected) in cases {
            assert_eq!(found(services), expected, "{services}");
        }
        fs::remove_file(&path).unwrap();
    }
}
