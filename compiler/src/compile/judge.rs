//! Verdicts read off the matrix: as the program gives them, for every pod, with the policies and rules behind them.

use std::net::IpAddr;

use super::compiler::Compiler;
use super::groups::Group;
use super::ids::{PolicyId, at};
use crate::model::{Connection, Direction, Family, PolicyKey, Verdict};
use crate::oracle::{Decision, DirectionDecision, Reason, RuleRef};

impl Compiler {
    /// The verdict on a connection, by the classes and groups that the program is made of: quick for any number of pods.
    /// Judges the ends that are local; see `Compiler::judging` for all.
    pub fn judge(&self, connection: &Connection) -> Decision {
        let egress = self.judge_direction(connection, Direction::Egress);
        let ingress = self.judge_direction(connection, Direction::Ingress);
        let verdict = egress.verdict.and(ingress.verdict);
        Decision { egress, ingress, verdict }
    }

    fn judge_direction(&self, connection: &Connection, direction: Direction) -> DirectionDecision {
        let (subject, peer) = match direction {
            Direction::Egress => (connection.from, connection.to),
            Direction::Ingress => (connection.to, connection.from),
        };
        let reason = self.reason(connection, direction, subject, peer);
        let verdict = match reason {
            Reason::Denied { .. } => Verdict::Deny,
            Reason::NotAPod
            | Reason::NotIsolated
            | Reason::Allowed { .. }
            | Reason::OwnNode
            | Reason::Itself => Verdict::Allow,
        };
        DirectionDecision { verdict, reason }
    }

    fn reason(
        &self,
        connection: &Connection,
        direction: Direction,
        subject: IpAddr,
        peer: IpAddr,
    ) -> Reason {
        let owner = self.snapshot.owner_id(subject);
        let Some((id, pod)) = owner.and_then(|id| Some((id, self.snapshot.pod(id)?))) else {
            return Reason::NotAPod;
        };
        if subject == peer {
            return Reason::Itself;
        }
        if self.snapshot.is_own_node(pod, peer) {
            return Reason::OwnNode;
        }
        let [ingress, egress] = self.subjects.groups_of(id);
        let group = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        let Some(group) = group.and_then(|group| self.groups.get(group)) else {
            return Reason::NotIsolated;
        };
        let by = self.allowing(group, connection, peer);
        if by.is_empty() {
            let keys = group.key.policies.iter().filter_map(|&id| self.policy_key(id));
            let mut isolated_by: Vec<PolicyKey> = keys.cloned().collect();
            isolated_by.sort_unstable();
            return Reason::Denied { isolated_by };
        }
        Reason::Allowed { by }
    }

    fn allowing(&self, group: &Group, connection: &Connection, peer: IpAddr) -> Vec<RuleRef> {
        let family = Family::of(peer);
        let class = self.program.family(family).class_of(peer);
        let state = self.families.get(at(family));
        let signature = state.and_then(|state| state.classes.signature(class));
        let items = signature.map_or(&[][..], |signature| signature);
        let mut by: Vec<RuleRef> = group
            .contributions_for(items, family, &self.sets)
            .filter(|(_, _, ports)| ports.contains(connection.protocol, connection.port))
            .filter_map(|(policy, contribution, _)| {
                let policy = self.policy_key(policy)?.clone();
                let (direction, rule) = (group.key.direction, contribution.rule);
                Some(RuleRef { policy, direction, rule })
            })
            .collect();
        by.sort_unstable();
        by.dedup();
        by
    }

    fn policy_key(&self, id: PolicyId) -> Option<&PolicyKey> {
        self.subjects.policies().get(id).map(|indexed| &indexed.policy.key)
    }
}
