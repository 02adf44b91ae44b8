//! `credential_process`: a program that prints keys, bounded in time and in what it may print.

use std::io::{ErrorKind, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use crate::sink::net::environment::Environment;

/// How long it may run and how much it may print: enough for keys, and for a person who is asked for a second factor.
const TIME: Duration = Duration::from_secs(60);
const BYTES: usize = 64 * 1024;

/// What the program printed.
///
/// It is run without a shell, with the sink's own variables, no input, and in a process group of its own, which is
/// killed in the end. What it says on stderr goes nowhere: it might hold a secret.
pub(super) fn run(command: &str, environment: &Environment) -> Result<Zeroizing<Vec<u8>>, String> {
    let words = words(command).ok_or("it has a quotation mark or a backslash without an end")?;
    let (program, arguments) = words.split_first().ok_or("it is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment.variables());
    bounded(command, TIME, BYTES).map_err(|error| format!("{program}: {error}"))
}

fn bounded(mut command: Command, time: Duration, bytes: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let end = Instant::now() + time;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let program = command.spawn().map_err(|error| format!("it cannot be run: {error}"))?;
    let mut group = Group { program, ended: false };
    // Allocate the whole size at once: a vector that grows leaves copies behind.
    let mut output = Zeroizing::new(Vec::with_capacity(bytes));
    let late = || format!("it took longer than {} s", time.as_secs_f32());
    let mut pipe = group.program.stdout.take().ok_or("it has no output")?;
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        let left = end.checked_duration_since(Instant::now()).ok_or_else(late)?;
        let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(late()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(format!("its output cannot be waited for: {error}")),
        }
        let len = match pipe.read(&mut *chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("its output cannot be read: {error}")),
        };
        if output.len() + len > bytes {
            return Err(format!("it printed more than {bytes} bytes"));
        }
        output.extend_from_slice(&chunk[..len]);
    }
    match group.wait(end)? {
        End::Late => Err(late()),
        // Its output is complete; whether it is keys, the parser decides.
        End::Unknown => Ok(output),
        End::Status(status) if status.success() => Ok(output),
        End::Status(status) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with status {code}"),
            (None, signal) => format!("it was ended by signal {}", signal.unwrap_or_default()),
        }),
    }
}

/// A program and its children, in a process group that is killed when this is dropped.
struct Group {
    program: Child,
    ended: bool,
}

/// How a program ended.
enum End {
    Status(ExitStatus),
    /// It has not ended in time.
    Late,
    /// Its status is lost: the host ignores SIGCHLD, or waits for every child.
    Unknown,
}

impl Group {
    /// Waits for the program to end.
    fn wait(&mut self, end: Instant) -> Result<End, String> {
        let failed = |error: std::io::Error| format!("it cannot be waited for: {error}");
        loop {
            match self.look() {
                Ok(true) => break,
                Ok(false) if Instant::now() >= end => return Ok(End::Late),
                // It has closed its output and is about to end.
                Ok(false) => std::thread::sleep(Duration::from_millis(2)),
                Err(Errno::CHILD) => {
                    self.ended = true;
                    return Ok(End::Unknown);
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        self.kill();
        match self.program.wait() {
            Err(error) if error.raw_os_error() == Some(Errno::CHILD.raw_os_error()) => Ok(End::Unknown),
            status => status.map(End::Status).map_err(failed),
        }
    }

    /// Whether the program has ended. Does not reap it, so that its id stays its own; an error says that somebody else has.
    fn look(&self) -> rustix::io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.id()), options)).map(|status| status.is_some())
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.program)
    }

    fn kill(&mut self) {
        self.ended = true;
        let _ = kill_process_group(self.id(), Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Do not kill an id that is no longer the program's: it may be another process's.
        if !self.ended && self.look().is_ok() {
            self.kill();
            let _ = self.program.wait();
        }
    }
}

