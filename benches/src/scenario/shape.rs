//! The pods and policies of each shape.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::{NAMESPACE_NAME_LABEL, Pod, Policy, PolicyRule, Protocol};
use palisade_compiler::testkit::{Rng, pod, policy, rule};
use serde::{Deserialize, Serialize};

use super::{APPS, Scenario, team};

/// The number of CIDRs in one policy of the shape `Cidrs`.
const CIDRS: usize = 20;
/// The number of different blocks that these CIDRs are chosen from.
const BLOCKS: usize = 4096;
/// The numbers of single ports and of ranges in one policy of the shape `Ports`.
const SINGLE_PORTS: usize = 20;
const PORT_RANGES: usize = 10;

/// How the policies of a cluster are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScenarioShape {
    /// Each app has policies for ingress and egress, with peers by label in its namespace and in the namespaces of its
    /// team.
    Apps,
    /// Each namespace denies everything with one policy, and allows the traffic of its apps with others.
    DefaultDeny,
    /// Each namespace allows itself every port, and a few other namespaces one port.
    NamespaceIsolation,
    /// The pods of the node are in one namespace of shared services, and each policy allows one namespace one port. All
    /// policies select all of these pods, which is the worst case for engines that evaluate one policy after another.
    OpenToNamespaces,
    /// Each policy has 20 CIDRs with two exceptions each.
    Cidrs,
    /// Each policy has 20 ports and 10 ranges of ports.
    Ports,
}

impl ScenarioShape {
    pub const ALL: [Self; 6] = [
        Self::Apps,
        Self::DefaultDeny,
        Self::NamespaceIsolation,
        Self::OpenToNamespaces,
        Self::Cidrs,
        Self::Ports,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Apps => "apps",
            Self::DefaultDeny => "default-deny",
            Self::NamespaceIsolation => "namespace-isolation",
            Self::OpenToNamespaces => "open-to-namespaces",
            Self::Cidrs => "cidrs",
            Self::Ports => "ports",
        }
    }
}

impl fmt::Display for ScenarioShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pod `namespace/name` of an app, without node and addresses.
pub(super) fn pod_of_app(name: &str, app: usize) -> Pod {
    pod(name)
        .labelled(&format!("app=app-{app},tier=tier-{},pod-template-hash=h{app}", app % 2))
        .port("http", Protocol::Tcp, 8080)
}

/// The policy of namespace number `space` in round `r`.
struct Place<'a> {
    scenario: &'a Scenario,
    k: usize,
    space: usize,
    round: usize,
}

pub(super) fn policy_of(scenario: &Scenario, k: usize) -> Policy {
    let spaces = scenario.namespaces();
    let place = Place { scenario, k, space: k % spaces, round: k / spaces };
    match scenario.shape {
        ScenarioShape::Apps => place.apps(),
        ScenarioShape::DefaultDeny => place.default_deny(),
        ScenarioShape::NamespaceIsolation => place.namespace_isolation(),
        ScenarioShape::OpenToNamespaces => place.open_to_namespaces(),
        ScenarioShape::Cidrs => place.cidrs(),
        ScenarioShape::Ports => place.ports(),
    }
}

/// The labels of an app, of its callers and of its backends.
struct AppLabels {
    own: String,
    callers: String,
    backends: String,
}

fn app_labels(app: usize) -> AppLabels {
    let label = |n: usize| format!("app=app-{}", n % APPS);
    AppLabels { own: label(app), callers: label(app + APPS - 1), backends: label(app + 1) }
}

