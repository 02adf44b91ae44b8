//! Standard error: sentences, and a line of progress that they take the place of.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::streams::Streams;
use crate::text;

/// Standard error of a command. The engine's threads write to it too.
pub(crate) struct Screen {
    is_closed: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl Screen {
    /// Standard error as the process was given it.
    pub(crate) fn new(streams: &Streams) -> Screen {
        Screen { is_closed: streams.stderr_is_closed, bar: Mutex::default() }
    }

    /// Whether anybody sees progress.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.is_closed && io::stderr().is_terminal() && is_capable()
    }

    /// Shows how far it is, in one line of the terminal: `share` is the part of the whole, if that is known.
    pub(crate) fn progress(&self, share: Option<f64>, message: &str) {
        // ASCII, because the width of other characters is the terminal's secret.
        let mut line: String = text::printable(message).chars().flat_map(ascii).collect();
        let columns = columns(rustix::stdio::stderr());
        let share = share.filter(|_| columns >= 70);
        line.truncate((columns - 1).saturating_sub(if share.is_some() { 24 } else { 0 }));
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(|| {
            ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr()).with_style(style("{msg}"))
        });
        bar.set_style(style(if share.is_some() { "[{bar:16}] {percent:>3}% {msg}" } else { "{msg}" }));
        bar.set_position((share.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u64);
        bar.set_message(line);
        bar.tick();
    }

    /// Takes the progress away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    /// Writes a sentence.
    pub(crate) fn complain(&self, message: &str) {
        self.write(&format!("unistream: {}\n", text::printable(message)));
    }

    /// Writes a line.
    pub(crate) fn say(&self, line: &str) {
        self.write(&format!("{}\n", text::printable(line)));
    }

    /// Writes lines as they are.
    pub(crate) fn lines(&self, text: &str) {
        text.lines().for_each(|line| self.say(line));
    }

    fn write(&self, text: &str) {
        self.clear();
        if !self.is_closed {
            // That nobody reads it is no reason to stop.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

fn ascii(c: char) -> Vec<char> {
    if c.is_ascii() { vec![c] } else { c.escape_unicode().collect() }
}

/// Whether the terminal understands more than lines.
pub(crate) fn is_capable() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// How many columns may be used of a terminal: what it has, or less if `COLUMNS` says so.
pub(crate) fn columns(terminal: impl rustix::fd::AsFd) -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let real =
        rustix::termios::tcgetwinsize(terminal).ok().map(|size| usize::from(size.ws_col)).filter(|real| *real > 0);
    match (real, said) {
        (Some(real), Some(said)) => real.min(said),
        (real, said) => real.or(said).unwrap_or(80),
    }
}
