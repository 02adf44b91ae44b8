//! `unistream top`: a look at a buffer, again and again.

mod look;
mod terminal;
mod view;

use std::time::{Duration, Instant};

use self::look::{Look, Looks};
use self::terminal::Terminal;
use crate::arguments::Top;
use crate::context::Context;
use crate::exit::{Error, OK, STOPPED};
use crate::output::Output;

/// Does what `unistream top` is told.
pub(crate) fn top(context: &Context, arguments: &Top) -> Result<u8, Error> {
    match watch(context, arguments) {
        // The usual end. Nothing was put that could be spoken of.
        Err(Error::Stopped(signal)) => Ok(STOPPED + signal as u8),
        Err(error) => Err(error),
        Ok(()) => Ok(OK),
    }
}

fn watch(context: &Context, arguments: &Top) -> Result<(), Error> {
    let mut looks = Looks::new(&arguments.buffer);
    let mut look = looks.take()?;
    let mut output = context.output()?;
    let fills_screen = output.is_terminal() && crate::screen::is_capable() && !arguments.json;
    let mut terminal = if fills_screen { Some(Terminal::enter(context)?) } else { None };
    let mut count: u64 = 0;
    loop {
        count += 1;
        match &mut terminal {
            Some(terminal) => terminal.draw(&view::lines(&look, arguments))?,
            None => print(&mut output, &look, arguments)?,
        }
        if arguments.count.is_some_and(|most| count >= most) {
            return Ok(());
        }
        let next = Instant::now() + arguments.interval;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Some(terminal) = &mut terminal else {
                context.signals.wait(None, Some(left))?;
                continue;
            };
            match terminal.wait(left)? {
                terminal::Key::Quit => return Ok(()),
                terminal::Key::Other => break,
                // Its size may have changed.
                terminal::Key::None => terminal.draw(&view::lines(&look, arguments))?,
            }
        }
        look = looks.take()?;
    }
}

fn print(output: &mut Output, look: &Look, arguments: &Top) -> Result<(), Error> {
    if arguments.json {
        output.json(&view::values(look))?;
    } else {
        output.line(&view::line(look))?;
    }
    output.flush()
}

/// So much in a second.
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-3)
}