impl Place<'_> {
    fn named(&self) -> Policy {
        policy(&format!("ns-{}/policy-{}", self.space, self.k))
    }

    fn by_name(&self, space: usize) -> String {
        format!("{NAMESPACE_NAME_LABEL}=ns-{}", space % self.scenario.namespaces())
    }

    fn team(&self) -> String {
        format!("team={}", team(self.space))
    }

    /// Two rounds for each app: who may call it, and what it may call.
    fn apps(&self) -> Policy {
        let app = app_labels(self.round / 2);
        let named = self.named().select(&app.own);
        if self.round.is_multiple_of(2) {
            named
                .allow_in(rule().pods(&app.callers).tcp(8080))
                .allow_in(rule().pods_in(&self.team(), &app.callers).tcp(9090))
        } else {
            named
                .allow_out(rule().pods(&app.backends).named(Protocol::Tcp, "http"))
                .allow_out(rule().pods_in(&self.team(), &app.backends).tcp(9090))
                .allow_out(rule().block("192.168.0.0/16", &["192.168.7.0/24"]).tcp(443))
        }
    }

    fn default_deny(&self) -> Policy {
        let Some(round) = self.round.checked_sub(1) else {
            return self.named().isolate_ingress().isolate_egress();
        };
        let app = app_labels(round / 2);
        let named = self.named().select(&app.own);
        if round.is_multiple_of(2) {
            named.allow_in(rule().pods(&app.callers).tcp(8080))
        } else {
            named
                .allow_out(rule().pods(&app.backends).tcp(8080))
                .allow_out(rule().pods_in(&self.by_name(0), "app=app-0").udp(53).tcp(53))
        }
    }

    fn namespace_isolation(&self) -> Policy {
        match self.round {
            0 => self.named().allow_in(rule().pods("")),
            1 => self.named().allow_out(rule().pods("")),
            round => {
                let port = 8000 + (round % 1000) as u16;
                let other = self.by_name(self.space + round);
                self.named().allow_in(rule().pods_in(&other, "").tcp(port))
            }
        }
    }

    fn open_to_namespaces(&self) -> Policy {
        let client = self.by_name(self.space);
        let open = || rule().pods_in(&client, "").tcp(8000 + (self.round % 10_000) as u16);
        policy(&format!("ns-0/policy-{}", self.k)).allow_in(open()).allow_out(open())
    }

    fn cidrs(&self) -> Policy {
        let mut rng = Rng::new(self.scenario.seed ^ self.k as u64);
        let mut out = rule().tcp(443);
        let mut inside = rule().tcp(8080);
        // No block is used twice: engines differ on an exception that equals another block of the same rule.
        let first = rng.below(BLOCKS);
        for n in 0..CIDRS {
            out = self.with_block(out, (first + n * 197) % BLOCKS, &mut rng);
        }
        for n in 0..CIDRS / 4 {
            inside = self.with_block(inside, (first + n * 331) % BLOCKS, &mut rng);
        }
        let app = app_labels(self.round);
        self.named()
            .select(&app.own)
            .allow_out(out)
            .allow_out(rule().pods(&app.backends).tcp(8080))
            .allow_in(inside)
            .allow_in(rule().pods(&app.callers).tcp(8080))
    }

    /// A /22 of 100.64.0.0/10 with two /26 as exceptions. With two stacks also a /48 of 2001:db8::/32 with two /64 as
    /// exceptions.
    fn with_block(&self, rule: PolicyRule, number: usize, rng: &mut Rng) -> PolicyRule {
        let number = number as u32;
        let hole = rng.below(8) as u32;
        let v4 = Ipv4Addr::from(0x6440_0000 + number * 1024);
        let hole_at = |n: u32| format!("{}/26", Ipv4Addr::from(u32::from(v4) + (hole + n) * 64));
        let rule = rule.block(&format!("{v4}/22"), &[&hole_at(0), &hole_at(5)]);
        if !self.scenario.dual_stack {
            return rule;
        }
        let v6 = |subnet: u16| Ipv6Addr::new(0x2001, 0xdb8, number as u16, subnet, 0, 0, 0, 0);
        let holes = [hole as u16, hole as u16 + 5].map(|n| format!("{}/64", v6(n)));
        let [first, second] = &holes;
        rule.block(&format!("{}/48", v6(0)), &[first, second])
    }

    fn ports(&self) -> Policy {
        let mut rng = Rng::new(self.scenario.seed ^ self.k as u64);
        let app = app_labels(self.round / 2);
        let peers = |label: &str| rule().pods(label).pods_in(&self.team(), label);
        let named = self.named().select(&app.own);
        if self.round.is_multiple_of(2) {
            named.allow_in(with_ports(peers(&app.callers), &mut rng))
        } else {
            named.allow_out(with_ports(peers(&app.backends), &mut rng))
        }
    }
}

fn with_ports(rule: PolicyRule, rng: &mut Rng) -> PolicyRule {
    // One port that all policies have in common, so that both ends of a connection allow it.
    let mut rule = rule.tcp(8080);
    for _ in 1..SINGLE_PORTS {
        rule = rule.tcp(1024 + rng.below(16_000) as u16);
    }
    for _ in 0..PORT_RANGES {
        let first = 20_000 + rng.below(40_000) as u16;
        rule = rule.range(Protocol::Tcp, first, first + 2 + rng.below(500) as u16);
    }
    rule
}

/// Adds what the test kit's builder of pods does not have.
pub(super) trait WithAddresses {
    fn with_addresses(self, addresses: impl Iterator<Item = IpAddr>) -> Self;
}

impl WithAddresses for Pod {
    fn with_addresses(self, addresses: impl Iterator<Item = IpAddr>) -> Self {
        Self { addresses: addresses.collect(), ..self }
    }
}
