//! Network namespaces that live as long as one test.

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::RulesetError;

/// Runs the test on a thread of its own in a new network namespace, which is gone when it returns, also by a panic.
pub(crate) fn in_netns<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .expect("these tests make network namespaces: run them as root");
        test()
    };
    let result = std::thread::scope(|scope| scope.spawn(run).join());
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub(crate) type Open = fn() -> Result<Kernel, RulesetError>;

/// The ways in which our tables are kept: owned by us, where the kernel has that (Linux 6.9), and open to all, as before it. What a
/// test expects of either it asks the kernel's `features`, so that it means the same on older ones.
pub(crate) const WAYS: [Open; 2] = [Kernel::open, Kernel::open_without_owner];

/// Runs the test once for each way, each time in a namespace of its own.
pub(crate) fn each_way(test: impl Fn(Open) + Sync) {
    for open in WAYS {
        in_netns(|| test(open));
    }
}

/// Runs a program in this namespace; panics with its errors unless it succeeds.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    pipe(program, arguments, "").unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"))
}

/// The same, with standard input, and the errors as a value.
pub(crate) fn pipe(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    let _ = writer.join();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// `nft ARGUMENTS` in this namespace.
#[track_caller]
pub(crate) fn nft(arguments: &[&str]) -> String {
    run("nft", arguments)
}

/// `nft -f` of a text in this namespace.
#[track_caller]
pub(crate) fn load(text: &str) {
    pipe("nft", &["-f", "-"], text).unwrap_or_else(|error| panic!("nft -f: {error}\n{text}"));
}
