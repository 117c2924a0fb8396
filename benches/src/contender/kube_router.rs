//! `kube-router`: the engine itself, which watches a real API server that has the cluster.
//!
//! It does not acknowledge what it has done, so packets must show it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_compiler::model::Family;
use palisade_lab::{ApiClient, ApiServer, LabError, Namespace};

use super::engines::find;
use super::iptables::{Tools, try_in_namespace};
use super::{Contender, ContenderError, Edited, Loaded, families};
use crate::process::Process;
use crate::scenario::{Edit, EditWrites, Scenario};

const NAME: &str = "kube-router";
/// How long it may keep working after packets have shown an edit. Work after that is counted in the time of the next edit.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct KubeRouter {
    binary: PathBuf,
    version: String,
    /// The API server, until the engine is started.
    prepared: Option<Served>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    // Fields are dropped in this order: an engine without its API server would only report errors.
    process: Process,
    served: Served,
}

/// An API server that has a scenario's cluster.
#[derive(Debug)]
struct Served {
    scenario: Scenario,
    client: ApiClient,
    server: ApiServer,
}

impl Served {
    /// Starts the server in the network namespace of the calling thread.
    fn new(scenario: &Scenario) -> Result<Self, LabError> {
        let server = ApiServer::start(&Namespace::current()?)?;
        let client = server.client()?;
        scenario.write_to(&client)?;
        Ok(Self { scenario: scenario.clone(), client, server })
    }

    fn writes(&self, edit: &Edit) -> Result<EditWrites, ContenderError> {
        self.scenario.writes(edit).ok_or(ContenderError::NoRequest(edit.kind))
    }
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
        palisade_lab::assets().map_err(|error| error.to_string())?;
        let output = Command::new(&binary).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{}: {error}", binary.display()))?;
        let text = [output.stdout, output.stderr].concat();
        let version = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        if !output.status.success() {
            return Err(format!("{} --version: {}: {version}", binary.display(), output.status));
        }
        // The text before the version contains the path of the binary.
        let version = version.find("version").and_then(|at| version.get(at..)).unwrap_or(&version);
        Ok(Self { binary, version: version.trim().to_owned(), prepared: None, running: None })
    }

    fn command(&self, scenario: &Scenario, kubeconfig: &Path) -> Command {
        let services: &[&str] = match families(scenario).as_slice() {
            [Family::V4] => &["--service-cluster-ip-range=10.96.0.0/12"],
            _ => &["--enable-ipv6", "--service-cluster-ip-range=10.96.0.0/12,fd01::/112"],
        };
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
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

    fn prepare(&mut self, scenario: &Scenario) -> Result<(), ContenderError> {
        self.prepared = Some(Served::new(scenario)?);
        Ok(())
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        self.running = None;
        let served = match self.prepared.take() {
            Some(served) => served,
            None => Served::new(scenario)?,
        };
        let command = self.command(scenario, &served.server.admin_kubeconfig());
        let started = Instant::now();
        let process = Process::start(command)
            .map_err(|source| ContenderError::Tool { tool: NAME, source })?;
        self.running = Some(Running { process, served });
        Ok(Loaded { elapsed: started.elapsed(), ..Loaded::default() })
    }

    /// A pod is created without an address. The engine has dealt with it when this returns.
    fn prepare_edit(&mut self, edit: &Edit) -> Result<(), ContenderError> {
        let served = &self.running()?.served;
        let Some(before) = served.writes(edit)?.before else { return Ok(()) };
        served.client.write_all([before])?;
        self.idle()
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let served = &self.running()?.served;
        let write = served.writes(edit)?.edit;
        let started = Instant::now();
        served.client.write_all([write])?;
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
