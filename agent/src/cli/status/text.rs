//! A status as text: first what an operator asks, the rest with `-v`.

use palisade_compiler::lint::Severity;
use palisade_compiler::wording::{counted, listed};

use super::KernelStatus;
use crate::cli::Failure;
use crate::cli::output::{colours, say, styled};
use crate::findings::{LintStatus, UsageStatus};
use crate::flows::counts::{AllowedCounts, FlowCounts, FlowLogCounts};
use crate::protocol::{
    Connections, Denied, Hold, HoldState, Kubernetes, MAX_LISTED, SourceGuard, State, Status,
};
use crate::revision_log::named;

/// Lines of a list that a person is shown.
const MAX_LINES: usize = 20;

pub(super) fn print(status: &Status, verbose: bool) -> Result<(), Failure> {
    print_state(status)?;
    let sizes = &status.sizes;
    say(format_args!(
        "isolated    {} of {} ({} for ingress, {} for egress), by {}",
        status.isolated.pods,
        counted(sizes.local_pods, "pod"),
        status.isolated.ingress,
        status.isolated.egress,
        counted(sizes.policies, "policy")
    ))?;
    if let Some(denied) = &status.denied {
        print_denied(denied)?;
    }
    print_flows(&status.flows)?;
    print_last_change(status)?;
    print_connections(&status.connections)?;
    print_hold(&status.hold)?;
    print_guard(&status.source_guard)?;
    print_lint(&status.lint)?;
    let objects = format!(
        "{}, {}, {}",
        counted(sizes.namespaces, "namespace"),
        counted(sizes.pods, "pod"),
        counted(sizes.policies, "policy")
    );
    match &status.kubernetes {
        Some(kubernetes) => print_kubernetes(kubernetes, &objects)?,
        None => say(format_args!("manifests   {}: {objects}", counted(status.files, "file")))?,
    }
    say(format_args!(
        "agent       {}, pid {}, up {}, node {}",
        status.agent,
        status.pid,
        duration(status.up_seconds),
        status.node.as_deref().unwrap_or("unnamed: every pod with an address is local")
    ))?;
    print_verified(status)?;
    if verbose {
        print_details(status)?;
    }
    let held = status.held_files.iter();
    let held: Vec<String> = held
        .map(|held| format!("{} {} ({})", held.file, held.reason, duration(held.seconds)))
        .collect();
    print_list("not enforced", &status.not_enforced, status.not_enforced.len())?;
    print_list("files of which an earlier version is enforced", &held, status.held_count)?;
    print_list("warnings", &status.warnings, status.warnings.len())?;
    print_list("problems", &status.problems, status.problem_count)
}

pub(super) fn print_kernel(status: &KernelStatus) -> Result<(), Failure> {
    if !status.enforced {
        return say(paint(false, "no agent answers, and the kernel holds no tables of Palisade"));
    }
    say(paint(
        true,
        "no agent answers; what the kernel holds stays enforced, and follows no manifests",
    ))?;
    say(format_args!(
        "isolated    {} for ingress, {} for egress",
        counted(status.isolated_ingress, "address"),
        status.isolated_egress
    ))?;
    print_denied(&status.denied)?;
    say(format_args!("elements    {}", status.elements))
}

fn paint(good: bool, text: &str) -> String {
    styled(text, if good { "32" } else { "31" }, colours())
}

fn print_state(status: &Status) -> Result<(), Failure> {
    let state = match status.state {
        State::Starting => "starting",
        State::WaitingForManifests if status.kubernetes.is_some() => "waiting for the API server",
        State::WaitingForManifests => "waiting for manifests",
        State::WaitingForTable => "waiting for the tables, which another process owns",
        State::Enforcing if status.enforces_all() => "enforcing",
        State::Enforcing => "enforcing, BUT NOT ALL: see below",
        State::Behind => "behind: an earlier version of the manifests is enforced",
    };
    say(format_args!("state       {}", paint(status.enforces_all(), state)))?;
    if let Some(seconds) = status.behind_seconds {
        say(format_args!("            since {} ago", duration(seconds)))?;
    }
    let more = status.detail.iter().chain(&status.doing);
    more.into_iter().try_for_each(|line| say(format_args!("            {line}")))
}

fn print_kubernetes(kubernetes: &Kubernetes, objects: &str) -> Result<(), Failure> {
    let Kubernetes { server, in_sync, behind_seconds, watches } = kubernetes;
    let state = match (in_sync, behind_seconds) {
        (false, _) => "not everything was listed yet".to_owned(),
        (true, None) => "in sync".to_owned(),
        (true, Some(seconds)) => format!("behind since {}", duration(*seconds)),
    };
    say(format_args!("api server  {server}, {state}"))?;
    say(format_args!("            {objects}"))?;
    let refused: Vec<&str> =
        watches.iter().filter(|w| !w.is_permitted).map(|w| w.resource.as_str()).collect();
    if !refused.is_empty() {
        let refused = refused.join(", ");
        say(format_args!("            {refused} may not be read: explain does not know them"))?;
    }
    Ok(())
}

