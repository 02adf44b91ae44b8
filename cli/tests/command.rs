//! The program as others run it: a process with its streams, its signals and its exit code.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use unistream::{Batch, Inspection, Limits, NewRecord, Outcome, Producer, Report, SendError, sink};

const UNISTREAM: &str = env!("CARGO_BIN_EXE_unistream");

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(UNISTREAM);
    command.args(arguments).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    command(folder, arguments).output().unwrap().into()
}

fn run_with(folder: &Path, arguments: &[&str], stdin: &str) -> Ended {
    let mut child = command(folder, arguments).stdin(Stdio::piped()).spawn().unwrap();
    // One that refuses its command line does not wait for what it would read.
    match child.stdin.take().unwrap().write_all(stdin.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
    child.wait_with_output().unwrap().into()
}

fn shell(folder: &Path, script: &str) -> Ended {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).current_dir(folder).env("UNISTREAM", UNISTREAM).stdin(Stdio::null());
    shell.output().unwrap().into()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn end(child: Child, signal: &str) -> Ended {
    let killed = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    child.wait_with_output().unwrap().into()
}

/// Puts records that no line of a file is.
fn put(folder: &Path, records: &[&str]) {
    let producer = Producer::builder(folder.join("outbox")).open_manual(Limits::default()).unwrap();
    for record in records {
        producer.put(*record).unwrap();
    }
    producer.close(Duration::ZERO).unwrap();
}

fn pending(folder: &Path) -> u64 {
    Inspection::open(folder.join("outbox")).and_then(|found| found.stats()).map_or(0, |stats| stats.pending_records)
}

#[test]
fn lines_of_files_and_of_standard_input_get_to_a_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "1\n2\n\nno end of line").unwrap();
    let ended = run_with(folder.path(), &["put", "outbox", "a.txt", "-", "--to", "file:out.log"], "stdin\n");
    assert_eq!((ended.code, &*ended.out), (0, ""));
    assert_eq!(ended.err, "put: 5, bytes: 21, already in: 0, delivered: 5, left: 0, dead letters: 0\n");
    assert_eq!(fs::read_to_string(folder.path().join("out.log")).unwrap(), "1\n2\n\nno end of line\nstdin\n");
    // In the buffer nothing is left but the lock of the notes.
    assert!(!folder.path().join("outbox/intake").exists());
}

#[test]
fn a_program_puts_and_the_command_drains() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &["1", "2"]);
    let ended = run(folder.path(), &["drain", "outbox", "--to", "file:out.log", "--json"]);
    assert_eq!(
        (ended.code, &*ended.out),
        (0, "{\"delivered\": 2, \"left\": 0, \"dead_letters\": 0}\n"),
        "{}",
        ended.err
    );
    assert_eq!(fs::read_to_string(folder.path().join("out.log")).unwrap(), "1\n2\n");
    let missing = run(folder.path(), &["drain", "missing", "--to", "null:"]);
    assert_eq!((missing.code, &*missing.err), (6, "unistream: there is no buffer in missing\n"));
    assert!(!folder.path().join("missing").exists());
}

