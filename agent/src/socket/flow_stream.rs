//! Flows streamed to a client, until it goes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::response::write;
use crate::flows::filter::MAX_ENTRIES;
use crate::flows::store::{FlowStore, MAX_FLOWS, MAX_READERS};
use crate::protocol::{Observe, Response};

/// Streams what was asked for. A client that does not read for `CLIENT_TIMEOUT` is dropped; one that reads too slowly hears how
/// much it missed.
///
/// # Errors
///
/// Those of the socket: the client has gone, or was dropped.
pub(super) async fn stream_flows(
    flows: &FlowStore,
    observe: Observe,
    client: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let streamed = try_stream(flows, observe, client, &mut writer).await;
    if streamed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        flows.dropped_reader();
        tracing::info!("a reader of flows was dropped, since it does not read");
    }
    streamed
}

async fn try_stream(
    flows: &FlowStore,
    Observe { last, follow, filter }: Observe,
    mut client: impl AsyncRead + Unpin,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    if filter.len() > MAX_ENTRIES {
        let reason = format!("a filter has at most {MAX_ENTRIES} entries");
        return write(writer, Response::Bad { reason }).await;
    }
    let last = last.min(MAX_FLOWS);
    if !follow {
        for flow in flows.latest(last, &filter) {
            write(writer, Response::Flow(Box::new((*flow).clone()))).await?;
        }
        return write(writer, Response::End).await;
    }
    let Some(mut subscription) = flows.subscribe(last, filter) else {
        let reason = format!("{MAX_READERS} readers of flows are there already; end one of them");
        return write(writer, Response::Failed { reason }).await;
    };
    for flow in std::mem::take(&mut subscription.latest) {
        write(writer, Response::Flow(Box::new((*flow).clone()))).await?;
    }
    loop {
        let flow = tokio::select! {
            flow = subscription.next() => flow,
            // The client goes, or says something that is not expected.
            _ = client.read_u8() => return Ok(()),
        };
        let Some(flow) = flow else { return write(writer, Response::End).await };
        write(writer, Response::Flow(Box::new((*flow).clone()))).await?;
        let count = subscription.take_missed();
        if count > 0 {
            write(writer, Response::Missed { count }).await?;
        }
    }
}
