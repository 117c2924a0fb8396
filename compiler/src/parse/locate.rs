//! Where the nodes of a document stand in its text.
//!
//! Reading keeps no positions, since nearly all documents have nothing wrong with them. Where one has, its text is scanned
//! once more here, for all its diagnostics together. JSON is scanned as YAML, which it is a subset of.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::path::Step;

/// A node of a document: a value in a map or in a list, or the root.
struct Node {
    /// How many lists and maps it stands in.
    depth: usize,
    /// The step from the list or map that it stands in. The root has none.
    step: Option<Step>,
    /// Where its key begins, or, in a list, where it begins itself. In bytes.
    offset: usize,
    /// Whether nothing is written there at all.
    empty: bool,
}

enum Frame {
    /// A map, with the key whose value comes next and where it begins.
    Map(Option<(Box<str>, usize)>),
    /// A list, with the number of its items so far.
    List(usize),
}

/// The nodes of a document in the order of the text, up to its end or to the first error of syntax.
struct Nodes<'t> {
    events: Parser<'t, StrInput<'t>>,
    open: Vec<Frame>,
}

impl<'t> Nodes<'t> {
    fn new(document: &'t str) -> Self {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
        };
        let events = Parser::new_from_str_with_options(document, options);
        Self { events, open: Vec::new() }
    }

    /// The step to the node that begins here and where it begins, or `None` for the key of a map, which is no node.
    fn enter(&mut self, begin: usize) -> Option<(Option<Step>, usize)> {
        match self.open.last_mut() {
            None => Some((None, begin)),
            Some(Frame::List(items)) => {
                *items += 1;
                Some((Some(Step::Item(*items - 1)), begin))
            }
            Some(Frame::Map(key)) => key.take().map(|(key, at)| (Some(Step::Key(key)), at)),
        }
    }

    /// Skips the rest of a list or map that is the key of a map.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.events.next()?.ok()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    fn set_key(&mut self, key: &str, begin: usize) {
        if let Some(Frame::Map(next)) = self.open.last_mut() {
            *next = Some((key.into(), begin));
        }
    }
}

fn begin(span: &Span) -> usize {
    span.start.byte_offset().unwrap_or_default()
}

impl Iterator for Nodes<'_> {
    type Item = Node;

    fn next(&mut self) -> Option<Node> {
        loop {
            let (event, span) = self.events.next()?.ok()?;
            let (frame, empty) = match &event {
                Event::MappingStart(..) => (Some(Frame::Map(None)), false),
                Event::SequenceStart(..) => (Some(Frame::List(0)), false),
                Event::Scalar(_, style, _, tag) => {
                    let empty = *style == ScalarStyle::Plain && span.is_empty() && tag.is_none();
                    (None, empty)
                }
                Event::Alias(_) | Event::UnresolvedAlias(_) => (None, false),
                Event::MappingEnd | Event::SequenceEnd => {
                    self.open.pop();
                    continue;
                }
                Event::DocumentEnd => return None,
                _ => continue,
            };
            let depth = self.open.len();
            match (self.enter(begin(&span)), frame) {
                (Some((step, offset)), frame) => {
                    self.open.extend(frame);
                    return Some(Node { depth, step, offset, empty });
                }
                (None, Some(_)) => {
                    self.skip()?;
                    self.set_key("", begin(&span));
                }
                (None, None) => {
                    let key = event.scalar().map_or("", |(text, _)| text);
                    self.set_key(key, begin(&span));
                }
            }
        }
    }
}

/// Nodes that are looked for, by the steps to them.
#[derive(Default)]
struct Sought {
    inside: BTreeMap<Step, usize>,
    offset: Option<usize>,
}

/// Where the nodes with these paths begin, each in bytes from the beginning of the document. Of a node that is not there,
/// the place is that of the innermost one on the way to it that is.
pub(super) fn offsets(document: &str, paths: &[&[Step]]) -> Vec<Option<usize>> {
    let mut tree = vec![Sought::default()];
    for path in paths {
        let mut at = 0;
        for step in *path {
            at = child(&tree, at, step).unwrap_or_else(|| {
                let new = tree.len();
                tree.push(Sought::default());
                if let Some(parent) = tree.get_mut(at) {
                    parent.inside.insert(step.clone(), new);
                }
                new
            });
        }
    }
    let mut left = tree.len();
    // The sought node for each open list and map; `None` where nothing in it is sought.
    let mut open: Vec<Option<usize>> = Vec::new();
    for node in Nodes::new(document) {
        open.truncate(node.depth);
        let sought = match (&node.step, open.last()) {
            (None, _) => Some(0),
            (Some(step), Some(&Some(parent))) => child(&tree, parent, step),
            (Some(_), _) => None,
        };
        if let Some(found) = sought.and_then(|at| tree.get_mut(at))
            && found.offset.is_none()
        {
            found.offset = Some(node.offset);
            left -= 1;
        }
        open.push(sought);
        if left == 0 {
            break;
        }
    }
    paths.iter().map(|path| innermost(&tree, path)).collect()
}

