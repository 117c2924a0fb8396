//! What the sender of a denied packet gets to know.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use palisade_compiler::model::Family;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_lab::{LabSpec, Layout};

use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::command::{Scratch, palisade_in};
use crate::scene::Scene;

/// For an answer that comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// For one that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A lab whose node has addresses to answer from.
fn scene(layout: Layout) -> Scene {
    Scene::with(CAST, |pods| LabSpec {
        node: ["192.0.2.1", "2001:db8:1::1"].map(|text| text.parse().unwrap()).into(),
        ..LabSpec::new(layout, pods)
    })
}

/// The error of a TCP connect from one pod to another.
#[track_caller]
fn connect(scene: &Scene, from: &str, to: IpAddr, port: u16, within: Duration) -> ErrorKind {
    let from = scene.lab.machine_named(from).unwrap().namespace();
    let tried = from.run(|| TcpStream::connect_timeout(&SocketAddr::new(to, port), within));
    tried.unwrap().expect_err("no connection").kind()
}

/// The error that a UDP socket has after a packet, if one comes.
#[track_caller]
fn send(scene: &Scene, from: &str, to: IpAddr, port: u16, within: Duration) -> ErrorKind {
    let namespace = scene.lab.machine_named(from).unwrap().namespace();
    let own = scene.address(from, Family::of(to));
    let tried = namespace.run(|| {
        let socket = UdpSocket::bind((own, 0))?;
        socket.set_read_timeout(Some(within))?;
        socket.connect((to, port))?;
        socket.send(b"denied")?;
        socket.recv(&mut [0; 16])
    });
    tried.unwrap().expect_err("no answer").kind()
}

#[test]
fn a_denied_sender_hears_nothing_or_is_answered_at_once() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let scene = scene(layout);
        // Into B, which is isolated for ingress, and out of X, which is for egress.
        for (from, to) in [("n/a", "n/b"), ("n/x", "n/c")] {
            let at = scene.address(to, family);
            let what = format!("{layout:?} {family:?} {from} -> {to}");
            scene.enforce_by(DenyAction::Drop);
            assert_eq!(connect(&scene, from, at, 81, SILENCE), ErrorKind::TimedOut, "{what}");
            assert_eq!(send(&scene, from, at, 54, SILENCE), ErrorKind::WouldBlock, "{what}");
            scene.enforce_by(DenyAction::Reject);
            let refused = ErrorKind::ConnectionRefused;
            assert_eq!(connect(&scene, from, at, 81, PATIENCE), refused, "{what}");
            // `icmp_err_convert` and `icmpv6_err_convert` of the kernel.
            let prohibited = match family {
                Family::V4 => ErrorKind::HostUnreachable,
                Family::V6 => ErrorKind::PermissionDenied,
            };
            assert_eq!(send(&scene, from, at, 54, PATIENCE), prohibited, "{what}");
        }
    }
}

#[test]
fn the_commands_take_the_action_and_verify_tells_which_it_is() {
    let (scene, scratch) = (scene(Layout::Routed), Scratch::new());
    let manifest = scratch.write("cast.json", CAST);
    let manifest = manifest.to_str().unwrap();
    let ran = |arguments: &[&str]| palisade_in(scene.lab.node(), arguments);
    let (reject, drop) = (["--deny-action", "reject"], ["--deny-action=drop"]);
    let with = |command: &str, more: &[&str]| ran(&[&[command, "-f", manifest], more].concat());
    with("apply", &reject).exits(0);
    with("verify", &reject).exits(0);
    let other = with("verify", &[]).exits(1);
    assert!(other.out.contains("reject with tcp reset` should not be there"), "{other:?}");
    let to = scene.address("n/b", Family::V4);
    let refused = ErrorKind::ConnectionRefused;
    assert_eq!(connect(&scene, "n/a", to, 81, PATIENCE), refused);

    let dry = with("apply", &["--dry-run"]).exits(0);
    assert!(dry.out.contains("write chains and rules anew"), "{dry:?}");
    assert_eq!(connect(&scene, "n/a", to, 81, PATIENCE), refused, "a dry run changes nothing");
    with("apply", &drop).exits(0);
    with("verify", &[]).exits(0);
    assert_eq!(connect(&scene, "n/a", to, 81, SILENCE), ErrorKind::TimedOut);
    let wrong = with("apply", &["--deny-action", "deny"]).exits(2);
    wrong.complains("[possible values: drop, reject]");
    let text = with("render", &reject).exits(0).out;
    assert!(text.contains("reject with icmpv6 type admin-prohibited"), "{text}");
}
