//! TCP sockets: names and addresses, time limits that hold wherever a socket is wrapped, and probes of connections on which
//! nothing is said.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::platform::sync::thread;

/// A connection on which nothing was said for so long is probed by the kernel (TCP keepalive). Routers and load balancers
/// forget a silent connection after minutes, and tell nobody: AWS's after 350 s
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-basics.html>), Azure's after 240 s
/// (<https://learn.microsoft.com/azure/load-balancer/load-balancer-tcp-idle-timeout>).
const PROBE_AFTER: Duration = Duration::from_secs(30);

/// A probe that is not answered is followed by another after so long.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// After so many probes without an answer the connection is closed.
const PROBES: u32 = 3;

/// How long reads and writes may wait for the other side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// Each of them so long.
    Each(Duration),
    /// All of them together until then.
    Until(Instant),
}

/// A TCP socket. A clone is the same socket: whoever holds one says how patient all are. Time-outs are reported as `TimedOut`.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    tcp: Arc<TcpStream>,
    patience: Arc<Mutex<Patience>>,
}

impl Socket {
    /// Connects to the first address of a host that answers. Each address gets an equal share of the time that is left, so
    /// that one that is silent leaves time for the next.
    pub(super) fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<Socket> {
        let addresses = resolve(host, port, left(deadline)?)?;
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for (nth, address) in addresses.iter().enumerate() {
            let share = left(deadline)? / (addresses.len() - nth) as u32;
            match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    probe(&tcp)?;
                    let patience = Arc::new(Mutex::new(Patience::Until(deadline)));
                    return Ok(Socket { tcp: Arc::new(tcp), patience });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn tcp(&self) -> &Arc<TcpStream> {
        &self.tcp
    }

    pub(super) fn set_patience(&self, patience: Patience) {
        *self.patience() = patience;
    }

    /// Whether the other side has neither closed the connection nor sent what nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked = self.tcp.set_nonblocking(true).and_then(|()| self.tcp.peek(&mut [0]));
        let is_blocking = self.tcp.set_nonblocking(false).is_ok();
        is_blocking && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or writes once, with `limit` set to the time that is left.
    fn act(
        &self,
        limit: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        mut once: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let time = match *self.patience() {
                Patience::Each(time) => time,
                Patience::Until(deadline) => left(deadline)?,
            };
            limit(&self.tcp, Some(time))?;
            match once(&self.tcp) {
                // By a signal; the time goes on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Linux reports a read or write that timed out as `WouldBlock`.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
                other => return other,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.act(TcpStream::set_read_timeout, |mut tcp| tcp.read(buffer))
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.act(TcpStream::set_write_timeout, |mut tcp| tcp.write(bytes))
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn probe(tcp: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(tcp, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(tcp, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(tcp, PROBES)?;
    Ok(sockopt::set_socket_keepalive(tcp, true)?)
}

/// Resolves a name in a thread of its own, because the system's resolver has no time limit. A thread that takes too long
/// ends by itself later.
fn resolve(host: &str, port: u16, time: Duration) -> io::Result<Vec<SocketAddr>> {
    let host = host.trim_matches(['[', ']']).to_owned();
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let (sender, receiver) = sync_channel(1);
    thread::start(c"unistream-dns", move || {
        let _ = sender.send((&host[..], port).to_socket_addrs());
    })?;
    match receiver.recv_timeout(time) {
        Ok(addresses) => addresses.map(Iterator::collect),
        Err(RecvTimeoutError::Timeout) => Err(late()),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the resolver ended without an answer")),
    }
}

/// The time until then.
///
/// # Errors
/// `TimedOut` if there is none left.
pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or_else(late)
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it takes too long")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn addresses_need_no_resolver() {
        let of = |host: &str| resolve(host, 7, SOON).unwrap();
        assert_eq!(of("[2001:db8::1]"), ["[2001:db8::1]:7".parse().unwrap()]);
        assert_eq!(of("2001:db8::1"), of("[2001:db8::1]"));
        assert_eq!(of("192.0.2.1"), ["192.0.2.1:7".parse().unwrap()]);
        assert!(of("localhost").iter().all(|address| address.ip().is_loopback() && address.port() == 7));
    }

    #[test]
    fn a_connection_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = Socket::connect("127.0.0.1", port, Instant::now() + SOON).unwrap();
        let tcp = socket.tcp();
        assert!(sockopt::socket_keepalive(tcp).unwrap());
        assert_eq!(sockopt::tcp_keepidle(tcp).unwrap(), Duration::from_secs(30));
        assert_eq!(sockopt::tcp_keepintvl(tcp).unwrap(), Duration::from_secs(10));
        assert_eq!(sockopt::tcp_keepcnt(tcp).unwrap(), 3);
    }

    #[test]
    fn a_deadline_holds_for_all_reads_together() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut socket = Socket::connect("127.0.0.1", port, Instant::now() + SOON).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert!(socket.is_quiet());
        server.write_all(b"xy").unwrap();
        while socket.is_quiet() {
            std::thread::sleep(Duration::from_millis(1));
        }
        socket.read_exact(&mut [0]).unwrap();
        socket.set_patience(Patience::Until(Instant::now()));
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut, "though a byte is there");
        socket.set_patience(Patience::Each(Duration::from_millis(50)));
        socket.read_exact(&mut [0]).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        drop(server);
        socket.set_patience(Patience::Each(SOON));
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        assert!(!socket.is_quiet(), "it is closed");
    }
}
