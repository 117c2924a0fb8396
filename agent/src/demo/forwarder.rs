//! Brings the agent's page to an address of this host: the lab's node has no way there.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use palisade_lab::{Lab, Namespace};

use super::DemoError;
use super::agent::PAGE;

/// Connections at a time; the agent has a bound of its own.
const MAX_CONNECTIONS: usize = 64;

/// Forwards until it is dropped.
#[derive(Debug)]
pub(super) struct Forwarder {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Listens on loopback at the agent's own port, or at another if somebody has it.
    pub(super) fn start(lab: &Lab) -> Result<Self, DemoError> {
        let failed = |error| DemoError::io("listen for the page on 127.0.0.1", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PAGE.port()))
            .or_else(|_taken| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let node = lab.node().try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || accept(&listener, &node, &stopped));
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread.
        _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, node: &Namespace, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let agent = node.run(|| TcpStream::connect(PAGE));
        let (Ok(client), Ok(Ok(agent))) = (client, agent) else { continue };
        if open.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&open);
        std::thread::spawn(move || {
            // Either end may go at any time.
            _ = forward(&client, &agent);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn forward(client: &TcpStream, agent: &TcpStream) -> io::Result<()> {
    let (mut requests, mut from_client) = (agent.try_clone()?, client.try_clone()?);
    let upward = std::thread::spawn(move || {
        _ = io::copy(&mut from_client, &mut requests);
        requests.shutdown(Shutdown::Both)
    });
    let copied = io::copy(&mut &*agent, &mut &*client);
    _ = client.shutdown(Shutdown::Both);
    _ = upward.join();
    copied.map(|_bytes| ())
}
