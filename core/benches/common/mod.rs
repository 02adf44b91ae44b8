//! What the benchmarks of sinks share that send over HTTP: a server that takes everything and keeps nothing, and clients of
//! Python to be measured beside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// The one in the middle.
pub(crate) fn median<R>(rounds: &[R], of: fn(&R) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a script of Python says of its rounds, a line of JSON each; `None` where `UNISTREAM_BENCH_PYTHON` names no Python.
pub(crate) fn python(script: &str, arguments: &[String]) -> Option<Vec<Value>> {
    let mut command = Command::new(std::env::var_os("UNISTREAM_BENCH_PYTHON")?);
    command.arg(script).args(arguments).stderr(Stdio::inherit());
    for name in ["AWS_CA_BUNDLE", "AWS_PROFILE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command.output().expect("Python runs");
    assert!(output.status.success(), "{script} failed");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(lines.map(|line| serde_json::from_slice(line).expect("a round is a line of JSON")).collect())
}

/// A number that a round has.
pub(crate) fn number(round: &Value, key: &str) -> f64 {
    round[key].as_f64().expect("a number")
}

/// Listens on loopback and answers every request after so long with these bytes, as long as the process lives; the URL.
pub(crate) fn null_server(delay: Duration, answer: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer: Arc<[u8]> = answer.into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut stream = BufReader::with_capacity(256 * 1024, stream);
                let mut body = Vec::new();
                while let Some(length) = read_head(&mut stream) {
                    body.resize(length, 0);
                    if stream.read_exact(&mut body).is_err() {
                        return;
                    }
                    thread::sleep(delay);
                    if stream.get_mut().write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// The length of the request's body; `None` when there is no further request.
fn read_head(stream: &mut impl BufRead) -> Option<usize> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return length;
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
}
