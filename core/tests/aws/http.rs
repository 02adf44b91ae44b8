//! An HTTP server, with TLS if need be, and a CONNECT proxy: on loopback, on free ports, gone when dropped.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::certificates::{Ask, Authority};
pub(crate) use crate::web::Request;
use crate::web::{Listening, read_head};

/// What the server does about a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Wait before answering.
    pub(crate) delay: Duration,
    pub(crate) cut: Cut,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cut {
    /// The whole answer.
    Nowhere,
    /// No byte of it: the connection is closed.
    Before,
    /// Half of the body, then the connection is closed.
    Within,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO, cut: Cut::Nowhere }
    }
}

pub(crate) trait Handler: Fn(Request) -> Reply + Send + Sync + 'static {}
impl<F: Fn(Request) -> Reply + Send + Sync + 'static> Handler for F {}

pub(crate) struct Server {
    listening: Listening,
    bundle: Option<Bundle>,
}

impl Server {
    pub(crate) fn start(handler: impl Handler) -> Self {
        Self::start_with(None, None, handler)
    }

    /// With TLS, by a certificate for these names.
    pub(crate) fn start_tls(names: &[&str], handler: impl Handler) -> Self {
        let (authority, bundle) = (Authority::new(), Bundle(scratch("ca.pem")));
        std::fs::write(&bundle.0, authority.pem()).unwrap();
        Self::start_with(Some(bundle), Some(authority.server(names, Ask::Nothing)), handler)
    }

    fn start_with(bundle: Option<Bundle>, config: Option<Arc<rustls::ServerConfig>>, handler: impl Handler) -> Self {
        let listening = Listening::start(move |stream| {
            // An error is the client's way to go away.
            let _ = match &config {
                None => serve(stream, &handler),
                Some(config) => {
                    let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                    serve(rustls::StreamOwned::new(connection, stream), &handler)
                }
            };
        });
        Server { listening, bundle }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.bundle.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// Connections that were made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.listening.connections()
    }

    /// The file with the certificate of the authority.
    pub(crate) fn ca_bundle(&self) -> String {
        self.bundle.as_ref().unwrap().0.to_str().unwrap().into()
    }
}

fn serve(stream: impl Read + Write, handler: &impl Handler) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    while let Some(request) = read_request(&mut stream)? {
        let reply = handler(request);
        thread::sleep(reply.delay);
        if reply.cut == Cut::Before {
            return Ok(());
        }
        let mut head = format!("HTTP/1.1 {} Test\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        reply.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let body = if reply.cut == Cut::Within { &reply.body[..reply.body.len() / 2] } else { &reply.body[..] };
        let answer = [head.as_bytes(), b"\r\n", body].concat();
        stream.get_mut().write_all(&answer)?;
        stream.get_mut().flush()?;
        if reply.cut == Cut::Within {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(mut request) = read_head(stream)? else { return Ok(None) };
    let length = request.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// The file with an authority's certificate.
struct Bundle(PathBuf);

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A path of its own in the directory of temporary files.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    std::env::temp_dir().join(format!("unistream-aws-{}-{count}-{name}", std::process::id()))
}

/// A CONNECT proxy that leads every connection to one address, whatever host was asked for.
pub(crate) struct Proxy {
    listening: Listening,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let listening = Listening::start(move |stream| {
            let _ = tunnel(stream, to, &log);
        });
        Proxy { listening, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listening.address())
    }

    /// The `host:port` of every CONNECT, and its `Proxy-Authorization` where there was one.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(stream: TcpStream, to: SocketAddr, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut client = BufReader::new(stream);
    let Some(request) = read_request(&mut client)? else { return Ok(()) };
    let authorization = request.header("proxy-authorization");
    log.lock().unwrap().push(format!("{} {} {authorization}", request.method, request.target).trim_end().into());
    let mut server = TcpStream::connect(to)?;
    let mut client = client.into_inner();
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let forward = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let _ = io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    forward.join().unwrap();
    Ok(())
}
