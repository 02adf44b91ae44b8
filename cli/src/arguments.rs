//! The command line's words: commands, options, help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use unistream::sink;

use crate::exit;

/// Put lines into a durable buffer and on to a sink; look at buffers and at dead letters.
#[derive(Debug, Parser)]
#[command(
    name = "unistream",
    version,
    subcommand_required = true,
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    max_term_width = 100,
    after_help = after_help()
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Put(Put),
    Drain(Drain),
    Stat(Stat),
    Cat(Cat),
    /// Check the records of a buffer against their checksums
    Verify(Look),
    Top(Top),
    /// Say what is wrong with a buffer, and what to do
    #[command(after_long_help = DOCTOR)]
    Doctor(Look),
    /// Let a producer that runs go on after a stop, and try now what waits for its next attempt
    #[command(visible_alias = "try-now", after_long_help = RESUME)]
    Resume(Look),
    /// List, show, replay and delete dead letters
    #[command(subcommand, subcommand_value_name = "ACTION", disable_help_subcommand = true)]
    DeadLetters(Letters),
    Options(Options),
    Completions(Completions),
    Man(Man),
}

/// Put lines into a buffer and deliver them; safe to kill and run again
#[derive(Clone, Debug, Args)]
#[command(after_long_help = after_put())]
pub(crate) struct Put {
    /// The buffer's directory; made if there is none
    pub(crate) buffer: PathBuf,
    /// Files to read; none, or -, is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the records go, as a URL; left out, they wait in the buffer
    #[arg(long, value_name = "SINK")]
    pub(crate) to: Option<OsString>,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    pub(crate) format: Format,
    /// The field that is the record's id (ndjson)
    #[arg(long, value_name = "FIELD")]
    pub(crate) id: Option<String>,
    /// The field that is the record's key (ndjson)
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// The field that is the record's topic (ndjson); a line without it has that of --topic
    #[arg(long, value_name = "FIELD")]
    pub(crate) topic_field: Option<String>,
    /// The field that is the record's headers, an object (ndjson); a line need not have it
    #[arg(long, value_name = "FIELD")]
    pub(crate) headers_field: Option<String>,
    /// The field that is the record's time of expiry, such as "2026-11-29T12:00:00Z" (ndjson); a line need not have it
    #[arg(long, value_name = "FIELD")]
    pub(crate) expires_at_field: Option<String>,
    /// Where within the sink the records go, for sinks that have topics, subjects or the like
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// A header of each record; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Any bytes up to the line feed
    Lines,
    /// Each line must be JSON
    Ndjson,
    /// Each line is a record, as 'cat --json' and 'dead-letters show --json' print it
    Records,
}

/// Deliver what is in a buffer, for programs that only put
#[derive(Debug, Args)]
#[command(after_long_help = DRAIN)]
pub(crate) struct Drain {
    /// The buffer's directory
    pub(crate) buffer: PathBuf,
    /// Where the records go, as a URL; 'unistream put --help' lists the sinks
    #[arg(long, value_name = "SINK", required = true)]
    pub(crate) to: OsString,
    /// Go on when all is delivered, until a signal says to stop
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

/// What all commands have that open a producer.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sending {
    /// An option of the producer, see 'unistream options'; may be given several times
    #[arg(short, long = "option", value_name = "KEY=VALUE")]
    pub(crate) options: Vec<String>,
    /// The most seconds to wait for delivery [default: no limit]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,
    /// No progress, no summary
    #[arg(long)]
    pub(crate) quiet: bool,
    /// The summary as one line of JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Look {
    /// The buffer's directory; another process may be using it
    pub(crate) buffer: PathBuf,
    /// As one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what is in a buffer, and what the producer says that has it
#[derive(Debug, Args)]
#[command(after_long_help = STAT)]
pub(crate) struct Stat {
    /// The buffer's directory; another process may be using it
    pub(crate) buffer: PathBuf,
    /// As one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Look at the files alone, and ask no process
    #[arg(long)]
    pub(crate) files: bool,
    /// As the text that Prometheus scrapes
    #[arg(long, conflicts_with = "json")]
    pub(crate) prometheus: bool,
    /// The same into a file, which is replaced whole: for the textfile collector of the node exporter
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "prometheus"])]
    pub(crate) textfile: Option<PathBuf>,
}

/// Print the records of a buffer that are not finished
#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The buffer's directory; another process may be using it
    pub(crate) buffer: PathBuf,
    /// The most records to print
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count, allow_hyphen_values = true)]
    pub(crate) limit: Option<u64>,
    /// One line of JSON for each record; bytes that are no text stand in base 64
    #[arg(long)]
    pub(crate) json: bool,
}

/// Watch a buffer: rates, backlog, attempts, errors, dead letters
#[derive(Debug, Args)]
#[command(after_long_help = TOP)]
pub(crate) struct Top {
    /// The buffer's directory; another process may be using it
    pub(crate) buffer: PathBuf,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) interval: Duration,
    /// End after so many looks [default: go on until q or Ctrl-C]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = count, allow_hyphen_values = true)]
    pub(crate) count: Option<u64>,
    /// One line of JSON for each look
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Letters {
    /// List the dead letters of a buffer; another process may be using it
    List(Look),
    /// Print a dead letter with its records; another process may be using the buffer
    Show(Show),
    /// Put the records of dead letters back into the buffer, in order; a process that has it does so itself
    Replay(Replay),
    /// Delete dead letters with their records; a process that has the buffer does so itself
    Delete(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The buffer's directory
    pub(crate) buffer: PathBuf,
    /// The dead letter's id
    pub(crate) id: OsString,
    /// One line of JSON for each record
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The buffer's directory
    pub(crate) buffer: PathBuf,
    /// The dead letters' ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<OsString>,
    /// All of them
    #[arg(long)]
    pub(crate) all: bool,
    /// One line of JSON for each dead letter
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    pub(crate) which: Which,
    /// An option of the producer, see 'unistream options', where no process has the buffer; may be given several times
    #[arg(short, long = "option", value_name = "KEY=VALUE")]
    pub(crate) options: Vec<String>,
}

/// Print the options of a producer, or of a kind of sink
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A kind of sink, such as kinesis; its options follow ? in its URL
    pub(crate) sink: Option<String>,
    /// One line of JSON for each option
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what completes this command line in a shell
#[derive(Debug, Args)]
#[command(after_long_help = COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Write the man pages into a directory
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The directory, such as ~/.local/share/man/man1; made if there is none
    pub(crate) directory: PathBuf,
}

