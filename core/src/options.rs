//! The one table of a producer's options. The struct, its defaults and ranges, the builder's methods, the keys that C and the
//! command line use, Python's keywords and the reference page all come from the table in this file. Sinks that have options
//! declare tables of their own in the same way, see `option_table.rs`.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::option_table::reference;
use crate::option_table::{Bytes, Count, choice, option_table};
pub use crate::option_table::{NEVER, OptionSpec};
pub use crate::order::Order;
pub use crate::platform::Trust;
use crate::schedule::{Jitter, MAX_WAIT, Schedule};
pub use crate::secret::Secret;

choice! {
    /// What a power loss can cost. The death of the process costs nothing in any of them.
    Durability: "one of always, interval, os" {
        /// `put` returns after the record is on stable storage (threads that wait share one sync): nothing.
        Always = "always",
        /// Synced every `sync_interval`: at most the records of the last interval.
        Interval = "interval",
        /// Never synced: whatever the kernel has not written yet.
        Os = "os",
    }
}
choice! {
    /// What `put` does when the log has reached `max_buffer_bytes`.
    WhenFull: "one of block, error, drop_oldest" {
        /// Wait for space up to `full_timeout` (inline mode sends meanwhile), then an error.
        Block = "block",
        /// An error at once.
        Error = "error",
        /// Drop the oldest batches, those in flight excepted, until there is space. Where one in flight is in the way, wait for its
        /// answer up to `full_timeout`, then an error.
        DropOldest = "drop_oldest",
    }
}
choice! {
    /// What becomes of a record that is too old to be sent.
    OnExpired: "one of auto, dead_letter, drop" {
        /// What is older than `max_age` goes into the dead letters. A record's own `expires_at` is left to the sink.
        Auto = "auto",
        /// It goes into the dead letters, by its own `expires_at` too.
        DeadLetter = "dead_letter",
        /// It is dropped, by its own `expires_at` too; counted and told of.
        Drop = "drop",
    }
}
choice! {
    /// How the log is written.
    Storage: "one of auto, mapped, file" {
        /// Mapped memory on filesystems where that is safe (ext4, xfs, tmpfs), else plain writes.
        Auto = "auto",
        /// Mapped memory, or an error where the filesystem does not allow it safely.
        Mapped = "mapped",
        /// Plain `pwrite`: the same format, one system call a record.
        File = "file",
    }
}
choice! {
    /// Whether a core dump has the records of the log.
    CoreDumps: "one of include, exclude" {
        /// As the system's filter of core dumps has it (`/proc/self/coredump_filter`).
        Include = "include",
        /// The mapped log is kept out of them. Copies on the heap are not: those of the program, of a sink, of plain files.
        Exclude = "exclude",
    }
}
choice! {
    /// Who sends.
    Mode: "one of background, inline, manual" {
        /// A sender thread; `put` never waits for the sink.
        Background = "background",
        /// `put` itself sends, at most one batch a call; nothing happens between calls.
        Inline = "inline",
        /// The program asks for the next batch, sends it its own way and says how that went.
        Manual = "manual",
    }
}
choice! {
    /// What follows the last attempt.
    OnExhausted: "one of skip, raise" {
        /// Write the batch and its context to the dead letters and go on.
        Skip = "skip",
        /// Return the error and stop; the backlog stays.
        Raise = "raise",
    }
}
choice!(@value Order: "one of auto, total, key, none" { Auto = "auto", Total = "total", Key = "key", None = "none" });
choice!(@value Trust: "one of owner, group, anyone" { Owner = "owner", Group = "group", Anyone = "anyone" });
choice!(@value Jitter: "one of none, full" { None = "none", Full = "full" });

type Durations = Vec<Duration>;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

