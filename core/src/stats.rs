//! What can be observed at any time: [`Stats`], counters of a buffer and its producer, and the producer's [`State`].

/// What a producer is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Sending, or ready to.
    #[default]
    Running,
    /// The head batch waits for its next attempt.
    OnHold,
    /// The sink cannot be reached now; retried without using up attempts.
    Unavailable,
    /// Stopped by an error until `resume`.
    Stopped,
    /// Closed.
    Closed,
}

impl State {
    /// All of them.
    pub(crate) const ALL: [State; 5] =
        [State::Running, State::OnHold, State::Unavailable, State::Stopped, State::Closed];

    /// The name, as C and Python see it.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::OnHold => "on_hold",
            State::Unavailable => "unavailable",
            State::Stopped => "stopped",
            State::Closed => "closed",
        }
    }
}

/// What a counter of [`Stats`] counts, for those who show or export it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metric {
    /// Something that only rises, from 0 when the producer opens.
    Counter,
    /// What is there now.
    Gauge,
    /// A time, in microseconds since the epoch; 0: never, or it is not so.
    Time,
    /// A span, in milliseconds.
    Milliseconds,
    /// So many in a second, lately: what who keeps counters can do better.
    Rate,
    /// Of a histogram: how many took at most so many milliseconds; `u64::MAX`: how many there were.
    Bucket(u64),
    /// Of the same histogram: how many microseconds all took together.
    BucketSum,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $metric:expr),+ $(,)?) => {
        /// A snapshot. Counters start at 0 when the producer opens; `pending_*`, `*_bytes` on disk and the
        /// dead letters are what is there now.
        #[derive(Clone, Debug, Default, PartialEq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])* pub $name: u64,)+
            /// What the producer is doing.
            pub state: State,
            /// The last error of the sink, of the disk or of a put that `refused_puts` counts, as text, cut to a few KiB;
            /// empty if there was none. What `invalid_puts` counts is no error of the system, and not here.
            pub last_error: String,
        }

        impl Stats {
            /// Every counter by name, for bindings, with what it means.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + use<> {
                self.metrics().map(|(name, value, _, doc)| (name, value, doc))
            }

            /// The same with what kind of number each is.
            pub fn metrics(&self) -> impl Iterator<Item = (&'static str, u64, Metric, &'static str)> + use<> {
                use Metric::*;
                [$((stringify!($name), self.$name, $metric, concat!($($doc),*).trim_ascii())),+].into_iter()
            }

            /// Sets a counter by its name. One that another version has is passed over.
            pub(crate) fn set(&mut self, name: &str, value: u64) {
                match name {
                    $(stringify!($name) => self.$name = value,)+
                    _ => {}
                }
            }
        }
    };
}

