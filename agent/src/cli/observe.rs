//! `palisade observe`: the agent's flows, as they come.

mod text;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use ipnet::IpNet;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::output::Format;
use super::status::unexpected;
use super::{Exit, Failure};
use crate::flows::filter::{Filter, MAX_ENTRIES};
use crate::flows::flow::{Flow, FlowDirection, FlowVerdict, Line, LineContent};
use crate::protocol::{Observe, Request, Response};
use crate::socket::{Client, DEFAULT};
use text::Columns;

/// Show connections that are denied or allowed, as they happen, and why
///
/// Of an allowed one: the rules that allow it, the Service by which it came, and what it carried once it has ended. Of a denied one: who connects to whom, the direction whose policies deny it, the policies that isolate the pod, and for each what its
/// nearest rule would have needed. A connection that is tried again comes at most once a second, with the number of packets seen
/// so far. The kernel logs at most 100 packets a second, direction and address family: palisade status counts all of them, and
/// what was lost. Filters of one kind widen each other, those of different kinds narrow.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade observe
  palisade observe --verdict deny
  palisade observe --namespace shop --port 5432
  palisade observe --label app=db --since 10m --last 1000
  palisade observe --last 100 --no-follow -o json | jq .isolated_by
  palisade observe --divergences    # verdicts that no policy gives")]
pub(super) struct Args {
    /// Only these verdicts
    #[arg(long, value_enum, value_name = "VERDICT")]
    verdict: Vec<FlowVerdict>,
    /// Only connections that policies of this direction decided
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: Vec<FlowDirection>,
    /// Only connections from or to a pod of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Only connections from or to this pod
    #[arg(long, value_name = "NAMESPACE/POD", value_parser = in_namespace)]
    pod: Vec<String>,
    /// Only connections from or to a pod with this label
    #[arg(short = 'l', long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Only connections from or to this address, or an address of this block
    #[arg(long, value_name = "ADDRESS|CIDR", value_parser = block)]
    address: Vec<IpNet>,
    /// Only connections to this port
    #[arg(long, value_name = "PORT")]
    port: Vec<u16>,
    /// Only connections to or from pods that this policy isolates
    #[arg(long, value_name = "NAMESPACE/POLICY", value_parser = in_namespace)]
    policy: Vec<String>,
    /// Only connections whose verdict no revision in force at their time gives: a fault of Palisade, or rules of others
    #[arg(long)]
    divergences: bool,
    /// Only connections that were seen from then on: a time, or how long ago, as in 10m
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<Timestamp>,
    /// Begin with so many of those that were seen before
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: usize,
    /// End after these
    #[arg(long)]
    no_follow: bool,
    /// Where the agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
    /// How to print them; text on a terminal and JSON lines elsewhere if not given
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let filter = args.filter()?;
    let default = if io::stdout().is_terminal() { Format::Text } else { Format::Json };
    let mut printer = Printer { format: args.output.unwrap_or(default), columns: Columns::new() };
    let observe = Observe { last: args.last, follow: !args.no_follow, filter };
    let mut responses = Client::new(&args.socket).stream(&Request::Observe(observe))?;
    while let Some(response) = responses.next()? {
        let goes_on = match response {
            Response::Flow(flow) => printer.flow(&flow)?,
            Response::Missed { count } => printer.missed(count)?,
            Response::End => return Ok(Exit::Done),
            other => return Err(unexpected(&other)),
        };
        if !goes_on {
            return Ok(Exit::Done);
        }
    }
    Err(Failure::NoAgent("the agent has ended, or dropped this reader, which did not read".into()))
}

impl Args {
    fn filter(&self) -> Result<Filter, Failure> {
        let filter = Filter {
            verdicts: self.verdict.clone(),
            directions: self.direction.clone(),
            namespaces: self.namespace.clone(),
            pods: self.pod.clone(),
            labels: self.label.clone(),
            since: self.since,
            addresses: self.address.clone(),
            ports: self.port.clone(),
            policies: self.policy.clone(),
            divergences: self.divergences,
        };
        bounded(filter)
    }
}

/// The filter, unless it has more entries than the agent takes.
pub(super) fn bounded(filter: Filter) -> Result<Filter, Failure> {
    if filter.len() > MAX_ENTRIES {
        return Err(Failure::Usage(format!("at most {MAX_ENTRIES} filters may be given")));
    }
    Ok(filter)
}

struct Printer {
    format: Format,
    columns: Columns,
}

impl Printer {
    /// Returns whether anybody reads on.
    fn flow(&mut self, flow: &Flow) -> Result<bool, Failure> {
        match self.format {
            Format::Json => print_json(&Line::new(LineContent::Flow(flow))),
            Format::Text => print_lines(&self.columns.lines(flow)),
        }
    }

    fn missed(&self, count: u64) -> Result<bool, Failure> {
        match self.format {
            Format::Json => print_json(&Line::new(LineContent::Missed { count })),
            Format::Text => {
                print_lines(&[format!("... {count} lines are missing: this reader is too slow")])
            }
        }
    }
}

fn print_json(line: &Line<'_>) -> Result<bool, Failure> {
    let text = serde_json::to_string(line)
        .map_err(|error| Failure::Io { what: "standard output".into(), error: error.into() })?;
    print_lines(&[text])
}

/// Writes and flushes lines; false where the reader has gone (`| head`), which ends the command.
fn print_lines(lines: &[String]) -> Result<bool, Failure> {
    use std::io::Write as _;

    let mut out = io::stdout().lock();
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Io { what: "standard output".into(), error }),
    }
}

pub(super) fn in_namespace(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{text:?} does not say which namespace; write NAMESPACE/NAME")),
    }
}

/// A time in RFC 3339, or how long ago.
fn since(text: &str) -> Result<Timestamp, String> {
    let ago = || text.parse::<SignedDuration>().ok().filter(|ago| !ago.is_negative());
    let time = text.parse().ok().or_else(|| Timestamp::now().checked_sub(ago()?).ok());
    time.ok_or_else(|| {
        format!("{text:?} is neither a time nor a duration, as in 2026-01-01T12:00:00Z or 10m")
    })
}

pub(super) fn block(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| {
        format!("{text:?} is neither an address nor a block, as in 10.0.0.7 or 10.0.0.0/24")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked_before_the_agent_is_asked() {
        assert_eq!(in_namespace("shop/web"), Ok("shop/web".to_owned()));
        assert!(in_namespace("web").is_err() && in_namespace("/web").is_err());
        assert_eq!(block("10.0.0.7"), Ok("10.0.0.7/32".parse().unwrap()));
        assert_eq!(block("fd00::/8"), Ok("fd00::/8".parse().unwrap()));
        assert!(block("10.0.0").is_err());
        assert_eq!(since("2026-01-01T12:00:00Z").unwrap().as_second(), 1_767_268_800);
        let ago = |text| Timestamp::now().as_second() - since(text).unwrap().as_second();
        assert!((599..=601).contains(&ago("10m")) && (5399..=5401).contains(&ago("1h30m")));
        assert!(since("soon").is_err() && since("-10m").is_err());
    }
}
