//! The project's goals, each a ratio or a bound within one run, and how far a report reaches them.

use palisade_compiler::model::Family;

use super::measure::{Edits, Measure, Path};
use super::outcome::{Outcome, at_least, at_most};
use super::quantity::Quantity;
use super::report::{CONNTRACK, CellReport, PALISADE, Report};
use super::settings::{Cell, HOT_FLOWS, MANY_FLOWS};
use super::statistics::Summary;
use crate::scenario::{EditKind, ScenarioShape};

/// The shape in which every policy selects every pod of the node, which is the worst case for rules that are evaluated one
/// by one.
const WORST: ScenarioShape = ScenarioShape::OpenToNamespaces;
const LARGE: Cell = Cell::new(ScenarioShape::Apps, 10_000);
/// The contenders whose hash lookups Palisade's are compared with: a BPF program, and the best rules with one chain for
/// each class.
const EBPF: &str = "ebpf-hash";
const PER_CLASS: &str = "nft-pod-dispatch";

/// All goals, in the order in which they are reported.
pub fn judge(report: &Report) -> Vec<Outcome> {
    [match_goals(report), walk_goals(report), event_goals(report), scale_goals(report)].concat()
}

fn first_packet(path: Path, flows: usize) -> Measure {
    Measure::Match { path, family: Family::V4, flows }
}

fn match_goals(report: &Report) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let hot = first_packet(Path::NewBoth, HOT_FLOWS);
    let cell = |shape, policies| report.cell(Cell::new(shape, policies));
    for shape in [LARGE.shape, WORST] {
        let added = |policies| Some(cell(shape, policies)?.added(PALISADE, hot)?.median);
        outcomes.push(
            at_most("first packet at 10,000 policies over 10 (64 flows)", 1.25, "×").reached(
                ratio(added(10_000), added(10)),
                format!("{shape}: what judging at both ends adds to bare conntrack"),
            ),
        );
    }
    outcomes.push(many_flows(report));
    for (policies, bound) in [(1_000_u16, 50.0), (10_000, 300.0)] {
        for (name, what) in
            [("nft-policy-chains", "per-policy chains"), ("iptables-ipset", "ipset rules")]
        {
            let goal = format!(
                "times cheaper than {what}, {} policies",
                Quantity::Count.write(f64::from(policies))
            );
            let (reached, of) = cost_ratio(cell(WORST, usize::from(policies)), name);
            outcomes.push(at_least(&goal, bound, "×").reached(reached, of));
        }
    }
    let established = first_packet(Path::Established, HOT_FLOWS);
    for policies in [10_u16, 10_000] {
        let size = Quantity::Count.write(f64::from(policies));
        let policies = usize::from(policies);
        let of = |name: &str| cell(LARGE.shape, policies)?.median(name, established);
        outcomes.push(
            at_most(
                &format!("established packet over a bare `ct state` rule, {size} policies"),
                1.1,
                "×",
            )
            .reached(
                ratio(of(PALISADE), of(CONNTRACK)),
                format!("{}: kernel time of the whole packet", LARGE.shape),
            ),
        );
    }
    outcomes
}

/// The size of the clusters in which first packets are compared with the best rules with one chain for each class.
const WALKED: usize = 1_000;

/// The cost of first packets compared with the best rules with one chain for each class, in the fast rounds of few flows.
fn walk_goals(report: &Report) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for shape in ScenarioShape::ALL.into_iter().filter(|shape| *shape != WORST) {
        for (path, bound) in [(Path::NewOne, 1.5), (Path::NewNone, 1.0), (Path::Denied, 2.0)] {
            let cell = report.cell(Cell::new(shape, WALKED));
            let added = |name| cell?.added_when_fast(name, first_packet(path, HOT_FLOWS));
            outcomes.push(
                at_most(&format!("{}, over {PER_CLASS} (64 flows)", path.title()), bound, "×")
                    .reached(
                        ratio(added(PALISADE), added(PER_CLASS)),
                        format!("{shape}, {WALKED} policies: what judging adds in the fast rounds"),
                    ),
            );
        }
    }
    outcomes
}

/// Many flows over many pods, compared with the hash lookups of a BPF program. If none was measured, compared with the best
/// rules with one chain for each class.
fn many_flows(report: &Report) -> Outcome {
    let many = first_packet(Path::NewOne, MANY_FLOWS);
    let large = report.cell(LARGE);
    let added = |name: &str| Some(large?.added(name, many)?.median);
    let (name, what) = match added(EBPF) {
        Some(_) => (EBPF, "an eBPF hash lookup program"),
        None => (PER_CLASS, "the best per-class shape"),
    };
    let goal = format!("first packet at 100,000 pods over {what} (1,024 flows)");
    let no_program = if name == EBPF { "" } else { "; no eBPF program was run" };
    at_most(&goal, 2.5, "×").reached(
        ratio(added(PALISADE), added(name)),
        format!("{LARGE}: what judging at one end adds, over {name}'s{no_program}"),
    )
}

/// The added cost of another contender divided by Palisade's, for packets that are judged at one end.
fn cost_ratio(cell: Option<&CellReport>, other: &str) -> (Option<f64>, String) {
    let of = format!("{WORST}: what judging at one end adds: {other} over Palisade");
    let one = first_packet(Path::NewOne, HOT_FLOWS);
    let added = |name: &str| Some(cell?.added(name, one)?.median);
    let reached = ratio(added(other), added(PALISADE));
    (reached, of)
}

fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let (a, b) = (a?, b?);
    (b > 0.0).then_some(a / b)
}

fn event_goals(report: &Report) -> Vec<Outcome> {
    let cell = report.cell(LARGE);
    let of = |measure| -> Option<Summary> { cell?.summary(PALISADE, measure) };
    let mut outcomes = Vec::new();
    for (kind, what) in [
        (EditKind::PodBorn, "a remote pod's birth"),
        (EditKind::PodGone, "a remote pod's end"),
        (EditKind::LocalPodBorn, "a local pod's birth"),
    ] {
        outcomes.push(at_most(&format!("our CPU for {what}, median"), 50.0, "µs").reached(
            of(Measure::Computed(kind)).map(|s| s.median / 1e3),
            format!("{LARGE}: until the first call of the kernel"),
        ));
        outcomes.push(
            at_most(&format!("kernel acknowledgement of {what}, p99"), 5.0, "ms").reached(
                of(Measure::Acknowledged(kind)).map(|s| s.p99 / 1e6),
                format!("{LARGE}: from the change in memory"),
            ),
        );
    }
    outcomes.push(at_least("events of remote pods a second, sustained", 20_000.0, "/s").reached(
        of(Measure::Churn(Edits::RemotePods)).map(|s| s.median),
        format!("{LARGE}: births, relabellings and ends, a transaction each"),
    ));
    outcomes
}

fn scale_goals(report: &Report) -> Vec<Outcome> {
    let of = |measure| report.cell(LARGE)?.median(PALISADE, measure);
    vec![
        at_most("100,000 pods, 10,000 policies, from objects in memory to enforced", 1.0, "s")
            .reached(of(Measure::Load).map(|ns| ns / 1e9), LARGE.to_string()),
        at_most("resident memory", 64.0, "MiB").reached(
            of(Measure::UserMemory).map(|bytes| bytes / (1024.0 * 1024.0)),
            format!("{LARGE}: a process of its own, after the load"),
        ),
    ]
}
