//! Connections over ordinary sockets, with data in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use palisade_compiler::model::{Connection, Family};

use crate::links::PATIENCE;
use crate::packet::{Arrival, TCP, UDP};
use crate::probe::Round;
use crate::sockets::on_one_cpu;
use crate::{Lab, LabError};

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conversation {
    /// The connection was set up, and what the client sent came back.
    Answered,
    /// Its first packet was dropped (proved as in `Lab::probe`).
    Dropped,
    /// Its first packet arrived, but the client had no answer after ten seconds.
    Unanswered,
}

/// A client sends this, and a server sends it back.
const MESSAGE: &[u8] = b"palisade";

/// How long a server thread waits before it looks for new data again.
const SERVER_PAUSE: Duration = Duration::from_millis(2);

/// Running servers. They are closed when this value is dropped.
#[derive(Debug)]
pub struct Servers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, its servers are closed too.
            _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

#[derive(Debug)]
enum Client {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

#[derive(Debug)]
struct Attempt {
    client: Client,
    to: usize,
    key: Key,
    /// How many bytes of the message were sent, and how many came back.
    sent: usize,
    received: usize,
}

/// How an attempt's first packet is recognised: source with port, destination with port, protocol.
type Key = (SocketAddr, SocketAddr, u8);

impl Lab {
    /// Makes TCP and UDP connections over ordinary sockets, all at once, to servers that run for as long as this takes. Returns what became
    /// of them, in the order given.
    ///
    /// # Errors
    /// As `probe`; other protocols are refused with `Missing`.
    pub fn converse(&self, connections: &[Connection]) -> Result<Vec<Conversation>, LabError> {
        let servers = self.servers(connections)?;
        on_one_cpu(|| {
            let mut round = Round::new(self)?;
            let mut attempts = Vec::with_capacity(connections.len());
            for connection in connections {
                let (from, to) = self.path(connection)?;
                attempts.push(self.attempt(connection, from, to)?);
                round.sent(from, to);
            }
            let arrivals = round.finish()?;
            Ok(run(&servers, &mut attempts, &arrivals))
        })
    }

    /// Makes one TCP connection over an ordinary socket.
    ///
    /// # Errors
    /// As `converse`.
    pub fn connect_tcp(
        &self,
        from: IpAddr,
        to: IpAddr,
        port: u16,
    ) -> Result<Conversation, LabError> {
        let conversations = self.converse(&[Connection { from, to, protocol: TCP, port }])?;
        Ok(conversations.first().copied().unwrap_or(Conversation::Unanswered))
    }

    /// Runs a server at the destination of each connection until the result is dropped. The server sends back what a client
    /// sends.
    ///
    /// # Errors
    /// As `converse`.
    pub fn serve(&self, connections: &[Connection]) -> Result<Servers, LabError> {
        let servers = self.servers(connections)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut accepted = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                servers.iter().for_each(|server| server.turn(&mut accepted));
                accepted.retain_mut(echo);
                std::thread::sleep(SERVER_PAUSE);
            }
        });
        Ok(Servers { stop, thread: Some(thread) })
    }

    /// Opens a server for every destination, protocol and port.
    fn servers(&self, connections: &[Connection]) -> Result<Vec<Server>, LabError> {
        let mut wanted: BTreeMap<usize, BTreeSet<(SocketAddr, u8)>> = BTreeMap::new();
        for connection in connections {
            let (_, to) = self.path(connection)?;
            let at = SocketAddr::new(connection.to, connection.port);
            wanted.entry(to).or_default().insert((at, connection.protocol));
        }
        let mut servers = Vec::new();
        for (number, places) in wanted {
            let Some(machine) = self.machines.get(number) else { continue };
            let open = || places.into_iter().map(|(at, protocol)| serve(at, protocol)).collect();
            let opened: Result<Vec<_>, _> = machine.namespace.run(open)?;
            servers.extend(opened?);
        }
        Ok(servers)
    }

    /// Sends the first packet of a connection: a SYN, or a datagram.
    fn attempt(
        &self,
        connection: &Connection,
        from: usize,
        to: usize,
    ) -> Result<Attempt, LabError> {
        let target = SocketAddr::new(connection.to, connection.port);
        let failed = |error| LabError::io(format!("connect to {target}"), error);
        let Some(machine) = self.machines.get(from) else {
            return Err(LabError::NoPath { from: connection.from, to: connection.to });
        };
        let open = || open_client(connection, target);
        let client = machine.namespace.run(open)?.map_err(failed)?;
        // The socket is connected by this thread, which stays on its CPU.
        let connected = |error: io::Error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EINPROGRESS) => Ok(()),
            _ => Err(failed(error)),
        };
        let address = SockaddrStorage::from(target);
        let (source, sent) = match &client {
            Client::Tcp(stream) => {
                connect(stream.as_raw_fd(), &address)
                    .map_err(io::Error::from)
                    .or_else(connected)?;
                (stream.local_addr(), 0)
            }
            Client::Udp(socket) => {
                connect(socket.as_raw_fd(), &address).map_err(|e| failed(e.into()))?;
                (socket.local_addr(), socket.send(MESSAGE).map_err(failed)?)
            }
        };
        let key = (source.map_err(failed)?, target, connection.protocol);
        Ok(Attempt { client, to, key, sent, received: 0 })
    }
}

