use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Connection, Verdict};
use palisade_compiler::oracle::Decision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::Manifests;
use super::{Exit, Failure};
use crate::connection::{Endpoint, resolve};
use crate::explanation::{by, family_name};
use crate::sources::files::STDIN;

/// Judge many connections: JSON lines in and out
///
/// One JSON object a line, judged as the compiled program does; every pod is judged as if it were local.
///
/// In:  {"from":"shop/frontend","to":"shop/api","protocol":"TCP","port":8080}
/// Out: the same object with "egress", "ingress" and "verdict" ("allow" or "deny") and "by": the rules that
/// allow, or the policies that isolate. A line that cannot be judged gets "error", and the exit status is 1.
///
/// An address is judged as given. Between two pods that both have IPv4 and IPv6 addresses both families are
/// judged, and allowed is what is allowed in both; where they differ, "families" has the answer for each.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    manifests: Manifests,
    /// The connections, one JSON object a line; - for standard input
    #[arg(long, value_name = "FILE")]
    connections: PathBuf,
}

/// The longest line that is read, in bytes; what is longer is an error of its own.
const MAX_LINE_BYTES: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    from: String,
    to: String,
    #[serde(default = "tcp")]
    protocol: Value,
    port: Option<u16>,
}

fn tcp() -> Value {
    Value::from("TCP")
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Answer {
    egress: Judged,
    ingress: Judged,
    verdict: Judged,
    by: Vec<String>,
    /// By family, where they differ.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    families: BTreeMap<&'static str, Answer>,
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
        }
    }

    fn verdicts(&self) -> [Judged; 3] {
        [self.egress, self.ingress, self.verdict]
    }

    /// Of both families: allowed is what both allow.
    fn of_both(families: [(&'static str, Self); 2]) -> Self {
        let [(_, a), (_, b)] = &families;
        let and = |x: Judged, y: Judged| Judged(x.0.and(y.0));
        let mut by = a.by.clone();
        by.extend(b.by.iter().filter(|line| !a.by.contains(line)).cloned());
        let (egress, ingress) = (and(a.egress, b.egress), and(a.ingress, b.ingress));
        let verdict = and(a.verdict, b.verdict);
        let differ = a.verdicts() != b.verdicts();
        let families = if differ { families.into() } else { BTreeMap::new() };
        Self { egress, ingress, verdict, by, families }
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
    let mut compiler = Compiler::judging();
    compiler.apply(input.changes);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = input.has_errors;
    let told = for_each_line(&args.connections, |line| {
        let mut object = match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) => object,
            Ok(_) | Err(_) => serde_json::Map::from_iter([("line".to_owned(), Value::from(line))]),
        };
        match answer(&compiler, line) {
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
    match told.and_then(|()| out.flush()) {
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

fn answer(compiler: &Compiler, line: &str) -> Result<Answer, String> {
    if line.len() >= MAX_LINE_BYTES {
        return Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"));
    }
    let question: Question = serde_json::from_str(line).map_err(|error| {
        format!("{error}; a line is {{\"from\":\"ns/pod\",\"to\":\"ns/pod\",\"protocol\":\"TCP\",\"port\":80}}")
    })?;
    let protocol = match &question.protocol {
        Value::String(name) => name.clone(),
        Value::Number(number) => number.to_string(),
        other => return Err(format!("protocol: {other} is no name and no number")),
    };
    let from: Endpoint = question.from.parse().map_err(|error| format!("from: {error}"))?;
    let to: Endpoint = question.to.parse().map_err(|error| format!("to: {error}"))?;
    let connections = resolve(compiler.snapshot(), &from, &to, &protocol, question.port)?;
    let judge = |connection: &Connection| {
        (family_name(connection), Answer::of(&compiler.judge(connection)))
    };
    match connections.as_slice() {
        [v4, v6] => Ok(Answer::of_both([judge(v4), judge(v6)])),
        [one, ..] => Ok(judge(one).1),
        [] => Err("the two ends have no address of the same family".into()),
    }
}
