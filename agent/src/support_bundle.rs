//! What a bug report needs to know of a host and its agent, as files of one archive.
//!
//! Everything is asked for by itself, so that what fails is said in the place of its answer and the rest is there all the same.
//! Nothing is read that holds secrets: no manifests, no environment, no credentials.

mod host;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use palisade_compiler::program::render::render_on;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_dataplane::dataplane::{self, Dataplane};
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::RulesetError;
use serde::Serialize;

use crate::check::{self, Options};
use crate::protocol::{Request, Response, Support};
use crate::socket::Client;

/// The longest file of the archive, in bytes; a longer one is cut, which its end says.
const MAX_FILE_BYTES: usize = 64 << 20;

/// The directory that all files of the archive are in.
const DIRECTORY: &str = "palisade-support";

/// A file of the archive.
#[derive(Debug)]
pub struct SupportFile {
    pub name: &'static str,
    /// One line about it, for the index.
    about: &'static str,
    pub text: String,
}

/// Asks the agent, the API server and the kernel of the calling thread's network namespace.
pub fn collect(options: &Options) -> Vec<SupportFile> {
    let file = |name, about, text| SupportFile { name, about, text };
    let mut files = vec![
        file("version.txt", "versions of palisade and of the kernel", host::versions()),
        file("check.json", "what palisade check finds", json(&check::run(options))),
    ];
    files.extend(asked(&options.socket));
    files.extend([
        file("tables.nft", "the tables as the kernel holds them, as text of nft", tables()),
        file("chains.txt", "names and hooks of all chains of nftables", host::chains()),
        file("interfaces.txt", "interfaces, and the programs attached to them", host::interfaces()),
        file(
            "network.txt",
            "routes and addresses, as the kernel tells them in /proc/net",
            host::network(),
        ),
        file("settings.txt", "sysctls that matter, memory and load", host::settings()),
    ]);
    files.iter_mut().for_each(|file| cut(&mut file.text));
    files.insert(0, index(&files));
    files
}

fn index(files: &[SupportFile]) -> SupportFile {
    let mut text = "What palisade support-bundle found. It names namespaces, pods, policies, nodes and addresses; it has no \
                    manifests, no environment and no credentials.\n\n"
        .to_owned();
    for file in files {
        text += &format!("{:<16} {}\n", file.name, file.about);
    }
    SupportFile { name: "README.txt", about: "", text }
}

fn cut(text: &mut String) {
    if text.len() > MAX_FILE_BYTES {
        let whole = text.len();
        let mut end = MAX_FILE_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        *text += &format!("\n... cut at {MAX_FILE_BYTES} of {whole} bytes\n");
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string()) + "\n"
}

/// What the agent says.
fn asked(socket: &Path) -> Vec<SupportFile> {
    let client = Client::new(socket);
    let ask = |request| match client.request(&request) {
        Ok(Response::Support(_)) => String::new(),
        Ok(response) => json(&response),
        Err(error) => format!("{error}\n"),
    };
    let file = |name, about, text| SupportFile { name, about, text };
    let (metrics, log, command_line) = match client.request(&Request::Support) {
        Ok(Response::Support(support)) => {
            let Support { metrics, log, log_dropped, command_line } = *support;
            let head = format!("{log_dropped} earlier lines are not kept\n");
            (metrics, head + &log.join("\n") + "\n", json(&command_line))
        }
        Ok(other) => (json(&other), String::new(), String::new()),
        Err(error) => (format!("{error}\n"), String::new(), String::new()),
    };
    vec![
        file("status.json", "what palisade status -o json says", ask(Request::Status)),
        file(
            "verify.json",
            "how the kernel differs from the agent's program",
            ask(Request::Verify),
        ),
        file("metrics.txt", "what the agent measured", metrics),
        file("log.txt", "the last lines of the agent's log", log),
        file("agent.json", "the agent's command line", command_line),
    ]
}

/// Only what the tables hold: elements that are not understood are named by palisade verify.
fn tables() -> String {
    let read = || {
        let kernel = Kernel::open_without_owner()?;
        let dataplane = Dataplane::inspect(kernel, dataplane::Options::default())?;
        let (program, host) = (dataplane.found(), dataplane.host());
        let elements = |set| host.elements(set).collect();
        let text = render_on(&program, &elements, DenyAction::default()).to_string();
        Ok::<_, RulesetError>(text)
    };
    read().unwrap_or_else(|error| format!("# {error}\n"))
}

/// The name of an archive that is written now.
pub fn file_name() -> PathBuf {
    format!("palisade-support-{}.tar.gz", seconds()).into()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Writes the files as one compressed archive.
///
/// # Errors
///
/// Those of the writer.
pub fn write(files: &[SupportFile], to: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
    let now = seconds();
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(
            &mut header,
            format!("{DIRECTORY}/{}", file.name),
            file.text.as_bytes(),
        )?;
    }
    archive.into_inner()?.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_long_is_cut_between_characters_and_says_so() {
        let mut short = "whole".to_owned();
        cut(&mut short);
        assert_eq!(short, "whole");
        let mut long = "x".repeat(MAX_FILE_BYTES - 1) + "ää";
        let whole = long.len();
        cut(&mut long);
        assert!(long.ends_with(&format!("x\n... cut at {MAX_FILE_BYTES} of {whole} bytes\n")));
    }
}