counters! {
    /// Records accepted by `put`.
    put_records: Counter,
    /// Payload bytes accepted by `put`.
    put_bytes: Counter,
    /// Records that the sink took.
    delivered_records: Counter,
    /// Their payload bytes.
    delivered_bytes: Counter,
    /// Attempts at a batch.
    attempts: Counter,
    /// Attempts that failed and counted.
    failed_attempts: Counter,
    /// Attempts that found the sink unavailable.
    unavailable_attempts: Counter,
    /// Records that the sink rejected for ever.
    rejected_records: Counter,
    /// Records skipped after the last attempt.
    skipped_records: Counter,
    /// Records that had expired, by `max_age` or their own `expires_at`, before they could be sent: in the dead letters, or dropped, as `on_expired` says.
    expired_records: Counter,
    /// Their payload bytes.
    expired_bytes: Counter,
    /// Records that were dropped because the log was full, under `when_full = drop_oldest`.
    dropped_records: Counter,
    /// Their payload bytes.
    dropped_bytes: Counter,
    /// Records in the log that are neither delivered nor in the dead letters.
    pending_records: Gauge,
    /// Their payload bytes.
    pending_bytes: Gauge,
    /// Milliseconds since the first of them was created; 0 if there is none. Reads the log when that record has changed.
    oldest_age_ms: Milliseconds,
    /// Disk that the log takes, spare segments included.
    buffer_bytes: Gauge,
    /// Dead letters there are.
    dead_letters: Gauge,
    /// Disk that the dead letters take.
    dead_letter_bytes: Gauge,
    /// Counted attempts at the head batch so far.
    head_attempts: Gauge,
    /// Milliseconds until the head batch's next attempt; 0 when it waits for nothing.
    next_attempt_ms: Milliseconds,
    /// Syncs of the log.
    syncs: Counter,
    /// Corrupt regions set aside since the buffer was made.
    corrupt_regions: Gauge,
    /// Bytes in them.
    corrupt_bytes: Gauge,
    /// Records known to be lost by them.
    lost_records: Gauge,
    /// The sequence number that the next record gets.
    next_seq: Gauge,
    /// Puts that the system refused: a full buffer or disk, a failing disk, a limit of the process, a producer that has
    /// stopped. The same record may be taken later.
    refused_puts: Counter,
    /// Puts that the caller got wrong: the record is too large, or an argument is invalid. It will never be taken.
    invalid_puts: Counter,
    /// Since when the sink has been unavailable in every attempt, in microseconds since the epoch; 0 when it is not.
    unavailable_since: Time,
    /// Since when the log cannot be read, so that nothing is sent, in microseconds since the epoch; 0 when it can.
    unreadable_since: Time,
    /// When the sink last took something, in microseconds since the epoch; 0 if it has not.
    last_success: Time,
    /// When an attempt last came to nothing, or to less than all, in microseconds since the epoch; 0 if none has.
    last_failure: Time,
    /// Batches, or parts of them, that are handed out and not answered.
    in_flight: Gauge,
    /// Batches, or parts of them, that wait for their next attempt: of lanes, those that wait.
    waiting: Gauge,
    /// Records put in a second, over the last ten seconds, rounded up.
    put_records_per_second: Rate,
    /// Their payload bytes.
    put_bytes_per_second: Rate,
    /// Records delivered in a second, over the last ten seconds, rounded up.
    delivered_records_per_second: Rate,
    /// Their payload bytes.
    delivered_bytes_per_second: Rate,
    /// Calls to the sink that were answered within 1 ms. In manual mode, where the program sends, no call is timed.
    sink_calls_1_ms: Bucket(1),
    /// Within 5 ms.
    sink_calls_5_ms: Bucket(5),
    /// Within 10 ms.
    sink_calls_10_ms: Bucket(10),
    /// Within 50 ms.
    sink_calls_50_ms: Bucket(50),
    /// Within 100 ms.
    sink_calls_100_ms: Bucket(100),
    /// Within 500 ms.
    sink_calls_500_ms: Bucket(500),
    /// Within 1 s.
    sink_calls_1_s: Bucket(1_000),
    /// Within 5 s.
    sink_calls_5_s: Bucket(5_000),
    /// Within 10 s.
    sink_calls_10_s: Bucket(10_000),
    /// Within 30 s.
    sink_calls_30_s: Bucket(30_000),
    /// Within 60 s.
    sink_calls_60_s: Bucket(60_000),
    /// Calls to the sink that were answered, whatever the answer.
    sink_calls: Bucket(u64::MAX),
    /// Microseconds that they took together.
    sink_micros: BucketSum,
    /// Slots that the outbox has, under `shared = true`; otherwise 0.
    slots: Gauge,
    /// Slots of processes that have ended that this producer is sending. What is counted above is of these and its own slot, but the
    /// dead letters, which are those of all slots.
    adopted_slots: Gauge,
}

impl Stats {
    fn get(&self, name: &str) -> u64 {
        self.counters().find(|(other, ..)| *other == name).map_or(0, |(_, value, _)| value)
    }

    /// Adds what was counted of another slot that the same producer has sent.
    pub(crate) fn count(&mut self, other: &Stats) {
        self.delivered_records += other.delivered_records;
        self.delivered_bytes += other.delivered_bytes;
        self.attempts += other.attempts;
        self.failed_attempts += other.failed_attempts;
        self.unavailable_attempts += other.unavailable_attempts;
        self.rejected_records += other.rejected_records;
        self.skipped_records += other.skipped_records;
        self.expired_records += other.expired_records;
        self.expired_bytes += other.expired_bytes;
        self.syncs += other.syncs;
        self.corrupt_regions += other.corrupt_regions;
        self.corrupt_bytes += other.corrupt_bytes;
        self.lost_records += other.lost_records;
        self.last_success = self.last_success.max(other.last_success);
        self.last_failure = self.last_failure.max(other.last_failure);
        for (name, value, metric, _) in self.metrics() {
            if matches!(metric, Metric::Bucket(_) | Metric::BucketSum) {
                self.set(name, value + other.get(name));
            }
        }
        if self.last_error.is_empty() {
            self.last_error.clone_from(&other.last_error);
        }
    }
}
