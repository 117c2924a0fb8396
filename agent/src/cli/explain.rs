use std::path::PathBuf;

use palisade_compiler::model::Verdict;
use palisade_compiler::snapshot::Snapshot;

use super::input::{Manifests, Node, ReadOptions};
use super::output::{Format, colours, say, say_json, styled};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::connection::{Endpoint, Port, Question, protocol_name};
use crate::explanation::{Edit, Edits, Explained, Explanation, Side, explain_snapshot};
use crate::protocol::{Request, Response};
use crate::socket::{Client, DEFAULT};

/// Show one verdict with its whole reasoning, both directions
///
/// For each direction: the policies that isolate, and the rules that allow, or what of the peer and of the port differs from
/// the nearest entry of each rule. Between two pods that both have IPv4 and IPv6 addresses each family is judged (give
/// addresses for one). The name or address of a Service leads to its backends, and each is judged: Service and EndpointSlice are read
/// for that. Then the smallest changes are named that would turn the verdict: a label, an entry of a rule, or a rule; where both
/// directions deny, one for each. The program must give the same verdict; if it does not, that is shown too, and the exit status is 1.
///
/// With -f every pod is judged as if it were local. Without -f the running agent answers, for the program in the kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade explain -f examples/shop shop/frontend shop/api --port 8080
  palisade explain -f examples/shop shop/frontend shop/api --port http -v
  palisade explain shop/frontend 203.0.113.7 --port 443    # as the running agent sees it
  palisade explain -f examples/shop 203.0.113.7 shop/frontend --port 80 --protocol udp")]
pub(super) struct Args {
    /// A file or directory of Kubernetes objects, - for standard input; may be given more than once. Without it the
    /// running agent is asked
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: ReadOptions,
    /// Who connects: namespace/pod, or an address
    from: Endpoint,
    /// Who is connected to: namespace/pod, namespace/service, or an address (also a Service's)
    to: Endpoint,
    /// The destination port: a number, or a name that the destination pod or Service gives to a port; needed for TCP, UDP and
    /// SCTP
    #[arg(long, allow_hyphen_values = true)]
    port: Option<Port>,
    /// TCP, UDP, SCTP, ICMP, or an IANA number
    #[arg(long, default_value = "TCP")]
    protocol: String,
    #[command(flatten)]
    node: Node,
    /// Show the first packet's walk through the program as well
    #[arg(short, long)]
    verbose: bool,
    /// Where the agent answers that is asked without -f
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let (explanation, has_errors) =
        if args.files.is_empty() { (ask(args)?, false) } else { explain_files(args)? };
    match args.output {
        Format::Json => say_json(&explanation)?,
        Format::Text => print(&explanation, args.verbose)?,
    }
    Ok(if has_errors || explanation.diverges() { Exit::No } else { Exit::Done })
}

impl Args {
    fn question(&self) -> Question {
        Question {
            from: self.from.to_string(),
            to: self.to.to_string(),
            protocol: self.protocol.clone(),
            port: self.port.clone(),
        }
    }
}

/// The explanation, and whether the manifests have errors.
fn explain_files(args: &Args) -> Result<(Explanation, bool), Failure> {
    let manifests = Manifests { files: args.files.clone(), options: args.options.clone() };
    let input = manifests.load()?;
    let mut snapshot = Snapshot::new();
    input.changes.into_iter().for_each(|change| snapshot.apply(change));
    let node = args.node.node_name.as_deref();
    let explanation =
        explain_snapshot(&snapshot, &args.question(), node).map_err(Failure::Usage)?;
    Ok((explanation, input.has_errors))
}

fn ask(args: &Args) -> Result<Explanation, Failure> {
    let Question { from, to, protocol, port } = args.question();
    let request = Request::Explain { from, to, protocol, port };
    match Client::new(&args.socket).request(&request)? {
        Response::Explanation(explanation) => Ok(*explanation),
        other => Err(unexpected(&other)),
    }
}

fn painted(verdict: &str) -> String {
    let style = if verdict == Verdict::Allow.to_string() { "32" } else { "31" };
    styled(verdict, style, colours())
}

fn print(explanation: &Explanation, verbose: bool) -> Result<(), Failure> {
    let Explanation { verdict, service, connections, further } = explanation;
    if let Some(service) = service {
        let count = connections.len() + further;
        let backends =
            if count == 1 { "its backend".into() } else { format!("its {count} backends") };
        say(format_args!("Service {service}: judged at {backends}: {}", painted(verdict)))?;
    }
    connections.iter().try_for_each(|each| print_one(each, verbose))?;
    if *further > 0 {
        say(format_args!("and {further} more connections; in all: {}", painted(verdict)))?;
    }
    Ok(())
}

fn print_one(explained: &Explained, verbose: bool) -> Result<(), Failure> {
    let Explained { from, to, protocol, port, verdict, .. } = explained;
    let protocol = protocol_name(*protocol);
    let port = port.map_or(String::new(), |port| format!(" port {port}"));
    say(format_args!("{from} -> {to} {protocol}{port}: {}", painted(verdict)))?;
    print_side("egress of", from, &explained.egress)?;
    print_side("ingress of", to, &explained.ingress)?;
    print_edits(verdict, &explained.edits)?;
    if verbose {
        say(format_args!("  program: {}", explained.path.join("; ")))?;
    }
    if let Some(divergence) = &explained.divergence {
        let alarm = styled("DIVERGENCE", "1;31", colours());
        say(format_args!("  {alarm}: {divergence}; please report this with the manifests"))?;
    }
    Ok(())
}

/// Edits of a list that a person is shown; the rest is left out.
const MOST_EDITS: usize = 4;

fn print_edits(verdict: &str, edits: &Edits) -> Result<(), Failure> {
    let turned = if verdict == Verdict::Allow.to_string() { "denied" } else { "allowed" };
    let list = |what: &str, edits: &[Edit]| {
        let shown = edits.iter().take(MOST_EDITS);
        shown.into_iter().try_for_each(|edit| say(format_args!("    {what}{}", edit.text)))
    };
    if !edits.each.is_empty() {
        let one = if edits.each.len() == 1 { "this change" } else { "any one of these changes" };
        say(format_args!("  would be {turned} by {one}:"))?;
        return list("", &edits.each);
    }
    if !edits.egress.is_empty() {
        say(format_args!("  would be {turned} by two changes, one for each direction:"))?;
        list("egress: ", &edits.egress)?;
        list("ingress: ", &edits.ingress)?;
    }
    Ok(())
}

/// Misses that a person is shown; the rest is counted.
const MAX_MISSES: usize = 10;

fn print_side(what: &str, who: &str, side: &Side) -> Result<(), Failure> {
    say(format_args!("  {what} {who}: {}: {}", painted(&side.verdict), side.reason))?;
    let shown = side.misses.iter().take(MAX_MISSES);
    shown.into_iter().try_for_each(|miss| say(format_args!("    {}", miss.text)))?;
    match side.misses.len().checked_sub(MAX_MISSES) {
        Some(more) if more > 0 => {
            say(format_args!("    and {more} more rules do not match; -o json has them"))?;
        }
        Some(_) | None => {}
    }
    if side.misses.is_empty() && !side.isolated_by.is_empty() {
        say(format_args!("    isolated by {}", side.isolated_by.join(", ")))?;
    }
    side.notes.iter().try_for_each(|note| say(format_args!("    note: {note}")))
}
