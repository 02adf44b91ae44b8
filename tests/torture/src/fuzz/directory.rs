//! Opening arbitrary directories, and going on in them.
//!
//! A directory opens, or is refused for an unknown version and nothing in it is changed. What is delivered is a whole
//! frame of it, or was put since; what is put is delivered; what is finished does not come again.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, Files};
use super::source::Source;
use crate::attributes::Attributes;
use crate::batch::Batch;
use crate::buffer::checkpoint::{Decoded, State};
use crate::buffer::format::{self, HeaderState, Kind, Seal, SegmentHeader};
use crate::buffer::segment;
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Level};
use crate::options::{Durability, Mode, OnExpired, Options, Order, WhenFull};
use crate::platform::simulated::SimulatedDisk;
use crate::platform::sync::Mutex;
use crate::platform::{Clock as _, FileKind, lock};
use crate::producer::Producer;
use crate::record::NewRecord;
use crate::sink::{Limits, Report, SendError, Sink};
use crate::torture::workloads;
use crate::torture::world::{DIR, SimulatedClock};

/// Longer than any retry schedule in these cases.
const LONG: Duration = Duration::from_secs(20);
/// How long to wait where an unknown version may stop the log: a producer that waits reads it again and again.
const SHORT: Duration = Duration::from_secs(2);

pub(super) fn run(bytes: &[u8]) -> std::result::Result<(), String> {
    let mut source = Source::new(bytes);
    let options = any_options(&mut source);
    let disk = SimulatedDisk::new(source.byte() & 1 == 0);
    let answers: VecDeque<u8> = source.take(2).iter().copied().collect();
    let Draft { files, others, holes, .. } = Draft::new(&mut source);
    others.iter().for_each(|(path, kind)| disk.install_other(path, *kind));
    for (path, bytes) in &files {
        disk.install_sparse(path, bytes, holes.get(path).copied().unwrap_or_default());
    }
    let found: Files = disk.files(Path::new(DIR)).into_iter().collect();
    let unknown = found.values().any(|bytes| is_unknown(bytes));
    let case = Case {
        unknown,
        watch: Arc::new(Mutex::new(Watch {
            // With the holes: a frame that was cut may end in one as it did before.
            files: found.clone(),
            in_order: options.max_in_flight == 1,
            unknown,
            answers,
            ..Watch::default()
        })),
        found,
        // Some could not be put where they were to be.
        others: others.into_iter().filter(|(path, kind)| disk.kind(path) == Some(*kind)).collect(),
        disk,
        clock: SimulatedClock::new(),
        options,
        events: Arc::default(),
    };
    case.run().and_then(|()| case.check_what_is_others()).map_err(|what| {
        let Case { options, events, .. } = &case;
        let Options { mode, durability, max_records, order, max_in_flight, .. } = options;
        let options =
            format!("{mode:?}, {durability:?}, max_records {max_records}, {order:?}, {max_in_flight} in flight");
        format!("{what}\n{options}\n{}{}", lock(events).join("\n"), describe(&lock(&case.watch).files))
    })
}

fn any_options(source: &mut Source<'_>) -> Options {
    let durabilities = [Durability::Always, Durability::Interval, Durability::Os];
    let (order, max_in_flight) = [(Order::Total, 1), (Order::Key, 3), (Order::None, 3)][source.below(3)];
    // By what was chosen: what the bytes of kept cases stand for does not change.
    let expired = |options: Options| Options {
        on_expired: if options.max_records == 100 { OnExpired::DeadLetter } else { OnExpired::Auto },
        ..options
    };
    expired(Options {
        mode: [Mode::Inline, Mode::Manual][source.below(2)],
        durability: durabilities[source.below(3)],
        max_records: [1, 4, 100][source.below(3)],
        max_in_flight,
        order,
        when_full: WhenFull::Error,
        max_buffer_bytes: 4 << 20,
        ..workloads::options()
    })
}

