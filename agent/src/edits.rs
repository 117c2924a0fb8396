//! A change of a program as lines that people read: what comes, what goes.

use palisade_compiler::program::Delta;
use palisade_compiler::program::skeleton::{SetName, TABLE};
use palisade_dataplane::host::HostDelta;
use palisade_dataplane::netlink::family_text;

/// `- element` for what goes and `+ element` for what comes, in nft's words.
pub fn lines(delta: &Delta, host: &HostDelta) -> Vec<String> {
    let mut lines = Vec::new();
    for (family, tables) in delta.iter() {
        for set in SetName::ALL {
            for edit in tables.edits(set).chain(host.edits(set)) {
                for (sign, element) in [('-', edit.before), ('+', edit.after)] {
                    let family = family_text(family);
                    lines.extend(element.map(|element| {
                        format!("{sign} {family} {TABLE} {} {{ {element} }}", set.as_str())
                    }));
                }
            }
        }
    }
    lines
}
