//! What is below HTTP: time limits, probes, proxies, kept connections, interrupts.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use unistream::Sink;
use unistream::sink::http::{Environment, HttpBuilder, HttpSink, Redirects};

use crate::server::{Fault, Reply, Server};
use crate::web::{Listening, read_head};
use crate::{batch, numbers, send, sink};

/// A sink for whoever listens there.
fn to(listening: &Listening) -> HttpBuilder {
    HttpSink::builder(format!("http://{}/", listening.address())).environment(Environment::empty())
}

/// The kernel's timers of this process's connections to a port, as `/proc/net/tcp` shows them.
fn timers(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_port = lines.filter(|fields| fields[2].ends_with(&format!(":{port:04X}")));
    to_port.map(|fields| fields[5].split(':').next().unwrap().to_owned()).collect()
}

/// Else a router that has forgotten the connection costs the next request its whole time.
#[test]
fn a_kept_connection_is_probed() {
    let server = Server::taking();
    let sink = sink(&server, "/").build().unwrap();
    assert_eq!(send(&sink, &batch(&numbers(1))).0, "d");
    // The timer of an idle connection is that of its next probe.
    assert_eq!(timers(server.address().port()), ["02"]);
}

#[test]
fn a_server_that_takes_a_body_slowly_does_not_stretch_the_time() {
    let trickle = Listening::start(|mut stream| {
        take_little(&stream);
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until && stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let sink = to(&trickle).expect_continue(1 << 40).timeout(Duration::from_millis(500)).build().unwrap();
    let large: Vec<String> = (0..100).map(|_| format!("\"{}\"", "x".repeat(90_000))).collect();
    let began = Instant::now();
    let (kinds, why) = send(&sink, &batch(&large));
    assert!(kinds.starts_with('u') && why.contains("time-out"), "{kinds} {why}");
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
}

/// Takes little at once.
#[allow(unsafe_code)]
fn take_little(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let bytes: libc::c_int = 4096;
    let (pointer, size) = ((&raw const bytes).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option is read from a number of its size that lives for the call.
    let done = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, pointer, size) };
    assert_eq!(done, 0);
}

/// The bug: each byte of a proxy's answer gave it the whole time to connect anew.
#[test]
fn a_proxy_that_answers_byte_by_byte_does_not_stretch_the_time() {
    let proxy = Listening::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let environment = Environment::empty().var("http_proxy", format!("http://{}", proxy.address()));
    let builder = HttpSink::builder("http://host.example/").environment(environment);
    let sink = builder.connect_timeout(Duration::from_millis(300)).build().unwrap();
    let began = Instant::now();
    let (kinds, why) = send(&sink, &batch(&numbers(1)));
    assert!(kinds == "u" && why.contains("time-out"), "{kinds} {why}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_proxy_is_asked_for_an_address_in_brackets_and_its_refusal_is_told() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = asked.clone();
    let proxy = Listening::start(move |mut stream| {
        let mut head = [0; 4096];
        let length = stream.read(&mut head).unwrap_or(0);
        heads.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
        let _ = stream.write_all(b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\n\r\n");
    });
    let environment = Environment::empty().var("http_proxy", format!("http://me:hush-hush@{}", proxy.address()));
    let sink = HttpSink::builder("http://[2001:db8::1]/").environment(environment).build().unwrap();
    let (kinds, why) = send(&sink, &batch(&numbers(1)));
    assert!(kinds == "u" && why.contains("407") && !why.contains("hush"), "{kinds} {why}");
    let head = asked.lock().unwrap()[0].clone();
    // "me:hush-hush" in Base64.
    assert!(
        head.starts_with("CONNECT [2001:db8::1]:80 HTTP/1.1\r\n") && head.contains("Basic bWU6aHVzaC1odXNo"),
        "{head}"
    );
}

#[test]
fn a_server_of_http_1_0_is_spoken_to_once_a_connection() {
    let server = Server::taking();
    let sink = sink(&server, "/").build().unwrap();
    for answer in [
        &b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}"[..],
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ] {
        let before = server.connections();
        server.script([Fault::Raw(answer.to_vec())]);
        assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd");
        assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd");
        assert!(server.connections() > before, "not kept");
    }
    // An answer that ends with the connection.
    let closing = Listening::start(|stream| {
        let mut stream = BufReader::new(stream);
        if let Ok(Some(request)) = read_head(&mut stream) {
            let mut body = vec![0; request.header("content-length").parse().unwrap()];
            let _ = stream.read_exact(&mut body);
            let _ = stream.get_mut().write_all(b"HTTP/1.0 200 OK\r\n\r\nthanks");
        }
    });
    let sink = to(&closing).build().unwrap();
    (0..3).for_each(|_| assert_eq!(send(&sink, &batch(&numbers(2))).0, "dd"));
    assert_eq!(closing.connections(), 3);
}

/// Half an answer says nothing, also where its length was not said; but a refusal is one however it ends.
#[test]
fn an_answer_without_a_length_ends_with_the_connection_and_not_with_a_reset() {
    let server = Server::taking();
    let sink = sink(&server, "/").build().unwrap();
    for (status, kinds) in [("200 OK", "uu"), ("413 Too much", "dd")] {
        server.script([Fault::RawReset(format!("HTTP/1.1 {status}\r\n\r\nthanks").into_bytes())]);
        assert_eq!(send(&sink, &batch(&numbers(2))).0, kinds, "{status}");
    }
}

/// The server may still read the body that it did not ask for: another request behind the head would be taken for it.
#[test]
fn a_connection_whose_body_was_not_asked_for_is_not_kept() {
    let mixed = Arc::new(AtomicBool::new(false));
    let seen = mixed.clone();
    let server = Listening::start(move |stream| {
        let mut stream = BufReader::new(stream);
        while let Ok(Some(request)) = read_head(&mut stream) {
            if request.header("expect") == "100-continue" {
                let _ = stream.get_mut().write_all(b"HTTP/1.1 401 Who?\r\ncontent-length: 0\r\n\r\n");
                seen.fetch_or(stream.read(&mut [0; 1]).is_ok_and(|bytes| bytes > 0), Ordering::SeqCst);
                return;
            }
            let mut body = vec![0; request.header("content-length").parse().unwrap()];
            let _ = stream.read_exact(&mut body);
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let sink = to(&server).expect_continue(100).build().unwrap();
    assert_eq!(send(&sink, &batch(&numbers(1))).0, "d");
    assert_eq!(send(&sink, &batch(&numbers(100))).0, "u".repeat(100));
    assert_eq!(send(&sink, &batch(&numbers(1))).0, "d");
    assert_eq!(server.connections(), 2);
    drop(server);
    assert!(!mixed.load(Ordering::SeqCst), "nothing followed the head");
}

/// The bug: only the host that the last redirection led to was interrupted.
#[test]
fn an_interrupt_ends_requests_at_every_host_that_redirections_led_to() {
    let slow = || {
        Server::start(|_| {
            thread::sleep(Duration::from_secs(6));
            Reply::new(200, "")
        })
    };
    let others = [slow(), slow(), slow()];
    let (urls, next) = (others.each_ref().map(|other| other.url("/")), AtomicU64::new(0));
    let home = Server::start(move |_| {
        let url = &urls[next.fetch_add(1, Ordering::SeqCst) as usize % urls.len()];
        Reply::new(307, "").header("location", url)
    });
    let sink = sink(&home, "/").redirects(Redirects::Any).build().unwrap();
    let began = Instant::now();
    thread::scope(|scope| {
        let sending: Vec<_> = (0..3).map(|_| scope.spawn(|| send(&sink, &batch(&numbers(1))))).collect();
        while others.iter().any(|other| other.connections() == 0) {
            thread::sleep(Duration::from_millis(5));
        }
        // The requests are on their way by then.
        thread::sleep(Duration::from_millis(200));
        sink.interrupt();
        sending.into_iter().for_each(|sent| assert_eq!(sent.join().unwrap().0, "u"));
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
