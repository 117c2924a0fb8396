//! The decoders of what clients and the API server send, each of which takes bytes: for fuzzing, and for tests of what that found.
//!
//! They decode whatever they are given, and panic only where a promise about what they decoded does not hold.

use crate::http;
use crate::protocol::Envelope;
use crate::socket::server;
use crate::sources::kubernetes::decoders;

/// A decoder by its name.
pub type Decoder = (&'static str, fn(&[u8]));

pub const DECODERS: [Decoder; 3] = [
    ("api_list", decoders::list),
    ("page_request", http::decoders::request),
    ("socket_request", socket_request),
];

/// A line of a client of the socket. What is understood is written back and understood as the same.
fn socket_request(line: &[u8]) {
    let Ok(request) = server::parse(line) else { return };
    let written = serde_json::to_vec(&Envelope::new(&request));
    let read = written.map(|written| server::parse(&written));
    assert!(matches!(&read, Ok(Ok(read)) if *read == request), "{request:?}: {read:?}");
}
