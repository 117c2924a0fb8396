//! The annotation by which the author of an object says which findings of the linter are accepted.

/// Codes that are kept of one annotation; there are fewer codes than that.
pub const MAX_IGNORED_CODES: usize = 100;

/// The codes of findings that are not reported about an object: the value of its annotation `palisade.io/lint-ignore`, which
/// lists them with commas or spaces between them. Sorted, each once, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LintIgnore(Box<[Box<str>]>);

impl LintIgnore {
    pub const ANNOTATION: &'static str = "palisade.io/lint-ignore";

    /// The value of the annotation; `None` if it names nothing. Beyond `MAX_IGNORED_CODES`, codes are left out.
    pub fn of_text(text: &str) -> Option<Self> {
        let words = text.split([',', ' ', '\t', '\n']).map(str::trim);
        let mut codes: Vec<Box<str>> = words
            .filter(|word| !word.is_empty())
            .map(|word| word.to_ascii_uppercase().into_boxed_str())
            .take(MAX_IGNORED_CODES)
            .collect();
        codes.sort_unstable();
        codes.dedup();
        (!codes.is_empty()).then(|| Self(codes.into()))
    }

    pub fn holds(&self, code: &str) -> bool {
        self.0.binary_search_by(|own| own.as_ref().cmp(code)).is_ok()
    }

    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_with_commas_or_spaces_between_them() {
        let ignore = LintIgnore::of_text(" pal102,PAL101\n PAL101 ,, ").unwrap();
        assert_eq!(ignore.codes().collect::<Vec<_>>(), ["PAL101", "PAL102"]);
        assert!(ignore.holds("PAL102") && !ignore.holds("PAL10"));
        assert_eq!(LintIgnore::of_text(" , "), None);
    }
}
