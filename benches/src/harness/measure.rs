//! What is measured, and the names under which it is stored: `match/new-both/ipv4/64-flows`, `enforced/pod-born/allow`.

use std::fmt;
use std::str::FromStr;

use palisade_compiler::model::{Family, Verdict};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::scenario::EditKind;

/// The kinds of packets whose cost is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// First packets of connections between two local pods that policies isolate, one in egress and the other in ingress.
    NewBoth,
    /// First packets of connections that are judged at one end.
    NewOne,
    /// First packets that no policy applies to.
    NewNone,
    /// First packets that are denied.
    Denied,
    /// Packets of connections that were answered.
    Established,
}

impl Path {
    pub const ALL: [Self; 5] =
        [Self::NewBoth, Self::NewOne, Self::NewNone, Self::Denied, Self::Established];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NewBoth => "new-both",
            Self::NewOne => "new-one",
            Self::NewNone => "new-none",
            Self::Denied => "denied",
            Self::Established => "established",
        }
    }

    /// The name on the page.
    pub const fn title(self) -> &'static str {
        match self {
            Self::NewBoth => "first packet, judged at both ends",
            Self::NewOne => "first packet, judged at one end",
            Self::NewNone => "first packet, no policy selects its ends",
            Self::Denied => "first packet, denied",
            Self::Established => "packet of an established connection",
        }
    }
}

/// When the latency of forwarding is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// While nothing changes.
    Idle,
    /// While the rules of the whole cluster are loaded.
    Loading,
}

impl Moment {
    pub const ALL: [Self; 2] = [Self::Idle, Self::Loading];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Loading => "loading",
        }
    }
}

/// The kinds of edits that are timed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edits {
    /// Edits that add, remove or relabel pods on other nodes.
    RemotePods,
    /// Edits of local pods, namespaces and policies.
    Others,
}

impl Edits {
    pub const BOTH: [Self; 2] = [Self::RemotePods, Self::Others];

    pub const fn name(self) -> &'static str {
        match self {
            Self::RemotePods => "remote-pods",
            Self::Others => "others",
        }
    }

    pub const fn has(self, kind: EditKind) -> bool {
        let remote =
            matches!(kind, EditKind::PodBorn | EditKind::PodGone | EditKind::PodRelabelled);
        remote == matches!(self, Self::RemotePods)
    }
}

/// A measure of one contender in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Measure {
    /// The kernel time of one packet, from the interface to the sink.
    Match { path: Path, family: Family, flows: usize },
    /// The time from the objects in memory to the kernel's acknowledgement of everything.
    Load,
    /// The part of `Load` that follows the first call of a tool or the kernel.
    LoadCommit,
    /// The time from an edit in memory to the kernel's acknowledgement.
    Acknowledged(EditKind),
    /// The part of `Acknowledged` before the first call of a tool or the kernel.
    Computed(EditKind),
    /// The time from an edit in memory until no packet gets the old verdict any more, as packets show it.
    Enforced(EditKind, Verdict),
    /// The rate of edits that are made one after another without a pause.
    Churn(Edits),
    /// The increase of the kernel's memory after everything is loaded.
    KernelMemory,
    /// The resident memory of the process that enforces, after everything is loaded.
    UserMemory,
    /// The time from sending a packet that is always allowed until it has been processed.
    Latency(Moment),
}

/// The unit of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Bytes,
    /// Events in a second. More is better, in contrast to the other units.
    PerSecond,
}

impl Unit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::PerSecond => "per-second",
        }
    }
}

impl Measure {
    pub const fn unit(self) -> Unit {
        match self {
            Self::KernelMemory | Self::UserMemory => Unit::Bytes,
            Self::Churn(_) => Unit::PerSecond,
            _ => Unit::Nanoseconds,
        }
    }
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match { path, family, flows } => {
                write!(f, "match/{}/{}/{flows}-flows", path.name(), family_name(*family))
            }
            Self::Load => f.write_str("load"),
            Self::LoadCommit => f.write_str("load-commit"),
            Self::Acknowledged(kind) => write!(f, "acknowledged/{kind}"),
            Self::Computed(kind) => write!(f, "computed/{kind}"),
            Self::Enforced(kind, to) => write!(f, "enforced/{kind}/{}", verdict_name(*to)),
            Self::Churn(edits) => write!(f, "churn/{}", edits.name()),
            Self::KernelMemory => f.write_str("memory/kernel"),
            Self::UserMemory => f.write_str("memory/user"),
            Self::Latency(moment) => write!(f, "latency/{}", moment.name()),
        }
    }
}

#[derive(Debug, Error)]
#[error("{0:?} is not a measure")]
pub struct UnknownMeasure(String);

impl FromStr for Measure {
    type Err = UnknownMeasure;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| UnknownMeasure(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Measure> {
    let parts: Vec<&str> = text.split('/').collect();
    Some(match *parts.as_slice() {
        ["match", path, family, flows] => Measure::Match {
            path: Path::ALL.into_iter().find(|p| p.name() == path)?,
            family: [Family::V4, Family::V6].into_iter().find(|f| family_name(*f) == family)?,
            flows: flows.strip_suffix("-flows")?.parse().ok()?,
        },
        ["load"] => Measure::Load,
        ["load-commit"] => Measure::LoadCommit,
        ["acknowledged", kind] => Measure::Acknowledged(edit_kind(kind)?),
        ["computed", kind] => Measure::Computed(edit_kind(kind)?),
        ["enforced", kind, to] => Measure::Enforced(
            edit_kind(kind)?,
            [Verdict::Allow, Verdict::Deny].into_iter().find(|v| verdict_name(*v) == to)?,
        ),
        ["churn", edits] => Measure::Churn(Edits::BOTH.into_iter().find(|e| e.name() == edits)?),
        ["memory", "kernel"] => Measure::KernelMemory,
        ["memory", "user"] => Measure::UserMemory,
        ["latency", moment] => {
            Measure::Latency(Moment::ALL.into_iter().find(|m| m.name() == moment)?)
        }
        _ => return None,
    })
}

fn edit_kind(name: &str) -> Option<EditKind> {
    EditKind::ALL.into_iter().find(|kind| kind.name() == name)
}

impl From<Measure> for String {
    fn from(measure: Measure) -> Self {
        measure.to_string()
    }
}

impl TryFrom<String> for Measure {
    type Error = UnknownMeasure;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_read_back_from_its_name() {
        let families = [Family::V4, Family::V6];
        let matches = Path::ALL
            .into_iter()
            .flat_map(|path| families.map(|family| Measure::Match { path, family, flows: 1024 }));
        let edits = EditKind::ALL.into_iter().flat_map(|kind| {
            [
                Measure::Acknowledged(kind),
                Measure::Computed(kind),
                Measure::Enforced(kind, Verdict::Allow),
                Measure::Enforced(kind, Verdict::Deny),
            ]
        });
        let others = [
            Measure::Load,
            Measure::LoadCommit,
            Measure::Churn(Edits::RemotePods),
            Measure::Churn(Edits::Others),
            Measure::KernelMemory,
            Measure::UserMemory,
            Measure::Latency(Moment::Idle),
            Measure::Latency(Moment::Loading),
        ];
        let mut names = std::collections::BTreeSet::new();
        for measure in matches.chain(edits).chain(others) {
            let name = measure.to_string();
            assert_eq!(name.parse::<Measure>().unwrap(), measure);
            assert!(names.insert(name), "two measures have one name");
        }
        assert!("match/new-both/ipv5/64-flows".parse::<Measure>().is_err());
        assert!("".parse::<Measure>().is_err());
    }
}
