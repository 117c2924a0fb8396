//! What the published status, the engine and the kernel's counters say, as metrics.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use palisade_compiler::compile::{MAX_PORT_RANGES, MAX_PORTS, MAX_ROWS, MAX_SUBJECTS};
use palisade_compiler::program::sets::SetName;
use palisade_dataplane::dataplane::Counters;
use palisade_dataplane::netlink::DenyCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::flow_samples::{flows, hits};
use super::guard_samples::source_guard;
use super::lint_samples::lint;
use super::samples::{Labels, Named, Samples, named};
use super::watch_samples::watches;
use crate::health;
use crate::protocol::{Connections, Hold, HoldState, Rows};
use crate::published_status::{PublishedStatus, StatusAt};

/// Reads the status when asked.
#[derive(Debug)]
pub(super) struct StatusSamples(pub(super) PublishedStatus);

impl Collector for StatusSamples {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Without the locks that the loop takes: this asks the kernel.
        let denied = DenyCounters::read()
            .inspect_err(|error| tracing::debug!(%error, "denied packets cannot be counted"));
        let mut samples = Samples(encoder);
        self.0.look(|at| {
            state(&mut samples, at)?;
            source(&mut samples, at)?;
            at.kubernetes.iter().try_for_each(|state| watches(&mut samples, state))?;
            objects(&mut samples, at)?;
            program(&mut samples, at)?;
            rows(&mut samples, &at.status.rows)?;
            verification(&mut samples, at)?;
            connections(&mut samples, &at.status.connections)?;
            engine(&mut samples, at.engine)?;
            let held = denied.as_ref().map_or(0, |counters| counters.held.packets);
            hold(&mut samples, &at.status.hold, held)?;
            let counters = denied.as_ref();
            let forged = counters.map_or(0, |counters| counters.forged.packets);
            let encapsulated = counters.map_or(0, |counters| counters.encapsulated.packets);
            source_guard(&mut samples, &at.status.source_guard, [forged, encapsulated])?;
            lint(&mut samples, &at.status.lint)
        })?;
        flows(&mut samples, &self.0.flows.counts())?;
        hits(&mut samples, &self.0.flows.hits)?;
        denied.map_or(Ok(()), |counters| denials(&mut samples, counters))
    }
}

fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name, value.to_owned())).into()
}

fn state(samples: &mut Samples<'_>, at: &StatusAt) -> fmt::Result {
    let status = &at.status;
    let build = (labels([("version", &status.agent)]), 1.0);
    samples.gauges(&named("build_info", "The version of the agent, as a label."), [build])?;
    samples.flag(
        &named(
            "enforcing",
            "1 if the kernel holds the program of the latest objects. If it is 0 for longer than a change takes, palisade status \
             says what hinders it; what was enforced before stays enforced.",
        ),
        status.is_ready(),
    )?;
    samples.flag(
        &named(
            "ready",
            "1 if /readyz says so: something is enforced, and the kernel is not long behind. If it is 0, the text of /readyz says \
             what the agent waits for.",
        ),
        health::readiness(at).is_ok(),
    )?;
    let behind = at.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
    samples.gauge(
        &Named::in_seconds(
            "behind",
            "For how long the kernel has held an earlier program than the latest objects mean; 0 if it does not. If it grows, \
             palisade status says what fails.",
        ),
        Some(behind),
    )?;
    samples.count(
        &named(
            "not_enforced",
            "Kinds of traffic that policy speaks of and the kernel does not judge. If it is above 0, palisade status and palisade \
             check name each with its remedy.",
        ),
        status.not_enforced.len(),
    )?;
    samples.gauge(
        &named(
            "revision",
            "The number of the latest batch of changes. It grows with every change.",
        ),
        Some(status.revision as f64),
    )?;
    samples.gauge(
        &named(
            "enforced_revision",
            "The number of the batch of changes that the kernel holds. If it stays behind palisade_revision, see palisade_behind_seconds.",
        ),
        Some(status.enforced_revision as f64),
    )
}

