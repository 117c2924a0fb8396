use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use palisade_compiler::compile::Judge;
use palisade_compiler::decision::Decision;
use palisade_compiler::model::{Family, Verdict};
use palisade_compiler::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::{Manifests, Node};
use super::{Exit, Failure};
use crate::connection::{Meant, Port, Question, Resolver};
use crate::explanation::{by, family_name};
use crate::sources::files::STDIN;

/// Judge many connections: JSON lines in and out
///
/// One JSON object a line, judged by the policies of both ends; every pod is judged as if it were local, whatever node is
/// named.
///
/// In:  {"from":"shop/frontend","to":"shop/api","protocol":"TCP","port":8080}
/// Out: the same object with "egress", "ingress" and "verdict" ("allow" or "deny") and "by": the rules that
/// allow, or the policies that isolate. A line that cannot be judged gets "error", and the exit status is 1.
///
/// "port" is a number, or a name that the destination pod or Service gives to a port. An address is judged as given,
/// but a Service's address leads to its backends. Between two pods that both have IPv4 and IPv6 addresses both
/// families are judged. Allowed is what is allowed in both families and at every backend; where families differ,
/// "families" has the answer for each, and where backends differ, "backends" has it by address and port.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    /// The connections, one JSON object a line; - for standard input
    #[arg(long, value_name = "FILE")]
    connections: PathBuf,
    #[command(flatten)]
    node: Node,
}

/// The longest line that is read, in bytes; what is longer is an error of its own.
const MAX_LINE_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    from: String,
    to: String,
    #[serde(default = "tcp")]
    protocol: Value,
    port: Option<Value>,
}

fn tcp() -> Value {
    Value::from("TCP")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Answer {
    /// `allow` or `deny`, as are the next two.
    egress: Judged,
    ingress: Judged,
    verdict: Judged,
    /// The rules that allow, and the policies that isolate without allowing.
    by: Vec<String>,
    /// By family (`IPv4`, `IPv6`), where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    families: BTreeMap<String, Answer>,
    /// By address and port (`10.0.0.1:80`, `[fd00::1]:80`) of a Service's backends, where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    backends: BTreeMap<String, Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
struct Judged(Verdict);

impl From<Judged> for String {
    fn from(judged: Judged) -> Self {
        judged.0.to_string()
    }
}

impl Answer {
    fn of(decision: &Decision) -> Self {
        Self {
            egress: Judged(decision.egress.verdict),
            ingress: Judged(decision.ingress.verdict),
            verdict: Judged(decision.verdict),
            by: by(decision),
            families: BTreeMap::new(),
            backends: BTreeMap::new(),
        }
    }

    fn verdicts(&self) -> [Judged; 3] {
        [self.egress, self.ingress, self.verdict]
    }

    /// Allowed is what all of them allow. With each of them, by name, if they differ.
    fn of_all(parts: Vec<(String, Self)>) -> Option<(Self, BTreeMap<String, Self>)> {
        let mut all = parts.first()?.1.clone();
        let differ = parts.iter().any(|(_, part)| part.verdicts() != all.verdicts());
        for (_, part) in parts.iter().skip(1) {
            let and = |a: Judged, b: Judged| Judged(a.0.and(b.0));
            all.egress = and(all.egress, part.egress);
            all.ingress = and(all.ingress, part.ingress);
            all.verdict = and(all.verdict, part.verdict);
            all.by.extend(part.by.iter().cloned());
        }
        let mut seen = HashSet::new();
        all.by.retain(|line| seen.insert(line.clone()));
        Some((all, if differ { parts.into_iter().collect() } else { BTreeMap::new() }))
    }
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let stdin = Path::new(STDIN);
    if args.connections == stdin && args.manifests.files.iter().any(|file| file == stdin) {
        return Err(Failure::Usage(
            "-f - and --connections -: standard input cannot be both; put one of them into a file"
                .into(),
        ));
    }
    let input = args.manifests.load()?;
    let mut snapshot = Snapshot::new();
    input.changes.into_iter().for_each(|change| snapshot.apply(change));
    let (mut resolver, mut judge) = (Resolver::new(&snapshot), Judge::new(&snapshot));
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = input.has_errors;
    let written = for_each_line(&args.connections, |line| {
        let mut object = match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) => object,
            Ok(_) | Err(_) => serde_json::Map::from_iter([("line".to_owned(), Value::from(line))]),
        };
        match answer(&mut resolver, &mut judge, line) {
            Ok(answer) => {
                if let Ok(Value::Object(fields)) = serde_json::to_value(answer) {
                    object.extend(fields);
                }
            }
            Err(error) => {
                failed = true;
                object.insert("error".into(), Value::from(error));
            }
        }
        writeln!(out, "{}", Value::Object(object))
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: args.connections.display().to_string(), error })
        }
        Ok(()) | Err(_) => Ok(if failed { Exit::No } else { Exit::Done }),
    }
}

fn for_each_line(file: &Path, mut each: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut reader: Box<dyn BufRead> = match file.to_str() {
        Some("-") => Box::new(BufReader::new(io::stdin())),
        _ => Box::new(BufReader::new(File::open(file)?)),
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if read == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            reader.skip_until(b'\n')?;
        }
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            each(text.trim())?;
        }
    }
}

fn answer(
    resolver: &mut Resolver<'_>,
    judge: &mut Judge<'_>,
    line: &str,
) -> Result<Answer, String> {
    if line.len() >= MAX_LINE_BYTES {
        return Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"));
    }
    let Line { from, to, protocol, port } = serde_json::from_str(line).map_err(|error| {
        format!("{error}; a line is {{\"from\":\"ns/pod\",\"to\":\"ns/pod\",\"protocol\":\"TCP\",\"port\":80}}")
    })?;
    let text = |field: &str, value: Value| match value {
        Value::String(name) => Ok(name),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("{field}: {other} is no name and no number")),
    };
    let protocol = text("protocol", protocol)?;
    let port = match port {
        None | Some(Value::Null) => None,
        Some(port) => {
            let port: Port =
                text("port", port)?.parse().map_err(|error| format!("port: {error}"))?;
            Some(port)
        }
    };
    let meant = resolver.resolve(&Question { from, to, protocol, port })?;
    let mut families: Vec<(String, Answer)> = Vec::new();
    for family in Family::ALL {
        let of_family = meant.iter().filter(|meant| Family::of(meant.connection.to) == family);
        let Some(first) = of_family.clone().next() else { continue };
        let judged = |meant: &Meant| {
            let backend = SocketAddr::new(meant.connection.to, meant.connection.port);
            (backend.to_string(), Answer::of(&judge.judge(&meant.connection)))
        };
        if let Some((mut answer, backends)) = Answer::of_all(of_family.map(judged).collect()) {
            answer.backends = backends;
            families.push((family_name(&first.connection).to_owned(), answer));
        }
    }
    if families.len() == 1 {
        return families.pop().map(|(_, answer)| answer).ok_or_else(String::new);
    }
    let (mut answer, families) =
        Answer::of_all(families).ok_or("the two ends have no address of the same family")?;
    answer.families = families;
    answer.backends = BTreeMap::new();
    Ok(answer)
}
