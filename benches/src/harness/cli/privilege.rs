//! Obtains the right to create network namespaces: by being root, or in a new user namespace.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Enters a new user namespace as its root, unless the process is root already. The process must have only one thread.
pub(super) fn acquire() -> Result<(), String> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    let cannot = |why: String| {
        format!("root is needed, or a user namespace, which cannot be created: {why}")
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| cannot(errno.to_string()))?;
    for (file, map) in [
        // Groups can be mapped only after `setgroups` is denied (user_namespaces(7)).
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, map).map_err(|error| cannot(format!("{path}: {error}")))?;
    }
    Ok(())
}