fn source(samples: &mut Samples<'_>, at: &StatusAt) -> fmt::Result {
    let status = &at.status;
    samples.flag(
        &named(
            "source_in_sync",
            "1 if the source has given everything that is declared. If it is 0, the kernel is left as an earlier agent left it; \
             palisade status says what is waited for.",
        ),
        at.source_in_sync,
    )?;
    samples.count(
        &named(
            "manifest_files",
            "Files that are followed. If it is not what you expect, see the arguments of -f.",
        ),
        status.files,
    )?;
    samples.count(
        &named(
            "held_files",
            "Files whose present contents are not enforced, but what they held before. If it stays above 0, palisade status names \
             them: they are broken or still being written.",
        ),
        at.held.len(),
    )?;
    samples.count(
        &named(
            "source_problems",
            "Problems that the source has with its objects. palisade status lists them; each names object, field and remedy.",
        ),
        status.problem_count,
    )?;
    samples.count(
        &named(
            "warnings",
            "What the compile warns of: contested addresses, bounds, a node that nothing knows. palisade status lists them.",
        ),
        status.warnings.len(),
    )?;
    samples.count(
        &named(
            "input_errors",
            "Problems and warnings for which not everything is enforced as it is written. If it is above 0, palisade status lists \
             them.",
        ),
        status.error_count,
    )
}

fn objects(samples: &mut Samples<'_>, at: &StatusAt) -> fmt::Result {
    let sizes = &at.status.sizes;
    samples.count(
        &named("namespaces", "Namespaces that are known. If it is 0 in a cluster, the agent may not list namespaces."),
        sizes.namespaces,
    )?;
    samples.count(
        &named("pods", "Pods that are known, of all nodes. If it is 0 in a cluster, the agent may not list pods."),
        sizes.pods,
    )?;
    samples.count(
        &named(
            "local_pods",
            "Pods of this node. If it is 0 where pods run, the agent has another name than the node: --node-name.",
        ),
        sizes.local_pods,
    )?;
    samples.count(
        &named("policies", "Policies that are known. If it is not what kubectl counts, see palisade_source_in_sync."),
        sizes.policies,
    )?;
    let isolated = &at.status.isolated;
    let series = [("ingress", isolated.ingress), ("egress", isolated.egress)];
    samples.gauges(
        &named(
            "isolated_pods",
            "Pods of this node that policies isolate, by direction. If it is lower than expected, no policy selects the others: \
             palisade explain says why.",
        ),
        series.map(|(direction, pods)| (labels([("direction", direction)]), pods as f64)),
    )
}

fn program(samples: &mut Samples<'_>, at: &StatusAt) -> fmt::Result {
    let sizes = &at.status.sizes;
    samples.count(
        &named(
            "kinds",
            "Kinds of pods: namespace and the labels that rules name. If it grows towards the pods, rules name a label that has \
             another value for each pod.",
        ),
        sizes.kinds,
    )?;
    samples.count(
        &named(
            "groups",
            "Groups of isolated pods of equal policies. More groups make larger programs.",
        ),
        sizes.groups,
    )?;
    samples.count(
        &named(
            "classes",
            "Classes of addresses that no rule tells apart. More classes make larger programs.",
        ),
        sizes.classes,
    )?;
    samples.count(
        &named(
            "profiles",
            "Sets of allowed ports. If it grows without end, policies name ever other ports.",
        ),
        sizes.profiles,
    )?;
    samples.count(
        &named("atoms", "Disjoint ranges that the ipBlocks make. Above 10000, changes of blocks slow down: summarise the CIDRs."),
        sizes.atoms,
    )?;
    samples.gauges(
        &named(
            "elements",
            "Elements of the program, by address family and set. Compare with palisade_elements_bound; rows are allow_in and \
             allow_out.",
        ),
        at.set_sizes.iter().map(|&(family, set, count)| {
            (labels([("family", family), ("set", set.as_str())]), count as f64)
        }),
    )?;
    samples.gauges(
        &named(
            "elements_bound",
            "Elements that a set of one address family holds at most. What finds no room is denied, of the namespaces that want \
             more than their share; isolated addresses (local_in, local_out) are isolated beyond it, too.",
        ),
        BOUNDS.map(|(set, bound)| (labels([("set", set.as_str())]), bound as f64)),
    )
}

