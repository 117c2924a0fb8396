//! JSON values, each a document.

use serde::de::DeserializeSeed;

use super::document::{DocumentSeed, Reader};
use super::syntax::SyntaxError;

/// Reads the first value of a text. Returns what follows it.
///
/// # Errors
///
/// `SyntaxError`, from where on nothing of the text is read.
pub(super) fn read<'t>(reader: &mut Reader<'_, '_>, text: &'t str) -> Result<&'t str, SyntaxError> {
    let mut after = "";
    reader.read(|reader| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        match (DocumentSeed { reader }).deserialize(&mut deserializer) {
            Ok(()) => {
                let values = deserializer.into_iter::<serde::de::IgnoredAny>();
                after = text.get(values.byte_offset()..).unwrap_or_default();
                Ok(())
            }
            Err(error) => Err(syntax_error(text, &error)),
        }
    })?;
    Ok(after)
}

fn syntax_error(text: &str, error: &serde_json::Error) -> SyntaxError {
    let said = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&suffix).unwrap_or(&said);
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let begin: usize = lines.map(str::len).sum();
    // The column counts bytes, and is that of the last byte that was read.
    let offset = (begin + error.column().saturating_sub(1)).min(text.len());
    SyntaxError::new("JSON", text, said, Some(offset))
}
