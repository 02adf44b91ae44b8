//! The command line of unistream: put lines into a buffer and on to a sink; look at buffers and at dead letters.
//!
//! One implementation for everybody: the binary `unistream`, and the Python package, whose entry point calls [`run`].
//! [`intake`] is what `put FILE` counts lines with; the Python package takes over files of its predecessor by it.
#![deny(unsafe_code)]

#[cfg(test)]
mod any_bytes;
mod arguments;
mod context;
mod doctor;
pub mod exit;
pub mod intake;
mod letters;
mod live;
mod look;
mod metrics;
mod ndjson;
mod output;
mod pages;
mod put;
mod screen;
mod send;
mod signals;
mod sinks;
mod streams;
mod text;
mod top;

use std::any::Any;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind as Usage;

use crate::arguments::{Arguments, Command};
use crate::context::Context;
use crate::exit::{Error, FAILED, Failure, OK, STOPPED, USAGE};
use crate::screen::Screen;
use crate::signals::Signals;
pub use crate::streams::Streams;

/// Runs a command and returns its exit code. `arguments` are those behind the program's name; `streams` is what
/// [`Streams::look`] said when the process began.
///
/// It takes over the signals that stop a process, so it is for a process that does nothing else.
pub fn run(arguments: impl IntoIterator<Item = OsString>, streams: Streams) -> u8 {
    Streams::fill();
    let screen = Arc::new(Screen::new(&streams));
    let wants_detail = std::env::var_os("UNISTREAM_TRACEBACK").is_some_and(|value| !value.is_empty());
    if !wants_detail {
        // A panic becomes a sentence below, or what the engine makes of one in a sink.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let arguments: Vec<OsString> = std::iter::once("unistream".into()).chain(arguments).collect();
    let command = || {
        let signals = Signals::listen().map_err(|error| Error::io("could not listen to signals", &error))?;
        dispatch(&Context { streams, signals, screen: screen.clone() }, &arguments)
    };
    let ended = catch_unwind(AssertUnwindSafe(command)).unwrap_or_else(|panic| Err(defect(&*panic)));
    match ended {
        Ok(code) => code,
        Err(Error::BrokenPipe) => OK,
        Err(Error::Stopped(signal)) => {
            screen.complain(&signals::stopped(signal));
            STOPPED + signal as u8
        }
        Err(Error::Failure(Failure { code, message, detail })) => {
            if wants_detail {
                screen.clear();
                screen.lines(&detail);
            }
            screen.complain(&message);
            code
        }
    }
}

fn dispatch(context: &Context, arguments: &[OsString]) -> Result<u8, Error> {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => return answer(context, arguments, &error),
    };
    match &parsed.command {
        Command::Put(arguments) => put::put(context, arguments),
        Command::Drain(arguments) => put::drain(context, arguments),
        Command::Stat(arguments) => look::stat(context, arguments),
        Command::Cat(arguments) => look::cat(context, arguments),
        Command::Verify(arguments) => look::verify(context, arguments),
        Command::Top(arguments) => top::top(context, arguments),
        Command::Doctor(arguments) => doctor::doctor(context, arguments),
        Command::Resume(arguments) => live::resume(context, arguments),
        Command::DeadLetters(action) => letters::run(context, action),
        Command::Options(arguments) => look::options(context, arguments),
        Command::Completions(arguments) => pages::completions(context, arguments),
        Command::Man(arguments) => pages::man(context, arguments),
    }
}

/// Help, the version, or what is wrong with the command line.
fn answer(context: &Context, arguments: &[OsString], error: &clap::Error) -> Result<u8, Error> {
    if matches!(error.kind(), Usage::DisplayHelp | Usage::DisplayVersion) {
        let mut output = context.output()?;
        output.bytes(error.render().to_string().as_bytes())?;
        output.flush()?;
        return Ok(OK);
    }
    // The message repeats arguments: it is that of arguments in which everything can be seen.
    let shown = arguments.iter().map(text::name);
    let message = Arguments::try_parse_from(shown).map_or_else(|error| error.render(), |_| error.render()).to_string();
    let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end().to_owned();
    let prefix = if error.kind() == Usage::DisplayHelpOnMissingArgumentOrSubcommand { "" } else { "unistream: " };
    context.screen.lines(&format!("{prefix}{message}"));
    Ok(USAGE)
}

/// What is said of a panic.
fn defect(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(FAILED, format!("a defect of unistream: {}", text.unwrap_or("it panicked")))
}
