//! Different ways to enforce the policies of one cluster on one node.
//!
//! Each contender gets the same [`Scenario`] and programs the network namespace of the calling thread for the node's pods.
//! All but the two that enforce nothing are compared with the oracle by real packets before they are timed ([`check`]).

mod blocks;
mod chains;
mod check;
mod dispatch;
mod ebpf;
mod engines;
mod ipset;
mod iptables;
mod kube_router;
mod nft;
mod nftables;
mod palisade;
mod resolve;
mod tool;

use std::time::Duration;

use palisade_compiler::model::{Family, Verdict};
use thiserror::Error;

pub use check::{SAMPLE, Sample, check};
pub use engines::engines;
pub use kube_router::KubeRouter;

use crate::inject::{Flow, InjectError};
use crate::scenario::{Edit, EditKind, Scenario};
use ipset::Ipset;
use iptables::{Linear, Tools};
use nftables::{Nft, NftShape};

/// A way to enforce policy. A contender remembers what it programmed, so it belongs to one network namespace.
pub trait Contender: Send {
    fn name(&self) -> &'static str;

    /// Whether it enforces policy. `none` and `conntrack` let everything pass.
    fn enforces(&self) -> bool {
        true
    }

    /// What the name stands for on this machine: the tool and its variant, or the engine whose rules it imitates.
    fn describe(&self) -> String;

    /// Whether the kernel has acknowledged everything when `load` and `edit` return. If not, as for an engine in its own
    /// process, only packets can show what is enforced.
    fn acknowledges(&self) -> bool {
        true
    }

    /// Does what precedes a load and is no part of it, for example starts the API server that an engine watches. Must be
    /// called in the namespace that will be loaded. If it is not called, `load` does it.
    ///
    /// # Errors
    /// As `load`.
    fn prepare(&mut self, _: &Scenario) -> Result<(), ContenderError> {
        Ok(())
    }

    /// Programs the network namespace of the calling thread, which must have no rules yet.
    ///
    /// # Errors
    /// `TooLarge` or `TooSlow` if this contender cannot handle a cluster of this size. Otherwise the errors of the tool or
    /// the kernel.
    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError>;

    /// Does what precedes an edit and changes no verdict, for example creates a pod that has no address yet. An engine, which
    /// does not acknowledge, is given every edit here before `edit`.
    ///
    /// # Errors
    /// As `edit`.
    fn prepare_edit(&mut self, _: &Edit) -> Result<(), ContenderError> {
        Ok(())
    }

    /// Carries out an edit in the way of the real engine, for example by programming everything again. If the contender
    /// acknowledges, the kernel has done so when this returns. Must be called in the network namespace that was loaded.
    ///
    /// # Errors
    /// As `load`, and `NotLoaded`.
    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError>;

    /// Does work that nothing waits for, such as removing what has no meaning any more. Is called between edits that are
    /// timed.
    ///
    /// # Errors
    /// As `edit`.
    fn idle(&mut self) -> Result<(), ContenderError> {
        Ok(())
    }

    /// The resident memory of the process that enforces, if one keeps running.
    fn resident(&self) -> Option<u64> {
        None
    }

    /// Checks that the engine is still running. Is called while packets do not show the expected verdicts yet.
    ///
    /// # Errors
    /// `Ended` if the contender is a process that has ended.
    fn check_alive(&self) -> Result<(), ContenderError> {
        Ok(())
    }

    /// The last output of the engine's process, if there is one. It may explain why packets do not show the expected
    /// verdicts.
    fn last_output(&self) -> Option<String> {
        None
    }
}

/// The names of all contenders, in the order in which they are reported.
pub const NAMES: [&str; 9] = [
    "none",
    "conntrack",
    "palisade",
    "iptables-linear",
    "iptables-ipset",
    "nft-policy-chains",
    "nft-pod-dispatch",
    "ebpf-hash",
    "kube-router",
];

/// Creates every contender, not loaded yet, or the reason why it is left out on this machine.
pub fn contenders() -> Vec<Result<Box<dyn Contender>, LeftOut>> {
    NAMES.into_iter().map(contender).collect()
}

