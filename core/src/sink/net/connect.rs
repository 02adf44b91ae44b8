//! Connections over TCP, through a proxy if need be, and over TLS: for HTTP, and for sinks that speak a protocol of their own,
//! such as Kafka's, NATS's or Redis's.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::environment::Environment;
use super::proxy::tunnel_for;
use super::socket::{Patience, Socket, left};
use super::trust::{Identity, Trust};

/// The longest head of a proxy's answer.
const MAX_PROXY_ANSWER: usize = 16 * 1024;

/// How to reach servers.
pub(crate) struct Dialer {
    /// Chooses the proxy; [`Environment::empty`] is a direct way.
    pub(crate) proxies: Environment,
    pub(crate) trust: Trust,
    /// The certificate that we show to a server that asks for one.
    pub(crate) identity: Option<Identity>,
    /// The longest time to connect: names, addresses, proxy and TLS together.
    pub(crate) connect_timeout: Duration,
    /// The longest time that one read or write may wait for the other side.
    pub(crate) io_timeout: Duration,
    /// Made once, so that a server may resume an earlier session.
    tls: OnceLock<Arc<ClientConfig>>,
    open: Mutex<Open>,
}

/// What to connect to.
pub(super) struct Target<'t> {
    pub(super) host: &'t str,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) proxy: Option<&'t ureq::Proxy>,
}

#[derive(Default)]
struct Open {
    sockets: Vec<Weak<TcpStream>>,
    interrupts: u64,
}

/// A connection to a server. A read or write that the other side keeps waiting for too long is an error of the kind
/// `TimedOut`.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    /// The one at the bottom of the stream.
    socket: Socket,
}

trait Stream: Read + Write + Send + Sync {}
impl<S: Read + Write + Send + Sync> Stream for S {}

impl Dialer {
    pub(crate) fn new(proxies: Environment, trust: Trust, connect_timeout: Duration, io_timeout: Duration) -> Self {
        let (tls, open) = Default::default();
        Dialer { proxies, trust, identity: None, connect_timeout, io_timeout, tls, open }
    }

    /// Shows this certificate to servers that ask for one.
    pub(crate) fn identity(self, identity: Option<Identity>) -> Self {
        Dialer { identity, ..self }
    }

