//! The right to make network namespaces: root's, or that of a user namespace of our own.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Enters a user namespace as its root, unless the process is root already. To be called while it has one thread.
pub(super) fn acquire() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    let cannot =
        |why: String| format!("root is needed, or a user namespace, which cannot be had: {why}");
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| cannot(errno.to_string()))?;
    for (file, map) in [
        // Groups must be given up before they are mapped (user_namespaces(7)).
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, map).map_err(|error| cannot(format!("{path}: {error}")))?;
    }
    Ok(())
}
