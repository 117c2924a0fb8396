use std::path::PathBuf;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::Verdict;

use super::input::{Manifests, ReadOptions};
use super::output::{Format, colours, note, say, say_json};
use super::status::unexpected;
use super::{Exit, Failure};
use crate::connection::{Endpoint, protocol_name, resolve};
use crate::explanation::{Explained, Explanation, explain};
use crate::protocol::{Request, Response};
use crate::socket::{Client, DEFAULT};

/// Show one verdict with its whole reasoning, both directions
///
/// For each direction the policies that isolate and the rules that allow, or why none does, and the way of the first packet
/// through the program; between two pods that both have IPv4 and IPv6 addresses for each family (give addresses for one).
/// The specification read literally and the program must agree; where they do not, that is shown too, and the exit status
/// is 1. With -f every pod is judged as if it were local.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade explain -f examples/shop shop/frontend shop/api --port 8080
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
    /// Who is connected to: namespace/pod, or an address
    to: Endpoint,
    /// The destination port; needed for TCP, UDP and SCTP
    #[arg(long)]
    port: Option<u16>,
    /// TCP, UDP, SCTP, ICMP, or an IANA number
    #[arg(long, default_value = "TCP")]
    protocol: String,
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
        Format::Text => print(&explanation)?,
    }
    Ok(if has_errors || explanation.diverges() { Exit::No } else { Exit::Done })
}

/// The explanation, and whether the manifests have errors.
fn explain_files(args: &Args) -> Result<(Explanation, bool), Failure> {
    let manifests = Manifests { files: args.files.clone(), options: args.options.clone() };
    let input = manifests.load()?;
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(input.changes);
    // Nothing is loaded, so that the bounds of the kernel's tables are none of this.
    let warnings = compiler.warnings().into_iter().filter(|warning| !warning.is_bound());
    warnings.for_each(|warning| note(format_args!("warning: {warning}")));
    let snapshot = compiler.snapshot();
    let connections = resolve(snapshot, &args.from, &args.to, &args.protocol, args.port)
        .map_err(Failure::Usage)?;
    Ok((explain(&compiler, &connections, None), input.has_errors))
}

fn ask(args: &Args) -> Result<Explanation, Failure> {
    let request = Request::Explain {
        from: args.from.to_string(),
        to: args.to.to_string(),
        protocol: args.protocol.clone(),
        port: args.port,
    };
    match Client::new(&args.socket).request(&request)? {
        Response::Explanation(explanation) => Ok(*explanation),
        other => Err(unexpected(&other)),
    }
}

fn print(explanation: &Explanation) -> Result<(), Failure> {
    explanation.families.iter().try_for_each(print_one)
}

fn print_one(explained: &Explained) -> Result<(), Failure> {
    let Explained { from, to, protocol, port, verdict, .. } = explained;
    let paint = |verdict: &str| match (colours(), verdict == Verdict::Allow.to_string()) {
        (true, true) => format!("\x1b[32m{verdict}\x1b[0m"),
        (true, false) => format!("\x1b[31m{verdict}\x1b[0m"),
        (false, _) => verdict.to_owned(),
    };
    let protocol = protocol_name(*protocol);
    let port = port.map_or(String::new(), |port| format!(" port {port}"));
    say(format_args!("{from} -> {to} {protocol}{port}: {}", paint(verdict)))?;
    let sides = [("egress of", from, &explained.egress), ("ingress of", to, &explained.ingress)];
    for (what, who, side) in sides {
        say(format_args!("  {what} {who}: {}: {}", paint(&side.verdict), side.reason))?;
        if !side.judged_here {
            say("    its node judges that, not this one")?;
        }
        side.why.iter().try_for_each(|why| say(format_args!("    {why}")))?;
        if side.why.is_empty() && !side.isolated_by.is_empty() {
            say(format_args!("    isolated by {}", side.isolated_by.join(", ")))?;
        }
    }
    say(format_args!("  program: {}", explained.path.join("; ")))?;
    if let Some(divergence) = &explained.divergence {
        let alarm = if colours() { "\x1b[1;31mDIVERGENCE\x1b[0m" } else { "DIVERGENCE" };
        say(format_args!("  {alarm}: {divergence}; please report this with the manifests"))?;
    }
    Ok(())
}
