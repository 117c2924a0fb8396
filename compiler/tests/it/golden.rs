//! Rendered rulesets, byte for byte as in `tests/golden/<case>.nft`, each loaded and listed by the real nft.
//!
//! `UPDATE_GOLDEN=1` rewrites the files.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::parse::parse;
use palisade_compiler::program::element::MacAddress;
use palisade_compiler::program::render::{render, render_on};
use palisade_compiler::program::sets::SetName;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{
    AddressRange, ClassId, Element, PortElement, PortRangeElement, ProfileId, Program, Tables,
    TupleElement,
};
use palisade_compiler::snapshot::Change;

#[track_caller]
fn golden(case: &str, program: &Program) {
    golden_on(case, program, &|_| Vec::new());
}

#[track_caller]
fn golden_on(case: &str, program: &Program, host: &dyn Fn(SetName) -> Vec<Element>) {
    let text = render_on(program, host, DenyAction::Drop).to_string();
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{case}.nft"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{}: differs from what is rendered now; look at it with UPDATE_GOLDEN=1 and git diff",
        path.display()
    );
    loads(&text);
}

/// Real nft checks the text, loads it, also over itself, lists it as text and JSON, and the listing loads again to the same.
#[track_caller]
fn loads(text: &str) {
    let listed = in_new_netns(
        "nft -c -f - <&3 && nft -f - <&4 && nft -f \"$0\" && nft -j list ruleset > /dev/null && nft list ruleset",
        text,
    );
    let again = in_new_netns("nft -f - <&4 && nft list ruleset", &listed);
    assert_eq!(listed, again, "nft's listing is not a fixed point");
}

