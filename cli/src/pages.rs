//! What is made of the command line's words: completions of shells, man pages.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::aot;
use clap_mangen::roff::{Roff, bold, roman};

use crate::arguments::{Arguments, Completions, Man, Shell};
use crate::context::Context;
use crate::exit::{self, Error, OK};
use crate::text;

pub(crate) fn completions(context: &Context, arguments: &Completions) -> Result<u8, Error> {
    let shell = match arguments.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut Arguments::command(), "unistream", &mut script);
    let mut output = context.output()?;
    output.bytes(&script)?;
    output.flush()?;
    Ok(OK)
}

pub(crate) fn man(_: &Context, arguments: &Man) -> Result<u8, Error> {
    let mut command = Arguments::command().disable_help_flag(true);
    command.build();
    let failed = |path: &Path, error: &io::Error| Error::io(text::name(path), error);
    let folder = &arguments.directory;
    fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    for (name, page) in pages(&command, "unistream") {
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page).map_err(|error| failed(&path, &error))?;
    }
    Ok(OK)
}

/// The pages of a command and of all below it, by name: `unistream`, `unistream-put` and so on.
fn pages(command: &Command, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut pages = vec![(name.to_owned(), page(command, name).unwrap_or_default())];
    for below in command.get_subcommands() {
        pages.extend(self::pages(below, &format!("{name}-{}", below.get_name())));
    }
    pages
}

fn page(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let words = command.clone().display_name(name.to_owned());
    // What follows the options is laid out by hand: line by line.
    let extra = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let man =
        clap_mangen::Man::new(words.after_help(None::<&str>).after_long_help(None::<&str>)).title(name.to_uppercase());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    let mut more = Roff::new();
    if command.has_subcommands() {
        more.control("SH", ["COMMANDS"]);
        for below in command.get_subcommands() {
            more.control("TP", []);
            more.text([bold(format!("{name}-{}(1)", below.get_name()))]);
            more.text([roman(below.get_about().map(ToString::to_string).unwrap_or_default())]);
        }
    }
    let is_table = name == "unistream";
    if is_table {
        more.control("SH", ["EXIT STATUS"]);
        for (code, meaning) in exit::TABLE {
            more.control("TP", []);
            more.text([bold(*code)]);
            more.text([roman(*meaning)]);
        }
        more.control("SH", ["ENVIRONMENT"]);
        for (variable, meaning) in ENVIRONMENT {
            more.control("TP", []);
            more.text([bold(*variable)]);
            more.text([roman(*meaning)]);
        }
    } else if let Some(extra) = extra {
        for line in extra.lines() {
            match line.strip_suffix(':').filter(|title| !title.starts_with(' ')) {
                Some(title) => {
                    more.control("SH", [title.to_uppercase().as_str()]);
                }
                None if line.is_empty() => {}
                None => {
                    // Columns stay where they are.
                    let is_column = line.starts_with("  ") && line.trim().contains("  ") || line.starts_with("    ");
                    more.control(if is_column { "nf" } else { "PP" }, []);
                    more.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                    if is_column {
                        more.control("fi", []);
                    }
                }
            }
        }
    }
    more.to_writer(&mut page)?;
    Ok(page)
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("UNISTREAM_TRACEBACK", "if it is set, the causes of an error are shown too"),
    ("COLUMNS", "the most columns of the terminal that are used"),
    ("TERM", "no progress is shown if it is dumb or empty"),
    ("NO_COLOR", "if it is set and not empty, top uses no colours"),
];
