//! A disk without room: policy is enforced all the same, and the socket comes once there is room.

use std::process::{Command, Stdio};

use palisade::protocol::{Request, Response, State};
use palisade::socket::Client;

use super::command::{Netns, Scratch, until};

/// A file system without room for a single file, in a mount namespace of the agent's own; its log goes to a full device.
const FULL: &str = r#"mount -t tmpfs -o size=4k,nr_inodes=1 none "$1" && exec "$2" run -f "$3" --socket "$1/agent.sock" 2>/dev/full"#;

struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn policy_is_enforced_on_a_full_disk_and_the_socket_comes_once_there_is_room() {
    let (netns, files, full) = (Netns::new(), Scratch::guarded(), Scratch::new());
    let binary = env!("CARGO_BIN_EXE_palisade");
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.path())).args(["unshare", "--mount", "sh", "-c", FULL]);
    command.args(["sh", full.path(), binary, files.path()]).env_remove("NODE_NAME");
    let agent = Ended(command.stdin(Stdio::null()).spawn().unwrap());
    let pid = agent.0.id().to_string();
    until("enforcement", || netns.palisade(&["status"]).out.contains("isolated    1 address "));

    let remount = format!("mount -o remount,size=1m,nr_inodes=20 '{}'", full.path());
    let target = format!("--target={pid}");
    let remounted =
        Command::new("nsenter").args([&target, "--mount", "sh", "-c", &remount]).status();
    assert!(remounted.unwrap().success());
    let socket = format!("/proc/{pid}/root{}/agent.sock", full.path());
    until("the socket", || {
        let answer = Client::new(&socket).request(&Request::Status);
        matches!(answer, Ok(Response::Status(status)) if status.state == State::Enforcing)
    });
}
