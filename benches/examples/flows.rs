//! How long a packet takes to become a line of the `observe` stream, idle and under load; what a flood of denied packets costs; and
//! whether the agent's counts of it add up. As root, after `cargo build --release -p palisade`:
//! `cargo run --release -p palisade-benches --example flows -- target/release/palisade [SAMPLES]`.

#![allow(clippy::print_stdout, reason = "its output is the point")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use palisade::flows::counts::FlowCounts;
use palisade::flows::flow::FlowVerdict;
use palisade::protocol::{Observe, Request, Response, State, Status};
use palisade::socket::Client;
use palisade_lab::packet::Packet;
use palisade_lab::{Host, Lab, LabSpec, Layout, Namespace};

/// Everybody may reach the server but `stranger`; `other` is isolated by nobody.
const MANIFEST: &str = r#"
{"kind": "List", "apiVersion": "v1", "items": [
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "stranger", "labels": {"pod": "stranger"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "server", "labels": {"pod": "server"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "client", "labels": {"pod": "client"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.3"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "other", "labels": {"pod": "other"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.4"}]}},
  {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "server"},
   "spec": {"podSelector": {"matchLabels": {"pod": "server"}}, "policyTypes": ["Ingress"],
     "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "client"}}}]}]}}
]}"#;
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

/// Each measured packet goes to a port of its own, so that it is a flow of its own and comes at once.
const FIRST_PORT: u16 = 10_000;
const SAMPLES: u16 = 200;
/// Between two of them, which the rules' log rate lets through.
const PAUSE: Duration = Duration::from_millis(25);
/// How long the last ones may take. A packet that is not seen by then was not logged: the log's rate is bounded.
const PATIENCE: Duration = Duration::from_secs(10);
const LOAD_PORT: u16 = 53;
const FLOOD_PACKETS: u64 = 500_000;
/// How long ever new kinds of connections begin, at each rate.
const KINDS_FOR: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// `sysconf(_SC_CLK_TCK)`: the unit of times in `/proc/PID/stat`.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().context("usage: flows PALISADE [SAMPLES]")?;
    let samples = arguments.next().map_or(Ok(SAMPLES), |text| text.parse())?;
    let lab = lab()?;
    println!("| load | verdict | seen of sent | p50 | p99 | most | the agent's CPU |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    {
        let agent = Agent::start(Path::new(&binary), lab.node())?;
        let mut port = FIRST_PORT;
        for load in [
            Load::None,
            Load::Connections(1000),
            Load::Connections(5000),
            Load::Denied(20_000),
            Load::DeniedKinds(20_000),
        ] {
            for verdict in [FlowVerdict::Deny, FlowVerdict::Allow] {
                measure(&lab, &agent, load, verdict, port..port + samples)?;
                port += samples;
            }
        }
    }
    flood(&lab, Path::new(&binary))?;
    kinds(&lab, Path::new(&binary))
}

fn lab() -> anyhow::Result<Arc<Lab>> {
    let host = |(number, name): (u8, &str)| Host {
        name: name.to_owned(),
        addresses: vec![IpAddr::from([10, 1, 0, number])],
    };
    let pods = [(1, "stranger"), (2, "server"), (3, "client"), (4, "other")].map(host);
    let lab = Lab::new(&LabSpec::new(Layout::Routed, pods.into()))?;
    // Connections without an answer are forgotten soon, so that the table does not fill.
    lab.node().set("netfilter/nf_conntrack_udp_timeout", "1")?;
    Ok(Arc::new(lab))
}

/// A running agent, which ends with this.
struct Agent {
    child: Child,
    client: Client,
    folder: PathBuf,
}

impl Agent {
    fn start(binary: &Path, node: &Namespace) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("palisade-flows-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cluster.json"), MANIFEST)?;
        let socket = folder.join("agent.sock");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", node.path())).arg(fs::canonicalize(binary)?);
        command.args(["run", "--listen", "off", "-f"]).arg(folder.join("cluster.json"));
        command.arg("--socket").arg(&socket).stdin(Stdio::null()).stderr(Stdio::null());
        let agent = Self { child: command.spawn()?, client: Client::new(&socket), folder };
        let is_ready = |status: &Status| {
            status.state == State::Enforcing
                && status.flows.is_listening
                && status.flows.allowed.is_listening
        };
        agent.until("enforcement", is_ready)?;
        Ok(agent)
    }

    fn status(&self) -> anyhow::Result<Status> {
        match self.client.request(&Request::Status)? {
            Response::Status(status) => Ok(*status),
            other => bail!("{other:?}"),
        }
    }

    fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> anyhow::Result<Status> {
        let began = Instant::now();
        loop {
            match self.status() {
                Ok(status) if wanted(&status) => return Ok(status),
                last if began.elapsed() > PATIENCE => bail!("{what} did not come: {last:?}"),
                Ok(_) | Err(_) => thread::sleep(POLL),
            }
        }
    }

    /// Time of a processor that it used.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name before may have spaces in it. Then the state is field 3, and user and system time are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let ticks = ticks(12).zip(ticks(13)).context("/proc/PID/stat")?;
        Ok(Duration::from_secs_f64((ticks.0 + ticks.1) / TICKS_PER_SECOND))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}

