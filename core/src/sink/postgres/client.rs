//! Connections to the servers: which one takes writes, signed in, kept while they are good.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::auth::Login;
use super::options::PostgresTls;
use super::place::Server;
use super::progress::Progress;
use super::rows::Columns;
use super::session::{Session, Statement, undocumented};
use super::sql::{TableName, literal};
use super::sqlstate::as_io;
use crate::sink::net::connect::Dialer;

/// The type `bytea`, by its number, which never changes (`pg_type.dat`).
const BYTEA: &str = "17";

pub(super) struct Client {
    pub(super) servers: Vec<Server>,
    pub(super) tls: PostgresTls,
    pub(super) login: Login,
    pub(super) database: String,
    pub(super) application_name: String,
    pub(super) dialer: Dialer,
    pub(super) timeout: Duration,
    pub(super) table: TableName,
    pub(super) columns: Columns,
    /// `None`: nothing is noted.
    pub(super) progress: Option<Progress>,
    /// Whether the table of notes may be made.
    pub(super) creates: bool,
    pub(super) known: Mutex<Known>,
    pub(super) interrupts: AtomicU64,
}

#[derive(Default)]
pub(super) struct Known {
    idle: Vec<Session>,
    /// Which server is asked first.
    next: usize,
}

impl Client {
    /// A connection to a server that takes writes, and whether it is one that was kept.
    ///
    /// # Errors
    /// Why each of the servers does not take us.
    pub(super) fn session(&self) -> io::Result<(Session, bool)> {
        let kept = self.known().idle.pop();
        if let Some(session) = kept {
            return Ok((session, true));
        }
        let interrupts = self.interrupts();
        let first = self.known().next;
        let mut whys = Vec::new();
        for turn in 0..self.servers.len() {
            if self.interrupts() != interrupts {
                whys.push("interrupted".to_owned());
                break;
            }
            let at = (first + turn) % self.servers.len();
            match self.connect(&self.servers[at]) {
                Ok(session) => {
                    self.known().next = at;
                    return Ok((session, false));
                }
                Err(error) => whys.push(named(&self.servers[at], &error).to_string()),
            }
        }
        Err(io::Error::new(ErrorKind::NotConnected, whys.join("; ")))
    }

    /// Keeps a connection for the next batch.
    pub(super) fn keep(&self, session: Session) {
        self.known().idle.push(session);
    }

    /// What was kept of a server may have ended, too.
    pub(super) fn forget(&self, server: &Server) {
        self.known().idle.retain(|session| session.server != *server);
    }

    /// A server failed, or takes no writes any more: others are asked first.
    pub(super) fn leave(&self, server: &Server) {
        self.forget(server);
        let mut known = self.known();
        if self.servers[known.next] == *server {
            known.next = (known.next + 1) % self.servers.len();
        }
    }

    /// How often it was interrupted.
    pub(super) fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::Relaxed)
    }

    pub(super) fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.dialer.interrupt();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, server: &Server) -> io::Result<Session> {
        let tls = match self.tls {
            PostgresTls::Auto => !server.is_local(),
            PostgresTls::Disable => false,
            PostgresTls::Require | PostgresTls::VerifyFull => true,
        };
        let mut parameters = vec![
            ("user", &self.login.username[..]),
            ("client_encoding", "UTF8"),
            ("application_name", &self.application_name),
        ];
        if !self.database.is_empty() {
            parameters.push(("database", &self.database));
        }
        let mut session = Session::begin(&self.dialer, server, tls, &self.login, &parameters, self.timeout)?;
        self.look(&mut session)?;
        Ok(session)
    }

    /// Looks whether the server takes writes, and what the tables are like.
    fn look(&self, session: &mut Session) -> io::Result<()> {
        let wrong = |why: String| io::Error::new(ErrorKind::NotFound, why);
        let progress = self.progress.as_ref().map_or("''", |progress| &progress.table.sql);
        let asked = format!(
            "SELECT pg_catalog.current_setting('transaction_read_only'), \
             pg_catalog.current_setting('synchronous_commit'), pg_catalog.to_regclass({}) IS NOT NULL; \
             SELECT a.attname, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = pg_catalog.to_regclass({}) AND a.attnum > 0 AND NOT a.attisdropped",
            literal(progress),
            literal(&self.table.sql)
        );
        let answer = session.ask(&asked)?.map_err(|error| as_io(&error))?;
        let [Statement { rows: settings, .. }, Statement { rows: columns, .. }] = &answer[..] else {
            return Err(undocumented());
        };
        let [settings] = &settings[..] else { return Err(undocumented()) };
        let settings: Vec<_> = settings.iter().map(|value| value.as_deref().unwrap_or_default()).collect();
        let [read_only, synchronous_commit, is_there] = settings[..] else { return Err(undocumented()) };
        if read_only != "off" {
            return Err(wrong("the server takes no writes".into()));
        }
        session.is_lax = synchronous_commit == "off";
        if columns.is_empty() {
            return Err(wrong(format!("there is no table {} that the user can see", self.table.given)));
        }
        let mut has = Vec::with_capacity(columns.len());
        for column in columns {
            let [Some(name), Some(kind)] = &column[..] else { return Err(undocumented()) };
            has.push((&name[..], kind == BYTEA));
        }
        session.kinds = self.columns.kinds(&self.table, &has).map_err(wrong)?;
        match &self.progress {
            Some(progress) if is_there != "t" && self.creates => {
                // Another program may do so at the same time, which one of the two is told as an error; the next attempt finds it.
                session.ask(&progress.create())?.map(drop).map_err(|error| as_io(&error))
            }
            Some(progress) if is_there != "t" => Err(wrong(format!(
                "there is no table {} that the user can see, and create_progress_table is false; it is made by: {}",
                progress.table.given,
                progress.create()
            ))),
            _ => Ok(()),
        }
    }
}

/// The same error with the server's name before it.
pub(super) fn named(server: &Server, error: &io::Error) -> io::Error {
    let text = error.to_string();
    let place = format!("{}:{}: ", server.host, server.port);
    match text.starts_with(&place) {
        true => io::Error::new(error.kind(), text),
        false => io::Error::new(error.kind(), format!("{place}{text}")),
    }
}
