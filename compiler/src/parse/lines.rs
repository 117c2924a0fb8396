//! Offsets of a text -> lines and columns.

const BLOCK_BYTES: usize = 4096;

/// The line and the column that each block of the text begins at. Made when first asked for, so that a place costs no
/// more than a block of text, wherever it is and however long its line is.
#[derive(Debug, Default)]
pub(super) struct Lines {
    blocks: Vec<LineColumn>,
}

/// Both count from 1; columns count characters (Unicode scalar values).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineColumn {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl LineColumn {
    const FIRST: Self = Self { line: 1, column: 1 };

    fn after(self, bytes: &[u8]) -> Self {
        // A character begins at each byte that is not a continuation byte of UTF-8 (10xxxxxx).
        let characters = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            None => Self { line: self.line, column: self.column + characters(bytes) },
            Some(last) => Self {
                line: self.line + newlines,
                column: 1 + characters(bytes.get(last + 1..).unwrap_or_default()),
            },
        }
    }
}

impl Lines {
    /// Where an offset in bytes stands, which may be the end of the text.
    pub(super) fn at(&mut self, text: &str, offset: usize) -> LineColumn {
        let text = text.as_bytes();
        if self.blocks.is_empty() {
            let mut begin = LineColumn::FIRST;
            for block in text.chunks(BLOCK_BYTES) {
                self.blocks.push(begin);
                begin = begin.after(block);
            }
            self.blocks.push(begin);
        }
        let block = offset / BLOCK_BYTES;
        let begin = self.blocks.get(block).copied().unwrap_or(LineColumn::FIRST);
        text.get(block * BLOCK_BYTES..offset).map_or(begin, |before| begin.after(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_same_in_every_block() {
        let text = "ä: b\n".repeat(3_000) + &"é".repeat(9_000);
        let mut lines = Lines::default();
        let (mut line, mut column) = (1, 1);
        for (offset, character) in text.char_indices() {
            assert_eq!(lines.at(&text, offset), LineColumn { line, column }, "{offset}");
            if character == '\n' {
                (line, column) = (line + 1, 1);
            } else {
                column += 1;
            }
        }
        assert_eq!(lines.at(&text, text.len()), LineColumn { line, column });
    }
}
