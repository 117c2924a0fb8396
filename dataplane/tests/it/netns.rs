//! Network namespaces that live as long as one test, and the ways in which our tables are kept.

use std::collections::BTreeSet;

use nix::net::if_::if_nametoindex;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::RulesetError;
use palisade_lab::{Namespace, tool};

/// Runs the test on a thread of its own in a new network namespace, which the kernel removes when it returns or panics.
pub(crate) fn in_netns<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    let namespace = Namespace::new().unwrap_or_else(|error| panic!("{error}"));
    namespace.run(test).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) type Open = fn() -> Result<Kernel, RulesetError>;

/// The ways in which our tables are kept: owned by us, where the kernel has that (Linux 6.9), and open to every process, as before it. A
/// test that expects something else of each asks the kernel's `features`, so that it means the same on older kernels.
pub(crate) const WAYS: [Open; 2] = [Kernel::open, Kernel::open_without_owner];

/// Runs the test once for each way, each time in a namespace of its own.
pub(crate) fn each_way(test: impl Fn(Open) + Sync) {
    for open in WAYS {
        in_netns(|| test(open));
    }
}

/// Runs a program in this namespace and returns what it prints; panics with its errors unless it succeeds.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    pipe(program, arguments, "").unwrap_or_else(|error| panic!("{error}"))
}

/// As `run`, with standard input, and the errors as a value.
pub(crate) fn pipe(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    tool::run(program, arguments, input).map_err(|error| error.to_string())
}

/// `nft ARGUMENTS` in this namespace.
#[track_caller]
pub(crate) fn nft(arguments: &[&str]) -> String {
    run("nft", arguments)
}

/// `nft -f` of a text in this namespace.
#[track_caller]
pub(crate) fn load(text: &str) {
    pipe("nft", &["-f", "-"], text).unwrap_or_else(|error| panic!("{error}\n{text}"));
}

/// Runs `ip` once for each line.
pub(crate) fn ip(commands: &str) {
    for command in commands.lines() {
        run("ip", &command.split_whitespace().collect::<Vec<_>>());
    }
}

/// The interface indexes of these names in this namespace.
pub(crate) fn indexes(names: &[&str]) -> BTreeSet<u32> {
    names.iter().map(|&name| if_nametoindex(name).unwrap()).collect()
}

/// A pod with an interface whose other end is in this namespace, as `port`.
pub(crate) fn pod(port: &str, addresses: &[&str]) -> Namespace {
    let pod = Namespace::new().unwrap();
    ip(&format!("link add {port} type veth peer name eth0 netns {}", pod.path()));
    pod.run(|| {
        for address in addresses {
            ip(&format!("addr add {address} dev eth0"));
        }
        ip("link set eth0 up");
    })
    .unwrap();
    ip(&format!("link set {port} up"));
    pod
}
