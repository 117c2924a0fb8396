//! The entries of `from` and `to` that select pods: what they match.

use super::code::Code;
use super::entries::pod_entries;
use super::finding::{Finding, Report};
use super::near::Near;
use super::survey::{Kind, Survey};
use super::words::{self, finding};
use crate::model::{NAMESPACE_NAME_LABEL, Namespaces, Operator, Peer, Policy, Selector};

pub(super) fn check<'s>(survey: &Survey<'s>, near: &Near, policy: &'s Policy, report: &mut Report) {
    for each in pod_entries(policy) {
        let (field, namespaces, pods) = (each.field(), each.namespaces, each.pods);
        let entry = Entry { survey, near, policy, field, namespaces, pods };
        if let Some(found) = entry.check(each.peers) {
            report.add_to(policy, found);
        }
    }
}

/// Entries that select namespaces and that one of their rule is compared with.
const MOST_BESIDE: usize = 64;

/// The pods that selectors match, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Matched {
    Nothing,
    /// Only on the host's network, where selectors do not reach them.
    Hosts,
    /// Pods with an identity, or pods that have ended: the labels are right.
    Pods,
}

fn matched<'k>(kinds: impl Iterator<Item = &'k Kind<'k>>) -> Matched {
    let mut most = Matched::Nothing;
    for kind in kinds {
        if kind.own > 0 || kind.hosts == 0 {
            return Matched::Pods;
        }
        most = Matched::Hosts;
    }
    most
}

/// An entry with selectors.
struct Entry<'a, 's> {
    survey: &'a Survey<'s>,
    near: &'a Near,
    policy: &'s Policy,
    field: String,
    namespaces: &'s Namespaces,
    pods: &'s Selector,
}

