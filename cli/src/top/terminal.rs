//! The whole of a terminal: rows that fit into it, keys.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGTSTP, SIGWINCH};
use signal_hook::{flag, low_level};

use crate::context::Context;
use crate::exit::Error;
use crate::output::Output;
use crate::screen::columns;

/// A piece of a row: it is not divided where it need not be.
pub(super) struct Part {
    pub(super) text: String,
    tone: Tone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Bad,
    Title,
}

impl Part {
    pub(super) fn plain(text: impl Into<String>) -> Part {
        Part { text: text.into(), tone: Tone::Plain }
    }

    pub(super) fn good(text: impl Into<String>) -> Part {
        Part { text: text.into(), tone: Tone::Good }
    }

    pub(super) fn bad(text: impl Into<String>) -> Part {
        Part { text: text.into(), tone: Tone::Bad }
    }
}

/// A label with what stands behind it.
pub(super) struct Row {
    label: &'static str,
    parts: Vec<Part>,
}

/// The width of the labels, with the gap behind them.
const LABEL: usize = 10;
/// The most lines of one row.
const MOST_LINES: usize = 4;

impl Row {
    pub(super) fn new(label: &'static str, parts: Vec<Part>) -> Row {
        Row { label, parts }
    }

    /// What is looked at, and when.
    pub(super) fn title(name: String, time: String) -> Row {
        Row { label: "", parts: vec![Part { text: name, tone: Tone::Title }, Part { text: time, tone: Tone::Title }] }
    }

    /// The row as lines of so many columns.
    fn lines(&self, columns: usize, colours: bool) -> Vec<String> {
        if let [Part { text: name, tone: Tone::Title }, time] = &*self.parts {
            let room = columns.saturating_sub(width(&time.text) + 1);
            let name = cut(name, room);
            let gap = columns.saturating_sub(width(&name) + width(&time.text));
            return vec![painted(&format!("{name}{}{}", " ".repeat(gap), time.text), Tone::Title, colours)];
        }
        let room = columns.saturating_sub(LABEL).max(1);
        let mut lines = vec![format!("{:LABEL$}", self.label)];
        let mut used = 0;
        for part in &self.parts {
            let mut rest = &*part.text;
            while !rest.is_empty() {
                let gap = if used == 0 { 0 } else { 2 };
                if used > 0 && used + gap + width(rest) > room {
                    lines.push(" ".repeat(LABEL));
                    used = 0;
                    continue;
                }
                let (head, tail) = divide(rest, room - used - gap);
                let line = lines.last_mut().expect("there is a line at all times");
                line.push_str(&" ".repeat(gap));
                line.push_str(&painted(head, part.tone, colours));
                used += gap + width(head);
                rest = tail;
            }
        }
        if lines.len() > MOST_LINES {
            lines.truncate(MOST_LINES);
            let last = lines.last_mut().expect("there are as many");
            *last = format!("{}...", " ".repeat(LABEL));
        }
        lines
    }
}

/// The part of a text that fits, up to a space if there is one, and the rest.
fn divide(text: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    let mut space = None;
    for (at, c) in text.char_indices() {
        used += width_of(c);
        if c == ' ' {
            space = Some(at);
        }
        if used > room.max(2) {
            return match space.filter(|space| *space > 0) {
                Some(space) => (&text[..space], text[space..].trim_start()),
                None => text.split_at(at),
            };
        }
    }
    (text, "")
}

fn cut(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    // The end of a path says more than its beginning.
    let mut used = 3;
    let kept = text.char_indices().rev().take_while(|(_, c)| {
        used += width_of(*c);
        used <= room
    });
    format!("...{}", kept.last().map_or("", |(at, _)| &text[at..]))
}

/// The columns that a text takes at most: the exact width of some characters is the terminal's secret.
fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

fn width_of(c: char) -> usize {
    if u32::from(c) < 0x1100 { 1 } else { 2 }
}

fn painted(text: &str, tone: Tone, colours: bool) -> String {
    let code = match tone {
        _ if !colours => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Title => "7",
    };
    format!("\x1b[{code}m{text}\x1b[m")
}

/// What was pressed.
pub(super) enum Key {
    None,
    Quit,
    Other,
}

/// The terminal, as long as it is taken.
pub(super) struct Terminal<'a> {
    context: &'a Context,
    output: Output,
    /// How the keyboard was before; `None` if there is none.
    before: Option<Termios>,
    colours: bool,
    suspended: Arc<AtomicBool>,
}

/// The other screen, no cursor, no wrapping of long lines; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &[u8] = b"\x1b[?7h\x1b[?25h\x1b[?1049l";