/// What records carry beside their data comes from the command line and from fields of the lines, and goes through a dead
/// letter, JSON and another buffer without a change.
#[test]
fn headers_topic_and_time_of_expiry_come_and_go_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lines = r#"{"n": 1, "to": "größe", "head": {"traceparent": "00-4bf9", "a": "2"}, "until": "9999-12-31T23:59:59.999999Z"}
{"n": 2}
"#;
    let named = ["--id", "n", "--topic-field", "to", "--headers-field", "head", "--expires-at-field", "until"];
    let fixed = ["--topic", "orders", "--header", "a=1=1", "--header", "größe=", "--format", "ndjson", "--quiet"];
    let arguments = [&["put", "outbox", "-"], &named[..], &fixed[..]].concat();
    let ended = run_with(folder, &arguments, lines);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let ended = run_with(folder, &["put", "outbox", "--header", "only=this", "--quiet"], "a line\n");
    assert_eq!((ended.code, &*ended.err), (0, ""));

    let cat = || -> Vec<Value> {
        let ended = run(folder, &["cat", "outbox", "--json"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let first = cat();
    let header = |name: &str, value: &str| serde_json::json!({"name": name, "value": value});
    assert_eq!(
        (&first[0]["topic"], &first[1]["topic"], &first[2]["topic"]),
        (&"größe".into(), &"orders".into(), &Value::Null)
    );
    assert_eq!(first[0]["expires_at"], "9999-12-31T23:59:59.999999Z");
    let own = [header("traceparent", "00-4bf9"), header("a", "2")];
    let given = [header("a", "1=1"), header("größe", "")];
    assert_eq!(first[0]["headers"], Value::Array([&given[..], &own].concat()));
    assert_eq!(first[1]["headers"], Value::Array(given.to_vec()));
    assert!(first[1].get("expires_at").is_none() && first[2].get("topic").is_none());

    // A program adds one that is no text, and its sink refuses all.
    let rejecting = sink::from_fn(|batch: &Batch| -> Result<Report, SendError> {
        Ok(Report::all(batch.len(), Outcome::Rejected { reason: "no".into() }))
    });
    let producer = Producer::builder(folder.join("outbox")).open(rejecting).unwrap();
    let odd = [("bytes", &b"\xff\0"[..]), ("empty", b"")];
    producer.put(NewRecord::new(b"\xfe").id("odd").key(b"\xfd").headers(&odd).created_at(-1)).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    producer.close(Duration::ZERO).unwrap();
    drop(producer);
    let listed = run(folder, &["dead-letters", "list", "outbox", "--json"]);
    let ids: Vec<String> = listed
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().into())
        .collect();
    let shown: String =
        ids.iter().map(|id| run(folder, &["dead-letters", "show", "outbox", id, "--json"]).out).collect();
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let text: String = ids.iter().map(|id| run(folder, &["dead-letters", "show", "outbox", id]).out).collect();
    assert!(text.contains("  topic größe\n") && text.contains("  header bytes: \\xff\\x00\n"), "{text}");

    // What JSON shows is put again as records, with all that they had; and a letter is replayed with the same.
    fs::write(folder.join("records"), &shown).unwrap();
    let ended = run(folder, &["put", "outbox", "records", "--format", "records", "--quiet"]);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let ended = run(folder, &["dead-letters", "replay", "outbox", "--all", "--quiet"]);
    assert_eq!(ended.code, 2, "there is no --quiet");
    let ended = run(folder, &["dead-letters", "replay", "outbox", "--all"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let without = |record: &Value, name: &str| {
        let mut record = record.clone();
        record.as_object_mut().unwrap().remove(name);
        record
    };
    let all = cat();
    assert_eq!(all.len(), 8);
    for (put, replayed) in all[..4].iter().zip(&all[4..]) {
        let (put, replayed) = (without(put, "seq"), without(replayed, "seq"));
        if put["data"] == "a line" {
            // It had no id of its own: by JSON it keeps the one that it had here.
            assert_eq!(without(&put, "id"), without(&replayed, "id"));
        } else {
            assert_eq!(put, replayed);
        }
    }
    for (was, is) in first.iter().zip(&all) {
        assert_eq!(without(was, "seq"), without(is, "seq"));
    }
    let odd = &all[7];
    assert_eq!(
        (&odd["data_base64"], &odd["key_base64"], &odd["created_at"]),
        (&"/g==".into(), &"/Q==".into(), &"1969-12-31T23:59:59.999999Z".into())
    );
    assert_eq!(odd["headers"], serde_json::json!([{"name": "bytes", "value_base64": "/wA="}, header("empty", "")]));

    // A run that stopped at a bad line goes on there when it is corrected.
    fs::write(folder.join("records"), format!("{shown}{{}}\n")).unwrap();
    let stopped = run(folder, &["put", "outbox", "records", "--format", "records"]);
    assert_eq!(stopped.code, 65, "{}", stopped.err);
    fs::write(folder.join("records"), format!("{shown}{{\"data\": \"\"}}\n")).unwrap();
    let again = run(folder, &["put", "outbox", "records", "--format", "records"]);
    assert!(again.code == 0 && again.err.contains("put: 1, bytes: 12, already in: 4"), "{}", again.err);
}

#[test]
fn what_no_record_can_carry_is_said_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let put = |arguments: &[&str], stdin: &str| {
        let ended = run_with(folder.path(), &[&["put", "outbox"], arguments].concat(), stdin);
        (ended.code, ended.err)
    };
    let long = "x".repeat(1025);
    for (arguments, stdin, code, why) in [
        (&["--header", "a"][..], "x\n", 2, "NAME=VALUE"),
        (&["--header", "=a"], "x\n", 65, "line 1: the name of a header is empty"),
        (&["--topic", &long], "x\n", 65, "line 1: a topic of 1025 bytes is longer than 1024"),
        (&["--topic-field", "t"], "x\n", 2, "fields of --format ndjson"),
        (&["--format", "ndjson", "--expires-at-field", "e"], "{}\n{\"e\": 5}\n", 65, "line 2: 5 is no time"),
        (&["--format", "ndjson", "--headers-field", "h"], "{\"h\": {\"a\\nb\": 1}}\n", 65, "control character"),
        (&["--format", "records"], "{\"data\": \"x\"}\n{}\n", 65, "line 2: there is no field \"data\""),
    ] {
        let (ended, said) = put(arguments, stdin);
        assert!(ended == code && said.contains(why), "{arguments:?}: {ended} {said}");
    }
    // What came before the line is in.
    assert_eq!(pending(folder.path()), 2);
}

/// What is not as it should be at the end of a run has an exit code of its own, and a sentence.
#[test]
fn the_exit_code_says_where_the_records_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // A disk without space is an outage.
    put(folder, &["1", "a\nb"]);
    let left = run(folder, &["drain", "outbox", "--to", "file:/dev/full", "--timeout", "0.2", "--quiet"]);
    assert_eq!(left.code, 3, "{}", left.err);
    assert!(left.err.contains("2 records are left in outbox; the same command again goes on"), "{}", left.err);
    // A line cannot hold a line feed.
    let dead = run(folder, &["drain", "outbox", "--to", "file:out.log", "--timeout", "1e19"]);
    assert_eq!(dead.code, 7, "{}", dead.err);
    assert!(dead.err.contains("there are 1 dead letters: unistream dead-letters list outbox"), "{}", dead.err);
    let listed = run(folder, &["dead-letters", "list", "outbox"]);
    assert!(listed.out.contains("  1 records, "), "{}", listed.out);
    assert_eq!(run(folder, &["dead-letters", "delete", "outbox", "--all"]).code, 0);
    // Bytes that are not what was written.
    let lines: String = (0..100).map(|number| format!("record {number}\n")).collect();
    assert_eq!(run_with(folder, &["put", "outbox", "--quiet"], &lines).code, 0);
    let owner = Producer::builder(folder.join("outbox")).open_manual(Limits::default()).unwrap();
    assert_eq!(run(folder, &["drain", "outbox", "--to", "null:"]).code, 5);
    owner.close(Duration::ZERO).unwrap();
    let segments = fs::read_dir(folder.join("outbox")).unwrap().map(|entry| entry.unwrap().path());
    for segment in segments.filter(|path| path.extension().is_some_and(|end| end == "seg")) {
        let mut bytes = fs::read(&segment).unwrap();
        if let Some(at) = bytes.windows(9).position(|window| window == b"record 50") {
            bytes[at] ^= 1;
            fs::write(&segment, bytes).unwrap();
        }
    }
    assert_eq!(run(folder, &["verify", "outbox"]).code, 4);
    let lost = run(folder, &["drain", "outbox", "--to", "null:"]);
    assert_eq!(lost.code, 8, "{}", lost.err);
    assert!(lost.err.contains("damaged bytes of outbox were set aside in outbox/corrupt"), "{}", lost.err);
    assert_eq!(run(folder, &["drain", "outbox", "--to", "null:"]).code, 0);
}

#[test]
fn a_killed_put_goes_on_and_no_line_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    fs::write(folder.path().join("in.txt"), &lines).unwrap();
    // The sink takes nothing, so that a small buffer fills up and the run stands still.
    let small = ["-o", "segment_bytes=64KiB", "-o", "max_buffer_bytes=256KiB", "-o", "full_timeout=600s", "--quiet"];
    let stuck = ["put", "outbox", "in.txt", "--to", "file:/dev/full"].iter().chain(&small).copied().collect::<Vec<_>>();
    let child = command(folder.path(), &stuck).spawn().unwrap();
    let mut before = 0;
    wait_until("the buffer is full", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = pending(folder.path());
        std::mem::replace(&mut before, now) == now && now >= 1000
    });
    end(child, "KILL");
    let again = run(folder.path(), &["put", "outbox", "in.txt", "--to", "file:out.log", "--json"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains(&format!("in.txt: {before} lines are in from a run that did not end")), "{}", again.err);
    assert_eq!(fs::read_to_string(folder.path().join("out.log")).unwrap(), lines);
}

