//! Where fields of objects stand, for those who find something about an object after it was read.
//!
//! Models keep no places. A source is read once more, and what is asked for is found as the places of diagnostics are.

use std::collections::HashMap;

use super::decoding::decode;
use super::diagnostic::{ObjectRef, Place};
use super::locate;
use super::output::Settings;
use super::path::Step;
use super::report::{Report, Spot};
use super::stream;

/// The places of fields in a source, in the order in which they are asked for: of a field as diagnostics name it
/// (`spec.ingress[0].from[1]`), or of the object. Of a field that is not there, it is the place of the innermost one on the way to
/// it; `None` where the source does not declare the object. Of an object that stands twice, the first counts.
pub fn places(
    source: &str,
    bytes: &[u8],
    settings: &Settings,
    sought: &[(&ObjectRef, Option<&str>)],
) -> Vec<Option<Place>> {
    let Ok(text) = decode(bytes) else { return vec![None; sought.len()] };
    let mut report = Report::new(source, &text);
    report.sought = Some(Sought::new(sought));
    let mut report = stream::read_text(report, &text, settings, &mut |_| {});
    let found = report.sought.take().map(|sought| sought.found).unwrap_or_default();
    found.into_iter().map(|spot| Some(report.place(spot?))).collect()
}

/// Fields that are asked for, and where they were found.
pub(super) struct Sought {
    /// By object, the numbers of the questions, and the steps from the object to the field.
    by_object: HashMap<ObjectRef, Vec<(usize, Vec<Step>)>>,
    found: Vec<Option<Spot>>,
    /// Of the document that is being read, with the steps from its root.
    unplaced: Vec<(usize, Vec<Step>)>,
}

impl Sought {
    fn new(sought: &[(&ObjectRef, Option<&str>)]) -> Self {
        let mut by_object: HashMap<ObjectRef, Vec<_>> = HashMap::new();
        for (number, (object, field)) in sought.iter().enumerate() {
            let steps = field.map(steps).unwrap_or_default();
            by_object.entry((*object).clone()).or_default().push((number, steps));
        }
        Self { by_object, found: vec![None; sought.len()], unplaced: Vec::new() }
    }

    /// An object is read, which stands at the end of these steps from the root of the document.
    pub(super) fn meet(&mut self, object: &ObjectRef, spot: Spot, items: &[Step]) {
        for (number, field) in self.by_object.remove(object).unwrap_or_default() {
            self.found.get_mut(number).into_iter().for_each(|found| *found = Some(spot));
            let steps = [items, &field].concat();
            if !steps.is_empty() {
                self.unplaced.push((number, steps));
            }
        }
    }

    /// `document` is the text of the document that ends, and `base` is where it begins, in bytes.
    pub(super) fn end_document(&mut self, document: &str, number: usize, base: usize) {
        let unplaced = std::mem::take(&mut self.unplaced);
        if unplaced.is_empty() {
            return;
        }
        let paths: Vec<&[Step]> = unplaced.iter().map(|(_, steps)| &**steps).collect();
        let offsets = locate::offsets(document, &paths);
        for ((at, _), offset) in unplaced.iter().zip(offsets) {
            let spot = offset.map(|offset| Spot { document: number, offset: Some(base + offset) });
            if let Some((found, spot)) = self.found.get_mut(*at).zip(spot) {
                *found = Some(spot);
            }
        }
    }
}

/// The steps of a field as `Path` displays it. What is not written so ends the way there.
fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let Some((inside, after)) = after.split_once(']') else { break };
            let quoted = inside.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
            match (quoted, inside.parse()) {
                (Some(key), _) => steps.push(Step::Key(key.into())),
                (None, Ok(item)) => steps.push(Step::Item(item)),
                (None, Err(_)) => break,
            }
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (key, after) = name.split_at_checked(end).unwrap_or((name, ""));
        if key.is_empty() {
            break;
        }
        steps.push(Step::Key(key.into()));
        rest = after;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, namespace: &str, name: &str) -> ObjectRef {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        ObjectRef { kind: kind.to_owned(), namespace, name: name.to_owned() }
    }

    #[test]
    fn fields_are_found_in_documents_and_in_lists_of_either_syntax() {
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec:\n  podSelector: {}\n  ingress:\n  - from:\n    - podSelector: {}\n    - ipBlock:\n        cidr: 10.0.0.0/8\n";
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: x}}\n---\n{policy}");
        let (p, x, other) = (
            object("NetworkPolicy", "x", "p"),
            object("Namespace", "", "x"),
            object("Pod", "x", "p"),
        );
        let sought = [
            (&p, Some("spec.ingress[0].from[1].ipBlock")),
            (&p, None),
            (&x, Some("metadata.annotations")),
            (&other, None),
            (&p, Some("spec.ingress[7]")),
            (&p, Some("?[")),
        ];
        let lines = |text: &str| -> Vec<Option<usize>> {
            let found = places("in.yaml", text.as_bytes(), &Settings::default(), &sought);
            found.into_iter().map(|place| place.and_then(|place| place.line)).collect()
        };
        let expected = [Some(13), Some(5), Some(3), None, Some(10), Some(5)];
        assert_eq!(lines(&text), expected);
        let list = r#"{"kind": "List", "apiVersion": "v1", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "x"},
             "spec": {"podSelector": {},
              "ingress": [{"from": [
                {"podSelector": {}}, {
                 "ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}]}"#;
        let expected = [Some(7), Some(3), Some(2), None, Some(5), Some(3)];
        assert_eq!(lines(list), expected);
        assert_eq!(places("in.yaml", b"\xff", &Settings::default(), &sought), vec![None; 6]);
    }
}
