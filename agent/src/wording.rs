//! Parts of sentences for people.

/// `1 pod`, `2 pods`, `1 policy`, `2 policies`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("{count} {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) if noun.ends_with('s') => format!("{count} {noun}es"),
        (_, None) => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_others_are_many() {
        let all = |noun| [0, 1, 2].map(|count| counted(count, noun));
        assert_eq!(all("pod"), ["0 pods", "1 pod", "2 pods"]);
        assert_eq!(all("policy"), ["0 policies", "1 policy", "2 policies"]);
        assert_eq!(all("address"), ["0 addresses", "1 address", "2 addresses"]);
    }
}