/// Creates the contender with this name.
///
/// # Errors
/// Why it is left out.
pub fn contender(name: &'static str) -> Result<Box<dyn Contender>, LeftOut> {
    let left_out = |reason| LeftOut { name, reason };
    Ok(match name {
        "none" => Box::new(NoRules),
        "conntrack" => Box::new(Nft::new(NftShape::Conntrack)),
        "palisade" => Box::new(palisade::Palisade::default()),
        "iptables-linear" => Box::new(Linear::new(Tools::find().map_err(left_out)?)),
        "iptables-ipset" => {
            let tools = Tools::find().map_err(left_out)?;
            Box::new(Ipset::new(tools).map_err(left_out)?)
        }
        "nft-policy-chains" => Box::new(Nft::new(NftShape::PolicyChains)),
        "nft-pod-dispatch" => Box::new(Nft::new(NftShape::PodDispatch)),
        "ebpf-hash" => Box::new(ebpf::EbpfHash::new().map_err(left_out)?),
        "kube-router" => Box::new(KubeRouter::on_path().map_err(left_out)?),
        _ => return Err(left_out("there is no contender of that name".to_owned())),
    })
}

/// The contender `none`, without any rules.
#[derive(Debug)]
struct NoRules;

impl Contender for NoRules {
    fn name(&self) -> &'static str {
        "none"
    }

    fn enforces(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "no rules; enforces nothing".to_owned()
    }

    fn load(&mut self, _: &Scenario) -> Result<Loaded, ContenderError> {
        Ok(Loaded::default())
    }

    fn edit(&mut self, _: &Edit) -> Result<Edited, ContenderError> {
        Ok(Edited::default())
    }
}

/// The address families of a scenario.
fn families(scenario: &Scenario) -> Vec<Family> {
    let all = Family::ALL.into_iter();
    all.filter(|family| *family == Family::V4 || scenario.dual_stack).collect()
}

/// How long a load took, and how many objects of both families it created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The time from the objects in memory to the kernel's acknowledgement, if the contender has one.
    pub elapsed: Duration,
    /// The part of it that follows the first call of a tool or of the kernel.
    pub committed: Duration,
    pub chains: usize,
    pub rules: usize,
    pub sets: usize,
    pub elements: usize,
}

/// How long an edit took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Edited {
    /// The time from the edit in memory to the kernel's acknowledgement.
    pub elapsed: Duration,
    /// The part of it that follows the first call of a tool or of the kernel. Zero if nothing had to be committed.
    pub committed: Duration,
}

#[derive(Debug, Error)]
pub enum ContenderError {
    #[error("{tool}: {source}")]
    Tool { tool: &'static str, source: std::io::Error },
    #[error("{tool} exited with {status}: {message}")]
    Refused { tool: &'static str, status: std::process::ExitStatus, message: String },
    #[error("{tool} did not end within {patience:?}")]
    TooSlow { tool: &'static str, patience: Duration },
    #[error("{count} {what}, more than the {limit} that are tried")]
    TooLarge { what: &'static str, count: usize, limit: usize },
    #[error("{engine} ended by itself ({status}); it said: {output}")]
    Ended { engine: &'static str, status: std::process::ExitStatus, output: String },
    #[error("{engine} was still busy {patience:?} after the last change")]
    NotIdle { engine: &'static str, patience: Duration },
    #[error(transparent)]
    ApiServer(#[from] palisade_lab::LabError),
    #[error("no request to an API server makes the edit {0}")]
    NoRequest(EditKind),
    #[error(transparent)]
    Kernel(#[from] palisade_dataplane::ruleset::RulesetError),
    #[error("{what}: {source}")]
    Bpf { what: String, source: std::io::Error },
    #[error("nothing is loaded")]
    NotLoaded,
}

/// A contender or engine that cannot be compared on this machine, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name} is left out: {reason}")]
pub struct LeftOut {
    pub name: &'static str,
    pub reason: String,
}

/// Why a contender must not be timed.
#[derive(Debug, Error)]
pub enum Mismatch {
    #[error("{contender} gives {flow:?} the verdict {seen}, the oracle {expected}")]
    Verdict { contender: &'static str, flow: Flow, seen: Verdict, expected: Verdict },
    #[error("{contender} failed: {error}")]
    Failed { contender: &'static str, error: ContenderError },
    /// The scenario has too few connections with this verdict for a meaningful comparison.
    #[error("only {count} connections with the verdict {verdict} were found, {wanted} are needed")]
    TooFew { verdict: Verdict, count: usize, wanted: usize },
    #[error("the verdicts could not be observed: {0}")]
    Unseen(InjectError),
}
