//! The commands of README.md run as they are written there.

use std::path::Path;
use std::process::Command;

const PREFIX: &str = "    cargo run -q -p palisade -- ";

#[test]
fn the_readmes_commands_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix(PREFIX)).collect();
    assert!(commands.len() >= 2, "README.md shows too few commands: {commands:?}");
    for command in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(command.split_whitespace())
            .current_dir(root)
            .output()
            .expect("started");
        assert!(output.status.success(), "palisade {command}: {output:?}");
        assert!(!output.stdout.is_empty(), "palisade {command} says nothing");
    }
    for target in ["demo", "test"] {
        assert!(readme.contains(&format!("    make {target}\n")));
        let makefile = std::fs::read_to_string(root.join("Makefile")).expect("Makefile");
        assert!(makefile.contains(&format!("\n{target}:")));
    }
}

/// What the README's table of commands names is there, and each teaches itself.
#[test]
fn every_command_of_the_readme_has_help() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let named = readme.lines().filter_map(|line| line.strip_prefix("| `palisade "));
    let mut checked = 0;
    for command in named.filter_map(|rest| rest.split([' ', '`']).next()) {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args([command, "--help"])
            .output()
            .expect("started");
        assert!(output.status.success(), "palisade {command} --help: {output:?}");
        checked += 1;
    }
    assert!(checked >= 9, "only {checked} commands are named");
}
