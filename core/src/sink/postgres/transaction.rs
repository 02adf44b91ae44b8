//! A batch in one transaction: its rows, and the note that they are there.
//!
//! ```text
//! BEGIN; SELECT the note FOR UPDATE; SAVEPOINT        one answer: the note, which is kept from others now
//! COPY                                                 said together with it
//! rows; RELEASE; UPDATE the note; COMMIT               one answer
//! ```
//! Where the server refuses a record, the savepoint is returned to, and the halves are copied, and so on down to the record.

use std::io;

use super::progress::{Note, Progress};
use super::rows::Columns;
use super::session::{Answer, Session, undocumented};
use super::wire::ServerError;
use crate::batch::BatchId;
use crate::record::Record;

const RETURN: &str = "ROLLBACK TO SAVEPOINT unistream";

/// What a call to the server came to, if the connection holds.
pub(super) type Called = Result<(), ServerError>;

/// A transaction under way.
pub(super) struct Transaction<'s> {
    session: &'s mut Session,
    progress: Option<&'s Progress>,
    columns: &'s Columns,
    copy: &'s str,
    id: &'s BatchId,
    /// A COPY waits for rows.
    is_copying: bool,
    pub(super) note: Note,
}

impl<'s> Transaction<'s> {
    /// Begins one, with a first COPY.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn begin(
        session: &'s mut Session,
        progress: Option<&'s Progress>,
        columns: &'s Columns,
        copy: &'s str,
        id: &'s BatchId,
    ) -> io::Result<Result<Self, ServerError>> {
        // The first time there is no row that could be kept, which is then made; a second time is enough, unless somebody removes it.
        for _ in 0..3 {
            session.say(&opening(session, progress, id));
            session.say(copy);
            session.flush()?;
            let opened = session.answer()?;
            let copying = session.takes_rows()?;
            let statements = match (opened, &copying) {
                (Ok(statements), Ok(())) => statements,
                (Err(error), Err(_)) => return Ok(Err(error)),
                (Ok(_), Err(error)) => return Ok(Err(error.clone())),
                (Err(_), Ok(())) => return Err(undocumented()),
            };
            let note = match progress {
                None => Some(Note::default()),
                Some(_) => {
                    let read = statements.iter().find(|statement| statement.tag.starts_with("SELECT"));
                    Note::of(read.ok_or_else(undocumented)?).map_err(|()| undocumented())?
                }
            };
            if let Some(note) = note {
                let is_copying = true;
                return Ok(Ok(Transaction { session, progress, columns, copy, id, is_copying, note }));
            }
            session.say_nothing();
            session.say("ROLLBACK");
            session.say(&progress.map(|progress| progress.claim(id)).unwrap_or_default());
            session.flush()?;
            let _refused = session.answer()?;
            for answer in [session.answer()?, session.answer()?] {
                if let Err(error) = answer {
                    return Ok(Err(error));
                }
            }
        }
        Err(io::Error::other("the note of this buffer is removed again and again"))
    }

    /// Copies records, and commits them with the note if the server takes all of them.
    ///
    /// # Errors
    /// Of the connection: nobody knows then whether it is committed.
    pub(super) fn copy_and_commit(&mut self, records: &[Record<'_>], batch: &str) -> io::Result<Called> {
        if let Err(error) = self.begin_copy()? {
            return Ok(Err(error));
        }
        self.say_rows(records, batch)?;
        self.say_end();
        self.session.flush()?;
        let copied = self.copied(records.len())?;
        // Where the COPY has failed, this is refused, too.
        let ended = self.session.answer()?;
        match copied {
            Err(error) => Ok(Err(error)),
            Ok(()) => is_committed(ended),
        }
    }

    /// Copies records, or takes none of them.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn copy(&mut self, records: &[Record<'_>], batch: &str) -> io::Result<Called> {
        if let Err(error) = self.begin_copy()? {
            return Ok(Err(error));
        }
        self.say_rows(records, batch)?;
        self.session.flush()?;
        let copied = self.copied(records.len())?;
        match copied {
            Err(error) => self.undo().map(|undone| undone.and(Err(error))),
            Ok(()) => self.done("RELEASE SAVEPOINT unistream; SAVEPOINT unistream"),
        }
    }

    /// Returns to before what the server refused.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn undo(&mut self) -> io::Result<Called> {
        self.stop_copying()?;
        self.done(RETURN)
    }

    /// Commits what was copied, with the note.
    ///
    /// # Errors
    /// Of the connection: nobody knows then whether it is committed.
    pub(super) fn commit(&mut self) -> io::Result<Called> {
        self.stop_copying()?;
        self.say_end();
        self.session.flush()?;
        is_committed(self.session.answer()?)
    }

    /// Gives all of it up.
    ///
    /// # Errors
    /// Of the connection.
    pub(super) fn roll_back(&mut self) -> io::Result<Called> {
        self.stop_copying()?;
        self.done("ROLLBACK")
    }

    fn begin_copy(&mut self) -> io::Result<Called> {
        if self.is_copying {
            return Ok(Ok(()));
        }
        self.session.say(self.copy);
        self.session.flush()?;
        let taken = self.session.takes_rows()?;
        self.is_copying = taken.is_ok();
        match taken {
            Err(error) => self.undo().map(|undone| undone.and(Err(error))),
            Ok(()) => Ok(Ok(())),
        }
    }

    fn say_rows(&mut self, records: &[Record<'_>], batch: &str) -> io::Result<()> {
        let kinds = self.session.kinds.clone();
        let mut records = records.iter();
        self.is_copying = false;
        self.session.say_rows(|out| match records.next() {
            Some(record) => {
                self.columns.push(record, batch, &kinds, out);
                true
            }
            None => false,
        })
    }

    /// What became of the rows of a COPY.
    fn copied(&mut self, rows: usize) -> io::Result<Called> {
        Ok(match self.session.answer()? {
            Err(error) => Err(error),
            Ok(statements) => match &statements[..] {
                // A trigger may keep rows out of the table, which is its right.
                [copied]
                    if copied
                        .tag
                        .strip_prefix("COPY ")
                        .and_then(|n| n.parse().ok())
                        .is_some_and(|n: usize| n <= rows) =>
                {
                    Ok(())
                }
                _ => return Err(undocumented()),
            },
        })
    }

    fn say_end(&mut self) {
        let store = self.progress.map(|progress| progress.store(self.id, &self.note) + "; ").unwrap_or_default();
        // The first statement is refused where the transaction has failed, and with it all: so a COMMIT is one.
        self.session.say(&format!("RELEASE SAVEPOINT unistream; {store}COMMIT"));
    }

    fn stop_copying(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_copying) {
            self.session.say_nothing();
            self.session.flush()?;
            let _refused = self.session.answer()?;
        }
        Ok(())
    }

    fn done(&mut self, sql: &str) -> io::Result<Called> {
        Ok(self.session.ask(sql)?.map(drop))
    }
}

