//! What Kubernetes accepts as names (`k8s.io/apimachinery/pkg/util/validation`).

/// RFC 1123 label: what a namespace may be called.
pub(super) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_part(name)
}

/// RFC 1123 subdomain: what a node, pod or policy may be called.
pub(super) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_part)
}

fn is_dns_part(part: &str) -> bool {
    framed(part, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| c == b'-')
}

/// `[prefix/]name`: what a label key may be.
pub(super) fn is_label_key(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if !is_dns_subdomain(prefix) {
                return false;
            }
            name
        }
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty()
        || (value.len() <= 63
            && framed(value, |c| c.is_ascii_alphanumeric(), |c| b"-_.".contains(&c)))
}

/// IANA service name (RFC 6335, section 5.1) in lower case: what a port may be called.
pub(super) fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && is_dns_part(name)
        && name.bytes().any(|c| c.is_ascii_lowercase())
        && !name.contains("--")
}

/// Not empty, made of `ends` and `inner` characters, the first and the last of `ends`.
fn framed(text: &str, ends: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    ends(first) && ends(last) && bytes.iter().all(|&c| ends(c) || inner(c))
}

pub(super) const DNS_LABEL_RULE: &str =
    "Use at most 63 of a-z, 0-9 and \"-\", with a letter or digit at both ends";
pub(super) const DNS_SUBDOMAIN_RULE: &str = "Use at most 253 of a-z, 0-9, \"-\" and \".\", with a letter or digit at both ends of each part";
pub(super) const LABEL_KEY_RULE: &str = "Use at most 63 of A-Z, a-z, 0-9, \"-\", \"_\" and \".\", with a letter or digit at both ends, after an optional DNS name and \"/\"";
pub(super) const LABEL_VALUE_RULE: &str =
    "Use at most 63 of A-Z, a-z, 0-9, \"-\", \"_\" and \".\", with a letter or digit at both ends";
pub(super) const PORT_NAME_RULE: &str = "Use at most 15 of a-z, 0-9 and single \"-\", with at least one letter, and a letter or digit at both ends";

/// The one of `known` that was most likely meant.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // A longer word is no misspelling of a field, and the distance costs its length.
    if word.len() > 40 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    known
        .iter()
        .map(|&k| (distance(&word, &k.to_ascii_lowercase()), k))
        .min()
        .filter(|&(d, k)| d <= k.len() / 3)
        .map(|(_, k)| k)
}

/// How many letters are to be written, removed, replaced or swapped with their neighbour to make one word from the other: the
/// optimal string alignment distance, in bytes.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut least =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let is_swapped = i.checked_sub(1).and_then(|i| a.get(i)) == Some(&y)
                && j.checked_sub(1).and_then(|j| b.get(j)) == Some(&x);
            if is_swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_as_far_as_it_takes_letters() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("name", "nmae", 1),
            ("namespace", "namesapce", 1),
            ("kind", "knid", 1),
            ("abcd", "acd", 1),
            ("abcd", "xbcde", 2),
            ("networking.k8s.io", "networking.gke.io", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