fn serve(at: SocketAddr, protocol: u8) -> Result<Server, LabError> {
    let failed = |error| LabError::io(format!("serve {at} protocol {protocol}"), error);
    match protocol {
        TCP => {
            let listener = bind_when_free(|| TcpListener::bind(at)).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Server::Tcp(listener))
        }
        UDP => {
            let socket = bind_when_free(|| UdpSocket::bind(at)).map_err(failed)?;
            socket.set_nonblocking(true).map_err(failed)?;
            Ok(Server::Udp(socket))
        }
        _ => Err(LabError::Missing { what: format!("a server for protocol {protocol}") }),
    }
}

/// Binds as soon as the address is free. A socket that was closed here can be open for a moment longer: a process that another thread has
/// just forked holds a copy until its program begins.
fn bind_when_free<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            bound => return bound,
        }
    }
}

/// Opens a socket that is bound to the connection's source address.
fn open_client(connection: &Connection, target: SocketAddr) -> io::Result<Client> {
    let family = match Family::of(target.ip()) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let kind = if connection.protocol == TCP { SockType::Stream } else { SockType::Datagram };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, kind, flags, None)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(connection.from, 0)))?;
    if connection.protocol == TCP {
        // The socket is closed by a reset, so that its port does not stay in use for late segments.
        let immediately = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&fd, sockopt::Linger, &immediately)?;
        return Ok(Client::Tcp(fd.into()));
    }
    Ok(Client::Udp(fd.into()))
}

/// Runs servers and clients in turn until every client whose first packet arrived has received its answer.
fn run(
    servers: &[Server],
    attempts: &mut [Attempt],
    arrivals: &[Vec<Arrival>],
) -> Vec<Conversation> {
    let key = |a: &Arrival| {
        let (source, target) =
            (SocketAddr::new(a.from, a.source_port), SocketAddr::new(a.to, a.port));
        (source, target, a.protocol)
    };
    let arrived: Vec<BTreeSet<Key>> =
        arrivals.iter().map(|at| at.iter().map(key).collect()).collect();
    let came =
        |attempt: &Attempt| arrived.get(attempt.to).is_some_and(|at| at.contains(&attempt.key));
    let deadline = Instant::now() + PATIENCE;
    let mut accepted = Vec::new();
    loop {
        servers.iter().for_each(|server| server.turn(&mut accepted));
        accepted.retain_mut(echo);
        let mut open = false;
        for attempt in attempts.iter_mut().filter(|attempt| came(attempt)) {
            attempt.turn();
            open |= attempt.received < MESSAGE.len();
        }
        if !open || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let outcome = |attempt: &Attempt| match (attempt.received >= MESSAGE.len(), came(attempt)) {
        (true, _) => Conversation::Answered,
        (false, true) => Conversation::Unanswered,
        (false, false) => Conversation::Dropped,
    };
    attempts.iter().map(outcome).collect()
}

impl Server {
    /// Accepts the waiting connections, or answers the datagrams that have arrived.
    fn turn(&self, accepted: &mut Vec<TcpStream>) {
        match self {
            Self::Tcp(listener) => {
                while let Ok((stream, _)) = listener.accept() {
                    if stream.set_nonblocking(true).is_ok() {
                        accepted.push(stream);
                    }
                }
            }
            Self::Udp(socket) => {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // Whether the answer arrives is seen at the client.
                    let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
                }
            }
        }
    }
}

/// Sends back the data that has arrived. Returns false once the other side has closed the connection.
fn echo(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(length) => stream.write_all(buffer.get(..length).unwrap_or_default()).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

impl Attempt {
    fn turn(&mut self) {
        let mut buffer = [0; 64];
        // An error means that the connection is not set up yet, that nothing has arrived yet, or that the connection was
        // refused. The outcome depends only on the data that is received in the end.
        let received = match &mut self.client {
            Client::Tcp(stream) => {
                if let Some(rest) = MESSAGE.get(self.sent..).filter(|rest| !rest.is_empty()) {
                    self.sent += stream.write(rest).unwrap_or(0);
                }
                stream.read(&mut buffer)
            }
            Client::Udp(socket) => socket.recv(&mut buffer),
        };
        self.received += received.unwrap_or(0);
    }
}
