use palisade_benches::harness::machine::Machine;
use palisade_benches::harness::progress::Progress;
use palisade_benches::harness::report::{PALISADE, Report};
use palisade_benches::harness::run::{BenchError, Output, RunError, run};

use super::*;

fn machine() -> Machine {
    Machine { kernel: "Linux 6.18".into(), cpu: "a <CPU>".into(), cpus: 2, ..Machine::default() }
}

fn run_in(
    scratch: &Scratch,
    bench: &mut Formula,
    stop: &'static AtomicBool,
) -> Result<Report, RunError> {
    let settings = settings(1);
    let output = Output::open(&scratch.0, &settings, &machine(), false)?;
    run(&settings, machine(), bench, &output, &mut Progress::new(stop).quiet())
}

#[test]
fn a_stopped_run_goes_on_where_it_was_and_ends_as_if_it_had_not_stopped() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let scratch = Scratch::new();
    let mut stopped = Formula { stop: Some((2, &STOP)), ..Formula::new(1.0) };
    let error = run_in(&scratch, &mut stopped, &STOP).expect_err("stopped");
    assert!(matches!(error, RunError::Bench(BenchError::Interrupted(_))), "{error}");
    let part = Report::read(&scratch.0.join("report.json")).expect("what is finished is reported");
    assert_eq!(part.cells.len(), 2);
    let page = std::fs::read_to_string(scratch.0.join("report.html")).unwrap();
    assert!(page.contains("2 of 4 clusters were measured"));

    let mut rest = Formula::new(1.0);
    let whole = run_in(&scratch, &mut rest, &NEVER_STOP).expect("goes on");
    assert_eq!(rest.measured, settings(1).cells[2..]);
    let at_once = run_in(&Scratch::new(), &mut Formula::new(1.0), &NEVER_STOP).expect("at once");
    let timeless = |mut report: Report| {
        report.cells.iter_mut().for_each(|cell| cell.seconds = 0.0);
        report
    };
    assert_eq!(timeless(whole), timeless(at_once));
}

#[test]
fn finished_cells_of_other_settings_are_not_taken_for_ours() {
    let scratch = Scratch::new();
    run_in(&scratch, &mut Formula::new(1.0), &NEVER_STOP).expect("runs");
    let other = settings(2);
    let refused = Output::open(&scratch.0, &other, &machine(), false);
    assert!(matches!(refused, Err(RunError::OtherRun { .. })), "{refused:?}");
    let elsewhere = Machine { kernel: "Linux 5.13".into(), ..machine() };
    assert!(Output::open(&scratch.0, &settings(1), &elsewhere, false).is_err());
    Output::open(&scratch.0, &other, &machine(), true).expect("thrown away on request");
}

/// The JSON, the CSV and the page contain the same figures.
#[test]
fn a_report_holds_together_in_every_form() {
    let scratch = Scratch::new();
    let report = run_in(&scratch, &mut Formula::new(1.0), &NEVER_STOP).expect("runs");
    assert_eq!(Report::read(&scratch.0.join("report.json")).expect("readable"), report);

    let csv = std::fs::read_to_string(scratch.0.join("report.csv")).unwrap();
    let mut lines = csv.lines();
    let columns = lines.next().unwrap().split(',').count();
    let series: usize = report.cells.iter().map(|cell| cell.series.len()).sum();
    assert_eq!(lines.clone().count(), series);
    assert!(lines.all(|line| line.split(',').count() == columns));
    assert!(csv.contains(
        "open-to-namespaces,1000,10000,false,palisade,match/new-one/ipv4/64-flows,ns,9,504.0,"
    ));

    let page = std::fs::read_to_string(scratch.0.join("report.html")).unwrap();
    for expected in [
        "a &lt;CPU&gt;",
        "too large &amp; &quot;more&quot;",
        "what &lt;none&gt; is",
        "calico",
        "∝ n^",
    ] {
        assert!(page.contains(expected), "the page lacks {expected}");
    }
    assert!(
        !page.contains("<script")
            && !page.contains("http://") | page.contains("http://www.w3.org/2000/svg")
    );
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    let plots = std::fs::read_dir(scratch.0.join("plots")).unwrap().count();
    assert_eq!(plots, page.matches("<svg ").count());
}

#[test]
fn goals_are_judged_by_what_was_measured() {
    let report = run_in(&Scratch::new(), &mut Formula::new(1.0), &NEVER_STOP).expect("runs");
    let goal = |text: &str| {
        let found = report.goals.iter().find(|goal| goal.goal.starts_with(text));
        found.unwrap_or_else(|| panic!("no goal {text}"))
    };
    // Chains add 2 for each policy and Palisade 200: the ratio is 10 with 1,000 policies and 100 with 10,000.
    let cheaper = goal("times cheaper than per-policy chains, 1,000 policies");
    assert!(
        (cheaper.reached.unwrap() - 10.0).abs() < 0.1 && cheaper.met() == Some(false),
        "{cheaper:?}"
    );
    let missing = goal("times cheaper than ipset rules, 1,000 policies");
    assert_eq!((missing.reached, missing.met()), (None, None));

    let like = settings(1).cells[0];
    let grows = |name| report.growth(like, name, NEW_ONE).expect("four sizes").exponent;
    assert!(grows(PALISADE).abs() < 1e-9);
    assert!((0.3..1.0).contains(&grows("nft-policy-chains")), "{}", grows("nft-policy-chains"));
}

#[test]
fn a_damaged_state_is_named_and_nothing_is_lost() {
    let scratch = Scratch::new();
    run_in(&scratch, &mut Formula::new(1.0), &NEVER_STOP).expect("runs");
    let state = scratch.0.join("state");
    let cell = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let cell = cell
        .into_iter()
        .find(|path| path.ends_with("open-to-namespaces_10-policies_100-pods.json"));
    std::fs::write(cell.expect("a finished cell"), "{\"cell\":").unwrap();
    let error = run_in(&scratch, &mut Formula::new(1.0), &NEVER_STOP).expect_err("damaged");
    assert!(error.to_string().contains("open-to-namespaces_10-policies"), "{error}");
}