impl<'a> Terminal<'a> {
    pub(super) fn enter(context: &'a Context) -> Result<Terminal<'a>, Error> {
        let failed = |error: io::Error| Error::io("could not listen to signals", &error);
        let suspended: Arc<AtomicBool> = Arc::default();
        flag::register(SIGTSTP, suspended.clone()).map_err(failed)?;
        // That it arrives ends a wait, and the screen is drawn anew.
        flag::register(SIGWINCH, Arc::default()).map_err(failed)?;
        let mut terminal = Terminal {
            context,
            output: context.output()?,
            before: None,
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            suspended,
        };
        terminal.take()?;
        Ok(terminal)
    }

    fn take(&mut self) -> Result<(), Error> {
        let stdin = io::stdin();
        if stdin.is_terminal()
            && let Ok(before) = tcgetattr(&stdin)
        {
            let mut keys = before.clone();
            // Keys come at once and are not shown; Ctrl-C and Ctrl-Z stay signals.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            let _ = tcsetattr(&stdin, OptionalActions::Now, &keys);
            self.before = Some(before);
        }
        self.output.bytes(ENTER)?;
        self.output.flush()
    }

    fn leave(&mut self) -> Result<(), Error> {
        if let Some(before) = self.before.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
        self.output.bytes(LEAVE)?;
        self.output.flush()
    }

    /// Fills the terminal with rows, as many as there is room for.
    pub(super) fn draw(&mut self, rows: &[Row]) -> Result<(), Error> {
        let stdout = rustix::stdio::stdout();
        let columns = columns(stdout);
        let height =
            tcgetwinsize(stdout).ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(24);
        let mut lines: Vec<String> = rows.iter().flat_map(|row| row.lines(columns, self.colours)).collect();
        let hint = if self.before.is_some() { "q quits" } else { "Ctrl-C quits" };
        lines.truncate(height.saturating_sub(2));
        lines.push(String::new());
        lines.push(hint.into());
        lines.truncate(height);
        let mut frame = String::from("\x1b[H");
        for (nth, line) in lines.iter().enumerate() {
            frame.push_str(if nth == 0 { "" } else { "\r\n" });
            frame.push_str(line);
            frame.push_str("\x1b[K");
        }
        frame.push_str("\x1b[J");
        self.output.bytes(frame.as_bytes())?;
        self.output.flush()
    }

    /// Waits for a key.
    pub(super) fn wait(&mut self, most: Duration) -> Result<Key, Error> {
        let stdin = io::stdin();
        let keyboard = self.before.is_some().then(|| stdin.as_fd());
        let pressed = self.context.signals.wait(keyboard, Some(most))?;
        if self.suspended.swap(false, Ordering::Relaxed) {
            self.leave()?;
            let _ = low_level::emulate_default_handler(SIGTSTP);
            self.take()?;
        }
        if !pressed {
            return Ok(Key::None);
        }
        let mut keys = [0; 64];
        match rustix::io::read(&stdin, &mut keys) {
            // The keyboard is gone.
            Ok(0) | Err(_) => Ok(Key::Quit),
            Ok(read) if keys[..read].iter().any(|key| matches!(key, b'q' | b'Q' | 4)) => Ok(Key::Quit),
            Ok(_) => Ok(Key::Other),
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(row: &Row, columns: usize) -> Vec<String> {
        let lines = row.lines(columns, false);
        assert!(lines.iter().all(|line| width(line) <= columns), "{lines:?}");
        lines
    }

    #[test]
    fn rows_fit_into_any_width() {
        let parts = || vec![Part::bad("12 failed in a row"), Part::plain("3 count"), Part::plain("for 5 m 3 s")];
        let row = Row::new("attempts", parts());
        assert_eq!(shown(&row, 80), ["attempts  12 failed in a row  3 count  for 5 m 3 s"]);
        assert_eq!(shown(&row, 40), ["attempts  12 failed in a row  3 count", "          for 5 m 3 s"]);
        for columns in 13..100 {
            shown(&row, columns);
            shown(&Row::new("error", vec![Part::bad("漢字かな ".repeat(40))]), columns);
            shown(&Row::title("/var/spool/some/where/deep/outbox".into(), "12:00:00 UTC".into()), columns.max(20));
        }
        let long = Row::new("error", vec![Part::bad("x".repeat(500))]);
        assert_eq!(shown(&long, 40).len(), MOST_LINES);
        let title = Row::title("/var/spool/some/where/deep/outbox".into(), "12:00:00 UTC".into());
        assert_eq!(shown(&title, 40), ["...l/some/where/deep/outbox 12:00:00 UTC"]);
    }

    #[test]
    fn colours_can_be_left_out() {
        let row = Row::new("state", vec![Part::bad("failing"), Part::good("x")]);
        assert_eq!(row.lines(80, true), ["state     \x1b[31mfailing\x1b[m  \x1b[32mx\x1b[m"]);
        assert_eq!(row.lines(80, false), ["state     failing  x"]);
    }
}
