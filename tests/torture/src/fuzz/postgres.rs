//! Fuzzing: whatever a server of PostgreSQL says, nobody panics, it means the same however it is cut, and an error says little.

use std::io::{self, Read};

use super::auth::SignIn;
use super::progress::Note;
use super::session::Statement;
use super::sqlstate::refusal;
use super::wire::{Message, Reader};
use crate::secret::Secret;

/// Gives so many bytes at a time.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.1.min(self.0.len()).min(buffer.len());
        buffer[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }
}

/// The first byte says how the others are cut, and whether we have signed in.
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    let Some((how, said)) = bytes.split_first() else { return Ok(()) };
    let is_signed_in = how & 1 == 1;
    let whole = messages(said, usize::MAX, is_signed_in);
    let cut = messages(said, usize::from(how >> 1) % 16 + 1, is_signed_in);
    if whole != cut {
        return Err(format!("{whole:?} is {cut:?} if it comes in parts"));
    }
    let secret = Secret::new("hush-hush-hush");
    let mut sign_in = SignIn::new("me", Some(&secret), false);
    let (mut statement, mut was_asked) = (Statement::default(), false);
    for message in whole.0 {
        match message {
            Message::Authentication(kind, rest) => {
                let answer = sign_in.answer(kind, &rest);
                // By chance nobody proves that he knows a password, and what we have hidden is not seen.
                match &answer {
                    Ok(None) if kind != 0 || was_asked => return Err(format!("kind {kind} was believed")),
                    Ok(Some(said)) if said.windows(8).any(|run| run == b"hush-hus") => {
                        return Err("the password was said in clear".into());
                    }
                    Err(why) if why.contains("hush") => return Err(why.clone()),
                    _ => {}
                }
                was_asked |= kind == 10 && answer.is_ok();
            }
            Message::Row(row) => statement.rows = vec![row],
            Message::Error(error) => {
                let refusal = refusal(&error);
                if refusal.message.chars().count() > 500 || error.code.len() > 5 {
                    return Err(format!("an error says too much: {refusal}"));
                }
            }
            _ => {}
        }
    }
    let _ = Note::of(&statement);
    Ok(())
}

/// All that can be read, and what ended it.
fn messages(bytes: &[u8], at_once: usize, is_signed_in: bool) -> (Vec<Message>, io::ErrorKind) {
    let (mut reader, mut from) = (Reader::default(), Slowly(bytes, at_once));
    if is_signed_in {
        reader.signed_in();
    }
    let mut messages = Vec::new();
    loop {
        match reader.next(&mut from) {
            Ok(message) => messages.push(message),
            Err(error) => return (messages, error.kind()),
        }
    }
}