/// Whether the file has a whole structure of another version.
fn is_unknown(bytes: &[u8]) -> bool {
    matches!(SegmentHeader::decode(bytes), HeaderState::Unknown { .. })
        || matches!(State::decode(bytes), Some(Decoded::Unknown { .. }))
        || (bytes.starts_with(b"unidead\n") && bytes.get(8..16) != Some(&[1, 0, 0, 0, 0, 0, 0, 0]))
}

/// Whether a producer may change or remove what has such a name.
fn is_ours(path: &Path) -> bool {
    let Ok(name) = path.strip_prefix(DIR) else { return false };
    let Some(name) = name.to_str() else { return false };
    let hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match name.split_once('/') {
        Some(("dead-letters", name)) => {
            let (id, suffix) = name.split_once('.').unwrap_or((name, ""));
            let of_batch =
                (3..=4).contains(&id.split('-').count()) && id.split('-').next().is_some_and(|id| hex(id, 16));
            of_batch && (["json", "json.tmp"].contains(&suffix) || suffix.ends_with(".records"))
        }
        // The same bytes are set aside under the same name.
        Some((folder, _)) => folder == "corrupt",
        None => {
            let numbered = |rest: &str, suffix| rest.strip_suffix(suffix).is_some_and(|index| hex(index, 16));
            let cursor = name.strip_prefix("cursor.").is_some_and(|slot| slot.len() == 1);
            ["lock", "dead-letters", "corrupt"].contains(&name) || numbered(name, ".seg") || cursor
        }
    }
}

struct Case {
    disk: SimulatedDisk,
    /// What was in the directory, as it is long.
    found: Files,
    /// And what is no file.
    others: BTreeMap<PathBuf, FileKind>,
    clock: Arc<SimulatedClock>,
    options: Options,
    watch: Arc<Mutex<Watch>>,
    unknown: bool,
    /// What the producers told of, for messages.
    events: Arc<Mutex<Vec<String>>>,
}

impl Case {
    /// Names that are not a producer's have what they had.
    fn check_what_is_others(&self) -> std::result::Result<(), String> {
        let now: Files = self.disk.files(Path::new(DIR)).into_iter().collect();
        for (path, bytes) in self.found.iter().filter(|(path, _)| !is_ours(path)) {
            if now.get(path) != Some(bytes) {
                return Err(format!("{} was not ours, and was changed", path.display()));
            }
        }
        for path in self.others.keys().filter(|path| !is_ours(path)) {
            if self.disk.kind(path) != self.others.get(path).copied() {
                return Err(format!("{} was not ours, and is gone", path.display()));
            }
        }
        Ok(())
    }

    /// Whether something that is no file has a name that the producer needs: that may end what it does.
    fn is_hindered(&self) -> bool {
        self.others.keys().any(|path| is_ours(path))
    }

    fn run(&self) -> std::result::Result<(), String> {
        let before = self.found.values().map(Vec::len).sum::<usize>();
        for opening in 0..2 {
            match self.open(opening) {
                Ok(producer) => match self.work(&producer, opening) {
                    Err(_) if self.is_hindered() => return lock(&self.watch).wrong.take().map_or(Ok(()), Err),
                    result => result?,
                },
                Err(_) if self.is_hindered() => return Ok(()),
                // Numbers so high that a log cannot go on from them.
                Err(error) if error.message().contains("counted further") => return Ok(()),
                Err(error) if error.kind() == ErrorKind::UnsupportedFormat && self.unknown => {
                    // What was in the midst of the log may be at its beginning now.
                    if opening > 0 {
                        return Ok(());
                    }
                    let found: Files = self.disk.files(Path::new(DIR)).into_iter().collect();
                    let known = |(path, _): &(&PathBuf, &Vec<u8>)| !path.ends_with("lock");
                    let same = found.iter().filter(known).eq(self.found.iter().filter(known));
                    return if same { Ok(()) } else { Err("refused, and changed".into()) };
                }
                Err(error) => return Err(format!("opening, time {opening}: {error}")),
            }
        }
        let after: usize = self.disk.files(Path::new(DIR)).iter().map(|(_, bytes)| bytes.len()).sum();
        let (operations, _) = self.disk.operations();
        // One that is stopped by an unknown version looks again and again.
        if after > 2 * before + (2 << 20) || (operations > 20_000 && !self.unknown) {
            return Err(format!("{before} bytes became {after} in {operations} operations"));
        }
        lock(&self.watch).wrong.take().map_or(Ok(()), Err)
    }