/// The sets that have a bound of their own, and not only that of their declaration, which grows.
const BOUNDS: [(SetName, usize); 6] = [
    (SetName::LocalIn, MAX_SUBJECTS),
    (SetName::LocalOut, MAX_SUBJECTS),
    (SetName::AllowIn, MAX_ROWS),
    (SetName::AllowOut, MAX_ROWS),
    (SetName::Ports, MAX_PORTS),
    (SetName::PortRanges, MAX_PORT_RANGES),
];

fn rows(samples: &mut Samples<'_>, rows: &[Rows]) -> fmt::Result {
    let of = |rows: &Rows| labels([("family", &rows.family), ("direction", &rows.direction)]);
    samples.gauges(
        &named(
            "rows_wanted",
            "Rows that there would be if there were room for all. If it is above palisade_elements_bound of allow_in or allow_out, \
             some pods are allowed less than their policies say: palisade status names their namespaces.",
        ),
        rows.iter().map(|rows| (of(rows), rows.wanted as f64)),
    )?;
    samples.gauges(
        &named(
            "namespace_rows_wanted",
            "Rows that the pods of a namespace want, of the few namespaces that want most. Summarise the rules of a namespace that \
             comes near the bound.",
        ),
        rows.iter().flat_map(|rows| {
            rows.largest.iter().map(move |(namespace, wanted)| {
                let mut labels = of(rows);
                labels.push(("namespace", namespace.clone()));
                (labels, *wanted as f64)
            })
        }),
    )
}

fn verification(samples: &mut Samples<'_>, at: &StatusAt) -> fmt::Result {
    let drift = &at.status.drift;
    samples.counter(
        &named("verifications", "Comparisons of the kernel with the program. If it stands still, see palisade_enforcing."),
        Some(drift.checks as f64),
    )?;
    samples.counter(
        &named(
            "drift_found",
            "Times that the kernel differed from the program, since somebody changed the tables. If it grows, find out who does: the \
             log names what differed, and audit logs of nftables, where they are on, name the process.",
        ),
        Some(drift.found as f64),
    )?;
    samples.counter(
        &named(
            "drift_healed",
            "Times that the tables were put right after somebody had changed them. If it stays behind palisade_drift_found_total, \
             palisade status says what fails.",
        ),
        Some(at.healed as f64),
    )?;
    let since_1970 = |at: std::time::Instant| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(now.saturating_sub(at.elapsed()).as_secs_f64())
    };
    samples.gauge(
        &Named::in_seconds(
            "last_verified_timestamp",
            "When the kernel was last compared with the program, in seconds since 1970; it is once a minute. If it is older than some \
             minutes, the agent is overloaded or cannot read the kernel.",
        ),
        at.checked.and_then(since_1970),
    )
}

fn engine(samples: &mut Samples<'_>, counters: Counters) -> fmt::Result {
    let Counters { transactions, elements, graces, retries, replaced, grown, reopened } = counters;
    let mut counter =
        |name, help, value: u64| samples.counter(&named(name, help), Some(value as f64));
    counter(
        "transactions",
        "Transactions that the kernel took. Its rate follows that of the changes.",
        transactions,
    )?;
    counter(
        "elements_written",
        "Elements added to and removed from the kernel. If it grows much faster than objects change, labels or policies flap.",
        elements,
    )?;
    counter(
        "grace_periods",
        "Grace periods waited for. Its rate follows that of the changes.",
        graces,
    )?;
    counter(
        "retries",
        "Times that the kernel was read again since a transaction failed. If it grows steadily, others change nftables all the time.",
        retries,
    )?;
    counter(
        "tables_replaced",
        "Tables made anew as a whole, as after an upgrade or damage. If it grows, find out who damages them.",
        replaced,
    )?;
    counter(
        "sets_grown",
        "Sets made anew with more room. Denied packets are then counted from 0.",
        grown,
    )?;
    counter(
        "sockets_reopened",
        "Netlink sockets opened anew since the old one was dead. If it is above 0, please report it.",
        reopened,
    )
}

