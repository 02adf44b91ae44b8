//! What the slots have in common that one producer sends: its own, and those that it has adopted.

use std::sync::Arc;

use super::backlog::Pace;
use super::ending::Ending;
use super::outage::{Outage, Since};
use super::sender::Senders;
use crate::event::Observer;
use crate::limits::Limits;
use crate::platform::sync::atomic::AtomicU64;
use crate::schedule::Schedule;
use crate::sink::Sink;

pub(super) struct Common {
    /// Callbacks of the user's that run now, for any of the slots.
    pub(super) callbacks: AtomicU64,
    /// `None` in manual mode.
    pub(super) sink: Option<Box<dyn Sink>>,
    pub(super) limits: Limits,
    pub(super) schedule: Schedule,
    pub(super) observer: Option<Observer>,
    /// The observer hears of each put.
    pub(super) reports_puts: bool,
    pub(super) ending: Ending,
    pub(super) senders: Arc<Senders>,
    /// Attempts in a row in which the sink took nothing.
    pub(super) outage: Outage,
    /// The sink was unavailable in every attempt since.
    pub(super) unavailable: Since,
    pub(super) pace: Pace,
}

impl Common {
    pub(super) fn new(
        sink: Option<Box<dyn Sink>>,
        limits: Limits,
        schedule: Schedule,
        observer: Option<Observer>,
        put_events: bool,
    ) -> Arc<Common> {
        Arc::new(Common {
            callbacks: AtomicU64::new(0),
            sink,
            limits,
            schedule,
            reports_puts: put_events && observer.is_some(),
            observer,
            ending: Ending::default(),
            senders: Arc::default(),
            outage: Outage::default(),
            unavailable: Since::default(),
            pace: Pace::default(),
        })
    }
}
