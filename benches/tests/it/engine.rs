//! Engines: they are driven through a real API server, only packets show what they enforce, and they end with their owner. In
//! these tests scripts replace them.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use palisade_benches::contender::{
    Contender, ContenderError, Edited, KubeRouter, LeftOut, Loaded, contender,
};
use palisade_benches::harness::kernel::{KernelBench, memory};
use palisade_benches::harness::measure::Measure;
use palisade_benches::harness::progress::Progress;
use palisade_benches::harness::report::{CellReport, PALISADE};
use palisade_benches::harness::run::Bench as _;
use palisade_benches::harness::settings::{Cell, Settings};
use palisade_benches::inject::Router;
use palisade_benches::scenario::{Edit, EditKind, Scenario, ScenarioShape};

use palisade_compiler::model::Pod;
use palisade_compiler::snapshot::Change;

use super::one_api_server;

const NAME: &str = "kube-router";
static NEVER_STOP: AtomicBool = AtomicBool::new(false);

fn path_of(folder: &str) -> PathBuf {
    std::env::temp_dir().join(format!("palisade-engine-{}-{folder}", std::process::id()))
}

/// Removes the script's directory when the test ends.
struct Folder(&'static str);

impl Drop for Folder {
    fn drop(&mut self) {
        // If the test failed before the directory was created, there is nothing to remove.
        let _ = fs::remove_dir_all(path_of(self.0));
    }
}

/// A script with the engine's name that reports its version, and otherwise runs `text`.
fn script(folder: &str, text: &str) -> PathBuf {
    let folder = path_of(folder);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(NAME);
    let text = format!("#!/bin/sh\n[ \"$1\" = --version ] && echo a script && exit\n{text}\n");
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    file
}

fn engine(folder: &str, text: &str) -> Result<Box<dyn Contender>, LeftOut> {
    let engine = KubeRouter::at(script(folder, text));
    Ok(Box::new(engine.map_err(|reason| LeftOut { name: NAME, reason })?))
}

type MakeContenders = fn() -> Vec<Result<Box<dyn Contender>, LeftOut>>;

fn measured(make: MakeContenders) -> CellReport {
    let cell = Cell::new(ScenarioShape::Apps, 20);
    let cells = vec![cell];
    let settings = Settings { cells, rounds: 3, edits: 12, engine_ms: 400, ..Settings::quick() };
    let mut bench = KernelBench::new(settings, make, None).expect("root and nf_tables");
    bench.measure(cell, &mut Progress::new(&NEVER_STOP).quiet()).expect("measured")
}

/// Why nothing was measured.
fn refusal(report: &CellReport) -> &str {
    assert!(report.series.iter().all(|series| series.contender != NAME), "it was timed");
    let absent = report.absent.iter().find(|a| a.contender == NAME && a.measure.is_none());
    &absent.expect("refused").reason
}

/// The number of processes on this machine with this text among their arguments.
fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    arguments.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[test]
fn a_deliberately_wrong_engine_is_refused() {
    let _one = one_api_server();
    let _folder = Folder("open");
    let report =
        measured(|| vec![contender("none"), engine("open", "echo at ease; exec sleep 987")]);
    let reason = refusal(&report);
    assert!(reason.contains("its verdict is not the oracle's: it allows 64 of 64"), "{reason}");
    assert!(reason.contains("it said: at ease"), "{reason}");
}

#[test]
fn an_engine_that_ends_says_why() {
    let _one = one_api_server();
    let _folder = Folder("gone");
    let report = measured(|| {
        vec![contender("none"), engine("gone", "echo no way >&2; echo 'reason: none'; exit 7")]
    });
    let reason = refusal(&report);
    assert!(
        reason.contains("exit status: 7") && reason.contains("no way; reason: none"),
        "{reason}"
    );
}

#[test]
fn an_engine_is_gone_with_its_owner_and_so_is_what_it_started() {
    let _one = one_api_server();
    let text = "setsid sleep 86398.5 & sleep 86397.5";
    let scenario = Scenario::new(ScenarioShape::Apps, 10, 100, 7);
    let _folder = Folder("children");
    let mut engine = engine("children", text).expect("usable");
    let router = Router::new().expect("root");
    router.run(|| engine.load(&scenario)).expect("entered").expect("started");
    let sleepers = || [running("86398.5"), running("86397.5")];
    for _ in 0..200 {
        if sleepers() == [1, 1] {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(sleepers(), [1, 1]);
    assert!(engine.resident().is_some_and(|bytes| bytes > 0));
    assert!(engine.check_alive().is_ok());
    drop(engine);
    assert_eq!(sleepers(), [0, 0]);
}

/// What the watching engine says of a pod: its name, address and app.
fn line_of(pod: &Pod, address: Option<IpAddr>) -> String {
    let address = address.map_or_else(|| "<none>".to_owned(), |address| address.to_string());
    format!("{} {address} {}", pod.name, pod.labels.get("app").expect("an app"))
}

/// Waits until the engine has said the words.
fn until_it_says(engine: &dyn Contender, words: &str) {
    let output = || engine.last_output().unwrap_or_default();
    let is_it = |line: &str| line.split_whitespace().eq(words.split_whitespace());
    for _ in 0..6_000 {
        if output().split("; ").any(is_it) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not say {words}: {}", output());
}

#[test]
fn an_engine_is_given_the_cluster_and_each_edit() {
    let _one = one_api_server();
    let kubectl = palisade_lab::assets().expect("built").join("kubectl");
    let columns =
        "custom-columns=NAME:.metadata.name,ADDRESS:.status.podIP,APP:.metadata.labels.app";
    let text = format!(
        "for it; do case $it in --kubeconfig=*) config=${{it#*=}};; esac; done\n\
         exec {} --kubeconfig \"$config\" --cache-dir \"$config-cache\" get pods -A --watch --no-headers -o {columns}",
        kubectl.display()
    );
    let scenario = Scenario::new(ScenarioShape::Apps, 10, 100, 7);
    let _folder = Folder("watching");
    let mut engine = engine("watching", &text).expect("usable");
    let router = Router::new().expect("root");
    router.run(|| engine.load(&scenario)).expect("entered").expect("started");
    // The list is sorted by namespace and name.
    let pods = (0..scenario.pods).map(|i| scenario.pod(i));
    let last = pods.max_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let last = last.expect("a pod");
    until_it_says(&*engine, &line_of(&last, last.addresses.iter().next()));
    for edit in scenario.edits().take(3) {
        let Change::ApplyPod(pod) = &edit.change else { panic!("{edit:?}") };
        router.run(|| engine.prepare_edit(&edit)).expect("entered").expect("prepared");
        if edit.kind == EditKind::PodBorn {
            until_it_says(&*engine, &line_of(pod, None));
        }
        router.run(|| engine.edit(&edit)).expect("entered").expect("edited");
        until_it_says(&*engine, &line_of(pod, pod.addresses.iter().next()));
    }
}

#[test]
fn without_an_api_server_the_engine_is_left_out_with_the_remedy() {
    let _folder = Folder("alone");
    let script = script("alone", "exit 1");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folder = script.parent().expect("a folder").to_owned();
    let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&paths)));
    let settings = serde_json::to_string(&Settings::quick()).unwrap();
    let cell = serde_json::to_string(&Cell::new(ScenarioShape::Apps, 10)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_palisade-bench"))
        .args([memory::COMMAND, &settings, &cell, NAME])
        .env("PATH", path.expect("a path"))
        .env("KUBEBUILDER_ASSETS", "/no/such/directory")
        .output()
        .expect("started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{error}");
    for part in ["kube-router is left out", "/no/such/directory", "deploy/kubernetes/build"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_binary_that_cannot_be_used_is_left_out() {
    let missing = KubeRouter::at(PathBuf::from("/no/such/kube-router")).expect_err("missing");
    assert!(missing.contains("/no/such/kube-router"), "{missing}");
    let false_one = KubeRouter::at(Path::new("/bin/false").to_owned()).expect_err("it fails");
    assert!(false_one.contains("/bin/false --version: exit status: 1"), "{false_one}");
}

/// Palisade as if it were an engine: it acknowledges nothing.
struct Unacknowledging(Box<dyn Contender>);

impl Contender for Unacknowledging {
    fn name(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        "mute".into()
    }

    fn acknowledges(&self) -> bool {
        false
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        self.0.load(scenario)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        self.0.edit(edit)
    }

    fn resident(&self) -> Option<u64> {
        Some(1)
    }
}

#[test]
fn packets_alone_are_asked_where_nobody_acknowledges() {
    let contenders: MakeContenders =
        || vec![contender("none"), contender(PALISADE).map(|c| Box::new(Unacknowledging(c)) as _)];
    let report = measured(contenders);
    let measured = |is: fn(&Measure) -> bool| {
        report.series.iter().filter(|s| s.contender == NAME && is(&s.measure)).count()
    };
    assert_eq!(measured(|m| matches!(m, Measure::Load)), 1, "{:?}", report.absent);
    assert!(measured(|m| matches!(m, Measure::Enforced(..))) > 2, "{:?}", report.absent);
    assert!(measured(|m| matches!(m, Measure::Match { .. })) > 2, "{:?}", report.absent);
    let by_word = |m: &Measure| {
        use Measure::{Acknowledged, Churn, Computed, LoadCommit};
        matches!(m, LoadCommit | Acknowledged(_) | Computed(_) | Churn(_))
    };
    assert_eq!(measured(by_word), 0);
    let unmeasured = |a: &&palisade_benches::harness::report::Absence| {
        a.contender == NAME && a.measure.as_ref().is_some_and(by_word)
    };
    assert_eq!(report.absent.iter().filter(unmeasured).count(), 3, "{:?}", report.absent);
}
