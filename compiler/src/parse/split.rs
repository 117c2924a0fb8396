//! Text -> documents.

/// Splits a text at the lines that end a YAML document (`---`, `...`). No text may hold such a line inside: neither a YAML
/// scalar (YAML 1.2, `c-forbidden`) nor a JSON string. Comments and directives belong to the document after them.
pub(super) fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut end, mut has_begun) = (0, false);
        for line in rest.split_inclusive('\n') {
            if is_marker(line, "---") && has_begun {
                break;
            }
            end += line.len();
            if is_marker(line, "...") {
                break;
            }
            has_begun |=
                !matches!(line.trim_ascii_start().bytes().next(), None | Some(b'#' | b'%'));
        }
        let (document, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(document)
    })
    .filter(|document| !document.trim_ascii().is_empty() && document.trim_ascii() != "...")
}

pub(super) fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a document holds nothing but comments, directives and markers.
pub(super) fn is_blank(document: &str) -> bool {
    document.lines().all(|line| {
        let marker = ["---", "..."].iter().find(|marker| is_marker(line, marker));
        let rest = marker.and_then(|marker| line.strip_prefix(marker)).unwrap_or(line);
        matches!(rest.trim_ascii_start().bytes().next(), None | Some(b'#' | b'%'))
    })
}

/// Where the first line of a document begins that says something, in bytes.
pub(super) fn beginning(document: &str) -> Option<usize> {
    let mut offset = 0;
    for line in document.split_inclusive('\n') {
        if !is_blank(line) {
            return Some(offset);
        }
        offset += line.len();
    }
    None
}

/// Whether the last line that says something ends in a key or in the dash of an item, as far as a glance can tell.
pub(super) fn may_be_cut_short(document: &str) -> bool {
    let Some(last) = document.lines().rev().find(|line| !is_blank(line)) else { return false };
    let last = last.split(" #").next().unwrap_or(last).trim_ascii_end();
    last.ends_with([':', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_ends_where_its_line_says() {
        let text = "# x\n%YAML 1.2\n---\na: 1\n---\n# only\n---\n--- # y\nb: |\n  ---\n...\nc: 1\n";
        let found: Vec<_> = documents(text).collect();
        assert_eq!(found.concat(), text);
        let blank: Vec<_> = found.iter().map(|document| is_blank(document)).collect();
        assert_eq!(blank, [false, true, true, false, false]);
        assert!(is_blank("---\n# x\n...\n") && !is_blank("--- null\n") && !is_blank("~"));
    }

    #[test]
    fn a_glance_tells_what_may_be_cut_short() {
        for text in ["a:", "a:\n", "a: 1\nb:  # x\n\n# end\n", "a:\n-\n", "a:\n- b:\n", "a:\n  -"] {
            assert!(may_be_cut_short(text), "{text:?}");
        }
        for text in ["", "a: 1\n", "a: []\n", "{}", "# a:\n", "a: null # :\n"] {
            assert!(!may_be_cut_short(text), "{text:?}");
        }
    }
}