/// What begins a transaction. `SET LOCAL` ends with it, also where a pooler lends the connection to others.
fn opening(session: &Session, progress: Option<&Progress>, id: &BatchId) -> String {
    let millis = session.timeout.as_millis().max(4);
    // Who waits for a lock stops before we do, so that none is left waiting whom nobody hears. What the server would tell besides
    // errors may be so much that it waits for us to read it while we wait for it to read. Errors of constraints that are
    // checked at the end would name no record. A server that hears nothing of us for so long as we would of it gives the note free.
    let mut sql = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL client_min_messages = error; SET LOCAL lock_timeout = {}; \
         SET LOCAL idle_in_transaction_session_timeout = {millis}; SET LOCAL tcp_keepalives_idle = 30; \
         SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3; SET CONSTRAINTS ALL IMMEDIATE; ",
        millis * 3 / 4
    );
    if session.is_lax {
        sql += "SET LOCAL synchronous_commit = on; ";
    }
    if let Some(progress) = progress {
        sql += &progress.read(id);
        sql += "; ";
    }
    sql + "SAVEPOINT unistream"
}

/// Whether the last statement was a COMMIT that was one: of a transaction that has failed it says that it rolled back.
fn is_committed(ended: Answer) -> io::Result<Called> {
    match ended {
        Err(error) => Ok(Err(error)),
        Ok(statements) if statements.last().is_some_and(|last| last.tag == "COMMIT") => Ok(Ok(())),
        Ok(_) => Err(undocumented()),
    }
}
