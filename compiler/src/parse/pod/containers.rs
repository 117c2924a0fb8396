//! The containers of a pod: the names of their ports, and whether all of them have ended.

use std::collections::BTreeSet;

use crate::model::{self, Protocol};
use crate::parse::lenient::Lenient;
use crate::parse::names::{self, PORT_NAME_RULE};
use crate::parse::path::{OBJECT, Path};
use crate::parse::subject::{Reported, Subject};
use crate::parse::values::{PORT_REMEDY, PROTOCOL_REMEDY, port_number, protocol_named};
use crate::parse::wire::{Container, ContainerPort, ContainerState, ContainerStatus};

type List<T> = Lenient<Vec<Lenient<T>>>;

const SPEC: &Path<'static> = &Path::Field(OBJECT, "spec");
const STATUS: &Path<'static> = &Path::Field(OBJECT, "status");

/// The containers that run side by side, each with its number.
pub(super) struct Containers {
    ordinary: Vec<(usize, Container)>,
    /// Init containers that go on beside the others (`restartPolicy: Always`).
    restartable: Vec<(usize, Container)>,
}

impl Containers {
    pub(super) fn read(
        subject: &mut Subject<'_, '_>,
        containers: List<Container>,
        init_containers: List<Container>,
    ) -> Self {
        let path = SPEC.field("containers");
        let ordinary = subject.items(containers, &path);
        for (at, container) in &ordinary {
            let what = "a container";
            subject.misspelt(&path.item(*at), what, &container.unknown, &Container::FIELDS);
        }
        let path = SPEC.field("initContainers");
        let mut restartable = subject.items(init_containers, &path);
        restartable.retain_mut(|(at, container)| {
            let path = path.item(*at);
            subject.misspelt(&path, "an init container", &container.unknown, &Container::FIELDS);
            let policy = std::mem::take(&mut container.restart_policy);
            let policy = subject.read(policy, "a string", &path.field("restartPolicy"));
            policy.ok().flatten().as_deref() == Some("Always")
        });
        Self { ordinary, restartable }
    }

    pub(super) fn ports(self, subject: &mut Subject<'_, '_>) -> Vec<model::ContainerPort> {
        let mut ports = Vec::new();
        for (list, containers) in
            [("containers", self.ordinary), ("initContainers", self.restartable)]
        {
            let path = SPEC.field(list);
            for (at, container) in containers {
                let path = path.item(at);
                let path = path.field("ports");
                for (at, port) in subject.items(container.ports, &path) {
                    ports.extend(port_of(subject, port, &path.item(at)).ok().flatten());
                }
            }
        }
        ports
    }
}

fn port_of(
    subject: &mut Subject<'_, '_>,
    written: ContainerPort,
    path: &Path<'_>,
) -> Result<Option<model::ContainerPort>, Reported> {
    subject.misspelt(path, "a container port", &written.unknown, &ContainerPort::FIELDS);
    let field = path.field("name");
    let Some(name) = subject.read(written.name, "a string", &field)? else {
        let (protocol, number) = (&written.protocol, &written.container_port);
        return Ok(unnamed(protocol.as_known().map(AsRef::as_ref), number.as_known().copied()));
    };
    if !names::is_port_name(&name) {
        let message =
            format!("is {name:?}, which is not the name of a port; no rule will match it");
        return Err(subject.error(&field, message, PORT_NAME_RULE));
    }
    let field = path.field("protocol");
    let protocol = subject.read(written.protocol, "a string", &field)?;
    let protocol = match protocol.as_deref() {
        None => Protocol::Tcp,
        Some(given) => match protocol_named(given) {
            Some(protocol) => protocol,
            None => {
                let message = format!("is {given:?}, which is not a protocol of a container port");
                return Err(subject.error(&field, message, PROTOCOL_REMEDY));
            }
        },
    };
    let field = path.field("containerPort");
    let number = subject.read(written.container_port, "a number", &field)?;
    match number.and_then(port_number) {
        Some(port) => Ok(Some(model::ContainerPort { name: Some(name), protocol, port })),
        None if number.is_none() => Err(subject.error(&field, "is missing", PORT_REMEDY)),
        None => Err(subject.error(&field, "is not a port number", PORT_REMEDY)),
    }
}

/// No rule looks for a port without a name: what is wrong with it is left out.
fn unnamed(protocol: Option<&str>, number: Option<i64>) -> Option<model::ContainerPort> {
    let protocol = protocol.map_or(Some(Protocol::Tcp), protocol_named)?;
    Some(model::ContainerPort { name: None, protocol, port: port_number(number?)? })
}

/// What is known of the containers' states.
pub(super) struct Statuses {
    ordinary: Vec<(usize, ContainerStatus)>,
    init: Vec<(usize, ContainerStatus)>,
    ephemeral: Vec<(usize, ContainerStatus)>,
}

impl Statuses {
    pub(super) fn read(
        subject: &mut Subject<'_, '_>,
        containers: List<ContainerStatus>,
        init_containers: List<ContainerStatus>,
        ephemeral_containers: List<ContainerStatus>,
    ) -> Self {
        let mut list = |written: List<ContainerStatus>, field| {
            let path = STATUS.field(field);
            let statuses = subject.items(written, &path);
            for (at, status) in &statuses {
                let path = path.item(*at);
                let what = "the status of a container";
                subject.misspelt(&path, what, &status.unknown, &ContainerStatus::FIELDS);
                if let Some(state) = status.state.as_known() {
                    let path = path.field("state");
                    let what = "the state of a container";
                    subject.misspelt(&path, what, &state.unknown, &ContainerState::FIELDS);
                }
            }
            statuses
        };
        Self {
            ordinary: list(containers, "containerStatuses"),
            init: list(init_containers, "initContainerStatuses"),
            ephemeral: list(ephemeral_containers, "ephemeralContainerStatuses"),
        }
    }

    /// Whether every container that runs beside others has ended. One without a status may still run.
    pub(super) fn all_have_ended(&self, containers: &Containers) -> bool {
        let has_ended = |(_, status): &(usize, ContainerStatus)| {
            status.state.as_known().is_some_and(|state| state.terminated.as_known().is_some())
        };
        let ended: BTreeSet<_> =
            self.init.iter().filter(|s| has_ended(s)).filter_map(|s| s.1.name.as_known()).collect();
        let side_has_ended = |(_, container): &(usize, Container)| {
            container.name.as_known().is_some_and(|name| ended.contains(name))
        };
        !self.ordinary.is_empty()
            && self.ordinary.len() >= containers.ordinary.len()
            && self.ordinary.iter().all(has_ended)
            && self.ephemeral.iter().all(has_ended)
            && containers.restartable.iter().all(side_has_ended)
    }
}
