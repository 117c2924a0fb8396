//! Lists: what is found among their items, and whether they are complete.

use super::lenient::Lenient;
use super::path::{OBJECT, Path};
use super::report::Report;
use super::wire::Metadata;

/// What was found among the items of a list, besides objects.
#[derive(Debug, Default)]
pub(super) struct ItemsRead {
    pub(super) count: usize,
    /// How many have no kind, in a list that has not said one either, and where the first begins.
    pub(super) bare: usize,
    pub(super) first_bare: Option<usize>,
    /// What is there instead of a list.
    pub(super) wrong: Option<&'static str>,
}

impl ItemsRead {
    pub(super) fn refuse_bare(&self, report: &mut Report<'_>) {
        if self.bare > 0 {
            let message = match self.bare {
                1 => "One item of the list has no kind, and is not read".into(),
                bare => format!("{bare} items of the list have no kind, and are not read"),
            };
            let remedy =
                "Write apiVersion and kind into each, or the kind of the list before its items";
            report.refuse_at(self.first_bare, None, message, remedy);
        }
    }

    pub(super) fn wrong(found: &'static str) -> Self {
        Self { wrong: Some(found), ..Self::default() }
    }
}

/// Refuses a list that is only a part of what the server has (`metav1.ListMeta`).
pub(super) fn refuse_unfinished(
    report: &mut Report<'_>,
    offset: Option<usize>,
    metadata: &Metadata,
) {
    let is_continued = match &metadata.next {
        Lenient::Is(token) => !token.is_empty(),
        Lenient::Wrong(_) => true,
        Lenient::Missing | Lenient::Null => false,
    };
    let is_remaining = match metadata.remaining {
        Lenient::Is(count) => count > 0,
        Lenient::Wrong(_) => true,
        Lenient::Missing | Lenient::Null => false,
    };
    let field = match (is_continued, is_remaining, metadata.shard.is_absent()) {
        (true, ..) => "continue",
        (false, true, _) => "remainingItemCount",
        (false, false, false) => "shardInfo",
        (false, false, true) => return,
    };
    let message = "says that the list goes on: it declares only a part of what is there";
    let remedy = "Fetch all of it (kubectl get --chunk-size=0)";
    let path = Path::Field(OBJECT, "metadata");
    report.refuse_at(offset, Some(&path.field(field)), message, remedy);
}

/// Refuses fields that a list does not have, one of which may be meant for its items.
pub(super) fn refuse_fields(
    report: &mut Report<'_>,
    offset: Option<usize>,
    kind: &str,
    fields: &[String],
) {
    for field in fields {
        let message = format!("is not a field of a {kind}");
        let path = OBJECT.field(field);
        report.refuse_at(offset, Some(&path), message, "Remove it, or write it into an item");
    }
}
