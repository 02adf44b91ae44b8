//! `unistream put`: lines of files and of standard input into a buffer, and on to a sink. `unistream drain`: the latter
//! alone.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use unistream::{DrainTurn, ErrorKind, Headers, Inspection, Limits, NewRecord, Options, Producer, Trust};

use crate::arguments::{Drain, Format, Put};
use crate::context::{self, Context};
use crate::exit::{BAD_LINE, Error, FAILED, USAGE};
use crate::intake::{Fields, Host, Intake, Lines, Stop, numbered};
use crate::ndjson::{self, Names};
use crate::send::Run;
use crate::{signals, sinks, text};

/// How long a put waits for space before it looks whether a signal says to stop.
const SLICE: Duration = Duration::from_millis(100);

/// Does what `unistream put` is told.
pub(crate) fn put(context: &Context, arguments: &Put) -> Result<u8, Error> {
    let options = context::options(&arguments.sending.options)?;
    // What a run that was killed has put is found by the seqs of one log.
    if options.shared || Inspection::open(&arguments.buffer).is_ok_and(|found| found.is_shared()) {
        return Err(Error::new(USAGE, "put takes a buffer of its own, not an outbox that processes share"));
    }
    let names = names(arguments)?;
    let sink = arguments.to.as_ref().map(|url| sinks::open(url)).transpose()?;
    let inputs = inputs(&arguments.files)?;
    let run = Run::begin(context, &arguments.sending, &arguments.buffer, true);
    let mut producer = context.producer(&arguments.buffer, &options, "").open_manual(Limits::default())?;
    let total = inputs.iter().filter_map(|input| input.found.as_ref()).map(Metadata::len).sum();
    let mut taker = Taker { context, arguments, names, options: &options, producer, run, total };
    let directory = taker.producer.path().to_owned();
    let mut intake = Intake::open(&directory, &mut taker).map_err(|stop| failure("", stop))?;
    let mut sources = Vec::with_capacity(inputs.len());
    for input in &inputs {
        let source = input.found.as_ref().map(|found| intake.source(found));
        if let Some(source) = &source {
            taker.settle(&mut intake, input, source)?;
        }
        sources.push(source);
    }
    let delivers = sink.is_some();
    if let Some(sink) = sink {
        // Only now may anything be delivered: what is gone cannot be found.
        taker.producer.close(Duration::ZERO)?;
        producer = context.producer(&arguments.buffer, &options, &sink.name()).open(sink)?;
        taker.producer = producer;
    }
    let taken =
        inputs.iter().zip(&sources).try_for_each(|(input, source)| taker.take(&mut intake, input, source.as_deref()));
    let done = taken.and_then(|()| if delivers { taker.run.deliver(&taker.producer) } else { Ok(()) });
    let forget = || intake.forget().map_err(|error| Error::new(FAILED, text::os_message(&error)));
    taker.run.finish(&taker.producer, done, delivers, forget)
}

/// The fields of a line that say something of its record.
fn names(arguments: &Put) -> Result<Names, Error> {
    let Put { id, key, topic_field, headers_field, expires_at_field, .. } = arguments.clone();
    let fields = [&id, &key, &topic_field, &headers_field, &expires_at_field];
    if arguments.format != Format::Ndjson && fields.iter().any(|field| field.is_some()) {
        let message =
            "--id, --key, --topic-field, --headers-field and --expires-at-field name fields of --format ndjson";
        return Err(Error::new(USAGE, message));
    }
    Ok(Names { id, key, topic: topic_field, headers: headers_field, expires_at: expires_at_field })
}

/// Does what `unistream drain` is told.
pub(crate) fn drain(context: &Context, arguments: &Drain) -> Result<u8, Error> {
    let options = context::options(&arguments.sending.options)?;
    // Opening a producer would make a buffer where there is none.
    let is_shared = Inspection::open(&arguments.buffer)?.is_shared();
    let sink = sinks::open(&arguments.to)?;
    let _turn = if is_shared { Some(turn(context, arguments, options.trust)?) } else { None };
    let mut run = Run::begin(context, &arguments.sending, &arguments.buffer, false);
    let producer = context.producer(&arguments.buffer, &options, &sink.name()).open(sink)?;
    let done = match arguments.follow {
        true => run.follow(&producer),
        false => run.deliver(&producer),
    };
    run.finish(&producer, done, true, || Ok(()))
}

