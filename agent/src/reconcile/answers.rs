//! The loop's answers: to clients, and to the recorder of flows.

use std::time::Instant;

use super::Reconciler;
use crate::connection::Question;
use crate::explanation::explain;
use crate::flows::judgement::Evidence;
use crate::flows::observation::Judged;
use crate::inbox::{Look, View};
use crate::pod_list::PodList;
use crate::protocol::{MAX_LISTED, Request, Response, Verified};

impl Reconciler<'_> {
    /// Has packets or connections judged by what is in force.
    pub(super) fn judge<T>(&self, by: impl FnOnce(Evidence<'_>) -> Vec<T>) -> Judged<T> {
        if self.report.enforced_revision().is_none() {
            return Judged::NotYet;
        }
        let began = Instant::now();
        let evidence = Evidence {
            compiler: &self.compiler,
            revision: self.report.revision,
            revisions: self.report.revisions(),
            pending: &self.behind.delta,
        };
        let judgements = by(evidence);
        Judged::Each { judgements, took: began.elapsed() }
    }

    /// Has somebody look at what is in force. Where there is nothing yet, the look is dropped.
    pub(super) fn show(&self, look: Look) {
        if self.begun {
            let (snapshot, revision) = (self.compiler.snapshot(), self.report.revision);
            look.at(View { snapshot, revision, node: self.node.as_deref() });
        }
    }

    pub(super) fn answer(&mut self, request: Request) -> Response {
        if !self.begun {
            let reason = self.in_sync.as_ref().err().cloned();
            return Response::NotReady { reason: reason.unwrap_or_else(|| self.report.why_not()) };
        }
        match request {
            Request::Status => Response::Status(Box::new(self.report.status())),
            Request::Explain { from, to, protocol, port } => {
                let question = Question { from, to, protocol, port };
                match explain(&self.compiler, &question, self.node.as_deref()) {
                    Ok(explanation) => Response::Explanation(Box::new(explanation)),
                    Err(reason) => Response::Bad { reason },
                }
            }
            Request::Verify => self.verify(),
            Request::Pods => {
                let (snapshot, locality) = (self.compiler.snapshot(), self.compiler.locality());
                Response::Pods(Box::new(PodList::of(snapshot, self.report.revision, locality)))
            }
            Request::Lint => {
                let found = self.linting.findings(&self.compiler, self.report.flows());
                Response::Findings(Box::new(found))
            }
            Request::Support | Request::Observe(_) | Request::WhatIf(_) => {
                Response::Bad { reason: "the socket answers that without the loop".to_owned() }
            }
        }
    }

    fn verify(&mut self) -> Response {
        if !self.enforcer.is_in_step() {
            return Response::NotReady { reason: self.report.why_not() };
        }
        let began = Instant::now();
        let differences = match self.enforcer.verify(&self.compiler) {
            Ok(differences) => differences,
            Err(error) => {
                self.report.metrics().failed(&error);
                return Response::Failed { reason: error.to_string() };
            }
        };
        self.report.checked(began, &differences);
        palisade_heap::return_unused();
        if !differences.is_empty() {
            // The answer says what was found; the next turn heals it.
            self.enforcer.lose_step();
            self.backoff.retry_now(Instant::now());
        }
        Response::Verified(Verified {
            source_guard: self.enforcer.known_sources().notes(),
            revision: self.report.revision,
            elements: self.compiler.stats().elements,
            count: differences.len(),
            differences: differences.iter().take(MAX_LISTED).map(ToString::to_string).collect(),
            not_enforced: self.enforcer.not_enforced(),
        })
    }
}