fn print_watches(kubernetes: &Kubernetes) -> Result<(), Failure> {
    for watch in &kubernetes.watches {
        let heard = watch.heard_seconds_ago.map_or_else(
            || "nothing yet".to_owned(),
            |seconds| format!("last heard of {} ago", duration(seconds)),
        );
        let errors: Vec<String> =
            watch.errors.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
        say(format_args!(
            "watch       {}: {heard}, listed {} times, errors {errors}",
            watch.resource, watch.lists
        ))?;
    }
    Ok(())
}

fn print_denied(denied: &Denied) -> Result<(), Failure> {
    say(format_args!(
        "denied      {} packets by ingress, {} by egress, since the rules were loaded",
        denied.ingress, denied.egress
    ))
}

fn print_flows(flows: &FlowCounts) -> Result<(), Failure> {
    if let (false, Some(failure)) = (flows.is_listening, &flows.failure) {
        say(format_args!("            palisade observe does not show them: {failure}"))?;
    }
    let lost = &flows.lost;
    let missing = lost.not_logged + lost.socket + lost.queue;
    if flows.seen + missing > 0 {
        say(format_args!(
            "            {} of them seen by palisade observe, {missing} not (beyond the log's rate, or lost)",
            flows.seen
        ))?;
    }
    print_allowed(&flows.allowed)?;
    flows.flow_log.as_ref().map_or(Ok(()), print_flow_log)?;
    if flows.divergences == 0 {
        return Ok(());
    }
    let divergences = format!("{} DIVERGENCES: palisade observe --divergences", flows.divergences);
    say(format_args!("            {}", paint(false, &divergences)))
}

fn print_allowed(allowed: &AllowedCounts) -> Result<(), Failure> {
    if let (false, Some(failure)) = (allowed.is_listening, &allowed.failure) {
        return say(format_args!(
            "allowed     palisade observe does not show connections: {failure}"
        ));
    }
    if allowed.opened == 0 {
        return Ok(());
    }
    let lost = &allowed.lost;
    let missing = match (lost.queue, lost.overflows) {
        (0, 0) => String::new(),
        (queue, overflows) => format!(
            "; {queue} not judged, {} lost by the socket in {overflows} overflows and found again",
            lost.repaired
        ),
    };
    say(format_args!(
        "allowed     {} connections, {} of them with no pod here{missing}",
        allowed.opened, allowed.elsewhere
    ))
}

fn print_flow_log(log: &FlowLogCounts) -> Result<(), Failure> {
    let lost = if log.lost > 0 { format!(", {} lost", log.lost) } else { String::new() };
    let written = counted(usize::try_from(log.written).unwrap_or(usize::MAX), "line");
    say(format_args!("flow log    {}: {written} written{lost}", log.destination))?;
    let Some(failure) = &log.failure else { return Ok(()) };
    let state = format!("not written: {} ({failure}); {} wait", log.state, log.waiting);
    say(format_args!("            {}", paint(false, &state)))
}

fn print_lint(lint: &LintStatus) -> Result<(), Failure> {
    if lint.last_us.is_none() && lint.lost_matches == 0 {
        return Ok(());
    }
    let each = |(severity, count): (&Severity, &usize)| counted(*count, &severity.to_string());
    let found: Vec<String> =
        lint.findings.iter().rev().filter(|(_, count)| **count > 0).map(each).collect();
    let found = if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") };
    let lost = match lint.lost_matches {
        0 => String::new(),
        count => format!("; matches lost by changes of labels: {count}"),
    };
    say(format_args!("lint        {found}{lost}: see palisade lint"))?;
    print_usage(&lint.usage)
}

fn print_usage(usage: &UsageStatus) -> Result<(), Failure> {
    let UsageStatus { after_seconds, watched, policies, rules, isolations, .. } = usage;
    if *watched == 0 {
        return Ok(());
    }
    let rules = match &usage.allowed_unknown {
        Some(why) => format!("not known of rules ({why})"),
        None => format!("{} and {}", counted(*policies, "policy"), counted(*rules, "rule")),
    };
    let isolations = match &usage.denied_unknown {
        Some(why) => format!("not known of isolation ({why})"),
        None => format!("{} that denied nothing", counted(*isolations, "isolation")),
    };
    say(format_args!("unused      for {after_seconds} s: {rules}; {isolations}"))
}

fn print_hold(hold: &Hold) -> Result<(), Failure> {
    let packets = match hold.packets {
        0 => String::new(),
        packets => format!("; {packets} packets were held since the agent began"),
    };
    match hold.state {
        HoldState::Idle => say(format_args!("hold        nothing is awaited{packets}")),
        HoldState::Holding => {
            let awaited = match (hold.awaited.as_slice(), hold.awaited_count) {
                ([], _) => "the source, which is behind".to_owned(),
                (pods, count) => listed(pods, count),
            };
            let time = duration(hold.seconds.unwrap_or_default());
            say(format_args!(
                "hold        unknown addresses are held for {time}, until {awaited}{packets}"
            ))
        }
        HoldState::Off => say(format_args!(
            "hold        off: {}",
            hold.reason.as_deref().unwrap_or("no reason is known")
        )),
    }
}

