//! Opening a producer: a buffer of its own, or a slot of an outbox.

use std::sync::Arc;

use super::common::Common;
use super::fork::Anew;
use super::household::Household;
use super::shared::Shared;
use super::{Builder, Inner, Producer};
use crate::buffer::{Buffer, Place};
use crate::dead_letters::DeadLetters;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::limits::Limits;
use crate::options::{Mode, Options};
use crate::outbox::{Opened, Others, Outbox};
use crate::platform::PerProcess;
use crate::platform::sync::Mutex;
use crate::sink::Sink;

impl Producer {
    pub(super) fn open(builder: Builder, sink: Option<Box<dyn Sink>>, limits: Limits) -> Result<Producer> {
        Ok(Producer { inner: PerProcess::new(Inner::open(builder, sink, limits)?) })
    }
}

impl Inner {
    pub(super) fn open(builder: Builder, sink: Option<Box<dyn Sink>>, limits: Limits) -> Result<Inner> {
        let anew = builder.options.shared.then(|| Anew::new(&builder, sink.as_deref(), limits));
        let Builder { dir, options, observer, put_events, env, .. } = builder;
        let common = Common::new(sink, limits, options.schedule()?, observer, put_events);
        let threads = env.threads;
        let (shared, was_alone) = if options.shared {
            let options = options.for_sink(&limits)?;
            let Opened { outbox, mut slot, was_alone } = Outbox::open(&dir, &options, &env)?;
            let buffer = loop {
                let others = Others { outbox: outbox.clone(), own: slot.number, env: env.clone() };
                let place =
                    Place { dir: slot.dir.clone(), owner: slot.owner.clone(), neighbours: Some(Arc::new(others)) };
                let had_log = slot.has_log().unwrap_or(true);
                match Buffer::open_at(place, options.clone(), limits, env.clone()) {
                    // What another version or a bad sector has left there stops nobody: it waits for who can read it.
                    Err(error) if is_of_the_slot(&error) && had_log => {
                        let next = outbox.take(slot.number + 1).map_err(|_| error)?;
                        slot = next;
                    }
                    // What stops a slot that was empty stops every other one that would be made.
                    Err(error) if !had_log => {
                        let _ = outbox.discard(slot);
                        return Err(error);
                    }
                    opened => break opened?,
                }
            };
            let letters = DeadLetters::of_slot(env.disk.clone(), &buffer.core().dir, &outbox.root, slot.number);
            let household = Household::new(outbox, slot, options, env);
            (Shared::new(buffer, common, letters, Some(household)), was_alone)
        } else {
            let buffer = Buffer::open_in(&dir, options, limits, env)?;
            let letters = DeadLetters::of(buffer.core().env.disk.clone(), &buffer.core().dir);
            (Shared::new(buffer, common, letters, None), false)
        };
        shared.letters.scan(true)?;
        shared.begin()?;
        if was_alone {
            shared.notify(&Event::Shared);
        }
        let Options { mode, max_in_flight, .. } = shared.core().options;
        let inner = Inner { shared, senders: Mutex::default(), anew };
        if mode == Mode::Background && threads {
            inner.start_senders(max_in_flight).inspect_err(|_| inner.end_senders())?;
        }
        // Last: the thread that looks for them may keep the producer for a moment, which is then closed in order.
        inner.shared.begin_requests();
        Ok(inner)
    }
}

/// Whether another slot may be opened where one could not.
fn is_of_the_slot(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnsupportedFormat | ErrorKind::Io)
}

impl Shared {
    /// Begins to send what an earlier run left. Batches that exhausted their attempts under `on_exhausted = raise` start with
    /// a full number of them.
    pub(super) fn begin(&self) -> Result<()> {
        self.core().reset_attempts(|attempts| self.common.schedule.is_exhausted(attempts))?;
        self.report_recovery();
        Ok(())
    }
}
