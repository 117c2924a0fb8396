//! The page of the codes and the table say the same.

use std::path::Path;

use palisade_compiler::lint::Code;

/// What the page says of each code, made of the table.
fn sections() -> String {
    let section = |code: &Code| {
        let entry = code.entry();
        format!(
            "### {} {}\n\n{}: {}.\n\n{}\n\nWhat to do: {}\n\n",
            entry.code,
            entry.name,
            match entry.severity.to_string().as_str() {
                "note" => "Note",
                "warning" => "Warning",
                _ => "Error",
            },
            entry.title,
            entry.why,
            entry.remedy
        )
    };
    Code::ALL.iter().map(section).collect()
}

#[test]
fn the_page_says_of_each_code_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lint.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, found) = page.split_once("## The codes\n\n").unwrap();
    assert_eq!(
        found.trim_end(),
        sections().trim_end(),
        "docs/lint.md is not as the table of codes says"
    );
    for code in Code::ALL {
        let row =
            format!("| [{0}](#{1}-{2}) |", code.id(), code.id().to_lowercase(), code.entry().name);
        assert_eq!(page.matches(&row).count(), 1, "no row {row} in the list at the top");
    }
}
