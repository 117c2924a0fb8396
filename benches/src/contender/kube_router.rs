//! `kube-router`: the engine itself, with an API server that serves the cluster to it.
//!
//! It does not acknowledge what it has done, so packets must show it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_compiler::model::Family;
use palisade_compiler::snapshot::Change;

use super::engines::find;
use super::iptables::{Tools, try_in_namespace};
use super::{Contender, ContenderError, Edited, Loaded, families};
use crate::api_server::ApiServer;
use crate::process::Process;
use crate::scenario::{Edit, Scenario};

const NAME: &str = "kube-router";
/// How long it may keep working after packets have shown an edit. Work after that is counted in the time of the next edit.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct KubeRouter {
    binary: PathBuf,
    version: String,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    // Fields are dropped in this order: an engine without its API server would only report errors.
    process: Process,
    server: ApiServer,
}

impl KubeRouter {
    /// # Errors
    /// Why it cannot be used on this machine.
    pub fn on_path() -> Result<Self, String> {
        Self::at(find(NAME).ok_or_else(|| format!("there is no {NAME} on PATH"))?)
    }

    /// # Errors
    /// Why this binary cannot be used.
    pub fn at(binary: PathBuf) -> Result<Self, String> {
        Tools::find()?;
        try_in_namespace("ipset", &["create", "probe", "hash:ip"])?;
        let output = Command::new(&binary).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let version = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        if !output.status.success() {
            return Err(format!("{} --version: {}: {version}", binary.display(), output.status));
        }
        // The text before the version contains the path of the binary.
        let version = version.find("version").and_then(|at| version.get(at..)).unwrap_or(&version);
        Ok(Self { binary, version: version.trim().to_owned(), running: None })
    }

    fn command(&self, scenario: &Scenario, server: SocketAddr) -> Command {
        let services: &[&str] = match families(scenario).as_slice() {
            [Family::V4] => &["--service-cluster-ip-range=10.96.0.0/12"],
            _ => &["--enable-ipv6", "--service-cluster-ip-range=10.96.0.0/12,fd01::/112"],
        };
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--master=http://{server}"))
            .arg(format!("--hostname-override={}", Scenario::node()))
            .args(["--run-firewall=true", "--run-router=false", "--run-service-proxy=false"])
            .arg("--health-port=0")
            .args(services)
            // It looks here before it considers the host name override.
            .env("NODE_NAME", &*Scenario::node());
        command
    }

    fn running(&self) -> Result<&Running, ContenderError> {
        let running = self.running.as_ref().ok_or(ContenderError::NotLoaded)?;
        match running.process.ended() {
            None => Ok(running),
            Some(status) => {
                let output = running.process.last_output();
                Err(ContenderError::Ended { engine: NAME, status, output })
            }
        }
    }
}

impl Contender for KubeRouter {
    fn name(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!(
            "the engine itself (it says: {}), its firewall alone, which watches an API server in its namespace; timed by packets alone",
            self.version
        )
    }

    fn acknowledges(&self) -> bool {
        false
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        self.running = None;
        let nodes = scenario.nodes().into_iter().map(Change::ApplyNode);
        let server = ApiServer::start(nodes.chain(scenario.changes()))?;
        let command = self.command(scenario, server.address());
        let started = Instant::now();
        let process = Process::start(command)
            .map_err(|source| ContenderError::Tool { tool: NAME, source })?;
        self.running = Some(Running { process, server });
        Ok(Loaded { elapsed: started.elapsed(), ..Loaded::default() })
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let change = edit.change.clone();
        let started = Instant::now();
        self.running()?.server.apply(change);
        Ok(Edited { elapsed: started.elapsed(), ..Edited::default() })
    }

    /// Waits until the engine is idle, so that the next measurement does not include the work of the previous one.
    fn idle(&mut self) -> Result<(), ContenderError> {
        if !self.running()?.process.wait_until_idle(IDLE_PATIENCE) {
            return Err(ContenderError::NotIdle { engine: NAME, patience: IDLE_PATIENCE });
        }
        self.running().map(drop)
    }

    fn resident(&self) -> Option<u64> {
        self.running.as_ref()?.process.resident()
    }

    fn check_alive(&self) -> Result<(), ContenderError> {
        self.running().map(drop)
    }

    fn last_output(&self) -> Option<String> {
        self.running.as_ref().map(|running| running.process.last_output())
    }
}
