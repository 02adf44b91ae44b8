//! A strict HTTP server on loopback: it takes nothing that is not as it should be, keeps what it takes, and does wrong what a
//! script says.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::web::{Listening, Request, read_head};

impl Request {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(String::from).collect()
    }
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, headers: vec![("content-type".into(), "application/json".into())], body: body.into() }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn html(status: u16) -> Self {
        Reply::new(status, "<html>an error page</html>").header("content-type", "text/html; charset=utf-8")
    }
}

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: it is handled.
    None,
    /// This is answered, and the request is not handled.
    Answer(Reply),
    /// Handled; then the connection is closed without an answer.
    CutAfter,
    /// Closed without being handled.
    CutBefore,
    /// Handled; half of the answer is sent.
    CutWithin,
    /// Handled; the answer is reset in its middle.
    ResetWithin,
    /// Handled; the answer comes in chunks of a few bytes.
    Chunked,
    /// Handled; the answer comes after so long.
    Slow(Duration),
    /// Handled; these bytes are sent in place of an answer, and the connection is kept.
    Raw(Vec<u8>),
    /// Handled; these bytes are sent in place of an answer, and the connection is reset.
    RawReset(Vec<u8>),
    /// Handled; the answer comes byte by byte, each after so long.
    Drip(Duration),
    /// Handled; what is sent is no HTTP.
    Garbage,
    /// Handled; interim answers come first.
    Interim,
    /// This is answered by the head alone; the body is not read, and the connection is reset.
    Early(Reply),
}

pub(crate) struct Server {
    listening: Listening,
    state: Arc<State>,
}

struct State {
    handler: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
    faults: Mutex<VecDeque<Fault>>,
    requests: Mutex<Vec<Request>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler)
    }

    pub(crate) fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let (faults, requests) = Default::default();
        let state = Arc::new(State { handler: Box::new(handler), faults, requests });
        let shared = state.clone();
        let listening = Listening::start(move |stream| {
            let socket = stream.try_clone().unwrap();
            // An error is the client's way to go away.
            let _ = match &tls {
                None => serve(&shared, &socket, stream),
                Some(config) => {
                    let session = rustls::ServerConnection::new(config.clone()).unwrap();
                    serve(&shared, &socket, rustls::StreamOwned::new(session, stream))
                }
            };
        });
        Server { listening, state }
    }

    /// Takes everything.
    pub(crate) fn taking() -> Self {
        Self::start(|_| Reply::new(200, "{}"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The faults of the next requests, one a request.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().unwrap().extend(faults);
    }

    /// What was handled, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.listening.connections()
    }
}

/// Makes the kernel send a reset when the socket is closed.
#[allow(unsafe_code)]
fn reset_on_close(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (pointer, size) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: the option is read from a structure of its size that lives for the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, pointer, size) };
    assert_eq!(done, 0);
}

fn serve(state: &State, socket: &TcpStream, stream: impl Read + Write) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    while let Some(mut request) = read_head(&mut stream)? {
        let fault = state.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        if let Fault::Early(reply) = fault {
            stream.get_mut().write_all(&whole(&reply.header("connection", "close")))?;
            stream.get_mut().flush()?;
            // Let the answer arrive before the reset.
            thread::sleep(Duration::from_millis(50));
            reset_on_close(socket);
            return Ok(());
        }
        if request.header("expect") == "100-continue" {
            stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.get_mut().flush()?;
        }
        let length: usize = request.header("content-length").parse().expect("a request has a length");
        assert!(!request.headers.contains_key("transfer-encoding"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        request.body = match request.header("content-encoding") {
            "" => body,
            "gzip" => {
                let mut unpacked = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut unpacked).expect("a body that is gzip");
                unpacked
            }
            #[cfg(feature = "zstd")]
            "zstd" => zstd::stream::decode_all(&body[..]).expect("a body that is zstd"),
            other => panic!("{other}"),
        };
        let reply = match &fault {
            Fault::CutBefore => return Ok(()),
            Fault::Answer(reply) => reply.clone(),
            _ => {
                let reply = (state.handler)(&request);
                state.requests.lock().unwrap().push(request);
                reply
            }
        };
        let answer = whole(&reply);
        let out = stream.get_mut();
        match fault {
            Fault::CutAfter => return Ok(()),
            Fault::CutWithin => {
                out.write_all(&answer[..answer.len() - 1])?;
                return out.flush();
            }
            Fault::ResetWithin => {
                out.write_all(&answer[..answer.len() / 2])?;
                out.flush()?;
                reset_on_close(socket);
                return Ok(());
            }
            Fault::Chunked => {
                let mut head = format!("HTTP/1.1 {} Test\r\ntransfer-encoding: chunked\r\n", reply.status);
                reply.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                out.write_all(format!("{head}\r\n").as_bytes())?;
                for chunk in reply.body.chunks(3) {
                    out.write_all(format!("{:x};ext=1\r\n", chunk.len()).as_bytes())?;
                    out.write_all(chunk)?;
                    out.write_all(b"\r\n")?;
                    out.flush()?;
                }
                out.write_all(b"0\r\nTrailer: x\r\n\r\n")?;
            }
            Fault::Slow(delay) => {
                thread::sleep(delay);
                out.write_all(&answer)?;
            }
            Fault::Garbage => {
                out.write_all(b"SSH-2.0-server\r\n\r\n")?;
                return out.flush();
            }
            Fault::Raw(bytes) => out.write_all(&bytes)?,
            Fault::RawReset(bytes) => {
                out.write_all(&bytes)?;
                out.flush()?;
                // Let them arrive before the reset.
                thread::sleep(Duration::from_millis(50));
                reset_on_close(socket);
                return Ok(());
            }
            Fault::Drip(delay) => {
                for byte in answer {
                    out.write_all(&[byte])?;
                    out.flush()?;
                    thread::sleep(delay);
                }
            }
            Fault::Interim => {
                out.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")?;
                out.write_all(&answer)?;
            }
            _ => out.write_all(&answer)?,
        }
        out.flush()?;
    }
    Ok(())
}

fn whole(reply: &Reply) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Test\r\n", reply.status);
    if reply.status != 204 {
        head.push_str(&format!("content-length: {}\r\n", reply.body.len()));
    }
    reply.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    [head.as_bytes(), b"\r\n", &reply.body].concat()
}
