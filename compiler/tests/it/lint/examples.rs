//! The recipes and the shop: well-known good practice, where no false alarm is wanted.

use std::fs;
use std::path::{Path, PathBuf};

use palisade_compiler::lint::{Code, Report, Severity};

use super::lint_text;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// The manifests of a directory, by name.
fn files(directory: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(example(directory)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[track_caller]
fn assert_no_alarm(what: &str, report: &Report) {
    assert_eq!(report.count_from(Severity::Warning), 0, "{what}: {report:#?}");
}

#[test]
fn recipes_alone_and_all_together_cause_no_alarm() {
    let all = files("recipes");
    let cluster = &all.iter().find(|(name, _)| name == "cluster").unwrap().1;
    assert!(all.len() > 12);
    for (name, text) in all.iter().filter(|(name, _)| name != "cluster") {
        assert_no_alarm(name, &lint_text(&format!("{cluster}\n---\n{text}")));
    }
    let together: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
    assert_no_alarm("all", &lint_text(&together.join("\n---\n")));
}

/// The namespace that watches the shop is open, and is named; nothing else.
#[test]
fn the_shop_has_one_open_namespace() {
    let all: Vec<String> = files("shop").into_iter().map(|(_, text)| text).collect();
    let report = lint_text(&all.join("\n---\n"));
    let found: Vec<_> =
        report.findings.iter().map(|f| (f.code, f.object.as_ref().unwrap().to_string())).collect();
    assert_eq!(
        found,
        [(Code::NamespaceNotIsolated, "Namespace monitoring".to_owned())],
        "{report:#?}"
    );
}
