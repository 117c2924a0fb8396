//! The examples run as they are written.

use std::path::Path;
use std::process::Command;

#[test]
fn three_namespaces_by_hand_are_enforced_and_removed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    // In a mount namespace of its own, so that the names of its network namespaces are nobody else's.
    let script = "mount -t tmpfs none /run && exec examples/namespaces/try \"$0\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_palisade")])
        .current_dir(root)
        .output()
        .expect("unshare is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let verdicts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("a -> b ")).collect();
    assert_eq!(
        verdicts,
        ["port 80: arrives", "port 81: arrives", "port 80: arrives", "port 81: dropped"]
    );
    assert!(
        text.contains("ports[0] is for TCP port 80, but the connection is to port 81"),
        "{text}"
    );
}
