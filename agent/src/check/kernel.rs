//! What the kernel can do.

use std::thread;

use nix::sched::{CloneFlags, unshare};
use nix::sys::utsname::uname;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_dataplane::dataplane::rehearse;
use palisade_dataplane::netlink::{GraceMethod, Kernel, grace_method};
use palisade_dataplane::ruleset::{Features, Ruleset as _, RulesetError};

use super::finding::{Finding, Severity};

/// The first release with catch-all elements of nftables' maps.
const OLDEST: (u32, u32) = (5, 13);

pub(super) fn version() -> Finding {
    let name = uname();
    let release = name.as_ref().map(|name| name.release().to_string_lossy().into_owned());
    match release {
        Ok(release) => judge_release(&release),
        Err(error) => Finding::new(
            Severity::Note,
            "kernel-version",
            format!("the kernel does not say its release ({error})"),
            "",
            "",
        ),
    }
}

fn judge_release(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let number = |part: Option<Result<u32, _>>| part.and_then(Result::ok);
    let seen = format!("Linux {release}");
    match (number(numbers.next()), number(numbers.next())) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Finding::new(
            Severity::Failure,
            "kernel-version",
            seen,
            format!(
                "Palisade's maps need catch-all elements, which nftables has since Linux {}.{}.",
                OLDEST.0, OLDEST.1
            ),
            "Run a newer kernel: Debian 12, Ubuntu 22.04 and RHEL 9.2 have one.",
        ),
        _ => Finding::ok("kernel-version", seen),
    }
}

/// What is tried rather than read from a version.
pub(super) fn features() -> Vec<Finding> {
    let (tried, place) = in_own_namespace(try_tables);
    let mut findings = match tried {
        Ok((features, rejects)) => {
            let seen = format!("this kernel takes all sets and rules (tried in {place})");
            let mut findings = vec![Finding::ok("nftables", seen)];
            findings.extend(of_features(features));
            findings.push(rejection(rejects));
            findings
        }
        Err(error) => vec![refused(&error)],
    };
    findings.push(grace());
    findings
}

/// The kernel's features, and whether it can answer denied packets.
fn try_tables() -> Result<(Features, Result<(), RulesetError>), RulesetError> {
    let mut kernel = Kernel::open()?;
    rehearse(&mut kernel, DenyAction::Drop)?;
    let rejects = rehearse(&mut kernel, DenyAction::Reject);
    Ok((kernel.features(), rejects))
}

fn rejection(rejects: Result<(), RulesetError>) -> Finding {
    match rejects {
        Ok(()) => Finding::ok("deny-action", "denied packets can be dropped or rejected"),
        Err(error) => Finding::new(
            Severity::Note,
            "deny-action",
            format!("denied packets cannot be rejected: {error}"),
            "An agent with --deny-action reject enforces nothing here.",
            "Leave --deny-action at drop, or load the modules nft_reject_ipv4 and nft_reject_ipv6.",
        ),
    }
}

/// Runs in a new network namespace where that is permitted, else in this one; says where it was.
fn in_own_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> (T, &'static str) {
    thread::scope(|scope| {
        let run = || {
            let is_new = unshare(CloneFlags::CLONE_NEWNET).is_ok();
            let place = if is_new {
                "a network namespace of its own"
            } else {
                "this network namespace, where nothing was created"
            };
            (work(), place)
        };
        match scope.spawn(run).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn refused(error: &RulesetError) -> Finding {
    let remedy = match error {
        RulesetError::NotPermitted { .. } => {
            "Run as root with CAP_NET_ADMIN; in a container, add the capability NET_ADMIN."
        }
        RulesetError::Unsupported { .. } => {
            "Load the module nf_tables (modprobe nf_tables) or run a kernel that has it."
        }
        RulesetError::Owned { .. } => "Try again when the agent has replaced its tables.",
        RulesetError::Refused { .. } => {
            "Run a kernel with CONFIG_NFT_CT, CONFIG_NFT_LOG, CONFIG_NFT_LIMIT, CONFIG_NETFILTER_NETLINK_LOG and conntrack, or load \
             their modules."
        }
        RulesetError::Retry { .. }
        | RulesetError::Unknown { .. }
        | RulesetError::Full { .. }
        | RulesetError::Io(_) => "Try again; if it stays, please report it.",
    };
    Finding::new(
        Severity::Failure,
        "nftables",
        error.to_string(),
        "Without these tables nothing is enforced.",
        remedy,
    )
}

fn of_features(features: Features) -> [Finding; 2] {
    let owner = if features.persistent_owner {
        Finding::ok("owned-tables", "tables can belong to the agent and outlive it")
    } else {
        Finding::new(
            Severity::Note,
            "owned-tables",
            "tables cannot belong to a process that they outlive (Linux 6.9 can)",
            "Any process of root may change the tables; the agent notices and puts them right.",
            "",
        )
    };
    let bridge = if features.bridge_tables {
        Finding::ok("bridge-tables", "nftables has tables for bridges")
    } else {
        Finding::new(
            Severity::Warning,
            "bridge-tables",
            "nftables has no tables for bridges (CONFIG_NF_TABLES_BRIDGE)",
            "Where pods share a bridge, IPv6 link-local addresses, router advertisements and redirects between them pass unjudged.",
            "Load the module nf_tables_bridge if the kernel has it; no need where each pod has a link of its own.",
        )
    };
    [owner, bridge]
}

fn grace() -> Finding {
    match grace_method() {
        Ok(GraceMethod::Membarrier) => {
            Finding::ok("grace-period", "packets under way are waited for by membarrier(2)")
        }
        Ok(GraceMethod::PacketSocket) => Finding::new(
            Severity::Note,
            "grace-period",
            "packets under way are waited for by a packet socket: membarrier(2) does not offer it here (nohz_full, or one processor)",
            "The agent needs CAP_NET_RAW for it.",
            "",
        ),
        Err(error) => Finding::new(
            Severity::Failure,
            "grace-period",
            error.to_string(),
            "Changes of several steps wait until no packet is judged by half of one.",
            "Give the agent CAP_NET_RAW (in a container, the capability NET_RAW).",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_first_two_numbers() {
        let severity = |release: &str| judge_release(release).severity;
        for old in ["4.19.0-26-amd64", "5.4.0", "5.12.19"] {
            assert_eq!(severity(old), Severity::Failure, "{old}");
        }
        for new in ["5.13.0", "5.15.0-1041-azure", "6.1.0-13-amd64", "10.0", "next"] {
            assert_eq!(severity(new), Severity::Ok, "{new}");
        }
    }
}
