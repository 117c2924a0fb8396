//! A response on its way to a client.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::protocol::{Envelope, Response};

/// How long a client may take to read a response.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes a response as a line.
///
/// # Errors
///
/// Those of the socket; `TimedOut` where the client does not read.
pub(super) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    response: Response,
) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(&Envelope::new(response))?;
    text.push(b'\n');
    tokio::time::timeout(CLIENT_TIMEOUT, writer.write_all(&text)).await?
}
