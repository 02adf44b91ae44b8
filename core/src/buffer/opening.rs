//! Opening a buffer: who owns it, what an earlier run left, and where the log goes on.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::checkpoint::Closed;
use super::engine::{Core, Counts};
use super::group_commit::GroupCommit;
use super::losses::DamageReport;
use super::maintenance::MaintenanceSignal;
use super::oldest::Oldest;
use super::open_batch::BatchCaps;
use super::position::Position;
use super::reader::Reader;
use super::recovery::{self, Recovered};
use super::segment::Access;
use super::space::{self, Neighbours};
use super::space_signal::SpaceSignal;
use super::tick::Tick;
use super::window::Window;
use super::writer::{Log, PreparedSegment, SealedSegment, Tail};
use super::{LOCK, SHARED, format, segment};
use crate::error::{Error, ErrorKind, Result, lacks_space};
use crate::limits::Limits;
use crate::options::{CoreDumps, Durability, Options, Order, Storage};
use crate::platform::sync::Mutex;
use crate::platform::sync::atomic::AtomicBool;
use crate::platform::{CachePadded, Directory, Environment, ForkGuard, Open, Ownership};
use crate::record::NewRecord;

/// A directory that this process owns, for a log.
pub(crate) struct Place {
    pub(crate) dir: Arc<dyn Directory>,
    pub(crate) owner: Arc<dyn Ownership>,
    /// Logs that count towards the same `max_buffer_bytes`.
    pub(crate) neighbours: Option<Arc<dyn Neighbours>>,
}

impl Place {
    /// Takes a directory for one buffer alone.
    ///
    /// # Errors
    /// `InUse`; `InvalidArgument` if it is an outbox that processes share.
    pub(super) fn alone(path: &Path, options: &Options, env: &Environment) -> Result<Place> {
        let failed = |error: io::Error| Error::io(format_args!("could not open the buffer {}", path.display()), error);
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the path of the buffer is empty"));
        }
        let dir = env.disk.directory(path, true, options.trust).map_err(failed)?;
        let owner = match dir.lock(LOCK).map_err(failed)? {
            Ok(owner) => owner,
            Err(holder) => return Err(in_use(dir.path(), holder.pid)),
        };
        // Behind the lock: whoever makes an outbox of a directory has the lock, too.
        if is_shared(&*dir).map_err(failed)? {
            let message = format!(
                "{} is an outbox that processes share; open it with the option shared = true, or use another directory",
                dir.path().display()
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Place { dir, owner, neighbours: None })
    }
}

/// Whether a directory is an outbox that processes share.
pub(crate) fn is_shared(dir: &dyn Directory) -> io::Result<bool> {
    match dir.open(SHARED, Open::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // It is another user's file, or one that others can write to: the name is what counts.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        Err(error) => Err(error),
    }
}

