//! [`PostgresSink`]: from batches to rows of a table.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::auth::Login;
use super::client::{Client, named};
use super::options::{PostgresOptions, PostgresTls, postgres_setters};
use super::place::Place;
use super::progress::{Note, Progress};
use super::rows::{Columns, Kinds};
use super::session::Session;
use super::sql::TableName;
use super::sqlstate::{Meaning, meaning, refusal};
use super::transaction::Transaction;
use super::wire::ServerError;
use crate::batch::Batch;
use crate::error::Result;
use crate::order::Order;
use crate::record::Record;
use crate::sink::net::connect::Dialer;
use crate::sink::net::delivery::{Delivery, Item, split};
use crate::sink::net::environment::Environment;
use crate::sink::net::failure::{CallError, Fault};
use crate::sink::net::invalid;
use crate::sink::net::trust::{Identity, Trust};
use crate::sink::{Limits, Outcome, Report, SendError, Sink};

/// What is counted of a record besides what it has: times, numbers, what divides columns.
const OVERHEAD: u64 = 128;

/// Writes records as rows of a table of PostgreSQL.
///
/// ```no_run
/// # fn main() -> unistream::Result<()> {
/// use unistream::sink::postgres::PostgresSink;
/// let sink = PostgresSink::builder("postgres://shop@localhost/shop/events").topic_column("").build()?;
/// # Ok(())
/// # }
/// ```
pub struct PostgresSink {
    client: Client,
    copy: String,
    limits: Limits,
    name: String,
}

/// A record on its way into the table.
#[derive(Clone, Copy)]
struct Row<'a> {
    index: usize,
    record: Record<'a>,
}

impl Item for Row<'_> {
    fn index(&self) -> usize {
        self.index
    }
}

/// What is known of a batch's records before the server is asked for the rest.
struct Known<'a> {
    batch: &'a Batch,
    id: String,
    /// Those that are not known to be there.
    left: Vec<Row<'a>>,
    /// Those that are there by an attempt that was committed.
    delivered: Vec<usize>,
    /// Those that are never to be there: index, number, why.
    rejected: Vec<(usize, u64, String)>,
}

/// What became of a batch, unless the server has refused it for other reasons than its records.
type Ended = Result<Report, ServerError>;

/// What an attempt came to while the connection held.
struct Attempt {
    report: Report,
    /// What the server refused it with; the connection is then not used again.
    refused: Option<ServerError>,
}

impl<'a> Known<'a> {
    fn of(batch: &'a Batch, note: Option<&Note>, columns: &Columns, kinds: &Kinds) -> Self {
        let (left, delivered, rejected) = Default::default();
        let mut known = Known { batch, id: batch.id(), left, delivered, rejected };
        for (index, record) in batch.iter().enumerate() {
            let seq = record.seq;
            match note.filter(|note| seq <= note.seq) {
                Some(note) => match note.why_rejected(seq) {
                    Some(why) => known.rejected.push((index, seq, why.to_owned())),
                    None => known.delivered.push(index),
                },
                None => match columns.check(&record, kinds) {
                    Ok(()) => known.left.push(Row { index, record }),
                    Err(why) => known.rejected.push((index, seq, why)),
                },
            }
        }
        known
    }

    fn delivery(&self) -> Delivery {
        let mut delivery = Delivery::in_order(self.batch.len());
        self.delivered.iter().for_each(|index| delivery.hold(*index, Outcome::Delivered));
        self.rejected.iter().for_each(|(index, _, reason)| delivery.reject(*index, reason.clone()));
        delivery
    }

    /// All that are left come to the same end.
    fn ended(&self, outcome: &Outcome) -> Report {
        let mut delivery = self.delivery();
        self.left.iter().for_each(|row| delivery.hold(row.index, outcome.clone()));
        delivery.finish(None)
    }

    /// Notes that all of the batch is dealt with. Besides those that are known, some of what was left is refused.
    fn note(&self, note: &mut Note, refused: impl IntoIterator<Item = (u64, String)>) {
        let last = self.batch.iter().last().map_or(0, |record| record.seq);
        let rejected = self.rejected.iter().map(|(_, seq, reason)| (*seq, reason.clone()));
        note.go_on(self.id.clone(), last, rejected.chain(refused));
    }
}

impl PostgresSink {
    /// A sink for the servers of a URL.
    pub fn builder(url: impl Into<String>) -> PostgresBuilder {
        PostgresBuilder::of_options(PostgresOptions { url: url.into(), ..PostgresOptions::default() })
    }