fn header(text: &str) -> Result<(String, Vec<u8>), String> {
    let (name, value) = text.split_once('=').ok_or("it is not NAME=VALUE")?;
    Ok((name.to_owned(), value.as_bytes().to_vec()))
}

fn count(text: &str) -> Result<u64, String> {
    let is_count = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_count).ok_or_else(|| "it is not a count".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "it is not a number of seconds".into())
}

fn interval(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        short if short < Duration::from_millis(100) => Err("it is less than 0.1 seconds".into()),
        interval => Ok(interval.min(Duration::from_secs(86_400))),
    }
}

fn after_help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (code, meaning) in exit::TABLE {
        text.push_str(&format!("  {code:<5}  {meaning}\n"));
    }
    text.push_str("\nWhatever a person reads has control characters escaped; --json is exact.\n");
    text.push_str("UNISTREAM_TRACEBACK=1 shows where an error comes from.");
    text
}

/// What follows the options of `put`.
fn after_put() -> String {
    let mut text = String::from("Sinks:\n");
    for kind in sink::kinds() {
        let url = if kind.scheme == "python" { "python:MODULE:NAME".into() } else { kind.url() };
        text.push_str(&format!("  {url}\n      {}\n", kind.summary));
    }
    text + PUT
}

const PUT: &str = "
  URLs take options as ?KEY=VALUE&KEY=VALUE; 'unistream options KIND' prints those of a kind. Reserved characters are percent-encoded. The command line of the Python package also knows python:MODULE:NAME, a callable that takes a batch, and the sinks of installed Python packages.

Run again:
  Until a run ends with 0, 7 or 8 and leaves nothing to deliver, the buffer remembers how many lines of each FILE are in it, and the same command goes on behind them, whatever killed it and whatever else was put in between. A file is known by its device and inode and by its contents up to there; it may have grown; if it is another, all of it is put. Lines of which nothing is left in the buffer, because they were delivered before the kill, may be put twice, with the same ids: at most the last 4,096, or a whole file that was killed after its last line. Standard input and pipes cannot be read again: a run that stops says how many of their lines are in.

Records:
  --format records takes what 'cat --json' and 'dead-letters show --json' print, with id, key, time, topic, headers and time of expiry; bytes that are no text stand in base 64 under the name that ends in _base64. Headers are an object, or a list of objects with name and value. What --topic and --header say holds for each record: a topic of its own comes before it, its own headers come behind them.

Exit codes:
  0 done; 3 records are left (--to); 7 there are dead letters (--to); 8 records may be lost; 65 a line is no record. 'unistream --help' lists all.";

const DRAIN: &str = "\
Examples:
  unistream drain outbox --to file:events.log
  unistream drain outbox --to 'kinesis://clicks?region=eu-central-1' --timeout 60

One process at a time has a buffer: drain ends with 5 while a producer is open on it, and works on what programs left that have ended, from a cron job or a unit of systemd, say.

Exit codes:
  0 all is delivered; 3 records are left; 5 another process has the buffer; 6 there is no buffer; 7 there are dead letters; 8 records may be lost. 'unistream --help' lists all.";

const TOP: &str = "\
On a terminal it fills the screen until q or Ctrl-C; elsewhere it prints a line for each look. It changes nothing, and whatever has the buffer is not disturbed. An observer sees what is on disk: what of a batch the sink has taken, but not all, and what waits in the memory of a program, it does not see.";

const STAT: &str = "\
A producer that has the buffer is asked for its state, its counters since it was opened and its last error, which takes up to a second; it answers the user that it runs as, and root. One that does not answer within 3 seconds is left out, under 'not answered'.";

const DOCTOR: &str = "\
Looks for a full disk, damage, a producer that does not answer, has stopped or refuses puts, a sink that is unavailable or fails, records that nobody sends, slots whose processes have ended, and dead letters. --json prints an object for each finding, with a word under 'what'.

Exit codes:
  0 nothing is wrong; 9 something is; 6 there is no buffer. 'unistream --help' lists all.";

const RESUME: &str = "\
The producer that has the buffer is asked, in an outbox each of them: one that has stopped goes on with a fresh round of attempts; one that runs tries now what waits, whatever the schedule or the sink's wish says. A buffer that nobody has needs no such command: who opens it next begins with it.

Exit codes:
  0 done; 1 no process has the buffer; 5 the one that has it does not answer. 'unistream --help' lists all.";

const COMPLETIONS: &str = "\
Examples:
  unistream completions bash > ~/.local/share/bash-completion/completions/unistream
  unistream completions zsh > \"${fpath[1]}/_unistream\"
  unistream completions fish > ~/.config/fish/completions/unistream.fish";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        super::Arguments::command().debug_assert();
    }
}
