//! Parts of sentences for people.

use std::fmt::Display;

/// `1 pod`, `2 pods`, `1 policy`, `2 policies`.
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("{count} {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) if noun.ends_with('s') => format!("{count} {noun}es"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// These names, with how many of `count` there are more: `a, b, c and 2 more`.
pub fn listed<T: Display>(names: impl IntoIterator<Item = T>, count: usize) -> String {
    let named: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match count.saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
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

    #[test]
    fn what_is_not_named_is_counted() {
        assert_eq!(listed(["a", "b"], 2), "a, b");
        assert_eq!(listed(["a", "b"], 5), "a, b and 3 more");
        assert_eq!(listed([""; 0], 0), "");
    }
}
