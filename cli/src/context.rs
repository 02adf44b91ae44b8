//! What every command has: streams, signals, a screen.

use std::path::Path;
use std::sync::Arc;

use unistream::{Builder, Inspection, Level, Options, Producer};

use crate::exit::{Error, USAGE};
use crate::output::Output;
use crate::screen::Screen;
use crate::signals::Signals;
use crate::streams::Streams;

/// The surroundings of a command.
pub(crate) struct Context {
    pub(crate) streams: Streams,
    pub(crate) signals: Signals,
    pub(crate) screen: Arc<Screen>,
}

impl Context {
    pub(crate) fn output(&self) -> Result<Output, Error> {
        Output::open(&self.streams)
    }

    /// A producer with these options, whose warnings are sentences on the screen.
    pub(crate) fn producer(&self, buffer: &Path, options: &Options, sink: &str) -> Builder {
        let (screen, sink) = (self.screen.clone(), sink.to_owned());
        let mut options = options.clone();
        // What is an outbox is opened as one.
        options.shared |= Inspection::open(buffer).is_ok_and(|found| found.is_shared());
        Producer::builder(buffer).options(options).put_events(false).observer(move |event| {
            let level = match event.level() {
                Level::Error => "error",
                Level::Warning => "warning",
                _ => return,
            };
            let of = match event.name() {
                "send_failed" | "rejected" | "skipped" | "sink_down" | "sink_up" => format!(" [sink {sink}]"),
                _ => String::new(),
            };
            screen.complain(&format!("{level}: {}{of}", event.message()));
        })
    }
}

/// Options of a producer from KEY=VALUE pairs.
pub(crate) fn options(pairs: &[String]) -> Result<Options, Error> {
    let mut options = Options::default();
    for pair in pairs {
        let known = |key: &str| key != "mode" && Options::TABLE.iter().any(|spec| spec.key == key);
        match pair.split_once('=') {
            Some((key, value)) if known(key) => options.set(key, value)?,
            _ => {
                let message = format!("--option {pair}: KEY=VALUE with a key of 'unistream options'");
                return Err(Error::new(USAGE, message));
            }
        }
    }
    Ok(options)
}