fn print_guard(guard: &SourceGuard) -> Result<(), Failure> {
    say(format_args!(
        "guard       {} and {} with {}; {} with another source and {} of tunnels dropped",
        counted(guard.interfaces, "interface"),
        counted(guard.ports, "bridge port"),
        counted(guard.sources, "source"),
        counted(usize::try_from(guard.dropped).unwrap_or(usize::MAX), "packet"),
        guard.encapsulated
    ))?;
    guard.notes.iter().try_for_each(|note| say(format_args!("            {note}")))
}

fn print_last_change(status: &Status) -> Result<(), Failure> {
    let Some(change) = status.changes.first() else { return Ok(()) };
    let first = change.objects.get(..1).unwrap_or_default();
    let what = named(first, change.object_count);
    say(format_args!(
        "last change {what}: {} elements in {}, {} ago",
        change.element_count,
        millis(change.took_us),
        duration(change.seconds_ago)
    ))
}

fn print_connections(connections: &Connections) -> Result<(), Failure> {
    let took = connections
        .last_us
        .map_or_else(String::new, |us| format!(", the last time in {}", millis(us)));
    say(format_args!(
        "connections {} cut because policies forbid them now, {} of addresses that left their pods flushed{took}",
        connections.cut, connections.flushed
    ))?;
    match &connections.failure {
        Some(failure) => say(format_args!("            forbidden ones may go on: {failure}")),
        None => Ok(()),
    }
}

fn print_verified(status: &Status) -> Result<(), Failure> {
    let drift = &status.drift;
    let last =
        drift.seconds_since_check.map_or_else(String::new, |s| format!(", {} ago", duration(s)));
    say(format_args!(
        "verified    {} times{last}; the kernel differed {} times",
        drift.checks, drift.found
    ))?;
    match &drift.last {
        Some(last) => say(format_args!("            at last: {last}")),
        None => Ok(()),
    }
}

fn print_details(status: &Status) -> Result<(), Failure> {
    let (sizes, time) = (&status.sizes, &status.time_to_enforce);
    say(format_args!(
        "revision    {}; the kernel holds {}",
        status.revision, status.enforced_revision
    ))?;
    say(format_args!(
        "program     {} subjects in, {} out; {} groups, {} classes, {} profiles, {} rows, {} atoms; {} elements",
        sizes.subjects_in,
        sizes.subjects_out,
        sizes.groups,
        sizes.classes,
        sizes.profiles,
        sizes.rows,
        sizes.atoms,
        sizes.elements
    ))?;
    for denials in &status.denials {
        say(format_args!(
            "denied by   {} ({}): {} packets seen, the last at {}",
            denials.policy,
            denials.direction.as_str(),
            denials.packets,
            denials.last_seen
        ))?;
    }
    for hits in &status.allowances {
        say(format_args!(
            "allowed by  {} ({}, rule {}): {} connections, the last at {}",
            hits.policy,
            hits.direction.as_str(),
            hits.rule,
            hits.connections,
            hits.last_used
        ))?;
    }
    for rows in &status.rows {
        let largest: Vec<String> =
            rows.largest.iter().map(|(namespace, rows)| format!("{namespace} {rows}")).collect();
        say(format_args!(
            "rows        {} {}: {} of {}; most by {}",
            rows.family,
            rows.direction,
            rows.wanted,
            rows.bound,
            if largest.is_empty() { "none".to_owned() } else { largest.join(", ") }
        ))?;
    }
    status.kubernetes.iter().try_for_each(print_watches)?;
    let micros = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), millis);
    say(format_args!(
        "enforced    last change in {}, slowest in {}, {} changes",
        micros(time.last_us),
        micros(time.max_us),
        time.count
    ))?;
    let bridges =
        if status.bridges.is_empty() { "none".to_owned() } else { status.bridges.join(", ") };
    say(format_args!("bridges     {bridges}"))
}

fn print_list(title: &str, lines: &[String], count: usize) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    say(format_args!("{title} ({count}):"))?;
    lines.iter().take(MAX_LINES).try_for_each(|line| say(format_args!("  {line}")))?;
    match count.saturating_sub(MAX_LINES) {
        0 => Ok(()),
        more => say(format_args!("  and {more} more; -o json has up to {MAX_LISTED}")),
    }
}

fn millis(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}

/// As in `5 s`, `3 min`, `2 h 5 min`, `4 d 3 h`.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{minutes} min"),
        7_200..=172_799 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_written_as_people_do() {
        assert_eq!([0, 119, 120, 7_199].map(duration), ["0 s", "119 s", "2 min", "119 min"]);
        assert_eq!([7_500, 180_000].map(duration), ["2 h 5 min", "2 d 2 h"]);
        assert_eq!(millis(3_045), "3.045 ms");
    }
}