    /// # Errors
    /// Of the connection: nobody knows then what became of the records.
    fn attempt(&self, session: &mut Session, batch: &Batch) -> io::Result<Attempt> {
        let kinds = session.kinds.clone();
        let (progress, columns) = (self.client.progress.as_ref(), &self.client.columns);
        let mut transaction = match Transaction::begin(session, progress, columns, &self.copy, &batch.id)? {
            Ok(transaction) => transaction,
            Err(error) => {
                let report = Report::all(batch.len(), outcome_of(&error));
                return Ok(Attempt { report, refused: Some(error) });
            }
        };
        let known = Known::of(batch, progress.map(|_| &transaction.note), columns, &kinds);
        let ended = match known.left.is_empty() {
            true => transaction.roll_back()?.map(|()| known.delivery().finish(None)),
            false => self.copy(&mut transaction, &known)?,
        };
        Ok(match ended {
            Ok(report) => Attempt { report, refused: None },
            Err(error) => Attempt { report: known.ended(&outcome_of(&error)), refused: Some(error) },
        })
    }

    /// Copies what is left, all at once if it can be.
    fn copy(&self, transaction: &mut Transaction<'_>, known: &Known<'_>) -> io::Result<Ended> {
        let calls = self.calls(&known.left);
        let mut refused = None;
        if let [all] = &calls[..] {
            let before = transaction.note.clone();
            known.note(&mut transaction.note, []);
            match transaction.copy_and_commit(&records(all), &known.id)? {
                Ok(()) => return Ok(Ok(known.ended(&Outcome::Delivered))),
                Err(error) if meaning(&error.code) == Meaning::Record => refused = Some(refusal(&error)),
                Err(error) => return Ok(Err(error)),
            }
            transaction.note = before;
            if let Err(error) = transaction.undo()? {
                return Ok(Err(error));
            }
        }
        Self::copy_parts(transaction, known, &calls, refused)
    }

    /// Copies what is left call by call, and looks for the records that are refused; `refused` is what became of the first
    /// call, if it was made.
    fn copy_parts(
        transaction: &mut Transaction<'_>,
        known: &Known<'_>,
        calls: &[&[Row<'_>]],
        mut refused: Option<CallError>,
    ) -> io::Result<Ended> {
        let (mut broken, mut fault) = (None, None);
        let mut copy = |part: &[Row<'_>]| {
            if let Some(error) = refused.take() {
                return Err(error);
            }
            match transaction.copy(&records(part), &known.id) {
                Ok(Ok(())) => Ok(vec![Outcome::Delivered; part.len()]),
                Ok(Err(error)) => {
                    let refusal = refusal(&error);
                    fault = (refusal.fault != Fault::Refused).then_some(error);
                    Err(refusal)
                }
                Err(error) => {
                    let unavailable = CallError::unavailable("COPY", error.to_string());
                    broken = Some(error);
                    Err(unavailable)
                }
            }
        };
        let mut delivery = known.delivery();
        let stopped = calls.iter().find_map(|call| delivery.send(call, &mut copy).err());
        if let Some(error) = broken {
            return Err(error);
        }
        if let Some(error) = fault {
            return Ok(Err(error));
        }
        let report = delivery.finish(stopped);
        let (mut taken, mut failed, mut rejected) = (0, 0, Vec::new());
        for row in &known.left {
            match report.outcome(row.index) {
                Outcome::Delivered => taken += 1,
                Outcome::Rejected { reason } => rejected.push((row.record.seq, reason.clone())),
                Outcome::Failed { .. } | Outcome::Unavailable { .. } => failed += 1,
            }
        }
        if taken == 0 {
            return Ok(transaction.roll_back()?.map(|()| report));
        }
        // The note would pass over what is to come again.
        assert!(failed == 0, "once the server has taken something, a refusal is about the records of the refused call");
        known.note(&mut transaction.note, rejected);
        Ok(transaction.commit()?.map(|()| report))
    }

    /// Cuts records into what one COPY takes; a batch that an earlier run sealed may be larger.
    fn calls<'r, 'a>(&self, rows: &'r [Row<'a>]) -> Vec<&'r [Row<'a>]> {
        let bytes = |row: &Row<'_>| self.limits.record_bytes(&row.record.to_new());
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        split(
            rows,
            |row| (1, bytes(row)),
            |(records, sum), row| {
                let grown = (records + 1, sum + bytes(row));
                Some(grown).filter(|(records, sum)| {
                    *records <= most(self.limits.max_records) && *sum <= most(self.limits.max_bytes)
                })
            },
        )
    }
}

fn records<'a>(rows: &[Row<'a>]) -> Vec<Record<'a>> {
    rows.iter().map(|row| row.record).collect()
}

fn outcome_of(error: &ServerError) -> Outcome {
    refusal(error).into_outcome()
}

