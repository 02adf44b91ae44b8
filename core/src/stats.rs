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

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {
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
                [$((stringify!($name), self.$name, concat!($($doc),*).trim_ascii())),+].into_iter()
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
    put_records,
    /// Payload bytes accepted by `put`.
    put_bytes,
    /// Records that the sink took.
    delivered_records,
    /// Attempts at a batch.
    attempts,
    /// Attempts that failed and counted.
    failed_attempts,
    /// Attempts that found the sink unavailable.
    unavailable_attempts,
    /// Records that the sink rejected for ever.
    rejected_records,
    /// Records skipped after the last attempt.
    skipped_records,
    /// Records that had expired, by `max_age` or their own `expires_at`, before they could be sent: in the dead letters, or dropped, as `on_expired` says.
    expired_records,
    /// Their payload bytes.
    expired_bytes,
    /// Records that were dropped because the log was full, under `when_full = drop_oldest`.
    dropped_records,
    /// Their payload bytes.
    dropped_bytes,
    /// Records in the log that are neither delivered nor in the dead letters.
    pending_records,
    /// Their payload bytes.
    pending_bytes,
    /// Disk that the log takes, spare segments included.
    buffer_bytes,
    /// Dead letters there are.
    dead_letters,
    /// Disk that the dead letters take.
    dead_letter_bytes,
    /// Counted attempts at the head batch so far.
    head_attempts,
    /// Milliseconds until the head batch's next attempt; 0 when it waits for nothing.
    next_attempt_ms,
    /// Syncs of the log.
    syncs,
    /// Corrupt regions set aside since the buffer was made.
    corrupt_regions,
    /// Bytes in them.
    corrupt_bytes,
    /// Records known to be lost by them.
    lost_records,
    /// The sequence number that the next record gets.
    next_seq,
    /// Puts that the system refused: a full buffer or disk, a failing disk, a limit of the process, a producer that has
    /// stopped. The same record may be taken later.
    refused_puts,
    /// Puts that the caller got wrong: the record is too large, or an argument is invalid. It will never be taken.
    invalid_puts,
    /// Since when the sink has been unavailable in every attempt, in microseconds since the epoch; 0 when it is not.
    unavailable_since,
    /// Since when the log cannot be read, so that nothing is sent, in microseconds since the epoch; 0 when it can.
    unreadable_since,
    /// Slots that the outbox has, under `shared = true`; otherwise 0.
    slots,
    /// Slots of processes that have ended that this producer is sending. What is counted above is of these and its own slot, but the
    /// dead letters, which are those of all slots.
    adopted_slots,
}

impl Stats {
    /// Adds what was counted of another slot that the same producer has sent.
    pub(crate) fn count(&mut self, other: &Stats) {
        self.delivered_records += other.delivered_records;
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
        if self.last_error.is_empty() {
            self.last_error.clone_from(&other.last_error);
        }
    }
}