    /// Connects to a port of a host, with TLS if `tls`; the certificate must be the host's.
    ///
    /// # Errors
    /// Names the host and what went wrong, and no secret of the proxy's URL.
    pub(crate) fn connect(&self, host: &str, port: u16, tls: bool) -> io::Result<Connection> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}:{port}: {error}"));
        let tunnel = tunnel_for(host, port, tls, &self.proxies).map_err(io::Error::other)?;
        let interrupts = self.lock().interrupts;
        let target = Target { host, port, tls, proxy: tunnel.as_ref() };
        let deadline = Instant::now() + self.connect_timeout;
        self.dial(&target, deadline, &mut |tcp| self.register(tcp, interrupts)).map_err(named)
    }

    /// Connects by the deadline. Whoever may end the connection, also while it is being made, is told of its socket by
    /// `register`.
    pub(super) fn dial(
        &self,
        target: &Target<'_>,
        deadline: Instant,
        register: &mut dyn FnMut(&Arc<TcpStream>) -> io::Result<()>,
    ) -> io::Result<Connection> {
        let Target { host, port, tls, proxy } = *target;
        let (at, at_port) = proxy.map_or((host, port), |proxy| (proxy.host(), proxy.port()));
        let socket = Socket::connect(at, at_port, deadline)?;
        register(socket.tcp())?;
        let mut stream: Box<dyn Stream> = Box::new(socket.clone());
        if let Some(proxy) = proxy {
            if proxy.protocol() == ureq::ProxyProtocol::Https {
                // A certificate that names us is for the server.
                stream = wrap(stream, at, self.configure(None)?)?;
            }
            open_tunnel(&mut *stream, proxy, host, port)?;
        }
        if tls {
            stream = wrap(stream, host, self.configuration()?)?;
        }
        left(deadline)?;
        socket.set_patience(Patience::Each(self.io_timeout));
        Ok(Connection { stream, socket })
    }

    /// Goes on with TLS on a connection that began without, as the protocols of NATS and PostgreSQL have
    /// it; the certificate must be the host's. An interrupt ends it as before.
    ///
    /// # Errors
    /// As of [`connect`](Self::connect).
    pub(crate) fn secure(&self, connection: Connection, host: &str) -> io::Result<Connection> {
        let Connection { stream, socket } = connection;
        socket.set_patience(Patience::Until(Instant::now() + self.connect_timeout));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{host}: {error}"));
        let stream = self.configuration().and_then(|config| wrap(stream, host, config)).map_err(named)?;
        socket.set_patience(Patience::Each(self.io_timeout));
        Ok(Connection { stream, socket })
    }

    /// Closes all connections, and makes those fail that are being made. Later ones are not affected.
    pub(crate) fn interrupt(&self) {
        let sockets = {
            let mut open = self.lock();
            open.interrupts += 1;
            std::mem::take(&mut open.sockets)
        };
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn register(&self, socket: &Arc<TcpStream>, interrupts: u64) -> io::Result<()> {
        let mut open = self.lock();
        if open.interrupts != interrupts {
            return Err(io::Error::new(ErrorKind::ConnectionAborted, "interrupted"));
        }
        open.sockets.retain(|socket| socket.strong_count() > 0);
        open.sockets.push(Arc::downgrade(socket));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How TLS is spoken to servers.
    fn configuration(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let config = self.configure(self.identity.as_ref())?;
        Ok(self.tls.get_or_init(|| config).clone())
    }

    fn configure(&self, identity: Option<&Identity>) -> io::Result<Arc<ClientConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(self.trust.roots());
        Ok(Arc::new(match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.rustls()?;
                config.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        }))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("trust", &self.trust).finish_non_exhaustive()
    }
}

/// Wraps a stream in TLS and does the handshake.
fn wrap(stream: Box<dyn Stream>, host: &str, config: Arc<ClientConfig>) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| io::Error::new(ErrorKind::InvalidInput, "no name of a server"))?;
    let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(Box::new(stream))
}

/// Asks a proxy to connect to a host.
pub(super) fn open_tunnel<S: Read + Write + ?Sized>(
    stream: &mut S,
    proxy: &ureq::Proxy,
    host: &str,
    port: u16,
) -> io::Result<()> {
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if proxy.username().is_some() || proxy.password().is_some() {
        let (user, password) = (proxy.username().unwrap_or_default(), proxy.password().unwrap_or_default());
        let basic = BASE64_STANDARD.encode(format!("{user}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    stream.flush()?;
    // Read byte by byte, so as not to take bytes of the server's protocol that follow the head.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head.len() > MAX_PROXY_ANSWER {
            return Err(io::Error::new(ErrorKind::InvalidData, "the proxy's answer is no HTTP"));
        }
    }
    // `HTTP/1.1 200 Connection established`.
    let line = String::from_utf8_lossy(&head);
    let mut words = line.split("\r\n").next().unwrap_or_default().split(' ');
    let is_http =
        words.next().and_then(|version| version.strip_prefix("HTTP/1.")).is_some_and(|minor| minor.len() == 1);
    let code = words.next().filter(|code| is_http && code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()));
    match code {
        Some(code) if code.starts_with('2') => Ok(()),
        Some(code) => {
            Err(io::Error::new(ErrorKind::ConnectionRefused, format!("the proxy answered with status {code}")))
        }
        None => Err(io::Error::new(ErrorKind::InvalidData, "the proxy's answer is no HTTP")),
    }
}

impl Connection {
    /// Sets the longest time that one read or write may wait from now on; it must not be zero.
    pub(crate) fn set_io_timeout(&self, time: Duration) -> io::Result<()> {
        self.socket.set_patience(Patience::Each(time));
        Ok(())
    }