/// What goes on while packets are measured.
#[derive(Debug, Clone, Copy)]
enum Load {
    None,
    /// New connections a second, which are allowed.
    Connections(u64),
    /// Packets a second, which are denied.
    Denied(u64),
    /// The same, each of another kind than the last ones.
    DeniedKinds(u64),
}

impl Load {
    /// Who sends, at which rate, and to which port: `None` for ever new ones.
    fn sending(self) -> Option<(Ipv4Addr, u64, Option<u16>)> {
        match self {
            Self::None => None,
            Self::Connections(rate) => Some((CLIENT, rate, Some(LOAD_PORT))),
            Self::Denied(rate) => Some((STRANGER, rate, Some(LOAD_PORT))),
            Self::DeniedKinds(rate) => Some((STRANGER, rate, None)),
        }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Connections(rate) => write!(f, "{rate} new connections a second"),
            Self::Denied(rate) => write!(f, "{rate} denied packets a second"),
            Self::DeniedKinds(rate) => {
                write!(f, "{rate} denied packets a second, each of a new kind")
            }
        }
    }
}

/// Sends packets from a pod that owns the source address.
struct Sender(OwnedFd);

impl Sender {
    fn new(lab: &Lab, from: Ipv4Addr) -> anyhow::Result<Self> {
        let pod = lab.machine_of(from.into()).context("a pod")?;
        let raw = || {
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)
        };
        Ok(Self(pod.namespace().run(raw)??))
    }

    fn send(&self, packet: &[u8]) -> anyhow::Result<()> {
        let to = SockaddrIn::from(SocketAddrV4::new(SERVER, 0));
        sendto(self.0.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }
}

fn packet(from: Ipv4Addr, source_port: u16, port: u16) -> Vec<u8> {
    Packet::udp(from.into(), SERVER.into(), source_port, port, b"flow").bytes()
}

/// Sends at a rate until it is told to stop, and returns how much it sent.
fn keep_sending(
    sender: &Sender,
    (from, rate, port): (Ipv4Addr, u64, Option<u16>),
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    const TICK: Duration = Duration::from_millis(1);
    // The ports of what is measured are below.
    let numbers = 20_000..60_000;
    let packets: Vec<_> = numbers.map(|n| packet(from, n, port.unwrap_or(n))).collect();
    let mut packets = packets.iter().cycle();
    let (began, mut sent) = (Instant::now(), 0);
    while !stop.load(Ordering::Relaxed) {
        let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
        for packet in packets.by_ref().take(usize::try_from(due - sent)?) {
            sender.send(packet)?;
        }
        sent = due;
        thread::sleep(TICK);
    }
    Ok(sent)
}

type Times = Arc<Mutex<BTreeMap<u16, Instant>>>;

fn measure(
    lab: &Arc<Lab>,
    agent: &Agent,
    load: Load,
    verdict: FlowVerdict,
    ports: std::ops::Range<u16>,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let loading = load.sending().map(|what| {
        let (lab, stop) = (Arc::clone(lab), Arc::clone(&stop));
        thread::spawn(move || keep_sending(&Sender::new(&lab, what.0)?, what, &stop))
    });
    let seen = Times::default();
    let noted = Arc::clone(&seen);
    let observe = Observe { last: 0, follow: true, ..Observe::default() };
    let mut lines = agent.client.stream(&Request::Observe(observe))?;
    // Ends with the agent.
    thread::spawn(move || {
        while let Ok(Some(response)) = lines.next() {
            let now = Instant::now();
            if let Response::Flow(flow) = response
                && let Some(port) = flow.port.filter(|_| flow.verdict == verdict)
            {
                noted.lock().unwrap_or_else(PoisonError::into_inner).entry(port).or_insert(now);
            }
        }
    });
    agent.until("the reader", |status| status.flows.readers > 0)?;
    let (cpu, began) = (agent.cpu()?, Instant::now());
    let from = if verdict == FlowVerdict::Deny { STRANGER } else { CLIENT };
    let sender = Sender::new(lab, from)?;
    let mut sent = BTreeMap::new();
    for port in ports.clone() {
        let packet = packet(from, 5000, port);
        sent.insert(port, Instant::now());
        sender.send(&packet)?;
        thread::sleep(PAUSE);
    }
    let used = (agent.cpu()? - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    let lock = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let is_all = || ports.clone().all(|port| lock().contains_key(&port));
    let waiting = Instant::now();
    while !is_all() && waiting.elapsed() < PATIENCE {
        thread::sleep(POLL);
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(loading) = loading {
        loading.join().map_err(|_panic| anyhow::anyhow!("the load ended early"))??;
    }
    let seen = lock();
    let took = sent.iter().filter_map(|(port, at)| Some(seen.get(port)?.duration_since(*at)));
    let mut took: Vec<Duration> = took.collect();
    took.sort_unstable();
    let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().max(1) - 1));
    let at = |percent| at(percent).copied().unwrap_or_default();
    println!(
        "| {load} | {} | {} of {} | {:.1?} | {:.1?} | {:.1?} | {:.1} % |",
        verdict.as_str(),
        took.len(),
        sent.len(),
        at(50),
        at(99),
        at(100),
        used * 100.0
    );
    Ok(())
}

