//! A change of a program as lines that people read: what comes, what goes.

use palisade_compiler::program::skeleton::TABLE;
use palisade_compiler::program::{Delta, TableFamily};
use palisade_dataplane::host::HostDelta;

/// `- element` for what goes and `+ element` for what comes, in nft's words.
pub fn lines(delta: &Delta, host: &HostDelta) -> Vec<String> {
    let mut lines = Vec::new();
    for table in TableFamily::ALL {
        for set in table.sets() {
            let program = table.family().map(|family| delta[family].edits(set));
            for edit in program.into_iter().flatten().chain(host.edits(set)) {
                for (sign, element) in [('-', edit.before), ('+', edit.after)] {
                    lines.extend(element.map(|element| {
                        let (table, set) = (table.as_str(), set.as_str());
                        format!("{sign} {table} {TABLE} {set} {{ {element} }}")
                    }));
                }
            }
        }
    }
    lines
}