fn connections(samples: &mut Samples<'_>, connections: &Connections) -> fmt::Result {
    let mut counter = |name, help, value: u64| {
        let value = value as f64;
        samples.counter(&named(name, help), Some(value))
    };
    counter(
        "revocation_passes",
        "Times that the connections under way were looked at after a change. Its rate follows that of the policies.",
        connections.passes,
    )?;
    counter(
        "connections_judged",
        "Connections under way that were judged by policies that had changed. If it is large, changes touch pods of many connections.",
        connections.judged,
    )?;
    counter(
        "connections_cut",
        "Connections that were cut, since policies forbid them now. If it rises unexpectedly, the log says which policy changed.",
        connections.cut,
    )?;
    counter(
        "connections_flushed",
        "Tracked connections that were deleted, since their address left its pod. Its rate follows that of pods that end.",
        connections.flushed,
    )?;
    counter(
        "revocation_tuples_lost",
        "Connections that were cut and that their answering end may open anew, since more are remembered than there is room for. If it \
         grows, policies cut very many connections of UDP or SCTP at once.",
        connections.lost_tuples,
    )?;
    counter(
        "revocation_failures",
        "Times that the connections under way could not be looked at. It is tried again; if it grows, forbidden connections go on: \
         palisade status says why.",
        connections.failures,
    )?;
    samples.gauge(
        &named(
            "revoked_tuples",
            "Connections of UDP and SCTP that were cut and whose answering end must not open them anew. Each is forgotten two minutes \
             after the last such packet.",
        ),
        Some(connections.revoked_tuples as f64),
    )
}

fn denials(samples: &mut Samples<'_>, counters: DenyCounters) -> fmt::Result {
    let DenyCounters { ingress, egress, .. } = counters;
    let series = |ingress: u64, egress: u64| {
        [("ingress", ingress), ("egress", egress)]
            .map(|(direction, value)| (labels([("direction", direction)]), value as f64))
    };
    samples.counters(
        &named(
            "denied_packets",
            "Packets that policy denied, by direction, since the rules were last loaded. If it rises, palisade observe \
             shows who is denied what, and why.",
        ),
        series(ingress.packets, egress.packets),
    )?;
    samples.counters(
        &Named::in_bytes("denied", "Bytes of the packets that policy denied, by direction; see palisade_denied_packets_total."),
        series(ingress.bytes, egress.bytes),
    )
}

fn hold(samples: &mut Samples<'_>, hold: &Hold, current: u64) -> fmt::Result {
    samples.flag(
        &named(
            "holding",
            "1 while packets from and to unknown addresses of this node's pods are held. If it stays 1, palisade status names the \
             pods whose addresses are awaited.",
        ),
        hold.state == HoldState::Holding,
    )?;
    samples.flag(
        &named(
            "hold_off",
            "1 if unknown addresses would not be held. palisade status says why: most often the range of the node's pods is not \
             known, and --pod-cidr gives it.",
        ),
        hold.state == HoldState::Off,
    )?;
    samples.count(
        &named("awaited_pods", "Isolated pods of this node that have no address yet. If it stays above 0, they do not start."),
        hold.awaited_count,
    )?;
    let packets = (hold.packets + current) as f64;
    samples.counter(
        &named(
            "held_packets",
            "Packets that were held because their address was not known. If it rises where no pod is born, addresses of the node's \
             pod ranges are used by others than pods.",
        ),
        Some(packets),
    )
}