#[test]
fn signals_end_a_command_that_waits() {
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(folder.path(), &["put", "outbox"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.as_ref().unwrap().write_all(b"1\nhalf a li").unwrap();
        wait_until("a line is in", || pending(folder.path()) == 1);
        let stdin = child.stdin.take();
        let ended = end(child, signal);
        drop(stdin);
        assert_eq!(ended.code, 128 + number, "{}", ended.err);
        let sentence = format!("stopped by SIG{signal}; what was put is safe; 1 records are left in outbox");
        assert!(ended.err.contains(&sentence), "{}", ended.err);
        assert!(ended.err.contains("1 lines of standard input are in"), "{}", ended.err);
        // A pipe that nobody writes to.
        assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
        let child = command(folder.path(), &["put", "outbox", "pipe"]).spawn().unwrap();
        wait_until("it has the buffer", || {
            let found = Inspection::open(folder.path().join("outbox")).unwrap().stats().unwrap();
            found.owner_pid == Some(child.id())
        });
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(end(child, signal).code, 128 + number);
        let child = command(folder.path(), &["top", "outbox"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let ended = end(child, signal);
        assert_eq!((ended.code, &*ended.err), (128 + number, ""));
    }
}

#[test]
fn standard_streams_may_be_closed_or_full() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &["1"]);
    for (script, code, said) in [
        ("$UNISTREAM put outbox <&-", 1, "unistream: standard input is closed\n"),
        ("$UNISTREAM put outbox </dev/null --quiet", 0, ""),
        ("$UNISTREAM put outbox <>/dev/null --quiet", 0, ""),
        ("echo x | $UNISTREAM put outbox --quiet --to file:out.log >&-", 0, ""),
        ("$UNISTREAM stat outbox >&-", 1, "unistream: standard output is closed\n"),
        ("$UNISTREAM stat outbox >/dev/full", 1, "unistream: standard output: No space left on device\n"),
        ("$UNISTREAM --help >/dev/full", 1, "unistream: standard output: No space left on device\n"),
        ("$UNISTREAM options | true; exit ${PIPESTATUS[0]}", 0, ""),
        ("$UNISTREAM top outbox -i 0.1 | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("echo y | $UNISTREAM put outbox --to file:out.log 2>&-", 0, ""),
        ("$UNISTREAM stat missing 2>/dev/full", 6, ""),
    ] {
        let ended = shell(folder.path(), script);
        assert_eq!((ended.code, &*ended.err), (code, said), "{script}");
    }
    // No file of the engine took the number of a closed stream.
    assert_eq!(fs::read_to_string(folder.path().join("out.log")).unwrap(), "1\nx\ny\n");
}

#[test]
fn top_prints_a_line_for_each_look_where_there_is_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &["12", "345"]);
    let ended = run(folder.path(), &["top", "outbox", "--interval", "0.1", "-n", "2"]);
    assert_eq!((ended.code, &*ended.err), (0, ""));
    let lines: Vec<_> = ended.out.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("Z  waiting for a producer: pending 2 (5 B), oldest "), "{}", lines[0]);
    assert!(lines[0].contains(", put -, finished -, failures 0, dead 0, lost 0"), "{}", lines[0]);
    assert!(lines[1].contains(", put 0/s, finished 0/s, "), "{}", lines[1]);
    let ended = run(folder.path(), &["top", "outbox", "-i", "0.1", "-n", "1", "--json"]);
    let look: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&look["pending_records"], &look["put_records_per_second"]), (&2.into(), &Value::Null));
    let missing = run(folder.path(), &["top", "missing"]);
    assert_eq!((missing.code, &*missing.err), (6, "unistream: there is no buffer in missing\n"));
    assert_eq!(run(folder.path(), &["top", "outbox", "-i", "0"]).code, 2);
}

