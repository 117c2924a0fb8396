//! A body that comes bit by bit -> its lines, each bounded.

use std::io;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};

use super::items::MAX_OBJECT_BYTES;

/// Beyond this the buffer of a line is given back after the line.
const KEPT_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Lines<R> {
    body: R,
    line: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(body: R) -> Self {
        Self { body, line: Vec::new() }
    }

    /// The next line, without its end; `None` at the end of the body. What follows the last newline is no line: the body was
    /// cut there. May be called anew after it was dropped while it waited.
    ///
    /// # Errors
    ///
    /// That of the body, and one for a line beyond `MAX_OBJECT_BYTES`.
    pub(super) async fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.line.last() == Some(&b'\n') {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
        }
        while self.line.last() != Some(&b'\n') {
            if self.line.len() > MAX_OBJECT_BYTES {
                let message = format!("an event is longer than {MAX_OBJECT_BYTES} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
            }
            let piece = self.body.fill_buf().await?;
            if piece.is_empty() {
                return Ok(None);
            }
            let end = memchr::memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
            self.line.extend_from_slice(piece.get(..end).unwrap_or_default());
            self.body.consume_unpin(end);
        }
        Ok(self.line.split_last().map(|(_, line)| line))
    }
}