/// The right to drain an outbox, which one process has at a time. Who comes second waits, and takes over when the first has died.
fn turn(context: &Context, arguments: &Drain, trust: Trust) -> Result<DrainTurn, Error> {
    let deadline = arguments.sending.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut is_told = false;
    loop {
        context.signals.check()?;
        match DrainTurn::take(&arguments.buffer, trust, SLICE) {
            Err(error) if error.kind() == ErrorKind::Timeout && deadline.is_none_or(|at| Instant::now() < at) => {
                if !std::mem::replace(&mut is_told, true) {
                    context.screen.complain(&format!("{error}; waiting for it to end"));
                }
            }
            taken => return Ok(taken?),
        }
    }
}

/// Something to read lines from.
struct Input {
    /// `None` is standard input.
    path: Option<PathBuf>,
    /// What it is, if it is a file that can be read again.
    found: Option<Metadata>,
}

impl Input {
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard input".into(), text::name)
    }

    /// Opens it without waiting for the writer of a pipe: a signal could not end that wait.
    fn open(&self, path: &Path) -> Result<File, Error> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let opened = File::options().read(true).custom_flags(flags).open(path);
        opened.map_err(|error| Error::io(self.name(), &error))
    }
}

fn inputs(files: &[PathBuf]) -> Result<Vec<Input>, Error> {
    let look = |path: &PathBuf| {
        if path.as_os_str() == "-" {
            return Ok(Input { path: None, found: None });
        }
        let input = Input { path: Some(path.clone()), found: None };
        let found = std::fs::metadata(path).map_err(|error| Error::io(input.name(), &error))?;
        if found.is_dir() {
            return Err(Error::new(FAILED, format!("{}: it is a directory", input.name())));
        }
        Ok(Input { found: Some(found).filter(Metadata::is_file), ..input })
    };
    if files.is_empty() { Ok(vec![Input { path: None, found: None }]) } else { files.iter().map(look).collect() }
}

/// Puts lines.
struct Taker<'a> {
    context: &'a Context,
    arguments: &'a Put,
    names: Names,
    options: &'a Options,
    producer: Producer,
    run: Run<'a>,
    /// The bytes of the files that can be read again.
    total: u64,
}

impl Taker<'_> {
    /// Finds out what an earlier run has put of a file.
    fn settle(&mut self, intake: &mut Intake, input: &Input, source: &str) -> Result<(), Error> {
        let Some(path) = &input.path else { return Ok(()) };
        let (file, name) = (input.open(path)?, input.name());
        let lines = intake.settle(&file, source, &name, self).map_err(|stop| failure(&name, stop))?;
        if lines > 0 {
            self.run.already_in += lines;
            let message = format!("{name}: {lines} lines are in from a run that did not end; going on behind them");
            self.context.screen.complain(&message);
        }
        Ok(())
    }

    /// Puts what is not yet in of an input.
    fn take(&mut self, intake: &mut Intake, input: &Input, source: Option<&str>) -> Result<(), Error> {
        let name = input.name();
        let taken = match (&input.path, source) {
            (Some(path), Some(source)) => {
                let file = input.open(path)?;
                intake.take(&file, source, self).map(drop)
            }
            (Some(path), None) => {
                let file = input.open(path)?;
                self.take_once(file.as_fd(), &file, &name)
            }
            (None, _) if self.context.streams.stdin_is_closed => {
                return Err(Error::new(FAILED, "standard input is closed"));
            }
            (None, _) => {
                let stdin = rustix::stdio::stdin();
                let file = stdin.try_clone_to_owned().map(File::from).map_err(|error| Error::io(&name, &error))?;
                self.take_once(stdin, &file, &name)
            }
        };
        taken.map_err(|stop| failure(&name, stop))
    }

    /// Puts the lines of what cannot be read again.
    fn take_once(&mut self, handle: BorrowedFd<'_>, file: &File, name: &str) -> Result<(), Stop<Error>> {
        let context = self.context;
        let mut lines = Lines::new(Patient { context, handle, file });
        let mut number = 0;
        let mut take = || -> Result<(), Stop<Error>> {
            while lines.advance().map_err(stopped)? {
                let fields = self.fields(lines.text(), number + 1);
                let fields = fields.map_err(|stop| numbered(stop, number + 1))?.unwrap_or_default();
                self.put(lines.text(), number + 1, &fields).map_err(|stop| numbered(stop, number + 1))?;
                number += 1;
            }
            Ok(())
        };
        let taken = take();
        if taken.is_err() {
            let rest = "it cannot be read again: give only the rest to a rerun";
            context.screen.complain(&format!("{number} lines of {name} are in; {rest}"));
        }
        taken
    }
}