impl<'s> Entry<'_, 's> {
    fn finding(&self, code: Code, message: &str) -> Finding {
        finding(code, self.policy, self.field.clone(), message)
    }

    /// `peers` are the entries that it stands among.
    fn check(&self, peers: &'s [Peer]) -> Option<Finding> {
        match self.namespaces {
            Namespaces::Own => self.check_own(peers),
            Namespaces::Selected(selector) => self.check_selected(selector),
        }
    }

    fn matched(&self) -> Matched {
        let kinds = self.survey.peers(&self.policy.key.namespace, self.namespaces, self.pods);
        matched(kinds.map(|(_, kind)| kind))
    }

    fn check_own(&self, peers: &'s [Peer]) -> Option<Finding> {
        let own = &self.policy.key.namespace;
        let here = self.survey.kinds_of(own);
        // Of a namespace without pods, the policy's subjects say it.
        if self.pods.requirements.is_empty() || here.is_empty() {
            return None;
        }
        match self.matched() {
            Matched::Pods => return None,
            Matched::Hosts => return Some(self.on_host_network()),
            Matched::Nothing => {}
        }
        if let Some(found) = self.or_for_and(peers) {
            return Some(found);
        }
        let selector = words::selector(self.pods);
        let message =
            format!("selects {selector} in the policy's own namespace {own}, where no pod matches");
        let here = self.survey.kinds.get(here).unwrap_or_default();
        let remedy = self.near.pods(self.pods, here.iter()).or_else(|| {
            let mut elsewhere = self.survey.select(self.survey.all_kinds(), self.pods);
            let pod = elsewhere.find(|(_, kind)| kind.own > 0)?.1.example;
            Some(format!(
                "{} has these labels: if it is meant, add a namespaceSelector for {NAMESPACE_NAME_LABEL}: {} to the same entry.",
                words::pod(pod),
                pod.namespace
            ))
        });
        Some(self.finding(Code::PeerMatchesNoPod, &message).with_remedy(remedy))
    }

    fn on_host_network(&self) -> Finding {
        let message = "matches only pods on the host's network, which no selector reaches";
        self.finding(Code::PeerOnHostNetwork, message)
    }

    /// Whether this entry would match together with one that selects namespaces.
    fn or_for_and(&self, peers: &'s [Peer]) -> Option<Finding> {
        let others = peers.iter().enumerate().filter_map(|(at, peer)| match peer {
            Peer::Pods { namespaces: Namespaces::Selected(selector), pods }
                if pods.requirements.is_empty() && !selector.requirements.is_empty() =>
            {
                Some((at, selector))
            }
            Peer::Pods { .. } | Peer::Block(_) => None,
        });
        let (at, selector) = others.take(MOST_BESIDE).find(|(_, selector)| {
            let there = self.survey.namespaces_matching(selector);
            let kinds = self.survey.in_namespaces(&there, self.pods);
            matched(kinds.map(|(_, kind)| kind)) == Matched::Pods
        })?;
        let message = format!(
            "selects {} in the policy's own namespace, where no pod matches; the entry {at} beside it allows every pod of the namespaces with {}",
            words::selector(self.pods),
            words::selector(selector)
        );
        Some(self.finding(Code::OrForAnd, &message))
    }

    fn check_selected(&self, selector: &'s Selector) -> Option<Finding> {
        let there = self.survey.namespaces_matching(selector);
        if there.is_empty() {
            return Some(self.no_namespace(selector));
        }
        let views = there.iter().filter_map(|at| self.survey.namespaces.get(*at));
        if views.clone().all(|view| view.kinds.is_empty()) {
            let names = words::some_of(views.map(|view| view.name), there.len());
            let message = format!("selects pods of namespaces without pods ({names})");
            return Some(self.finding(Code::PeerNamespacesHaveNoPods, &message));
        }
        match self.matched() {
            Matched::Pods => None,
            Matched::Hosts => Some(self.on_host_network()),
            Matched::Nothing => Some(self.no_pod_there(selector)),
        }
    }

    fn no_namespace(&self, selector: &'s Selector) -> Finding {
        let known = self.survey.namespaces.iter().filter_map(|view| view.declared);
        let labels = known.map(|namespace| (namespace.name.as_ref(), &*namespace.labels));
        let suggestion = self.near.namespaces(selector, labels);
        let is_by_name = selector.requirements.iter().any(|requirement| {
            *requirement.key == *NAMESPACE_NAME_LABEL
                && matches!(requirement.operator, Operator::In(_))
        });
        let text = words::selector(selector);
        // Who gives a part of the cluster names namespaces that are not in it.
        if is_by_name && suggestion.is_none() {
            let message = format!("selects pods of a namespace that is not known ({text})");
            return self.finding(Code::PeerNamespacesHaveNoPods, &message);
        }
        let message = format!("has a namespaceSelector that matches no namespace ({text})");
        self.finding(Code::PeerMatchesNoNamespace, &message).with_remedy(suggestion)
    }

    fn no_pod_there(&self, selector: &'s Selector) -> Finding {
        let (namespaces, pods) = (words::selector(selector), words::selector(self.pods));
        let own = self.survey.kinds_of(&self.policy.key.namespace);
        let in_own = self.survey.select(own, self.pods).map(|(_, kind)| kind);
        if !selector.requirements.is_empty() && matched(in_own) == Matched::Pods {
            let message = format!(
                "needs the pod label {pods} and a namespace with {namespaces}: no pod has both, but pods of the policy's own namespace have \
                 the labels"
            );
            return self.finding(Code::AndForOr, &message);
        }
        let message =
            format!("selects {pods} in namespaces with {namespaces}, where no pod matches");
        let there = self.survey.namespaces_matching(selector);
        let everything = Selector::everything();
        let kinds = self.survey.in_namespaces(&there, &everything).map(|(_, kind)| kind);
        let suggestion = self.near.pods(self.pods, kinds);
        self.finding(Code::PeerMatchesNoPod, &message).with_remedy(suggestion)
    }
}
