//! The annotation by which a pod asks for addresses that it may send from beside its own.

use std::net::IpAddr;

/// Addresses that are kept of one annotation.
pub const MAX_ALLOWED_SOURCES: usize = 64;

/// Addresses that the pod may send from though they are not its own, as virtual addresses of a load balancer: the value of its annotation `palisade.io/allowed-sources`. They count
/// where whoever runs the agent allows them. Sorted, each once, never empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllowedSources(Box<[IpAddr]>);

impl AllowedSources {
    pub const ANNOTATION: &'static str = "palisade.io/allowed-sources";

    /// The addresses of the annotation's value, which has commas or spaces between them; `None` if there are none. What is no address, or is beyond
    /// `MAX_ALLOWED_SOURCES`, is left out and given to `wrong`.
    pub fn of_text<'t>(text: &'t str, mut wrong: impl FnMut(&'t str)) -> Option<Self> {
        let mut addresses = Vec::new();
        for word in text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
            match word.parse::<IpAddr>() {
                Ok(address) if addresses.len() < MAX_ALLOWED_SOURCES => addresses.push(address),
                Ok(_) | Err(_) => wrong(word),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        (!addresses.is_empty()).then(|| Self(addresses.into()))
    }

    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_with_commas_or_spaces_between_them() {
        let mut wrong = Vec::new();
        let text = " 192.0.2.8,192.0.2.7\n192.0.2.7 fd00::1, 10.0.0.0/8 x,, ";
        let allowed = AllowedSources::of_text(text, |word| wrong.push(word)).unwrap();
        let addresses: Vec<String> = allowed.iter().map(|address| address.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.7", "192.0.2.8", "fd00::1"]);
        assert_eq!(wrong, ["10.0.0.0/8", "x"]);
        assert_eq!(AllowedSources::of_text(" , ", |_| ()), None);
    }

    #[test]
    fn of_too_many_the_first_are_kept() {
        let text = (0..70).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(" ");
        let mut wrong = 0;
        let allowed = AllowedSources::of_text(&text, |_| wrong += 1).unwrap();
        assert_eq!(
            (allowed.iter().count(), wrong),
            (MAX_ALLOWED_SOURCES, 70 - MAX_ALLOWED_SOURCES)
        );
    }
}