impl Core {
    /// Opens the log in a directory that the caller owns, with options that are [those of the sink](Options::for_sink).
    pub(super) fn open(place: Place, options: Options, limits: Limits, env: Environment) -> Result<Core> {
        let Place { dir, owner, neighbours } = place;
        let path = dir.path().to_path_buf();
        let failed = |error: io::Error| Error::io(format_args!("could not open the buffer {}", path.display()), error);
        let mapped = match options.storage {
            Storage::File => false,
            Storage::Auto => dir.may_map().map_err(failed)?,
            Storage::Mapped if dir.may_map().map_err(failed)? => true,
            Storage::Mapped => {
                let message = format!(
                    "storage is mapped, but the filesystem of {} can raise SIGBUS on a full disk; use auto or file",
                    dir.path().display()
                );
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
        };
        let mut fresh_id = (env.random)();
        if fresh_id == 0 {
            fresh_id = 1;
        }
        let limit = |own: u64, sinks: Option<u64>| sinks.map_or(own, |sinks| own.min(sinks));
        let caps = BatchCaps {
            records: limit(options.max_records, limits.max_records),
            bytes: limit(options.max_bytes, limits.max_bytes),
        };
        let mut found = recovery::recover(&*dir, env.disk.boot_id(), &limits, caps, fresh_id)?;
        found.cursor.refresh().map_err(failed)?;
        let durable = options.durability != Durability::Os;
        if durable && found.state.closed != Closed::Durably {
            // What a process left that died may not be durable yet, and nobody else will see to it.
            if let Err(error) = found.sync(&*dir) {
                // What it dropped is not what the next owner will be told: see `Core::mark_unclean`.
                found.state.boot_id = 0;
                let _ = found.cursor.write(&found.state);
                return Err(failed(error));
            }
        }
        if found.uncertain {
            found.state.epoch = found.state.epoch.wrapping_add(1);
        }
        let segment_bytes = match &neighbours {
            None => options.effective_segment_bytes(),
            Some(neighbours) => {
                options.effective_segment_bytes().min(neighbours.segment_bytes(options.max_buffer_bytes))
            }
        };
        let access = Access { mapped, dumped: options.core_dumps == CoreDumps::Include };
        let lanes = if options.order == Order::Key { options.max_in_flight as u32 } else { 0 };
        let limit_of_all = neighbours.as_deref().map(|neighbours| (neighbours, options.max_buffer_bytes));
        let site = Site { env: &env, dir: &*dir, segment_bytes, limit_of_all, access, durable, lanes };
        found.keep(&*dir);
        let mut log = site.go_on(&mut found)?;
        log.divide(lanes);

        let lost = found.state.committed.records + found.end.lost;
        let counts = Counts::new(log.records.saturating_sub(lost), found.torn_bytes);
        let damage = DamageReport::new(found.state.lost);
        let inherited = if found.state.lost.bytes > 0 { found.state.committed } else { Position::default() };
        let mut reader = Reader::new(found.cursor, found.state, damage.found(), limits, caps);
        reader.scan.walk.begin(log.end());
        // As long as the seqs have not jumped on disk, the next owner has to make them jump.
        let boot_id = if log.jumped_from.is_none() { env.disk.boot_id() } else { 0 };
        reader.begin_run(boot_id, log.next_seq, lanes, &owner)?;
        dir.sync().map_err(failed)?;
        let max_counted = limit(caps.bytes, limits.max_record_bytes);
        let payload_overhead = limits.record_bytes(&NewRecord::new(b""));
        let core = Core {
            dir,
            window: Window::new(&options),
            caps,
            max_data: options.max_record_bytes,
            max_counted,
            payload_overhead,
            max_payload: options.max_record_bytes.min(max_counted.saturating_sub(payload_overhead)),
            limits,
            segment_bytes,
            access,
            fork: ForkGuard::new(),
            maintenance: Mutex::default(),
            signal: MaintenanceSignal::default(),
            reader: CachePadded(Mutex::new(reader)),
            front: log.front(),
            closed: AtomicBool::new(false),
            opened_at: (env.clock.wall(), env.clock.monotonic()),
            log: CachePadded(Mutex::new(log)),
            space: SpaceSignal::default(),
            when_waiting: OnceLock::new(),
            when_dropped: OnceLock::new(),
            when_sealed: OnceLock::new(),
            oldest: Oldest::default(),
            tick: Tick::default(),
            group: GroupCommit::default(),
            dir_unsynced: AtomicBool::new(false),
            counts,
            damage,
            inherited,
            owner: Mutex::new(Some(owner)),
            neighbours,
            options,
            env,
        };
        found.missing.iter().for_each(|region| core.damage.tell(region));
        Ok(core)
    }
}

/// Where there is no room for more, a segment is made as short as this.
pub(super) const LEAST_BYTES: u64 = 64 << 10;

/// Where segments are made.
struct Site<'a> {
    env: &'a Environment,
    dir: &'a dyn Directory,
    segment_bytes: u64,
    /// Logs that count towards the same limit, and that.
    limit_of_all: Option<(&'a dyn Neighbours, u64)>,
    access: Access,
    durable: bool,
    /// How many lanes batches are divided in from now on.
    lanes: u32,
}

impl Site<'_> {
    /// The log behind what was found: in the last segment where that is safe, else in a new one.
    fn go_on(&self, found: &mut Recovered) -> Result<Log> {
        let end = found.end;
        let past =
            found.segments.iter().map(|(index, length)| SealedSegment { index: *index, length: *length, writer: None });
        let mut past: VecDeque<SealedSegment> = past.collect();
        let mut disk_bytes: u64 = found.segments.iter().map(|(_, length)| length).sum();
        let mut tail = Tail {
            buffer_id: found.state.buffer_id,
            epoch: found.state.epoch,
            next_seq: end.next_seq,
            open: end.open,
            sealed: end.sealed,
            records: end.records,
            bytes: end.bytes,
            durable_before: found.durable_before,
            features: found.last.as_ref().map_or(0, |last| last.features),
        };
        tail.open.since = self.env.clock.monotonic();
        // Seqs that may have been given out are not given out again.
        let next_seq = if found.uncertain { end.next_seq.max(found.state.seq_limit) } else { end.next_seq };
        if let Some((active, at)) = self.resume(found) {
            past.pop_back();
            let mut log = Log::resume(active, at, tail, past, disk_bytes);
            // How full the lanes of the open batch are is not known: it ends here.
            let in_lanes = found.state.lanes.max(self.lanes) > 1;
            log.divide(found.state.lanes);
            if found.divided {
                // A seal would make one batch of what went out as others.
                log.stop(next_seq);
            } else if found.uncertain || found.torn_bytes > 0 || in_lanes {
                // What is missing may be of the open batch, or its seal: it ends here.
                match log.seal(self.env.clock.wall()) {
                    Err(error) if error.kind() == ErrorKind::DiskFull => log.stop(next_seq),
                    sealed => drop(sealed?),
                }
            }
            if found.uncertain {
                if log.jumped_from.is_none() {
                    log.jump(next_seq);
                }
                match self.make(log.index + 1, log.disk_bytes) {
                    Ok(spare) => {
                        log.disk_bytes += spare.length;
                        log.spare = Some(spare);
                        log.roll(self.env.clock.wall())?;
                    }
                    // What is there can be sent; the first put that finds space goes on in a segment of its own.
                    Err(error) if is_full(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(log);
        }
        let state = &mut found.state;
        let known = past.back().map_or(0, |last| last.index).max(state.committed.segment);
        let fresh = found.segments.is_empty() && state.committed.records == 0;
        let index = if fresh { 1 } else { known + 1 };
        let begin = Position {
            segment: index,
            offset: format::SEGMENT_HEADER_BYTES as u64,
            seq: tail.next_seq,
            records: tail.records,
            bytes: tail.bytes,
        };
        if found.last.is_none() {
            // Nothing is unfinished: everything starts here.
            state.committed = begin;
            tail.sealed = begin;
        } else if tail.open.records > 0 {
            // What is open can't be sealed by a mark in a segment that is not written any more; the reader takes it for
            // a batch whose seal was lost.
            tail.sealed = begin;
            tail.open = Default::default();
        }
        let spare = match (self.make(index, disk_bytes), &found.last) {
            // What is there can be sent all the same, and makes room.
            (Err(error), Some(last)) if is_full(&error) => {
                past.pop_back();
                let writer = segment::writer(last.file.clone(), last.length, Access::PLAIN);
                let active = PreparedSegment { index: last.index, length: last.length, writer };
                (tail.sealed, tail.open) = (end.sealed, end.open);
                let mut log = Log::resume(active, last.tail, tail, past, disk_bytes);
                log.stop(next_seq);
                return Ok(log);
            }
            (spare, _) => spare?,
        };
        tail.next_seq = next_seq;
        disk_bytes += spare.length;
        Log::begin(spare, tail, past, disk_bytes)
    }

    /// The last segment, if it can be written and has room for what must end it; and where to write.
    fn resume(&self, found: &Recovered) -> Option<(PreparedSegment, usize)> {
        let last = found.last.as_ref().filter(|last| !last.ended && last.sound)?;
        let needed = if found.end.open.records > 0 { format::TAIL_BYTES } else { format::END_BYTES };
        let room = (last.length as usize).saturating_sub(last.tail);
        if last.tail < format::SEGMENT_HEADER_BYTES || room < needed {
            return None;
        }
        // Blocks that are there are not asked for again: some filesystems want free ones to say that they are there.
        let mut writer = segment::writer_of_old(last.file.clone(), last.length, self.access);
        writer.publish(last.tail);
        if found.torn_bytes > 0 {
            writer.write(last.tail, &[0; format::TERMINATOR_BYTES]).ok()?;
        }
        Some((PreparedSegment { index: last.index, length: last.length, writer }, last.tail))
    }

    /// Makes a segment, beside those that take so many bytes.
    fn make(&self, index: u64, own: u64) -> Result<PreparedSegment> {
        let least = LEAST_BYTES.min(self.segment_bytes);
        let mut length = self.segment_bytes;
        let mut _turn = None;
        if let Some((neighbours, cap)) = self.limit_of_all {
            let failed = |error| Error::io("could not prepare a segment", error);
            let (others, turn) = neighbours.disk().map_err(failed)?;
            _turn = turn;
            while !space::has_room(own + length, others, cap) {
                length /= 2;
                if length < least {
                    return Err(space::full(cap));
                }
            }
        }
        make_segment(self.dir, index, length, least, self.access, self.durable)
    }
}

/// No room, on the disk or among all slots of an outbox.
fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::BufferFull)
}

/// Makes a segment file: blocks reserved, name durable, header blank. It is of `length` bytes; shorter, but of no less
/// than `least`, where the disk has no such room: a small disk is not taken as a whole.
pub(super) fn make_segment(
    dir: &dyn Directory,
    index: u64,
    length: u64,
    least: u64,
    access: Access,
    durable: bool,
) -> Result<PreparedSegment> {
    const SHARE: u64 = 8;
    let share = dir.free().unwrap_or(u64::MAX) / SHARE;
    let mut length = if length > share { share.checked_ilog2().map_or(0, |bits| 1 << bits).max(least) } else { length };
    let name = segment::name(index);
    loop {
        let made = (|| {
            let file = dir.open(&name, Open::New)?;
            segment::allocate(&*file, length)?;
            let writer = segment::writer(file, length, access);
            if durable {
                dir.sync()?;
            }
            Ok(PreparedSegment { index, length, writer })
        })();
        let error = match made {
            Ok(spare) => return Ok(spare),
            Err(error) => error,
        };
        let _ = dir.remove(&name);
        if !lacks_space(&error) || length / 2 < least {
            let dir = dir.path().display();
            return Err(Error::io(format_args!("could not make a segment of {length} bytes in {dir}"), error));
        }
        length /= 2;
    }
}

#[cold]
pub(crate) fn in_use(dir: &Path, pid: u32) -> Error {
    let who = match pid {
        0 => "another process".to_string(),
        pid if pid == std::process::id() => format!("another producer of this process (pid {pid})"),
        pid => format!("the process with pid {pid}"),
    };
    Error::new(ErrorKind::InUse, format!("the buffer {} is in use by {who}", dir.display()))
}
