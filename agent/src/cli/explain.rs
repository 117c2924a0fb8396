use std::path::PathBuf;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Connection, Direction, Verdict};
use palisade_compiler::oracle::{self, Decision, DirectionDecision, Reason};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::Snapshot;
use serde::Serialize;

use super::eval::by;
use super::input::{Manifests, compile};
use super::output::{Format, colours, say, say_json};
use super::{Exit, Failure};
use crate::connection::{Endpoint, resolve};
use crate::sources::disk::MAX_FILE_BYTES;

/// Shows one verdict with its whole reasoning: for each direction the policies that isolate and the rules that allow, and the way
/// of the first packet through the program. The specification read literally and the program must agree; where they do
/// not, that is shown too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade explain -f examples/shop shop/frontend shop/api --port 8080
  palisade explain -f examples/shop 203.0.113.7 shop/frontend --port 80 --protocol udp")]
pub(super) struct Args {
    /// A file or directory of Kubernetes objects; - for standard input; may be given more than once
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// The largest file that is read, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FILE_BYTES)]
    max_file_size: u64,
    /// Who connects: namespace/pod, or an address
    from: Endpoint,
    /// Who is connected to: namespace/pod, or an address
    to: Endpoint,
    #[arg(long)]
    port: Option<u16>,
    /// TCP, UDP, SCTP, ICMP, or an IANA number
    #[arg(long, default_value = "TCP")]
    protocol: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct Explanation {
    from: String,
    to: String,
    protocol: u8,
    port: u16,
    verdict: String,
    egress: Side,
    ingress: Side,
    by: Vec<String>,
    /// The walk of the first packet, step by step.
    path: Vec<String>,
    /// The program's verdict, if it is not that of the specification: a fault of Palisade.
    divergence: Option<String>,
}

#[derive(Debug, Serialize)]
struct Side {
    verdict: String,
    reason: String,
    isolated_by: Vec<String>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let manifests = Manifests { files: args.files.clone(), max_file_size: args.max_file_size };
    let input = manifests.load()?;
    let mut compiler = Compiler::new(Locality::Everywhere);
    compile(&mut compiler, input.changes)?;
    let snapshot = compiler.snapshot();
    let connection = resolve(snapshot, &args.from, &args.to, &args.protocol, args.port)
        .map_err(Failure::Usage)?;
    let explanation = explain(&compiler, &connection);
    match args.output {
        Format::Json => say_json(&explanation)?,
        Format::Text => print(&explanation)?,
    }
    Ok(if input.has_errors || explanation.divergence.is_some() { Exit::No } else { Exit::Done })
}

fn explain(compiler: &Compiler, connection: &Connection) -> Explanation {
    let snapshot = compiler.snapshot();
    let decision = oracle::decide(snapshot, connection);
    let packet = Packet { dnat: connection.from == connection.to, ..Packet::first(*connection) };
    let walk = eval_program(compiler.program(), &packet);
    let judged = compiler.judge(connection);
    let divergence = if judged != decision {
        Some(format!("the matrix says {}", judged.verdict))
    } else if !never_forwarded(&decision) && walk.verdict != decision.verdict {
        Some(format!("the program says {}", walk.verdict))
    } else {
        None
    };
    let side = |direction| side(snapshot, connection, direction, &decision);
    Explanation {
        from: name(snapshot, connection.from),
        to: name(snapshot, connection.to),
        protocol: connection.protocol,
        port: connection.port,
        verdict: decision.verdict.to_string(),
        egress: side(Direction::Egress),
        ingress: side(Direction::Ingress),
        by: by(&decision),
        path: walk.path.iter().map(ToString::to_string).collect(),
        divergence,
    }
}

/// Traffic of a pod with its own node passes the input and output hooks, which no policy judges.
fn never_forwarded(decision: &Decision) -> bool {
    [&decision.egress, &decision.ingress].iter().any(|side| side.reason == Reason::OwnNode)
}

fn name(snapshot: &Snapshot, address: std::net::IpAddr) -> String {
    match snapshot.owner(address) {
        Some(pod) => format!("{}/{} ({address})", pod.namespace, pod.name),
        None => address.to_string(),
    }
}

fn side(
    snapshot: &Snapshot,
    connection: &Connection,
    direction: Direction,
    decision: &Decision,
) -> Side {
    let (DirectionDecision { verdict, reason }, subject) = match direction {
        Direction::Egress => (&decision.egress, connection.from),
        Direction::Ingress => (&decision.ingress, connection.to),
    };
    let isolating = snapshot.owner(subject).into_iter().flat_map(|pod| {
        snapshot.policies().filter(move |policy| {
            policy.key.namespace == pod.namespace
                && policy.isolates.in_direction(direction)
                && policy.subjects.matches(&pod.labels)
        })
    });
    Side {
        verdict: verdict.to_string(),
        reason: reason.to_string(),
        isolated_by: isolating.map(|policy| policy.key.to_string()).collect(),
    }
}

fn print(explanation: &Explanation) -> Result<(), Failure> {
    let Explanation { from, to, protocol, port, verdict, .. } = explanation;
    let paint = |verdict: &str| match (colours(), verdict == Verdict::Allow.to_string()) {
        (true, true) => format!("\x1b[32m{verdict}\x1b[0m"),
        (true, false) => format!("\x1b[31m{verdict}\x1b[0m"),
        (false, _) => verdict.to_owned(),
    };
    say(format_args!("{from} -> {to} protocol {protocol} port {port}: {}", paint(verdict)))?;
    let sides =
        [("egress of", from, &explanation.egress), ("ingress of", to, &explanation.ingress)];
    for (what, who, side) in sides {
        say(format_args!("  {what} {who}: {}: {}", paint(&side.verdict), side.reason))?;
        if !side.isolated_by.is_empty() {
            say(format_args!("    isolated by {}", side.isolated_by.join(", ")))?;
        }
    }
    say(format_args!("  program: {}", explanation.path.join("; ")))?;
    if let Some(divergence) = &explanation.divergence {
        let alarm = if colours() { "\x1b[1;31mDIVERGENCE\x1b[0m" } else { "DIVERGENCE" };
        say(format_args!("  {alarm}: {divergence}; please report this with the manifests"))?;
    }
    Ok(())
}