    fn open(&self, opening: u64) -> Result<Producer> {
        let env = self.disk.environment(self.clock.clone(), opening);
        let events = self.events.clone();
        let observer = move |event: &Event<'_>| {
            if event.level() >= Level::Info || matches!(event, Event::SendStarted { .. } | Event::SendSucceeded { .. })
            {
                lock(&events).push(event.message());
            }
        };
        let builder = Producer::builder(DIR).options(self.options.clone()).environment(env).observer(observer);
        match self.options.mode {
            Mode::Manual => builder.open_manual(Limits::default()),
            _ => builder.open(WatchSink(self.watch.clone())),
        }
    }

    /// Puts, waits for all of it, closes.
    fn work(&self, producer: &Producer, opening: u64) -> std::result::Result<(), String> {
        // A segment of another version in the midst of the log, or such a letter, stops it; then that is all.
        let stops =
            |error: &Error| self.unknown && matches!(error.kind(), ErrorKind::UnsupportedFormat | ErrorKind::Timeout);
        for len in [0, 3000, 1 + opening as usize] {
            let data = vec![b'p'; len];
            // One with attributes, which a segment of an early build does not take.
            let topic = (len == 3000).then_some("topic");
            let record = NewRecord { topic, ..NewRecord::new(&data) };
            let contents = contents(None, None, record.attributes(), &data);
            lock(&self.watch).putting = Some(contents.clone());
            let result = producer.put(record);
            let mut watch = lock(&self.watch);
            watch.putting = None;
            match result {
                Ok(seq) => watch.put(seq, contents),
                // In mode inline a put that is in may end in the sink's error.
                Err(error) if stops(&error) => return Ok(()),
                Err(error) => return Err(format!("putting {len} bytes, time {opening}: {error}")),
            }
        }
        producer.do_chores();
        let mut flushed = self.flush(producer);
        if flushed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout && !self.unknown) {
            // A time far ahead stands in the cursor: a day of it is believed.
            self.clock.sleep(Duration::from_secs(24 * 3600));
            flushed = self.flush(producer);
        }
        match flushed {
            Ok(()) => {}
            Err(error) if stops(&error) => return Ok(()),
            Err(error) => return Err(format!("flushing, time {opening}: {error}")),
        }
        let stats = producer.stats();
        if stats.pending_records != 0 {
            return Err(format!("{} records are pending behind a flush, time {opening}", stats.pending_records));
        }
        let left = producer.close(Duration::ZERO).map_err(|error| format!("closing: {error}"))?;
        let letters = DeadLetters::open_on(Arc::new(self.disk.clone()), Path::new(DIR));
        let listed = letters.list().map_err(|error| format!("listing letters: {error}"))?;
        let buried: BTreeSet<u64> = listed
            .iter()
            .filter_map(|letter| letter.batch().ok())
            .flat_map(|batch| batch.iter().map(|record| record.seq).collect::<Vec<_>>())
            .collect();
        let mut watch = lock(&self.watch);
        watch.account(&buried);
        match watch.wrong.take() {
            Some(what) => Err(format!("{what}, time {opening}")),
            None if left != 0 => Err(format!("{left} records are left behind a flush")),
            None => Ok(()),
        }
    }

    fn flush(&self, producer: &Producer) -> Result<()> {
        let timeout = if self.unknown { SHORT } else { LONG };
        if self.options.mode != Mode::Manual {
            return producer.flush(timeout);
        }
        let point = producer.begin_flush()?;
        let deadline = self.clock.monotonic() + timeout;
        loop {
            while let Some(mut batch) = producer.next_batch()? {
                if let (None, Some(memo)) = (batch.memo(), Watch::memo(&batch)) {
                    producer.keep_memo(&mut batch, memo)?;
                }
                let answer = lock(&self.watch).send(&batch);
                producer.settle(batch, answer)?;
            }
            match producer.wait_flushed(point, Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::Timeout && self.clock.monotonic() < deadline => {
                    self.clock.sleep(producer.next_wait().unwrap_or(Duration::from_millis(50)));
                }
                result => return result,
            }
        }
    }
}

