//! What several tests want of a lab.

use std::net::IpAddr;

use palisade_lab::Namespace;

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Feeds text to `nft -f -` in a namespace, and returns what it prints.
#[track_caller]
pub(crate) fn nft(namespace: &Namespace, text: &str) -> String {
    namespace.nft(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