#[test]
fn what_is_wrong_with_the_command_line_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["put", "outbox", "--to", "python:a:b"][..], "it needs the command line of the Python package"),
        (&["put", "outbox", "--to", "pigeon:roof"], "there are file, null, "),
        (&["put", "outbox", "--to", "kinesis://x?secret_access_key=hush"], "does not belong in a URL"),
        (&["put", "outbox", "-o", "mode=inline"], "KEY=VALUE with a key of 'unistream options'"),
        (&["put", "outbox", "--id", "x"], "--format ndjson"),
        (&["put", "outbox", "--timeout", "nan"], "it is not a number of seconds"),
        (&["put", "outbox", "--time", "1"], "unexpected argument '--time'"),
        (&["drain", "outbox"], "--to <SINK>"),
        (&["dead-letters"], "list, show"),
        (&["evil\x1b[2J\n"], "unrecognized subcommand 'evil\\x1b[2J\\n'"),
    ] {
        let ended = run(folder.path(), arguments);
        assert_eq!((ended.code, &*ended.out), (2, ""), "{arguments:?}");
        assert!(ended.err.to_lowercase().contains(&said.to_lowercase()), "{arguments:?}: {}", ended.err);
        assert!(!ended.err.contains("hush") && !ended.err.contains('\x1b'), "{}", ended.err);
        assert!(!folder.path().join("outbox").exists());
    }
}