/// A flood from one pod, first without rules and then denied: what the sender and the kernel in its place use, and what the agent does.
fn flood(lab: &Arc<Lab>, binary: &Path) -> anyhow::Result<()> {
    println!(
        "\n| a flood of {FLOOD_PACKETS} packets | time | a packet, kernel included | the agent's CPU | packets with a flow |"
    );
    println!("|---|--:|--:|--:|--:|");
    let sender = Sender::new(lab, STRANGER)?;
    let packets: Vec<_> = (20_000..60_000).map(|port| packet(STRANGER, port, LOAD_PORT)).collect();
    let run = || {
        let (began, cpu) = (Instant::now(), own_cpu()?);
        for packet in packets.iter().cycle().take(usize::try_from(FLOOD_PACKETS)?) {
            sender.send(packet)?;
        }
        Ok::<_, anyhow::Error>((began.elapsed(), own_cpu()? - cpu))
    };
    let print = |name: &str, (took, cpu): (Duration, Duration), agent: Option<(Duration, u64)>| {
        let each = cpu.as_nanos() as u64 / FLOOD_PACKETS;
        let (agent, seen) = agent.map_or(("–".to_owned(), "–".to_owned()), |(cpu, seen)| {
            (format!("{cpu:.2?}"), seen.to_string())
        });
        println!("| {name} | {took:.2?} | {each} ns | {agent} | {seen} |");
    };
    lab.node().nft("flush ruleset")?;
    print("without rules", run()?, None);
    let agent = Agent::start(binary, lab.node())?;
    let (before, cpu) = (agent.status()?.flows, agent.cpu()?);
    let flooded = run()?;
    // The counters are read some seconds after the last packet.
    let is_settled = |status: &Status| {
        let flows = &status.flows;
        flows.denied - before.denied == FLOOD_PACKETS && made_of(flows) == flows.denied
    };
    let after = agent.until("the counts", is_settled)?.flows;
    print("denied", flooded, Some((agent.cpu()? - cpu, after.seen - before.seen)));
    ensure!(made_of(&after) - made_of(&before) == FLOOD_PACKETS, "{after:?}");
    let lost = &after.lost;
    println!(
        "\nEvery packet is counted: {} seen, {} not logged, {} lost by the socket, of {FLOOD_PACKETS} sent.",
        after.seen, lost.not_logged, lost.socket
    );
    Ok(())
}

/// Ever new kinds of connections that are allowed: what the agent does with them, and how many it has no room for.
fn kinds(lab: &Arc<Lab>, binary: &Path) -> anyhow::Result<()> {
    println!(
        "\n| new connections a second, each of another kind | sent | judged | lost in the queue | lost by the socket and not found | the agent's CPU |"
    );
    println!("|--:|--:|--:|--:|--:|--:|");
    for rate in [5_000, 10_000, 20_000] {
        let agent = Agent::start(binary, lab.node())?;
        let (before, cpu) = (agent.status()?.flows.allowed, agent.cpu()?);
        let stop = Arc::new(AtomicBool::new(false));
        let sending = {
            let (lab, stop) = (Arc::clone(lab), Arc::clone(&stop));
            thread::spawn(move || {
                keep_sending(&Sender::new(&lab, CLIENT)?, (CLIENT, rate, None), &stop)
            })
        };
        thread::sleep(KINDS_FOR);
        stop.store(true, Ordering::Relaxed);
        let sent = sending.join().map_err(|_panic| anyhow::anyhow!("the load ended early"))??;
        // What is gathered is judged within moments.
        thread::sleep(Duration::from_secs(2));
        let (after, used) = (agent.status()?.flows.allowed, agent.cpu()? - cpu);
        let opened = after.opened - before.opened;
        let lost = after.lost.queue - before.lost.queue;
        println!(
            "| {rate} | {sent} | {} | {lost} | {} | {:.0} % |",
            opened - lost,
            sent.saturating_sub(opened),
            used.as_secs_f64() / KINDS_FOR.as_secs_f64() * 100.0
        );
    }
    Ok(())
}

fn made_of(flows: &FlowCounts) -> u64 {
    flows.seen + flows.lost.not_logged + flows.lost.socket
}

/// Time of a processor that this thread used, its packets' way through the kernel included, as far as that is walked in its place.
fn own_cpu() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().context("/proc/thread-self/schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}
