//! [`DeliveryReport`]: what became of one record, told to the program that put it.

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(i32)]
pub enum Delivery {
    /// The sink has it.
    Delivered = 0,
    /// It is in the dead letters: the sink rejected it, or the last attempt has failed. `reason` says why.
    DeadLettered = 1,
    /// It had expired, by `max_age` or its own `expires_at`, before it could be sent: it is in the dead letters, or dropped, as
    /// `on_expired` says.
    Expired = 2,
    /// It was dropped because the log was full, under `when_full = drop_oldest`.
    Dropped = 3,
    /// The producer was closed before. The record is in the log, as durable as ever, and the next producer sends it; or it was
    /// delivered and the answer came too late.
    Closed = 4,
    /// Its bytes were damaged on disk before it could be sent. What is left of them is in `corrupt/`.
    Lost = 5,
}

impl Delivery {
    /// All of them.
    pub const ALL: [Delivery; 6] = [
        Delivery::Delivered,
        Delivery::DeadLettered,
        Delivery::Expired,
        Delivery::Dropped,
        Delivery::Closed,
        Delivery::Lost,
    ];

    /// The name, as C and Python see it.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::Delivered => "delivered",
            Delivery::DeadLettered => "dead_lettered",
            Delivery::Expired => "expired",
            Delivery::Dropped => "dropped",
            Delivery::Closed => "closed",
            Delivery::Lost => "lost",
        }
    }
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// The record's sequence number, as `put` returned it.
    pub seq: u64,
    /// What became of it.
    pub delivery: Delivery,
    /// Why it was not delivered, of one that is in the dead letters; else empty.
    pub reason: String,
    /// What the sink says of the record that it took, such as its partition and offset there; `None` of most sinks. See
    /// [`Report::set_receipt`](crate::Report::set_receipt).
    pub receipt: Option<String>,
}

impl DeliveryReport {
    pub(crate) fn new(seq: u64, delivery: Delivery) -> DeliveryReport {
        DeliveryReport { seq, delivery, reason: String::new(), receipt: None }
    }

    /// Whether the sink has it.
    pub fn is_delivered(&self) -> bool {
        self.delivery == Delivery::Delivered
    }
}
