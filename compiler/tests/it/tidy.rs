//! Rules about the source itself that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target" && name != ".git") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    rust_files(&root(), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// The names of the modules that a file declares in files of their own.
fn declared(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|line| {
        let line = line.trim();
        let rest = ["mod ", "pub mod ", "pub(crate) mod ", "pub(super) mod "]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix))?;
        rest.strip_suffix(';')
    })
}

fn reach(file: &Path, directory: &Path, reached: &mut BTreeSet<PathBuf>) {
    reached.insert(file.to_path_buf());
    for module in declared(&fs::read_to_string(file).unwrap()) {
        let inside = directory.join(module);
        for path in [directory.join(format!("{module}.rs")), inside.join("mod.rs")] {
            if path.exists() {
                reach(&path, &inside, reached);
            }
        }
    }
}

#[test]
fn every_source_file_is_in_a_module_tree() {
    let mut reached = BTreeSet::new();
    for package in ["compiler", "dataplane", "agent/heap", "agent/lab", "agent", "benches"] {
        let package = root().join(package);
        let mut roots = vec![
            package.join("src/lib.rs"),
            package.join("src/main.rs"),
            package.join("tests/it/main.rs"),
            package.join("tests/attacks/main.rs"),
            package.join("tests/kubernetes/main.rs"),
        ];
        for folder in ["benches", "examples", "fuzz/fuzz_targets"] {
            if let Ok(entries) = fs::read_dir(package.join(folder)) {
                roots.extend(entries.map(|entry| entry.unwrap().path()));
            }
        }
        for file in roots.into_iter().filter(|file| file.extension().is_some_and(|e| e == "rs")) {
            if file.exists() {
                reach(&file, file.parent().unwrap(), &mut reached);
            }
        }
    }
    let orphans: Vec<_> =
        all_rust_files().into_iter().filter(|file| !reached.contains(file)).collect();
    assert!(orphans.is_empty(), "no module names these files: {orphans:?}");
}

#[test]
fn unsafe_code_stands_in_one_file_of_a_crate() {
    let allowed = ["dataplane/src/netlink/sys.rs", "agent/heap/src/lib.rs", "benches/src/sys.rs"]
        .map(|file| root().join(file));
    for file in all_rust_files().into_iter().filter(|file| !allowed.contains(file)) {
        let source = fs::read_to_string(&file).unwrap();
        let uses = source.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            let forms = ["{", "fn ", "impl "].map(|form| ["unsafe ", form].concat());
            forms.iter().any(|form| code.contains(form))
        });
        assert!(!uses, "{} has unsafe code; it belongs into one of {allowed:?}", file.display());
    }
}

#[test]
fn no_test_is_ignored_or_expected_to_panic() {
    for file in all_rust_files() {
        let source = fs::read_to_string(&file).unwrap();
        for attribute in ["ignore", "should_panic"] {
            assert!(
                !source.contains(&format!("#[{attribute}")),
                "{} in {}",
                attribute,
                file.display()
            );
        }
    }
}

/// The compiler's whole tree of dependencies, from the lock file: nothing of a kernel, a runtime or a client in it.
#[test]
fn the_compiler_depends_on_no_kernel_and_no_async_crate() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut packages = std::collections::BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.split("name = \"").nth(1).and_then(|rest| rest.split('"').next());
        let dependencies: Vec<&str> = package
            .split("dependencies = [")
            .nth(1)
            .and_then(|rest| rest.split(']').next())
            .map(|list| list.split('"').skip(1).step_by(2).collect())
            .unwrap_or_default();
        packages.insert(name.unwrap(), dependencies);
    }
    // The lock file lists development dependencies too; those of the compiler are in its manifest.
    let manifest = fs::read_to_string(root().join("compiler/Cargo.toml")).unwrap();
    let direct = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
    let mut queue: Vec<&str> = direct
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty())
        .collect();
    assert!(queue.contains(&"ipnet"), "the manifest was not understood: {queue:?}");
    let mut reached = BTreeSet::new();
    while let Some(name) = queue.pop() {
        let name = name.split(' ').next().unwrap();
        if reached.insert(name) {
            queue.extend(packages.get(name).into_iter().flatten());
        }
    }
    for banned in ["tokio", "kube", "nftnl", "nftnl-sys", "mnl", "nix", "libc", "mio", "dashmap"] {
        assert!(!reached.contains(banned), "the compiler depends on {banned}");
    }
}

/// `make check` compiles each crate by itself, so that none compiles only by what others ask of its dependencies.
#[test]
fn make_check_compiles_every_crate_by_itself() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let list = makefile.lines().find_map(|line| line.strip_prefix("CRATES = ")).unwrap();
    let listed: BTreeSet<&str> = list.split(' ').collect();
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let folders: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    let name = |folder: &&str| {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
        name.trim_matches('"').to_owned()
    };
    let names: BTreeSet<String> = folders.iter().map(name).collect();
    assert_eq!(names.iter().map(String::as_str).collect::<BTreeSet<_>>(), listed);
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_specification_names_is_there() {
    let text = fs::read_to_string(root().join("SPECIFICATION.md")).unwrap();
    let mut tests = 0;
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let mut source = String::new();
        for quote in quoted(line) {
            if quote.contains('/') {
                source = fs::read_to_string(root().join(quote))
                    .unwrap_or_else(|error| panic!("{quote}: {error}"));
            } else if quote.contains('_') && !quote.starts_with("CAP_") {
                assert!(source.contains(&format!("fn {quote}(")), "no test {quote} for: {line}");
                tests += 1;
            }
        }
    }
    assert!(tests > 20, "the table was not understood");
}