/// The table of exit codes stands in the help and in the guide; each command's help fits a terminal of 100 columns.
#[test]
fn the_help_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/README.md")).unwrap();
    let help = run(folder.path(), &["--help"]);
    for (code, meaning) in unistream_cli::exit::TABLE {
        assert!(help.out.contains(&format!("  {code:<5}  {meaning}\n")), "{code}");
        assert!(guide.contains(&format!("\n| {code} | {meaning} |\n")), "{code}");
    }
    for words in ["put", "drain", "stat", "cat", "verify", "top", "doctor", "resume", "options", "completions", "man"]
        .map(|word| vec![word])
        .into_iter()
        .chain(["list", "show", "replay", "delete"].map(|word| vec!["dead-letters", word]))
    {
        let shown = run(folder.path(), &[&words[..], &["--help"]].concat());
        assert_eq!((shown.code, &*shown.err), (0, ""));
        assert!(shown.out.lines().all(|line| line.chars().count() <= 100), "{}", shown.out);
        assert!(help.out.contains(&format!("\n  {}  ", words[0])), "{words:?}");
    }
}

/// A sink of the library is one of the command line, whatever feature it needs.
#[test]
fn every_sink_is_in_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let help = run(folder.path(), &["put", "--help"]);
    for kind in sink::kinds() {
        assert!(kind.open.is_some(), "the feature `sinks` of core/Cargo.toml lacks {:?}", kind.feature);
        assert!(
            help.out.contains(&format!(
                "\n  {}\n      {}",
                kind.url(),
                kind.summary.chars().take(40).collect::<String>()
            )),
            "{}",
            help.out
        );
        let options = run(folder.path(), &["options", kind.scheme, "--json"]);
        assert_eq!(options.code, 0, "{}", options.err);
        let keys: Vec<_> = options.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
        let keys: Vec<_> = keys.iter().map(|option| option["key"].as_str().unwrap()).collect();
        assert_eq!(keys, kind.options.iter().map(|option| option.key).collect::<Vec<_>>());
    }
}

/// What `make install` lays down, in a folder.
#[test]
fn the_binary_is_installed_with_its_pages_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut install = Command::new("sh");
    install.arg(root.join("cli/install.sh")).env("DESTDIR", folder.path()).env("PREFIX", "/usr");
    install.env("COMMAND", UNISTREAM);
    let installed: Ended = install.output().unwrap().into();
    assert_eq!((installed.code, &*installed.err), (0, ""));
    let usr = folder.path().join("usr");
    let version = Command::new(usr.join("bin/unistream")).arg("--version").output().unwrap();
    assert_eq!(version.stdout, format!("unistream {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    let page = fs::read_to_string(usr.join("share/man/man1/unistream.1")).unwrap();
    assert!(page.contains(".SH \"EXIT STATUS\"") || page.contains(".SH EXIT STATUS"), "{page}");
    assert!(fs::read_to_string(usr.join("share/man/man1/unistream-put.1")).unwrap().contains("SINKS"));
    assert!(usr.join("share/man/man1/unistream-dead-letters-replay.1").exists());
    for (shell, script) in [
        ("bash", "share/bash-completion/completions/unistream"),
        ("zsh", "share/zsh/site-functions/_unistream"),
        ("fish", "share/fish/vendor_completions.d/unistream.fish"),
    ] {
        let script = usr.join(script);
        assert!(fs::read_to_string(&script).unwrap().contains("dead-letters"));
        if shell == "bash" {
            assert!(Command::new(shell).arg("-n").arg(script).status().unwrap().success());
        }
    }
}
