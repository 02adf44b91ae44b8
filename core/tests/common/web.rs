//! What the HTTP servers of the tests share: threads that accept connections and end with the server, and requests that are
//! read strictly.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query, as on the wire.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Reads what stands before the body; `None` when there is no further request.
pub(crate) fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { panic!("{line:?}") };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").expect("CR LF");
        let Some((name, value)) = line.split_once(':') else { break };
        let (name, value) = (name.to_ascii_lowercase(), value.trim());
        // Only such as a record may bring along may come twice.
        let before: Option<String> = headers.remove(&name);
        assert!(before.is_none() || name.starts_with("x-"), "{name} comes twice");
        headers.insert(name, before.map_or(value.to_owned(), |before| format!("{before}, {value}")));
    }
    assert!(headers.contains_key("host"));
    Ok(Some(Request { method, target, headers, body: Vec::new() }))
}

/// By the number of the connection.
type Open = Arc<Mutex<HashMap<u64, TcpStream>>>;

/// Accepts connections on a free port of loopback, each served in a thread of its own. All end when this is dropped.
pub(crate) struct Listening {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    open: Open,
    accepting: Option<JoinHandle<()>>,
}

/// A connection that is served. Afterwards the last of its clones closes it.
struct Served(u64, Open);

impl Drop for Served {
    fn drop(&mut self) {
        self.1.lock().unwrap().remove(&self.0);
    }
}

impl Listening {
    pub(crate) fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stopping, open, connections) = (Arc::new(AtomicBool::new(false)), Open::default(), Arc::default());
        let (stop, streams, serve) = (stopping.clone(), open.clone(), Arc::new(serve));
        let count: Arc<AtomicU64> = Arc::clone(&connections);
        let accepting = thread::spawn(move || {
            let mut threads = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                streams.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let (serve, served) = (serve.clone(), Served(number, streams.clone()));
                threads.push(thread::spawn(move || {
                    // Also where the handler panics, so that its client does not wait.
                    let _served = served;
                    serve(stream);
                }));
            }
            for stream in streams.lock().unwrap().values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Listening { address, connections, stopping, open, accepting: Some(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address);
        let ended = self.accepting.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "a thread of a test server panicked");
    }
}