impl Sink for PostgresSink {
    fn send(&self, batch: &Batch) -> Result<Report, SendError> {
        if batch.is_empty() {
            return Ok(Report::delivered());
        }
        let interrupts = self.client.interrupts();
        let mut may_retry = true;
        loop {
            let unavailable = |error: io::Error| CallError::unavailable("COPY", error.to_string()).into_send_error();
            let (mut session, was_kept) = self.client.session().map_err(unavailable)?;
            let server = session.server.clone();
            match self.attempt(&mut session, batch) {
                Ok(Attempt { report, refused: None }) => {
                    self.client.keep(session);
                    return Ok(report);
                }
                Ok(Attempt { report, refused: Some(error) }) => {
                    if meaning(&error.code) == Meaning::Elsewhere {
                        self.client.leave(&server);
                    }
                    return Ok(report);
                }
                Err(error) => {
                    // A connection that was kept may have ended long ago. Whatever was committed by it is noted; without notes it
                    // would come again anyway.
                    let is_stale = was_kept && std::mem::take(&mut may_retry);
                    match is_stale {
                        true => self.client.forget(&server),
                        false => self.client.leave(&server),
                    }
                    if !is_stale || self.client.interrupts() != interrupts {
                        return Err(unavailable(named(&server, &error)));
                    }
                }
            }
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn interrupt(&self) {
        self.client.interrupt();
    }
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Options of a [`PostgresSink`] to be.
#[derive(Clone, Default)]
pub struct PostgresBuilder {
    options: PostgresOptions,
    environment: Option<Environment>,
}

impl PostgresBuilder {
    /// With these options, and nothing besides.
    pub(super) fn of_options(options: PostgresOptions) -> Self {
        PostgresBuilder { options, ..Self::default() }
    }

    postgres_setters!();

    /// Sets an option from its text form.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown key or a value that it does not take.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self> {
        self.options.set(key, value)?;
        Ok(self)
    }

    /// Reads these variables instead of the process's own.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Makes the sink. It calls nobody yet.
    ///
    /// # Errors
    /// `InvalidArgument` for an option or a variable that does not fit; `Io` if a file cannot be read.
    pub fn build(self) -> Result<PostgresSink> {
        let PostgresBuilder { options, environment } = self;
        options.check_ranges()?;
        let place = Place::parse(&options.url)?;
        let environment = Environment::chosen(environment, options.use_environment)?;
        let table = match (&place.table[..], &options.table[..]) {
            ("", "") => return Err(invalid("no table is named, neither in the url nor by the option table")),
            (table, "") | ("", table) => table,
            _ => return Err(invalid("the table is given twice: in the url, and as an option")),
        };
        let username = match (&place.username[..], &options.username[..]) {
            ("", "") => environment.get("PGUSER").ok_or_else(|| invalid("there is no user: postgres://USER@HOST/…"))?,
            (name, "") | ("", name) => name,
            (named, given) if named == given => named,
            _ => return Err(invalid("the url and the option username name two users")),
        };
        let has_nul = |text: &str| text.contains('\0');
        if has_nul(username) || has_nul(&options.application_name) {
            return Err(invalid("a user or a name has a NUL in it"));
        }
        let table = TableName::parse("table", table)?;
        let columns = Columns::of_options(&options)?;
        let progress = match options.once {
            true => Some(Progress { table: TableName::parse("progress_table", &options.progress_table)? }),
            false => None,
        };
        let login = Login::of(username, &options.password, &options.password_file, environment.get("PGPASSWORD"))?;
        let trust = Trust::chosen(&options.ca_bundle, &environment)?;
        let identity = Identity::of_options(&options.client_cert, &options.client_key)?;
        let hosts: Vec<_> = place.servers.iter().map(|server| format!("{}:{}", server.host, server.port)).collect();
        let name = format!("postgres://{}/{}/{}", hosts.join(","), place.database, table.given);
        let limits = Limits {
            max_records: Some(options.max_call_records),
            max_bytes: Some(options.max_call_bytes),
            max_record_bytes: Some(options.max_record_bytes),
            overhead_bytes: OVERHEAD,
            counts_key: true,
            counts_headers: true,
            ordered: options.once,
            // By default one batch is in flight, which is one lane. More can be, as long as each lane keeps its order.
            order: Order::Key,
            in_flight: 1,
            checks_records: false,
        };
        Ok(PostgresSink {
            copy: columns.copy(&table),
            client: Client {
                servers: place.servers,
                tls: options.sslmode,
                login,
                database: place.database,
                application_name: options.application_name,
                dialer: Dialer::new(environment, trust, options.connect_timeout, options.timeout).identity(identity),
                timeout: options.timeout,
                table,
                columns,
                progress,
                creates: options.create_progress_table,
                known: Mutex::default(),
                interrupts: AtomicU64::new(0),
            },
            limits,
            name,
        })
    }
}

impl fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder").finish_non_exhaustive()
    }
}
