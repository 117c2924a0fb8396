use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::check::access;
use super::input::Node;
use super::output::note;
use super::{Exit, Failure};
use crate::check::{ClusterOptions, Options};
use crate::socket::DEFAULT;
use crate::support_bundle::{collect, file_name, write};

/// Stands for standard output.
const STDOUT: &str = "-";

/// Write one archive for a bug report
///
/// It has what palisade check, status and verify say, what was measured, the last lines of the agent's log and its command line,
/// the tables as the kernel holds them, the names of all chains, interfaces with the programs attached to them, routes,
/// addresses, and sysctls that matter. It names namespaces, pods, policies, nodes and addresses. It has no manifests (so no
/// Secrets), no environment and no credentials. It is there as well where no agent answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  palisade support-bundle
  kubectl -n kube-system exec ds/palisade -- palisade support-bundle -o - > bundle.tar.gz")]
pub(super) struct Args {
    /// The archive to write, - for standard output. Without it, palisade-support-SECONDS.tar.gz in the current directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How palisade check reaches the API server
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    node: Node,
    /// Where the agent answers
    #[arg(long, value_name = "PATH", default_value = DEFAULT)]
    socket: PathBuf,
}

pub(super) fn execute(args: &Args) -> Result<Exit, Failure> {
    let cluster = ClusterOptions {
        access: access(args.kubeconfig.clone()),
        node: args.node.node_name.clone(),
        pod_cidrs: Vec::new(),
    };
    let options = Options { socket: args.socket.clone(), cluster };
    let path = args.output.clone().unwrap_or_else(file_name);
    let failed = |error| Failure::Io { what: path.display().to_string(), error };
    if path == Path::new(STDOUT) {
        write(&collect(&options), io::stdout().lock()).map_err(failed)?;
        return Ok(Exit::Done);
    }
    // What is there is not overwritten, and only its owner reads the archive.
    let mut creation = File::options();
    let file = creation.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let files = collect(&options);
    write(&files, BufWriter::new(file)).map_err(failed)?;
    note(format_args!(
        "wrote {} ({} files); look at it before you pass it on",
        path.display(),
        files.len()
    ));
    Ok(Exit::Done)
}
