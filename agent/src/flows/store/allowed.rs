//! Allowed connections in the store: many at a time.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use palisade_compiler::model::Protocol;

use super::{FlowStore, State};
use crate::explanation::family_name;
use crate::flows::flow::{Flow, FlowVerdict, NamedJudgement, ServiceAddress, Traffic};
use crate::flows::observation::FlowKey;

/// Connections of one kind that began or ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::flows) struct Connections {
    pub(in crate::flows) opened: u64,
    pub(in crate::flows) first: Timestamp,
    pub(in crate::flows) last: Timestamp,
    pub(in crate::flows) at: Instant,
    /// What those carried that ended.
    pub(in crate::flows) traffic: Traffic,
}

impl FlowStore {
    /// Whether there is a flow that was judged at this revision.
    pub(in crate::flows) fn is_judged(&self, key: &FlowKey, revision: u64) -> bool {
        let state = self.state();
        [&state.allowed, &state.divergences]
            .into_iter()
            .filter_map(|ring| ring.get(key))
            .any(|flow| flow.judgement.revision == Some(revision))
    }

    /// Adds what ended connections carried to their flow, if there is one.
    pub(in crate::flows) fn add_traffic(&self, key: &FlowKey, connections: &Connections) {
        self.change(key, connections, |flow| flow.traffic.add(&connections.traffic));
    }

    /// Adds to the flow connections that began and ended.
    pub(in crate::flows) fn repeat_allowed(&self, key: &FlowKey, connections: &Connections) {
        self.change(key, connections, |flow| {
            flow.count += connections.opened;
            flow.last_seen = connections.last.to_string();
            flow.traffic.add(&connections.traffic);
            self.hits.count_allowed(flow, connections.opened, connections.last);
        });
    }

    fn change(&self, key: &FlowKey, connections: &Connections, change: impl FnOnce(&mut Flow)) {
        let mut state = self.state();
        let State { allowed, divergences, .. } = &mut *state;
        let Some(ring) = [allowed, divergences].into_iter().find(|ring| ring.get(key).is_some())
        else {
            return;
        };
        ring.touch(key, change);
        state.emit_later(*key, connections.at);
    }

    /// Notes connections that were judged anew. What repeats have in common their flow keeps from before.
    pub(in crate::flows) fn put_allowed(
        &self,
        key: FlowKey,
        connections: &Connections,
        judged: NamedJudgement,
    ) {
        let mut state = self.state();
        let id = state.next_id;
        let State { allowed, divergences, counts, .. } = &mut *state;
        let is_divergence = judged.judgement.divergence.is_some();
        let ring = if is_divergence { divergences } else { allowed };
        let known = ring.get(&key).cloned();
        let mut flow = flow(&key, connections, judged, id);
        self.hits.count_allowed(&flow, connections.opened, connections.last);
        if let Some(known) = &known {
            (flow.id, flow.count) = (known.id, known.count + flow.count);
            flow.first_seen.clone_from(&known.first_seen);
            flow.traffic.add(&known.traffic);
        }
        let is_new = known.is_none_or(|known| known.judgement != flow.judgement);
        let forgotten = ring.insert(key, flow.clone());
        counts.allowed.lost.forgotten += forgotten;
        counts.divergences += u64::from(is_divergence && is_new);
        state.next_id += 1;
        if is_new {
            state.emit(&Arc::new(flow));
        } else {
            state.emit_later(key, connections.at);
        }
    }
}

fn flow(key: &FlowKey, connections: &Connections, judged: NamedJudgement, id: u64) -> Flow {
    let connection = key.connection;
    let has_ports = Protocol::from_number(connection.protocol).is_some();
    Flow {
        id,
        verdict: FlowVerdict::Allow,
        direction: key.direction.into(),
        first_seen: connections.first.to_string(),
        last_seen: connections.last.to_string(),
        count: connections.opened,
        family: family_name(&connection).to_owned(),
        from: judged.from,
        to: judged.to,
        protocol: connection.protocol,
        port: has_ports.then_some(connection.port),
        service: key.service.map(|(address, port)| ServiceAddress {
            address: address.to_string(),
            port: has_ports.then_some(port),
            name: judged.services.translated,
        }),
        inferred_services: Vec::new(),
        traffic: connections.traffic,
        judgement: judged.judgement,
    }
}

#[cfg(test)]
mod tests;
