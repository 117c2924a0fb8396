//! What this process may do (capabilities(7)).

use std::fs;
use std::path::Path;

use super::finding::{Finding, Severity, list};

/// Places of capabilities in the mask (linux/capability.h).
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;

pub(super) fn findings(proc: &Path) -> Vec<Finding> {
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let Some(mask) = effective(&status) else {
        let seen = "this process's capabilities cannot be read";
        return vec![Finding::new(Severity::Note, "capabilities", seen, "", "")];
    };
    let has = |capability: u32| mask & (1 << capability) != 0;
    if !has(NET_ADMIN) {
        return vec![Finding::new(
            Severity::Failure,
            "capabilities",
            "this process lacks CAP_NET_ADMIN",
            "Without it nftables can be neither written nor read.",
            "Run as root; in a container, as uid 0 with the capability NET_ADMIN (allowPrivilegeEscalation may be false, everything \
             else dropped).",
        )];
    }
    let mut names = vec!["CAP_NET_ADMIN"];
    names.extend(has(SYS_ADMIN).then_some("CAP_SYS_ADMIN (used by this check only)"));
    vec![Finding::ok("capabilities", list(&names))]
}

/// The mask of the line `CapEff:`, in hexadecimal.
fn effective(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_mask_is_read() {
        assert_eq!(effective("Name:\tx\nCapEff:\t0000000000001000\n"), Some(1 << NET_ADMIN));
        assert_eq!(effective("CapEff:\tnone\n"), None);
        assert_eq!(effective(""), None);
    }
}