/// Runs a shell script in a network namespace of its own; descriptors 3 and 4 read `input`.
#[track_caller]
fn in_new_netns(script: &str, input: &str) -> String {
    let file = tempfile(input);
    let script = format!("exec 3<\"$0\" 4<\"$0\"; {script}");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-euc", &script])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("unshare (util-linux) must be installed to test against nft");
    fs::remove_file(&file).unwrap();
    assert!(
        output.status.success(),
        "nft refused the ruleset (root and nft are needed here): {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn tempfile(text: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path =
        std::env::temp_dir().join(format!("palisade-golden-{}-{number}", std::process::id()));
    fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn range(first: &str, last: &str) -> AddressRange {
    AddressRange { first: ip(first), last: ip(last) }
}

#[test]
fn empty() {
    golden("empty", &Program::default());
}

#[test]
fn one_policy() {
    let (subject, peer) = (ip("10.0.0.2"), ip("10.0.0.1"));
    let (web, http) = (ClassId(ClassId::FIRST), ProfileId(ProfileId::FIRST));
    let v4 = Tables {
        local_in: [subject].into(),
        hairpin: [subject].into(),
        class: [(peer, web)].into(),
        allow_in: [((subject, web), http)].into(),
        ports: [PortElement { profile: http, protocol: 6, port: 80 }].into(),
        ..Tables::default()
    };
    golden("one_policy", &Program { v4, v6: Tables::default() });
}

fn facts_of_every_kind(set: SetName) -> Vec<Element> {
    match set {
        SetName::Bridges => [1, 65_535].map(Element::Bridge).into(),
        SetName::BridgePorts => [2, 0x00ab_cdef].map(Element::Interface).into(),
        SetName::PodInterfaces => [3, 0x00ab_cdee].map(Element::Interface).into(),
        SetName::FirstInterfaces => [4, 0x00ab_cdec].map(Element::Interface).into(),
        SetName::SourcesIpv4 => vec![Element::Source(3, ip("10.0.0.2"))],
        SetName::SourcesIpv6 => vec![Element::Source(3, ip("fd00::2"))],
        SetName::LocatedIpv4 => vec![Element::Address(ip("10.0.0.2"))],
        SetName::LocatedIpv6 => vec![Element::Address(ip("fd00::2"))],
        SetName::PodPorts => [2, 5].map(Element::Interface).into(),
        SetName::RouterPorts => vec![Element::Interface(6)],
        SetName::GuardedPorts => vec![Element::Interface(2)],
        SetName::UnidentifiedPorts => vec![Element::Interface(5)],
        SetName::BridgedInterfaces => [2, 5].map(Element::Interface).into(),
        SetName::PortSourcesIpv4 => vec![Element::Source(2, ip("10.0.0.2"))],
        SetName::PortSourcesIpv6 => vec![Element::Source(2, ip("fd00::2"))],
        SetName::PortTargets => vec![Element::Target(2, ip("fd00::abc"))],
        SetName::PortMacs => vec![Element::PortMac(2, MacAddress([2, 0xab, 0, 0, 0, 1]))],
        SetName::PodMacs => vec![Element::Mac(MacAddress([2, 0xab, 0, 0, 0, 1]))],
        SetName::PodAddressesIpv4 => vec![Element::Address(ip("10.0.0.2"))],
        SetName::PodAddressesIpv6 => vec![Element::Address(ip("fd00::2"))],
        SetName::NodesIpv4 => vec![Element::Address(ip("192.0.2.1"))],
        SetName::NodesIpv6 => vec![Element::Address(ip("fd00:1::1"))],
        SetName::TunnelPorts => [4789, 8472].map(Element::Service).into(),
        SetName::TunnelSourcesIpv4 => vec![Element::Address(ip("10.0.0.2"))],
        SetName::TunnelSourcesIpv6 => vec![Element::Address(ip("fd00::2"))],
        SetName::HeldIpv4 => vec![Element::Range(range("10.0.0.0", "10.0.3.255"))],
        SetName::HeldIpv6 => vec![Element::Range(range("fd00::", "fd00::ffff:ffff:ffff:ffff"))],
        SetName::KnownIpv4 => vec![Element::Address(ip("10.0.0.2"))],
        SetName::KnownIpv6 => vec![Element::Address(ip("fd00::2"))],
        SetName::RevokedIpv4 => vec![tuple("10.0.0.2", "10.0.0.1")],
        SetName::RevokedIpv6 => vec![tuple("fd00::2", "fd00::1")],
        _ => Vec::new(),
    }
}

fn tuple(source: &str, destination: &str) -> Element {
    let (source, destination) = (ip(source), ip(destination));
    Element::Tuple(TupleElement {
        protocol: 17,
        source,
        destination,
        source_port: 53,
        port: 40_000,
    })
}

/// Every kind of element, ids at the ends of their number spaces, hexadecimal digits everywhere.
#[test]
fn every_element() {
    let fill = |subject: IpAddr, peers: [IpAddr; 3], atoms: [AddressRange; 4]| {
        let classes = [ClassId::FIRST, 0x0abc_0def, ClassId::END - 1].map(ClassId);
        let profiles = [
            ProfileId::FIRST,
            0xbeef_cafe,
            ProfileId::END - 1,
            ProfileId::UNRANGED_END - 1,
            ProfileId::FIRST_RANGED,
        ]
        .map(ProfileId);
        let unknown = (subject, ClassId::UNKNOWN);
        let ports = profiles.iter().flat_map(|&profile| {
            [(6, 80), (17, 53), (132, 65535), (1, 0), (58, 1), (47, 7)]
                .map(|(protocol, port)| PortElement { profile, protocol, port })
        });
        let ranges = profiles.iter().filter(|profile| profile.is_ranged()).flat_map(|&profile| {
            [(6, 0, 65535), (17, 1000, 1999), (17, 2001, 2500), (132, 1, 65534)]
                .map(|(protocol, first, last)| PortRangeElement { profile, protocol, first, last })
        });
        Tables {
            local_in: [subject, peers[0]].into(),
            local_out: [subject].into(),
            hairpin: [subject, peers[0]].into(),
            class: peers.into_iter().zip(classes).collect(),
            cidr: atoms.into_iter().zip(classes.into_iter().cycle()).collect(),
            allow_in: classes
                .into_iter()
                .zip(profiles)
                .map(|(class, profile)| ((subject, class), profile))
                .chain([(unknown, ProfileId::EVERYTHING)])
                .collect(),
            allow_out: [
                (unknown, profiles[1]),
                ((subject, classes[0]), ProfileId::DENY),
                ((subject, classes[1]), profiles[4]),
            ]
            .into(),
            ports: ports.collect(),
            port_ranges: ranges.collect(),
        }
    };
    let v4 = fill(
        ip("10.0.0.2"),
        [ip("10.0.0.1"), ip("255.255.255.254"), ip("1.0.0.0")],
        [
            range("0.0.0.0", "0.255.255.255"),
            range("192.168.0.0", "192.168.255.255"),
            range("172.16.0.1", "172.16.0.6"),
            range("255.255.255.0", "255.255.255.255"),
        ],
    );
    let v6 = fill(
        ip("fd00::2"),
        [ip("fd00::1"), ip("::ffff:0:1"), ip("abcd:ef01::")],
        [
            range("::", "::ffff"),
            range("fd01::", "fd01::ffff:ffff"),
            range("fd02::1", "fd02::1"),
            range("ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ],
    );
    golden_on("every_element", &Program { v4, v6 }, &facts_of_every_kind);
}

#[test]
fn equal_programs_render_alike() {
    let program = |addresses: &[&str]| {
        let mut program = Program::default();
        for address in addresses {
            program.v4.class.insert(ip(address), ClassId(ClassId::FIRST));
        }
        render(&program, DenyAction::Drop).to_string()
    };
    assert_eq!(
        program(&["10.0.0.1", "9.0.0.1", "100.0.0.1"]),
        program(&["9.0.0.1", "100.0.0.1", "10.0.0.1"])
    );
}

/// The whole way, from manifests to text.
#[test]
fn shop() {
    let shop = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/shop");
    let mut files: Vec<PathBuf> =
        fs::read_dir(shop).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut changes = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "yaml")) {
        let text = fs::read(file).unwrap();
        let parsed = parse("shop", &text, &mut |object| {
            changes.push(Change::from(object));
        });
        assert_eq!(parsed.diagnostics, [], "{}", file.display());
    }
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(changes);
    golden("shop", compiler.program());
}