struct WatchSink(Arc<Mutex<Watch>>);

impl Sink for WatchSink {
    fn prepare(&self, batch: &Batch) -> std::result::Result<Option<Vec<u8>>, SendError> {
        Ok(Watch::memo(batch))
    }

    fn send(&self, batch: &Batch) -> std::result::Result<Report, SendError> {
        lock(&self.0).send(batch)
    }
}

/// What a record is: id, key, attributes as they stand in a frame, payload.
type Contents = (Option<String>, Option<Vec<u8>>, Vec<u8>, Vec<u8>);

fn contents(id: Option<&str>, key: Option<&[u8]>, attributes: Attributes<'_>, data: &[u8]) -> Contents {
    let mut encoded = Vec::new();
    attributes.each_piece(|piece| encoded.extend_from_slice(piece));
    (id.map(str::to_owned), key.map(<[u8]>::to_vec), encoded, data.to_vec())
}

/// What was seen, and what may be.
#[derive(Default)]
struct Watch {
    files: Files,
    in_order: bool,
    /// A letter of another version may be in the way of a new one: what is rejected then comes again.
    unknown: bool,
    /// Whole frames of the directory, by seq, once the buffer's id is known.
    whole: OnceCell<BTreeMap<u64, Vec<Contents>>>,
    /// A put is under way, whose seq nobody was told yet.
    putting: Option<Contents>,
    put: BTreeMap<u64, Contents>,
    /// Seqs that were sent, and whether they are finished.
    sent: BTreeMap<u64, bool>,
    rejected: BTreeSet<u64>,
    /// What each batch was last sent with.
    memos: BTreeMap<String, Vec<u8>>,
    /// How the first sends are answered.
    answers: VecDeque<u8>,
    wrong: Option<String>,
}

