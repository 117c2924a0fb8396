//! What may have been meant by a word that nothing has.

use std::cell::Cell;

use super::survey::Kind;
use super::words;
use crate::model::{Labels, Operator, Requirement, Selector};
use crate::parse::names::distance;

/// Letters that a misspelt word may differ by.
const MOST_EDITS: usize = 2;
/// Label sets that are compared with one selector.
const MOST_COMPARED: usize = 1_000;
/// Values of one requirement that are compared with a label.
const MOST_VALUES: usize = 16;
/// Label sets that are compared in all. Beyond, nothing is suggested: input with that many wrong selectors has another problem.
const MOST_COMPARED_IN_ALL: usize = 500_000;

/// Looks for near words, within a bound.
#[derive(Debug)]
pub(super) struct Near {
    left: Cell<usize>,
}

impl Default for Near {
    fn default() -> Self {
        Self { left: Cell::new(MOST_COMPARED_IN_ALL) }
    }
}

impl Near {
    fn may_compare(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    /// Which labels of pods come so near to a selector that none of them meets that they were most likely meant, as a question.
    pub(super) fn pods<'k>(
        &self,
        selector: &Selector,
        kinds: impl Iterator<Item = &'k Kind<'k>>,
    ) -> Option<String> {
        let compared = kinds.take(MOST_COMPARED).take_while(|_| self.may_compare());
        let near = compared.filter_map(|kind| {
            let found = correction(selector, &kind.example.labels)?;
            Some((found, words::pod(kind.example)))
        });
        let (Correction { needed, .. }, pod) = near.min()?;
        Some(format!("Did you mean {needed}, as {pod} has?"))
    }

    /// The same for namespaces, by name and labels.
    pub(super) fn namespaces<'k>(
        &self,
        selector: &Selector,
        namespaces: impl Iterator<Item = (&'k str, &'k Labels)>,
    ) -> Option<String> {
        let compared = namespaces.take(MOST_COMPARED).take_while(|_| self.may_compare());
        let near =
            compared.filter_map(|(name, labels)| Some((correction(selector, labels)?, name)));
        let (Correction { needed, .. }, name) = near.min()?;
        Some(format!("Did you mean {needed}, as namespace {name} has?"))
    }
}

/// The nearer, the less.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Correction {
    edits: usize,
    /// The label that would have to be asked for.
    needed: String,
}

/// What to correct in a selector so that it matches: one requirement, by a few letters.
fn correction(selector: &Selector, labels: &Labels) -> Option<Correction> {
    let mut unmet = selector.requirements.iter().filter(|each| !each.matches(labels));
    let (Some(requirement), None) = (unmet.next(), unmet.next()) else { return None };
    let Requirement { key, operator } = requirement;
    match operator {
        Operator::In(values) => {
            let near = labels.iter().filter_map(|(own_key, own_value)| {
                let edits = values.iter().take(MOST_VALUES).filter_map(|value| {
                    if own_key == key {
                        edits(value, own_value)
                    } else if value == own_value {
                        edits(key, own_key)
                    } else {
                        None
                    }
                });
                let needed = format!("{own_key}={own_value}");
                Some(Correction { edits: edits.min()?, needed })
            });
            near.min()
        }
        Operator::Exists => {
            let near = labels.iter().filter_map(|(own, _)| {
                Some(Correction { edits: edits(key, own)?, needed: own.to_string() })
            });
            near.min()
        }
        Operator::NotIn(_) | Operator::DoesNotExist => None,
    }
}

/// How many letters to correct to make one word of the other, if it is so few that they may have been meant to be the same.
pub(super) fn edits(given: &str, there: &str) -> Option<usize> {
    if given.eq_ignore_ascii_case(there) {
        return Some(usize::from(given != there));
    }
    // Of a short word, two other letters leave nothing.
    let most = MOST_EDITS.min(given.len() / 3);
    if given.len().abs_diff(there.len()) > most {
        return None;
    }
    // Words that differ in their numbers are different things: of web-1 and web-2, or of v1 and v2, both are meant.
    let is_numbered = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    if is_numbered(given) && is_numbered(there) && without_digits(given) == without_digits(there) {
        return None;
    }
    Some(distance(given, there)).filter(|edits| *edits <= most)
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_near_that_differ_by_a_slip() {
        for (given, there, expected) in [
            ("frontend", "frontned", Some(1)),
            ("App", "app", Some(1)),
            ("kube-sytem", "kube-system", Some(1)),
            ("db", "api", None),
            ("web", "wob", Some(1)),
            ("we", "wa", None),
            ("web-1", "web-2", None),
            ("front", "back", None),
        ] {
            assert_eq!(edits(given, there), expected, "{given} {there}");
        }
    }
}