impl Host for Taker<'_> {
    type Error = Error;

    fn fields(&mut self, line: &[u8], _: u64) -> Result<Option<Fields>, Stop<Error>> {
        let fields = match self.arguments.format {
            Format::Lines => Ok(Fields::default()),
            Format::Ndjson => ndjson::fields(line, &self.names),
            Format::Records => ndjson::record(line),
        };
        fields.map(Some).map_err(Stop::BadLine)
    }

    fn put(&mut self, line: &[u8], _: u64, fields: &Fields) -> Result<u64, Stop<Error>> {
        let both = self.arguments.headers.iter().chain(&fields.headers);
        let headers: Vec<(&str, &[u8])> = both.map(|(name, value)| (&**name, &**value)).collect();
        let record = NewRecord {
            data: fields.data(line),
            id: fields.id.as_deref(),
            key: fields.key.as_deref(),
            created_at: fields.created_at,
            headers: Headers::from(&headers),
            topic: fields.topic.as_deref().or(self.arguments.topic.as_deref()),
            expires_at: fields.expires_at,
        };
        let whole = self.options.put_timeout();
        let began = Instant::now();
        let seq = loop {
            self.context.signals.check().map_err(Stop::Host)?;
            let left = whole.saturating_sub(began.elapsed());
            match self.producer.put_in_slice(record, left.min(SLICE), whole) {
                Ok(seq) => break seq,
                Err(error) if error.kind() == ErrorKind::BufferFull && !left.is_zero() => {
                    self.run.show(&self.producer, None);
                }
                Err(error) if matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::RecordTooLarge) => {
                    return Err(Stop::BadLine(error.to_string()));
                }
                Err(error) => return Err(Stop::Buffer(error)),
            }
        };
        self.run.put += 1;
        self.run.bytes += line.len() as u64;
        if self.run.put.is_multiple_of(1024) {
            let share = (self.total > 0).then(|| self.run.bytes as f64 / self.total as f64);
            self.run.show(&self.producer, share);
        }
        Ok(seq)
    }

    fn sync(&mut self) -> Result<(), Stop<Error>> {
        Ok(self.producer.sync()?)
    }

    fn tell(&mut self, sentence: &str) {
        self.context.screen.complain(sentence);
    }
}

/// Reads what may keep its reader waiting, until a signal says to stop.
struct Patient<'a> {
    context: &'a Context,
    handle: BorrowedFd<'a>,
    file: &'a File,
}

/// The error of a read that a signal ended.
#[derive(Debug)]
struct Interrupted(i32);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&signals::stopped(self.0))
    }
}

impl std::error::Error for Interrupted {}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.context.signals.wait(Some(self.handle), None) {
                Err(Error::Stopped(signal)) => return Err(io::Error::other(Interrupted(signal))),
                Err(_) => return Err(io::ErrorKind::Other.into()),
                Ok(_) => {}
            }
            match self.file.read(into) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

fn stopped(error: io::Error) -> Stop<Error> {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Interrupted>()) {
        Some(Interrupted(signal)) => Stop::Host(Error::Stopped(*signal)),
        None => Stop::Io(error),
    }
}

/// What ends the command where a file could not be taken.
fn failure(name: &str, stop: Stop<Error>) -> Error {
    match stop {
        Stop::BadLine(why) => Error::new(BAD_LINE, format!("{name}, {why}")),
        // Messages of our own name the file that they are about.
        Stop::Io(error) if error.raw_os_error().is_none() || name.is_empty() => {
            Error::new(FAILED, text::os_message(&error))
        }
        Stop::Io(error) => Error::io(name, &error),
        Stop::Buffer(error) => error.into(),
        Stop::Host(error) => error,
    }
}