option_table! {
    /// Every option of a buffer and its producer. All may change between runs on one directory.
    ///
    /// [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct Options, setters option_setters;
    /// The most records in a batch. A sink's own limit, if lower, rules.
    max_records: Count = "500", "1 to 1000000", |v| (1..=1_000_000).contains(v);
    /// The most bytes in a batch: payloads, plus what the sink counts besides. A sink's own limit, if lower, rules.
    max_bytes: Bytes = "1MiB", "1 to 1GiB", |v| (1..=GIB).contains(v);
    /// The age of its oldest record at which a batch is sealed though it is not full; `none`: never by age.
    linger: Duration = "1", "0 to 1 day, or none", |v| *v <= MAX_WAIT || *v == NEVER;
    /// The largest payload that `put` takes.
    max_record_bytes: Bytes = "1MiB", "1 to 256MiB", |v| (1..=256 * MIB).contains(v);
    /// What a power loss can cost.
    durability: Durability = "interval", "always, interval, os", |_| true;
    /// The time between syncs under `durability = interval`.
    sync_interval: Duration = "0.5", "0.001 to 3600", |v| (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(v);
    /// The size of one file of the log.
    segment_bytes: Bytes = "16MiB", "64KiB to 1GiB", |v| (64 * KIB..=GIB).contains(v);
    /// The most disk that the log may take. Segments are made smaller where fewer than four would fit.
    max_buffer_bytes: Bytes = "1GiB", "at least 256KiB", |v| *v >= 256 * KIB;
    /// Whether processes share the directory: it is an outbox, in which each has a log of its own, and those that live send what
    /// those that died have left. A directory that one producer had alone becomes one, and stays one. `max_buffer_bytes` and
    /// `max_dead_letter_bytes` hold for all logs together.
    shared: bool = "false", "true, false", |_| true;
    /// What `put` does when the log has reached `max_buffer_bytes`: wait, return an error, or drop the oldest batches that are not
    /// in flight, which is counted (`dropped_records`, `dropped_bytes`) and told as an event.
    when_full: WhenFull = "block", "block, error, drop_oldest", |_| true;
    /// How long `put` waits for space before it is an error; `none`: for ever.
    full_timeout: Duration = "60", "0 to 1 day, or none", |v| *v <= MAX_WAIT || *v == NEVER;
    /// How the log is written.
    storage: Storage = "auto", "auto, mapped, file", |_| true;
    /// Whether a core dump has the records that are mapped. What of them is copied to the heap, by the program, by a sink,
    /// or because the log is of plain files, is in it in either case.
    core_dumps: CoreDumps = "include", "include, exclude", |_| true;
    /// Whose directory and files the buffer goes by: the process's own user's, those that the directory's group may write to,
    /// or anyone's. In a directory of a group (mode 2770) what is made is the group's, too, so that its users share it.
    trust: Trust = "owner", "owner, group, anyone", |_| true;
    /// Who sends.
    mode: Mode = "background", "background, inline, manual", |_| true;
    /// Which order the sink sees: put order (`total`, one batch at a time), put order for each key (`key`: batches are divided into
    /// lanes by their records' keys, which are sent side by side), or any (`none`). `auto`: what `max_in_flight` says, 1 for
    /// `total` and more for `none`; where that is not set either, what is best for the sink, `total` for functions.
    order: Order = "auto", "auto, total, key, none", |_| true;
    /// The most batches, or parts of batches, being sent at once; 0: as many as are best for the sink, one for functions.
    max_in_flight: Count = "0", "0 to 64", |v| *v <= 64;
    /// How many batches others may get ahead of one that fails, waits or is slow: those of other lanes under `order = key`, any
    /// under `order = none`, where one that fails or waits takes one of the `max_in_flight` places.
    max_batches_ahead: Count = "4096", "1 to 65536", |v| (1..=65_536).contains(v);
    /// The age, by `created_at` and the wall clock, at which a record is not sent any more; `none`: it is sent however old it is. It is
    /// looked at before each attempt, so that a record in flight does not expire.
    max_age: Duration = "none", "at least 0.001, or none", |v| *v >= Duration::from_millis(1);
    /// What becomes of a record that is older than `max_age` or has reached its own `expires_at`: it goes into the dead letters, or it is
    /// dropped. `auto`: dead letters for the former, and `expires_at` is left to the sink. A replay changes neither time, so that
    /// under the same options what is replayed expires once more.
    on_expired: OnExpired = "auto", "auto, dead_letter, drop", |_| true;
    /// The most records a second that are sent, attempts at the same one included; 0: as many as the sink takes. After an outage
    /// this spares a server that has just come up.
    max_rate_records: Count = "0", "0 to 1000000000", |v| *v <= 1_000_000_000;
    /// The most payload bytes a second, in the same way.
    max_rate_bytes: Bytes = "0", "0 to 1TiB", |v| *v <= 1 << 40;
    /// What follows the last attempt at a batch.
    on_exhausted: OnExhausted = "skip", "skip, raise", |_| true;
    /// The most disk that the dead letters may take; when they would exceed it the producer stops as under `raise`.
    max_dead_letter_bytes: Bytes = "256MiB", "any", |_| true;
    /// The growth of the waits: after the n-th failed attempt `multiplier * base^(n-1)`.
    schedule_base: f64 = "2", "1 to 100", |v| (1.0..=100.0).contains(v);
    /// The first wait, before growth.
    schedule_multiplier: Duration = "1", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The shortest wait.
    schedule_min: Duration = "0", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The longest wait.
    schedule_max: Duration = "60", "0 to 1 day", |v| *v <= MAX_WAIT;
    /// The waits as a list, instead of the four options before; the last repeats.
    schedule_waits: Durations = "", "a list of durations, or empty", |v| v.iter().all(|wait| *wait <= MAX_WAIT);
    /// The most attempts at one batch before `on_exhausted` rules; 0: no limit.
    max_attempts: Count = "10", "0 to 1000000", |v| *v <= 1_000_000;
    /// Spread the waits evenly between `schedule_min` and the computed wait (`full`), or not (`none`).
    jitter: Jitter = "full", "none, full", |_| true;
    /// Let attempts at an unavailable sink count toward `max_attempts` too.
    count_unavailable: bool = "false", "true, false", |_| true;
}
// A path to it for the builder, which is in another file.
#[allow(clippy::single_component_path_imports)]
pub(crate) use option_setters;

impl Options {
    /// How long `put` waits for space at most.
    pub fn put_timeout(&self) -> Duration {
        match self.when_full {
            WhenFull::Block | WhenFull::DropOldest => self.full_timeout,
            WhenFull::Error => Duration::ZERO,
        }
    }

    /// Checks every value against its range and the values against each other.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the first option that is wrong.
    pub fn validate(&self) -> Result<()> {
        self.check_ranges()?;
        if self.order == Order::Total && self.max_in_flight > 1 {
            let message = format!(
                "order is total, which is one batch at a time, and max_in_flight is {}: set it to 1, or order to key or none",
                self.max_in_flight
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.schedule().map(|_| ())
    }

    /// The options with `order` and `max_in_flight` as they are in force for a sink with these limits.
    pub(crate) fn for_sink(mut self, limits: &Limits) -> Result<Options> {
        self.validate()?;
        let open = self.order == Order::Auto && self.max_in_flight == 0;
        let best = limits.in_flight.clamp(1, 64);
        self.order = match self.order {
            // Nothing is sent side by side in inline mode.
            Order::Auto if open && (self.mode == Mode::Inline || limits.order == Order::Auto) => Order::Total,
            Order::Auto if open => limits.order,
            Order::Auto if self.max_in_flight == 1 => Order::Total,
            Order::Auto => Order::None,
            order => order,
        };
        self.max_in_flight = match (self.order, self.max_in_flight) {
            (Order::Total, _) => 1,
            (_, 0) => best,
            (_, set) => set,
        };
        let is_kept = self.order == Order::Key && limits.order == Order::Key;
        if limits.ordered && self.max_in_flight > 1 && !is_kept {
            let message = format!(
                "the sink is to keep order (`ordered`), which several batches in flight at once would break: \
                 max_in_flight is {}; set it to 1{}",
                self.max_in_flight,
                if limits.order == Order::Key { ", or order to key" } else { "" }
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(self)
    }

    /// The schedule that the options describe.
    ///
    /// # Errors
    /// `InvalidArgument` if its parts contradict each other.
    pub fn schedule(&self) -> Result<Schedule> {
        let schedule = if self.schedule_waits.is_empty() {
            Schedule::exponential(self.schedule_base, self.schedule_multiplier, self.schedule_min, self.schedule_max)?
        } else {
            Schedule::list(self.schedule_waits.clone())?
        };
        let attempts = u32::try_from(self.max_attempts).unwrap_or(u32::MAX);
        Ok(schedule.max_attempts(attempts).jitter(self.jitter))
    }

    /// The segment size in force: at least four segments fit into `max_buffer_bytes`.
    pub(crate) fn effective_segment_bytes(&self) -> u64 {
        let page = 4 * KIB;
        (self.segment_bytes.min(self.max_buffer_bytes / 4) / page * page).max(64 * KIB)
    }

    /// The reference page of all options, in Markdown.
    pub fn reference() -> String {
        reference(Options::TABLE)
    }
}
