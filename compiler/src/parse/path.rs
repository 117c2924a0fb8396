//! The way from an object to one of its fields.

use std::fmt;

/// A field of an object, as in `spec.ingress[0].from[1].ipBlock.cidr`. Built on the stack while an object is read, so that
/// a path costs nothing unless a diagnostic names it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'p> {
    /// The object itself.
    Object,
    Field(&'p Path<'p>, &'p str),
    /// An entry of a map whose keys the author chooses, as those of labels.
    Entry(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

/// One step of a path, from a node of a document to a node inside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(Box<str>),
    Item(usize),
}

/// The object itself, to begin a path with.
pub(super) const OBJECT: &Path<'static> = &Path::Object;

impl<'p> Path<'p> {
    pub(super) fn field(&'p self, name: &'p str) -> Self {
        Path::Field(self, name)
    }

    pub(super) fn entry(&'p self, key: &'p str) -> Self {
        Path::Entry(self, key)
    }

    pub(super) fn item(&'p self, at: usize) -> Self {
        Path::Item(self, at)
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Path::Object)
    }

    /// Appends the steps from the object to the field.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        match *self {
            Path::Object => {}
            Path::Field(parent, key) | Path::Entry(parent, key) => {
                parent.steps(steps);
                steps.push(Step::Key(key.into()));
            }
            Path::Item(parent, at) => {
                parent.steps(steps);
                steps.push(Step::Item(at));
            }
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Object => Ok(()),
            Path::Field(Path::Object, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Entry(parent, key) => write!(f, "{parent}[{key:?}]"),
            Path::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Displays steps as a path is displayed. Keys that no field has are quoted.
pub(super) struct Steps<'s>(pub(super) &'s [Step]);

impl fmt::Display for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_field = |key: &str| key.bytes().all(|c| c.is_ascii_alphanumeric());
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Item(item) => write!(f, "[{item}]")?,
                Step::Key(key) if !is_field(key) => write!(f, "[{key:?}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_kubernetes_writes_them() {
        let labels = OBJECT.field("metadata");
        let labels = labels.field("labels");
        let label = labels.entry("a/b");
        assert_eq!(label.to_string(), "metadata.labels[\"a/b\"]");
        let spec = OBJECT.field("spec");
        let ingress = spec.field("ingress");
        let rule = ingress.item(3);
        let from = rule.field("from");
        assert_eq!(from.to_string(), "spec.ingress[3].from");
        let mut steps = Vec::new();
        from.steps(&mut steps);
        assert_eq!(Steps(&steps).to_string(), "spec.ingress[3].from");
        assert_eq!(OBJECT.to_string(), "");
    }
}