/// Splits a command line into words by the quoting rules of a POSIX shell; nothing else of a shell is interpreted. `None` if
/// a quotation has no end.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let (quoted, rest) = chars.as_str().split_once('\'')?;
                word.get_or_insert_default().push_str(quoted);
                chars = rest.chars();
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_as_in_a_shell() {
        for (line, expected) in [
            ("", Some(&[][..])),
            ("  a\tb  ", Some(&["a", "b"])),
            ("'/opt/my tool' --x='y z'", Some(&["/opt/my tool", "--x=y z"])),
            (r#""a \"b\" \c $HOME" d\ e"#, Some(&["a \"b\" \\c $HOME", "d e"])),
            ("'' \"\"", Some(&["", ""])),
            ("a;b|c `d` $(e) >f", Some(&["a;b|c", "`d`", "$(e)", ">f"])),
            ("'a", None),
            ("\"a", None),
            ("a\\", None),
        ] {
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            assert_eq!(words(line), expected, "{line}");
        }
    }

    fn shell(script: &str, time: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        bounded(command, time, BYTES)
    }

    const LONG: Duration = Duration::from_secs(60);

    /// The bug: yes(1) took 2.3 GB before anybody looked.
    #[test]
    fn a_program_that_prints_for_ever_is_ended() {
        let started = Instant::now();
        let error = shell("yes", LONG).unwrap_err();
        assert!(error.contains("more than 65536 bytes"), "{error}");
        assert!(started.elapsed() < LONG / 2);
    }

    /// A program that hangs, one that closes its output and hangs, and one whose child keeps the output open.
    #[test]
    fn a_program_that_takes_for_ever_is_ended_with_its_children() {
        for script in ["sleep 600", "exec >&-; sleep 600", "sleep 600 & exit 0"] {
            let started = Instant::now();
            let error = shell(script, Duration::from_millis(300)).unwrap_err();
            assert!(error.contains("longer than 0.3 s"), "{script}: {error}");
            assert!(started.elapsed() < LONG, "{script}");
        }
        // The child of a program that has ended is killed as well: it would print its number again otherwise.
        let mark = std::env::temp_dir().join(format!("unistream-process-{}", std::process::id()));
        let script = format!("(sleep 2; touch {}) > /dev/null & echo done", mark.display());
        assert_eq!(&*shell(&script, LONG).unwrap(), b"done\n");
        std::thread::sleep(Duration::from_secs(3));
        assert!(!mark.exists());
    }

    /// Hosts that ignore SIGCHLD, or wait for all their children, had no keys. In a process of its own: a signal's
    /// disposition is everybody's.
    #[test]
    fn a_host_that_reaps_the_program_has_its_keys_all_the_same() {
        if std::env::var_os("REAPS").is_some() {
            let scripts = ["echo keys", "echo keys; exec >&-; sleep 0.1", "echo keys; exit 3"];
            for script in scripts {
                assert_eq!(&*shell(script, LONG).unwrap(), b"keys\n", "{script}");
            }
            let late = shell("sleep 600", Duration::from_millis(100)).unwrap_err();
            assert!(late.contains("longer than 0.1 s"), "{late}");
            return;
        }
        let name = "sink::aws::credentials::process::tests::a_host_that_reaps_the_program_has_its_keys_all_the_same";
        // A program inherits what its starter ignores.
        let mut host = Command::new("env");
        let this = std::env::current_exe().unwrap();
        host.arg("--ignore-signal=CHLD").arg(this).args(["--exact", name, "--nocapture"]).env("REAPS", "1");
        let output = host.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn how_a_program_ended_is_said_but_not_what_it_said() {
        assert_eq!(shell("echo hush; echo hush >&2; exit 3", LONG).unwrap_err(), "it ended with status 3");
        assert_eq!(shell("kill -9 $$", LONG).unwrap_err(), "it was ended by signal 9");
        let error = bounded(Command::new("/nonexistent/tool"), LONG, BYTES).unwrap_err();
        assert!(error.contains("cannot be run"), "{error}");
    }
}