fn child(tree: &[Sought], parent: usize, step: &Step) -> Option<usize> {
    tree.get(parent)?.inside.get(step).copied()
}

fn innermost(tree: &[Sought], path: &[Step]) -> Option<usize> {
    let (mut at, mut offset) = (0, None);
    for step in path {
        at = child(tree, at, step)?;
        match tree.get(at).and_then(|sought| sought.offset) {
            Some(found) => offset = Some(found),
            None => break,
        }
    }
    offset
}

/// Where a map has this key for the second time, in bytes.
pub(super) fn second_key(document: &str, key: &str) -> Option<usize> {
    // For each open list and map: whether the key was in it.
    let mut had: Vec<bool> = Vec::new();
    for node in Nodes::new(document) {
        had.truncate(node.depth);
        if node.step.is_some_and(|step| matches!(step, Step::Key(own) if *own == *key))
            && let Some(had) = had.last_mut()
            && std::mem::replace(had, true)
        {
            return Some(node.offset);
        }
        had.push(false);
    }
    None
}

/// The last node of a document, with the steps to it, if nothing is written there: where a text ends that is cut short
/// after a key or after the dash of an item.
pub(super) fn open_end(document: &str) -> Option<(usize, Vec<Step>)> {
    let mut path: Vec<Step> = Vec::new();
    let mut last = None;
    for node in Nodes::new(document) {
        path.truncate(node.depth.saturating_sub(1));
        path.extend(node.step);
        last = Some((node.offset, node.empty));
    }
    last.filter(|(_, empty)| *empty).map(|(offset, _)| (offset, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Step {
        Step::Key(key.into())
    }

    #[test]
    fn a_node_stands_where_its_key_does() {
        for text in [
            "---\na: 1\nb:\n  - x: 1\n    y: 2\n  - 3\n  -\n",
            "{\"a\": 1,\n\t\"b\": [{\"x\": 1, \"y\": 2}, 3, null]}",
            "{a: 1, b: [{x: 1, ? {q: 1} : 7, y: &q 2}, 3, ]}",
        ] {
            let b = [key("b")];
            let y = [key("b"), Step::Item(0), key("y")];
            let three = [key("b"), Step::Item(1)];
            let deeper = [key("b"), Step::Item(1), key("z")];
            let nowhere = [key("z")];
            let paths: [&[Step]; 5] = [&b, &y, &three, &deeper, &nowhere];
            let found = offsets(text, &paths);
            let quoted = |name: &str| {
                text.find(&format!("\"{name}\"")).or_else(|| text.find(&format!("{name}:")))
            };
            let three = text.find('3');
            assert_eq!(found, [quoted("b"), quoted("y"), three, three, None], "{text}");
        }
    }

    #[test]
    fn a_key_is_found_where_it_stands_again() {
        assert_eq!(second_key("a: {b: 1}\nb: 2\nc: [{b: 1}, {b: 1}]\nb: 3\n", "b"), Some(35));
        assert_eq!(second_key("{\"a\": {\"x\": 1, \"x\": 2}}", "x"), Some(15));
        assert_eq!(second_key("a: {x: 1}\nb: {x: 1}\n", "x"), None);
    }

    #[test]
    fn an_end_is_open_where_nothing_is_written() {
        let end = |text: &str| {
            open_end(text).map(|(_, path)| super::super::path::Steps(&path).to_string())
        };
        assert_eq!(end("a:\n- b: 1\n  from:\n# end\n"), Some("a[0].from".into()));
        assert_eq!(end("a:\n- b\n-\n"), Some("a[1]".into()));
        assert_eq!(end("a:"), Some("a".into()));
        for whole in
            ["a: null\n", "a: ''\n", "a: []\n", "a: ~\n", "a:\nb: 1\n", "a: *x\n", "a: !!str\n", ""]
        {
            assert_eq!(end(whole), None, "{whole}");
        }
    }
}