impl Watch {
    fn violate(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    fn put(&mut self, seq: u64, contents: Contents) {
        if self.put.keys().next_back().is_some_and(|last| *last >= seq) {
            self.violate(format!("seq {seq} was given out behind {:?}", self.put.keys().next_back()));
        }
        self.put.insert(seq, contents);
    }

    /// Whether such a record may come.
    fn may_come(&self, buffer_id: u64, seq: u64, contents: &Contents) -> bool {
        if self.put.get(&seq) == Some(contents) || self.putting.as_ref() == Some(contents) {
            return true;
        }
        let whole = self.whole.get_or_init(|| frames(&self.files, buffer_id));
        whole.get(&seq).is_some_and(|known| known.contains(contents))
    }

    /// Whether the directory had several frames of one seq.
    fn is_twofold(&self, seq: u64) -> bool {
        let frames = self.whole.get().and_then(|whole| whole.get(&seq)).map_or(0, Vec::len);
        frames + usize::from(self.put.contains_key(&seq)) > 1
    }

    /// What is kept with a batch that has no memo; another thing for each handing-out of it.
    fn memo(batch: &Batch) -> Option<Vec<u8>> {
        (batch.first_seq() % 3 == 1).then(|| format!("{:?}", batch.turn).into_bytes())
    }

    fn send(&mut self, batch: &Batch) -> std::result::Result<Report, SendError> {
        if let Some(memo) = batch.memo()
            && let Some(known) = self.memos.insert(batch.id(), memo.to_vec())
            && known != memo
        {
            self.violate(format!("batch {} has the memo {memo:?}, and had {known:?}", batch.id()));
        }
        let mut report = Report::delivered();
        let highest = self.sent.keys().next_back().copied();
        let mut last = None;
        let answer = self.answers.pop_front().unwrap_or_default();
        if batch.is_empty() {
            self.violate(format!("batch {} has no records", batch.id()));
        }
        for (at, record) in batch.iter().enumerate() {
            let seq = record.seq;
            let contents = contents(record.own_id(), record.key, record.to_new().attributes(), record.data);
            if !self.may_come(batch.id.buffer_id, seq, &contents) {
                let data = &record.data[..record.data.len().min(40)];
                self.violate(format!("record {seq} of batch {} was never put: {data:?}", batch.id()));
            }
            if last.is_some_and(|last| last >= seq) {
                self.violate(format!("record {seq} of batch {} comes behind {last:?}", batch.id()));
            }
            last = Some(seq);
            match self.sent.get(&seq) {
                Some(true) if self.unknown || self.is_twofold(seq) => {}
                Some(true) => self.violate(format!("record {seq} of batch {} is finished and comes again", batch.id())),
                Some(false) => {}
                // Headers that contradict each other have no order; what was put since then has.
                None if self.in_order
                    && self.put.contains_key(&seq)
                    && highest.is_some_and(|highest| seq <= highest) =>
                {
                    self.violate(format!("record {seq} comes behind {highest:?}"));
                }
                None => {}
            }
            self.rejected.remove(&seq);
            let finished = match answer >> (at % 4 * 2) & 3 {
                1 => {
                    report = report.failed(at, "not this time");
                    false
                }
                2 => {
                    report = report.rejected(at, "never");
                    self.rejected.insert(seq);
                    true
                }
                3 => {
                    report = report.unavailable(at, "down", None);
                    false
                }
                _ => true,
            };
            self.sent.insert(seq, finished);
        }
        Ok(report)
    }

    /// All is sent: what was put is there or in a letter, and what was rejected is in one.
    fn account(&mut self, buried: &BTreeSet<u64>) {
        let lost = self.put.keys().find(|seq| self.sent.get(seq) != Some(&true) && !buried.contains(seq));
        let missing = self.rejected.iter().find(|seq| !buried.contains(seq));
        if let Some(seq) = lost {
            self.wrong
                .get_or_insert(format!("LOST: record {seq} was put and is neither delivered nor in a dead letter"));
        }
        if let Some(seq) = missing {
            self.wrong.get_or_insert(format!("LOST: record {seq} was rejected and is in no dead letter"));
        }
    }
}

/// Every whole record frame at a place where one may stand.
fn frames(files: &Files, buffer_id: u64) -> BTreeMap<u64, Vec<Contents>> {
    let mut whole: BTreeMap<u64, Vec<Contents>> = BTreeMap::new();
    for (path, bytes) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(index) = segment::index(&name) else { continue };
        let salt = segment::salt(buffer_id, index);
        for at in (1024..bytes.len()).step_by(format::ALIGN) {
            if let Ok(frame) = format::decode(&bytes[at..], salt)
                && frame.kind == Kind::Record
            {
                let contents = contents(frame.id, frame.key, frame.attributes, frame.data);
                whole.entry(frame.seq).or_default().push(contents);
            }
        }
    }
    whole
}

/// The directory in words, for whoever has to find out what went wrong.
fn describe(files: &Files) -> String {
    let mut text = String::new();
    for (path, bytes) in files {
        let _ = write!(text, "\n{}: {} bytes", path.display(), bytes.len());
        if let Some(index) = path.file_name().and_then(|name| segment::index(&name.to_string_lossy())) {
            let header = SegmentHeader::decode(bytes);
            let _ = write!(text, ", {header:?}");
            let HeaderState::Valid(header) = header else { continue };
            let salt = segment::salt(header.buffer_id, index);
            for at in (1024..bytes.len()).step_by(format::ALIGN) {
                if let Ok(frame) = format::decode(&bytes[at..], salt) {
                    let _ = write!(text, "\n    {at}: {:?} {}, {} bytes", frame.kind, frame.seq, frame.data.len());
                    let seal = Seal::decode(frame.data).filter(|_| frame.kind == Kind::Seal);
                    let _ = seal.map(|seal| write!(text, ", {seal:?}"));
                }
            }
        } else if let Some(Decoded::State { state, generation }) = State::decode(bytes) {
            let _ = write!(text, ", generation {generation}, {state:?}");
        }
    }
    text
}
