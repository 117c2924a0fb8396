//! What Palisade needs of the kernel and does not get: each command says it and exits with 3.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::command::{NAMESPACE, Netns, Ran, Scratch, finish};

/// Set in the copy of this test that becomes the binary: what it should do, a word a line.
const ROLE: &str = "PALISADE_TEST_WITHOUT_NETFILTER";

/// Runs every command that needs the kernel, in a way that takes something from it.
fn each_command(run: impl Fn(&Netns, &[&str]) -> Ran, missing: &str) {
    let netns = Netns::new();
    let scratch = Scratch::new();
    scratch.write("namespace.yaml", NAMESPACE);
    let socket = scratch.0.join("s");
    let commands: [&[&str]; 4] = [
        &["apply", "-f", scratch.path()],
        &["flush"],
        &["verify", "-f", scratch.path()],
        &["run", "-f", scratch.path(), "--socket", socket.to_str().unwrap()],
    ];
    for args in commands {
        let ran = run(&netns, args).exits(3);
        assert!(ran.err.contains(missing), "{ran:?}");
    }
}

/// Runs the binary without CAP_NET_ADMIN.
pub(crate) fn without_capability(netns: &Netns, args: &[&str]) -> Ran {
    let without = ["--bounding-set", "-net_admin", env!("CARGO_BIN_EXE_palisade")];
    finish(netns.command("setpriv", &[&without, args].concat()), "")
}

/// Runs the binary as on a kernel without netfilter's netlink.
pub(crate) fn as_without_netfilter(netns: &Netns, args: &[&str]) -> Ran {
    let test = env::current_exe().unwrap();
    let copy = ["--exact", "missing::as_on_a_kernel_without_netfilter", "--nocapture"];
    let mut command = netns.command(test.to_str().unwrap(), &copy);
    command.env(ROLE, args.join("\n"));
    finish(command, "")
}

#[test]
fn without_the_capability_it_says_what_is_missing() {
    each_command(without_capability, "CAP_NET_ADMIN");
}

#[test]
fn without_netfilter_it_says_what_is_missing() {
    each_command(as_without_netfilter, "CONFIG_NETFILTER_NETLINK");
}

/// Not a test of its own: becomes the binary, to which the kernel answers as one without netfilter's netlink does.
#[test]
fn as_on_a_kernel_without_netfilter() {
    let Ok(role) = env::var(ROLE) else { return };
    let is = |index, value: i32| {
        let value = u64::try_from(value).unwrap();
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
    };
    let netfilter = SeccompRule::new(vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_NETFILTER)]);
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPROTONOSUPPORT).unwrap());
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![netfilter.unwrap()])].into(),
        SeccompAction::Allow,
        refuse,
        env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
    let error = Command::new(env!("CARGO_BIN_EXE_palisade")).args(role.lines()).exec();
    panic!("not started: {error}");
}
