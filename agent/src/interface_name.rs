//! Interfaces by name.

/// The name of an interface of the calling thread's network namespace; words with its index if it has none any more.
pub(crate) fn interface_name(index: u32) -> String {
    nix::net::if_::if_indextoname(index)
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| format!("interface {index}"))
}

/// The index of the interface of that name in the calling thread's network namespace, if there is one.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}
