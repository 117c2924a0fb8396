//! HTTP to an agent in a network namespace.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use palisade::http::DEFAULT;
use palisade::metrics::exposition::CONTENT_TYPE;

use crate::openmetrics::Scrape;

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer: its status, its head in lower case and its body.
pub(crate) type Answer = (u16, String, String);

/// Runs in the network namespace of this path, on a thread of its own.
pub(crate) fn within<T: Send>(netns: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(netns).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

pub(crate) fn connect(netns: &str, address: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    let stream = within(netns, || TcpStream::connect(address))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub(crate) fn get(netns: &str, address: &str, path: &str) -> io::Result<Answer> {
    get_with(netns, address, path, &["Host: agent"])
}

/// With these header lines.
pub(crate) fn get_with(
    netns: &str,
    address: &str,
    path: &str,
    headers: &[&str],
) -> io::Result<Answer> {
    let mut stream = connect(netns, address)?;
    write!(stream, "GET {path} HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, head.to_lowercase(), body.to_owned()))
}

#[track_caller]
pub(crate) fn scrape(netns: &str) -> Scrape {
    let (status, head, body) = get(netns, DEFAULT, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(head.contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
    Scrape::parse(&body)
}