    /// Sets when all reads and writes from now on must have ended.
    pub(crate) fn wait_until(&self, deadline: Instant) {
        self.socket.set_patience(Patience::Until(deadline));
    }

    /// Whether the other side has neither closed the connection nor sent what nobody asked for.
    pub(super) fn is_quiet(&self) -> bool {
        self.socket.is_quiet()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

// The proofs compile this once more, without what these tests need.
#[cfg(all(test, not(feature = "torture")))]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;
    use crate::sink::net::certificates::{Ask, Authority, Issued};

    const LONG: Duration = Duration::from_secs(30);

    fn dialer(environment: Environment, trust: Trust) -> Dialer {
        Dialer::new(environment, trust, LONG, LONG)
    }

    /// Serves one connection in a thread; where it listens.
    fn serve(body: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || body(listener.accept().unwrap().0));
        address
    }

    fn echo(mut stream: impl Read + Write) {
        let mut bytes = [0; 5];
        if stream.read_exact(&mut bytes).is_ok() {
            let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
        }
    }

    fn echoes(connection: &mut Connection) {
        connection.write_all(b"hello").unwrap();
        connection.flush().unwrap();
        let mut bytes = [0; 5];
        connection.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    }

    /// The authority's certificate, as a sink is told of it.
    fn trust(authority: &Authority) -> Trust {
        let bundle = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(bundle.path(), authority.pem()).unwrap();
        Trust::load(bundle.path().to_str().unwrap()).unwrap()
    }

