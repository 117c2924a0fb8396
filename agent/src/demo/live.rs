//! `palisade demo --live`: real clients and servers in three namespaces, all the time, and objects that the page edits.

use std::io::BufRead as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_compiler::model::{Connection, Family, Protocol};
use palisade_lab::{Host, Lab, LabSpec, Layout};

use super::agent::Agent;
use super::directory::Directory;
use super::editing::Editing;
use super::forwarder::Forwarder;
use super::interrupt::Interrupt;
use super::objects::{Objects, PODS};
use super::output::Output;
use super::tour::{API, DB, FRONTEND, GATEWAY, LEDGER, scene};
use super::{CLIENTS, DemoError, POLL, await_enforcement};

/// A round of all connections is made in so many parts, unless something was edited.
const PARTS: usize = 4;
const PART: Duration = Duration::from_millis(250);
/// For how long all connections are made at a time after an edit: the log of denied packets has a rate.
const AFTER_EDIT: Duration = Duration::from_millis(800);

/// Who connects to whom. Ends are pods or clients outside.
const CONNECTIONS: [(&str, &str, u16); 18] = [
    ("a customer", "shop/frontend-1", 8080),
    ("a customer", "shop/frontend-2", 8080),
    ("a guest", "shop/frontend-2", 8080),
    ("shop/frontend-1", "shop/api", 8080),
    ("shop/frontend-2", "shop/api", 8080),
    ("shop/frontend-2", "shop/db", 5432),
    ("shop/api", "shop/db", 5432),
    ("shop/api", "payments/gateway", 8443),
    ("monitoring/prometheus", "shop/api", 9090),
    ("monitoring/prometheus", "shop/db", 5432),
    ("monitoring/prometheus", "shop/frontend-1", 8080),
    ("monitoring/grafana", "monitoring/prometheus", 9090),
    ("monitoring/grafana", "payments/ledger", 7000),
    ("monitoring/grafana", "shop/db", 5432),
    ("payments/gateway", "payments/ledger", 7000),
    ("payments/ledger", "a customer", 443),
    ("shop/db", "a guest", 443),
    ("shop/frontend-1", "payments/gateway", 8443),
];

/// Runs until a signal comes.
pub(super) fn run(
    layout: Layout,
    has_tour: bool,
    output: &Output,
    interrupt: &Interrupt,
) -> Result<bool, DemoError> {
    let directory = Directory::new()?;
    let policies: &[&str] = match has_tour {
        true => scene(0).0.policies,
        false => &[FRONTEND, API, DB, GATEWAY, LEDGER],
    };
    let objects = Objects::new(directory.root(), directory.path(), policies)?;
    let editing = Editing::new(objects, has_tour)?;
    output.step("Eight pods in three namespaces, and two clients outside")?;
    output.text("Each pod is a network namespace with real servers. This host's own network is not touched.")?;
    let lab = lab(layout)?;
    output.step("The agent starts: palisade run -f MANIFESTS")?;
    let mut agent = Agent::start(&lab, &directory)?;
    await_enforcement(&lab, &directory, &mut agent, output, interrupt)?;
    let forwarder = Forwarder::start(&lab, Some(&editing))?;
    output.step("Connections are made until Ctrl-C. In a browser on this host:")?;
    output.commands(&[("", format!("{}#demo={}", forwarder.url(), editing.token()))])?;
    output.text(
        "Edit policies and labels there, or these files, and see what becomes of the connections:",
    )?;
    output.commands(&[("", directory.path().display().to_string())])?;
    if has_tour {
        output.step("The tour, here and in the page: Enter is the next step")?;
        listen_for_enter(editing.clone());
    }
    let rounds = rounds()?;
    let mut hurry_until = Instant::now();
    let mut told = None;
    for part in (0..PARTS).cycle() {
        if interrupt.is_requested() {
            break;
        }
        agent.check()?;
        tell_scene(&editing, output, &mut told)?;
        let began = Instant::now();
        if editing.take_edited() {
            hurry_until = began + AFTER_EDIT;
        }
        if began < hurry_until {
            lab.converse(&rounds)?;
        } else {
            let some: Vec<_> = rounds.iter().skip(part).step_by(PARTS).copied().collect();
            lab.converse(&some)?;
        }
        while began.elapsed() < PART && !editing.is_edited() {
            std::thread::sleep(POLL);
        }
    }
    Err(DemoError::Interrupted)
}

fn lab(layout: Layout) -> Result<Lab, DemoError> {
    let host = |(name, addresses): (String, [String; 2])| {
        let addresses = addresses.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
        Ok(Host { name, addresses })
    };
    let pods = PODS.iter().map(|pod| host((pod.full_name(), pod.addresses())));
    let pods = pods.collect::<Result<_, DemoError>>()?;
    let outside = CLIENTS.iter().flat_map(|(_, addresses)| addresses).map(|text| address(text));
    let outside = outside.collect::<Result<_, DemoError>>()?;
    Ok(Lab::new(&LabSpec { outside, ..LabSpec::new(layout, pods) })?)
}

fn address(text: &str) -> Result<IpAddr, DemoError> {
    text.parse().map_err(|error| DemoError::Failed(format!("{text}: {error}")))
}

/// All connections, over both IP versions.
fn rounds() -> Result<Vec<Connection>, DemoError> {
    let of = |name: &str| -> Result<Vec<IpAddr>, DemoError> {
        let pod = PODS.iter().find(|pod| pod.full_name() == name);
        let client = CLIENTS.iter().find(|(client, _)| *client == name);
        let client = client.map(|(_, addresses)| addresses.map(ToOwned::to_owned));
        let addresses = pod.map(|pod| pod.addresses()).or(client).unwrap_or_default();
        addresses.iter().map(|text| address(text)).collect()
    };
    let mut connections = Vec::new();
    for family in Family::ALL {
        for (from, to, port) in CONNECTIONS {
            let (sources, targets) = (of(from)?, of(to)?);
            let of_family =
                |all: &[IpAddr]| all.iter().copied().find(|it| Family::of(*it) == family);
            if let (Some(from), Some(to)) = (of_family(&sources), of_family(&targets)) {
                let protocol = Protocol::Tcp.number();
                connections.push(Connection { from, to, protocol, port });
            }
        }
    }
    Ok(connections)
}

/// Goes to the next step of the tour with each line of standard input, until it ends.
fn listen_for_enter(editing: Editing) {
    std::thread::spawn(move || {
        for _line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Some(scene) = editing.scene() else { return };
            if !scene.is_last() && editing.go_to(scene.step + 1).is_err() {
                return;
            }
        }
    });
}

/// Tells a scene that was not told yet.
fn tell_scene(
    editing: &Editing,
    output: &Output,
    told: &mut Option<usize>,
) -> Result<(), DemoError> {
    let Some(scene) = editing.scene().filter(|scene| Some(scene.step) != *told) else {
        return Ok(());
    };
    *told = Some(scene.step);
    output.step(scene.heading())?;
    for paragraph in scene.paragraphs() {
        output.text(paragraph)?;
    }
    if scene.is_last() { Ok(()) } else { output.text("Enter: the next step.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_of_a_round_has_both_ip_versions() {
        assert_eq!(rounds().unwrap().len(), 2 * CONNECTIONS.len());
    }
}
