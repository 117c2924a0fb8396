//! What became of denied packets on their way to readers, as metrics.

use std::fmt;

use super::samples::{Labels, Samples, named};
use crate::flows::counts::{AllowedCounts, AllowedLosses, FlowCounts, FlowLosses};
use crate::flows::hits::HitCounters;
use crate::protocol::MAX_LISTED_POLICIES;

/// The policies that denied most.
pub(super) fn denials_by_policy(samples: &mut Samples<'_>, hits: &HitCounters) -> fmt::Result {
    let series = hits.top(MAX_LISTED_POLICIES).into_iter().map(|denials| {
        let labels =
            vec![("policy", denials.policy), ("direction", denials.direction.as_str().to_owned())];
        (labels, denials.packets as f64)
    });
    samples.gauges(
        &named(
            "policy_denied_packets",
            "Denied packets that were seen, by policy and direction, of the 20 that denied most since the agent began. If one grows, palisade \
             observe --policy shows whom it denies.",
        ),
        series,
    )
}

pub(super) fn flows(samples: &mut Samples<'_>, counts: &FlowCounts) -> fmt::Result {
    samples.flag(
        &named(
            "flows_listening",
            "1 if the agent reads the kernel's log of denied packets. If it stays 0, palisade status says why: most often another \
             process reads NFLOG group 7.",
        ),
        counts.is_listening,
    )?;
    let mut counter = |name, help, value: u64| {
        let value = value as f64;
        samples.counter(&named(name, help), Some(value))
    };
    counter(
        "flow_packets_seen",
        "Denied packets that were read. The difference from palisade_denied_packets_total is in palisade_flow_lost_total.",
        counts.seen,
    )?;
    counter(
        "flow_packets_unreadable",
        "Denied packets whose headers cannot be read. If it rises, something sends broken packets.",
        counts.unreadable,
    )?;
    counter(
        "flow_packets_foreign",
        "Packets that rules of others copied to NFLOG group 7. If it rises, give these rules another group.",
        counts.foreign,
    )?;
    counter(
        "flow_divergences",
        "Denied connections that no revision in force at their time denies. If it is above 0, palisade observe --divergences shows \
         them: please report them.",
        counts.divergences,
    )?;
    let series = [("written", counts.events_written), ("left_out", counts.events_left_out)];
    samples.counters(
        &named(
            "denial_events",
            "Kubernetes Events on pods that were denied connections, written, or left out: too many, or the server refused them. If many \
             are left out, palisade observe shows them all.",
        ),
        series.map(|(result, value)| (vec![("result", result.to_owned())], value as f64)),
    )?;
    losses(samples, &counts.lost)?;
    connections(samples, &counts.allowed)?;
    samples.count(
        &named(
            "flows_stored",
            "Denied connections that are kept for palisade observe. At its bound of some thousands, the oldest give way to later ones.",
        ),
        counts.stored,
    )?;
    samples.count(
        &named(
            "flow_readers",
            "Clients that follow the stream of denied connections. At most 16 may.",
        ),
        counts.readers,
    )
}

fn connections(samples: &mut Samples<'_>, allowed: &AllowedCounts) -> fmt::Result {
    samples.flag(
        &named(
            "connections_listening",
            "1 if the kernel tells the agent of the connections that it tracks. If it stays 0, palisade status says why.",
        ),
        allowed.is_listening,
    )?;
    let mut counter = |name, help, value: u64| {
        let value = value as f64;
        samples.counter(&named(name, help), Some(value))
    };
    counter("connections_opened", "Connections that the host began to track.", allowed.opened)?;
    counter("connections_ended", "Tracked connections that ended.", allowed.ended)?;
    counter(
        "connections_elsewhere",
        "Connections that the host began to track and that have no pod of this node at an end.",
        allowed.elsewhere,
    )?;
    let AllowedLosses { overflows, repaired, ends, queue, forgotten } = allowed.lost;
    let series = [
        ("overflows", overflows),
        ("repaired", repaired),
        ("ends", ends),
        ("queue", queue),
        ("forgotten", forgotten),
    ];
    samples.counters(
        &named(
            "connections_lost",
            "What is missing in the stream of allowed connections, by stage: times that the socket had no room (overflows), connections \
             lost there and found again (repaired), connections whose end was lost (ends) or that found no room while they waited to be \
             judged (queue), flows that gave way to later ones (forgotten). No verdict depends on it.",
        ),
        series.map(|(stage, value)| (vec![("stage", stage.to_owned())], value as f64)),
    )?;
    samples.count(
        &named(
            "connections_stored",
            "Allowed connections that are kept for palisade observe. At its bound of some thousands, the oldest give way to later ones.",
        ),
        allowed.stored,
    )
}

fn losses(samples: &mut Samples<'_>, lost: &FlowLosses) -> fmt::Result {
    let FlowLosses { not_logged, socket, overflows, queue, forgotten, readers, dropped_readers } =
        *lost;
    let series = [
        ("not_logged", not_logged),
        ("socket", socket),
        ("overflows", overflows),
        ("queue", queue),
        ("forgotten", forgotten),
        ("readers", readers),
        ("dropped_readers", dropped_readers),
    ];
    let labelled = |(stage, value): (&str, u64)| -> (Labels, f64) {
        (vec![("stage", stage.to_owned())], value as f64)
    };
    samples.counters(
        &named(
            "flow_lost",
            "What is missing in the stream of denied connections, by stage: packets beyond the log's rate (not_logged), without room \
             in the socket (socket, and how often: overflows) or while they wait to be judged (queue), flows that gave way to later \
             ones (forgotten), lines that readers were too slow for (readers), readers that were dropped (dropped_readers). No \
             verdict depends on it.",
        ),
        series.map(labelled),
    )
}