    fn identity(of: &Issued) -> Identity {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}{}", of.certificate, of.key)).unwrap();
        let path = file.path().to_str().unwrap();
        Identity::load(path, path).unwrap()
    }

    fn serve_tls(config: Arc<rustls::ServerConfig>) -> SocketAddr {
        serve(move |stream| {
            let session = rustls::ServerConnection::new(config).unwrap();
            echo(StreamOwned::new(session, stream));
        })
    }

    #[test]
    fn plain_and_tls() {
        let dialer_plain = dialer(Environment::empty(), Trust::default());
        let at = serve(echo);
        echoes(&mut dialer_plain.connect("127.0.0.1", at.port(), false).unwrap());
        let authority = Authority::new();
        let config = authority.server(&["localhost"], Ask::Nothing);
        let trusting = dialer(Environment::empty(), trust(&authority));
        echoes(&mut trusting.connect("localhost", serve_tls(config.clone()).port(), true).unwrap());
        for (dialer, host) in [(&dialer_plain, "localhost"), (&trusting, "127.0.0.1")] {
            let error = dialer.connect(host, serve_tls(config.clone()).port(), true).err().unwrap();
            assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
        }
    }

    /// A server greets, waits for a word, and goes on with TLS, where it asks for a certificate. What is then sent without waiting
    /// for answers is answered in order.
    #[test]
    fn tls_that_begins_later_and_shows_who_we_are() {
        let authority = Authority::new();
        let config = authority.server(&["localhost"], Ask::Demand(&authority));
        for shown in [Some(identity(&authority.client())), None] {
            let config = config.clone();
            let at = serve(move |mut stream| {
                stream.write_all(b"INFO\r\n").unwrap();
                let mut word = [0; 5];
                stream.read_exact(&mut word).unwrap();
                let mut stream = StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
                (0..3).for_each(|_| echo(&mut stream));
            });
            let is_known = shown.is_some();
            let dialer = dialer(Environment::empty(), trust(&authority)).identity(shown);
            let mut plain = dialer.connect("localhost", at.port(), false).unwrap();
            plain.read_exact(&mut [0; 6]).unwrap();
            plain.write_all(b"START").unwrap();
            // A server of TLS 1.3 refuses a client after the client's part of the handshake.
            let answered = dialer.secure(plain, "localhost").and_then(|mut secure| {
                let mut bytes = [0; 15];
                secure.write_all(b"hellohellohello").and_then(|()| secure.flush())?;
                secure.read_exact(&mut bytes).map(|()| assert_eq!(&bytes, b"hellohellohello"))
            });
            assert_eq!(answered.is_ok(), is_known, "{answered:?}");
        }
    }

    #[test]
    fn through_a_proxy_that_asks_for_a_password() {
        let authority = Authority::new();
        let target = serve_tls(authority.server(&["localhost"], Ask::Demand(&authority)));
        // It would take a certificate of ours, but is shown none.
        let config = authority.server(&["127.0.0.1"], Ask::For(&authority));
        let proxy = serve(move |stream| {
            let mut client = StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            // "me:p@ss" in Base64.
            assert!(head.starts_with("CONNECT localhost:9093 ") && head.contains("Basic bWU6cEBzcw=="), "{head}");
            assert!(client.conn.peer_certificates().is_none());
            let mut server = TcpStream::connect(target).unwrap();
            client.write_all(b"HTTP/1.1 200 Connected\r\nX: y\r\n\r\n").unwrap();
            client.flush().unwrap();
            relay(&mut client, &mut server);
        });
        let environment = Environment::empty().var("https_proxy", format!("https://me:p%40ss@{proxy}"));
        let dialer = dialer(environment, trust(&authority)).identity(Some(identity(&authority.client())));
        echoes(&mut dialer.connect("localhost", 9093, true).unwrap());
    }

    /// Copies between two sides, now from one and then from the other, until one is closed.
    fn relay(client: &mut StreamOwned<rustls::ServerConnection, TcpStream>, server: &mut TcpStream) {
        let short = Some(Duration::from_millis(2));
        client.sock.set_read_timeout(short).unwrap();
        server.set_read_timeout(short).unwrap();
        fn pass(from: &mut impl Read, to: &mut impl Write) -> bool {
            let mut bytes = [0; 4096];
            match from.read(&mut bytes) {
                Ok(0) => false,
                Ok(length) => to.write_all(&bytes[..length]).and_then(|()| to.flush()).is_ok(),
                Err(error) => error.kind() == ErrorKind::WouldBlock,
            }
        }
        while pass(client, server) && pass(server, client) {}
    }

    #[test]
    fn a_proxy_that_refuses_is_an_error_without_its_password() {
        let proxy = serve(|mut client| {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        });
        let environment = Environment::empty().var("all_proxy", format!("http://me:hush@{proxy}"));
        let error = dialer(environment, Trust::default()).connect("broker.example", 9092, false).err().unwrap();
        assert!(error.to_string().contains("status 407") && !error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn an_interrupt_ends_a_read_and_the_next_connection_is_good() {
        let dialer = dialer(Environment::empty(), Trust::default());
        let (sender, receiver) = sync_channel::<()>(1);
        let silent = serve(move |stream| drop((receiver.recv(), stream)));
        let mut connection = dialer.connect("127.0.0.1", silent.port(), false).unwrap();
        thread::scope(|scope| {
            let reading = scope.spawn(move || connection.read(&mut [0; 1]));
            thread::sleep(Duration::from_millis(50));
            dialer.interrupt();
            assert!(!matches!(reading.join().unwrap(), Ok(1..)), "it ended, with nothing read");
        });
        drop(sender);
        echoes(&mut dialer.connect("127.0.0.1", serve(echo).port(), false).unwrap());
    }

    #[test]
    fn a_server_that_is_silent_is_a_time_out() {
        let (sender, receiver) = sync_channel::<()>(2);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let open: Vec<_> = (0..2).map(|_| listener.accept().unwrap()).collect();
            let _ = receiver.recv();
            drop(open);
        });
        let short = Duration::from_millis(200);
        let dialer = Dialer::new(Environment::empty(), Trust::default(), short, short);
        let error = dialer.connect("127.0.0.1", port, true).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "within the handshake: {error}");
        let mut connection = dialer.connect("127.0.0.1", port, false).unwrap();
        assert_eq!(connection.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        connection.set_io_timeout(LONG).unwrap();
        drop(sender);
        assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0, "the server has gone");
        server.join().unwrap();
    }
}
