//! What became of denied packets on their way to readers, as metrics.

use std::fmt;

use super::samples::{Labels, Samples, named};
use crate::flows::counts::{AllowedCounts, AllowedLosses, FlowCounts, FlowLogCounts, FlowLosses};
use crate::flows::hits::HitCounters;
use crate::flows::totals::Total;

/// How often policies decided.
pub(super) fn hits(samples: &mut Samples<'_>, hits: &HitCounters) -> fmt::Result {
    let labels = |total: &Total| {
        let (direction, verdict) = (total.direction.as_str(), total.verdict.as_str());
        vec![("direction", direction.to_owned()), ("verdict", verdict.to_owned())]
    };
    let all = hits.totals().all().into_iter();
    samples.counters(
        &named(
            "flow_hits",
            "Denied packets that were seen (verdict deny), and connections that were allowed (allow), by direction, each counted once. \
             palisade observe shows them.",
        ),
        all.map(|total| (labels(&total), total.count as f64)),
    )?;
    let by_policy = hits.totals().by_policy().into_iter();
    samples.counters(
        &named(
            "policy_hits",
            "As palisade_flow_hits_total, by policy: for each of those that isolate the pod of a denied packet, and that have a rule \
             which allows a connection. The first 100 policies have series of their own, later ones are the policy others, and none \
             is where no policy decides. If one grows, palisade observe --policy shows whom it denies.",
        ),
        by_policy.map(|(policy, total)| {
            let labels = [vec![("policy", policy)], labels(&total)].concat();
            (labels, total.count as f64)
        }),
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
        "Denied and allowed connections whose verdict no revision in force at their time gives. If it is above 0, palisade observe \
         --divergences shows them: please report them.",
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
    counts.flow_log.as_ref().map_or(Ok(()), |log| flow_log(samples, log))?;
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

fn flow_log(samples: &mut Samples<'_>, log: &FlowLogCounts) -> fmt::Result {
    samples.flag(
        &named(
            "flow_log_writing",
            "1 if the last line of the flow log was written; absent without --flow-log. If it stays 0, palisade status says why: \
             most often the disk is full or the directory is missing.",
        ),
        log.failure.is_none(),
    )?;
    let mut counter = |name, help, value: u64| {
        let value = value as f64;
        samples.counter(&named(name, help), Some(value))
    };
    counter("flow_log_lines", "Lines of the flow log that were written.", log.written)?;
    counter(
        "flow_log_lost",
        "Flows that found no room while the flow log could not be written. If it rises, see palisade_flow_log_writing; if that is 1, \
         the disk is too slow for the flows: write fewer by --flow-log-only.",
        log.lost,
    )?;
    counter(
        "flow_log_rotations",
        "Times that a file of the flow log was full, and another was begun.",
        log.rotations,
    )?;
    samples.count(
        &named(
            "flow_log_waiting",
            "Flows that wait to be written to the flow log. At 8192, later ones are lost.",
        ),
        log.waiting,
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
