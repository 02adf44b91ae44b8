//! Delivery reports: who waits for what becomes of a record, and who is told.
//!
//! A record may be delivered before its `put` has returned its seq. So who wants a report says so before the put
//! ([`Reporting`]), and until it has named the seq, what is settled is kept for it. Where nobody wants reports, a batch that is
//! settled costs one look at a number, and a put nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Producer, Shared};
use crate::batch::Batch;
use crate::delivery_report::{Delivery, DeliveryReport};
use crate::error::Result;
use crate::platform::lock;
use crate::platform::sync::atomic::{AtomicU64, Ordering};
use crate::platform::sync::{Condvar, Mutex};
use crate::record::NewRecord;

type OnReport = Box<dyn FnOnce(DeliveryReport) + Send>;

/// Who waits for reports of one slot.
#[derive(Default)]
pub(super) struct Reports {
    /// Records that are waited for, and puts that have said that theirs will be.
    wanted: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_seq: BTreeMap<u64, OnReport>,
    /// Puts that have not named their seq: how many, by what it is at least.
    unnamed: BTreeMap<u64, u64>,
    /// What became meanwhile of records that may be theirs.
    unclaimed: BTreeMap<u64, DeliveryReport>,
    /// The same of ranges that were dropped.
    unclaimed_dropped: Vec<(u64, u64)>,
    /// Nothing more is told.
    closed: bool,
    /// Everything below this was finished at the last look.
    finished: u64,
}

/// Those to call, with no lock held.
type Due = Vec<(OnReport, DeliveryReport)>;

impl Waiting {
    /// The least seq that a put can have that has not named it.
    fn floor(&self) -> Option<u64> {
        self.unnamed.first_key_value().map(|(floor, _)| *floor)
    }

    /// A put has no seq, or has named it.
    fn end(&mut self, floor: u64) {
        if let Some(puts) = self.unnamed.get_mut(&floor) {
            *puts -= 1;
            if *puts == 0 {
                self.unnamed.remove(&floor);
            }
        }
        // What nobody can claim any more goes.
        let floor = self.floor().unwrap_or(u64::MAX);
        self.unclaimed = self.unclaimed.split_off(&floor);
        self.unclaimed_dropped.retain(|(_, last)| *last >= floor);
    }

    /// What has become of a record already whose seq was just named.
    fn claim(&mut self, seq: u64) -> Option<DeliveryReport> {
        let dropped = |(first, last): &(u64, u64)| (*first..=*last).contains(&seq);
        match self.unclaimed.remove(&seq) {
            None if self.unclaimed_dropped.iter().any(dropped) => Some(DeliveryReport::new(seq, Delivery::Dropped)),
            None if self.closed => Some(DeliveryReport::new(seq, Delivery::Closed)),
            found => found,
        }
    }
}

impl Reports {
    /// Whether nobody wants to hear of anything.
    #[inline]
    pub(super) fn is_unused(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == 0
    }

    /// A put is about to be made whose seq will be at least `floor`.
    fn begin(&self, floor: u64) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        *lock(&self.waiting).unnamed.entry(floor).or_default() += 1;
    }

    fn cancel(&self, floor: u64) {
        lock(&self.waiting).end(floor);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
    }

    /// Names the seq of a put. What became of it already is due now.
    fn attach(&self, floor: u64, seq: u64, on_report: OnReport) -> Option<(OnReport, DeliveryReport)> {
        let mut waiting = lock(&self.waiting);
        let report = waiting.claim(seq);
        waiting.end(floor);
        let Some(report) = report else {
            waiting.by_seq.insert(seq, on_report);
            return None;
        };
        drop(waiting);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        Some((on_report, report))
    }

    /// What has become of records, and who is to be told.
    fn settle(&self, reports: impl Iterator<Item = DeliveryReport>) -> Due {
        let mut due = Vec::new();
        let mut waiting = lock(&self.waiting);
        let floor = waiting.floor().unwrap_or(u64::MAX);
        for report in reports {
            match waiting.by_seq.remove(&report.seq) {
                Some(on_report) => due.push((on_report, report)),
                None if report.seq >= floor => drop(waiting.unclaimed.insert(report.seq, report)),
                None => {}
            }
        }
        drop(waiting);
        self.wanted.fetch_sub(due.len() as u64, Ordering::SeqCst);
        due
    }

    /// The same for a range of records that were dropped.
    fn settle_dropped(&self, first: u64, last: u64) -> Due {
        let seqs: Vec<u64> = {
            let mut waiting = lock(&self.waiting);
            if waiting.floor().is_some_and(|floor| floor <= last) {
                waiting.unclaimed_dropped.push((first, last));
            }
            waiting.by_seq.range(first..=last.max(first)).map(|(seq, _)| *seq).collect()
        };
        self.settle(seqs.into_iter().map(|seq| DeliveryReport::new(seq, Delivery::Dropped)))
    }

    /// Who wants to hear of records of a range: these seqs, and every one from the last on.
    fn wanted_in(&self, first: u64, last: u64) -> (Vec<u64>, u64) {
        let waiting = lock(&self.waiting);
        let seqs = waiting.by_seq.range(first..=last.max(first)).map(|(seq, _)| *seq).collect();
        (seqs, waiting.floor().unwrap_or(u64::MAX))
    }

    /// Those below `finished` that were there at the last look too: what was settled since then was told by now.
    fn lost(&self, finished: u64) -> Vec<u64> {
        let mut waiting = lock(&self.waiting);
        let before = std::mem::replace(&mut waiting.finished, finished);
        waiting.by_seq.range(..before.min(finished)).map(|(seq, _)| *seq).collect()
    }

    /// All that still wait.
    fn close(&self) -> Due {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.by_seq);
        drop(waiting);
        self.wanted.fetch_sub(left.len() as u64, Ordering::SeqCst);
        left.into_iter().map(|(seq, on_report)| (on_report, DeliveryReport::new(seq, Delivery::Closed))).collect()
    }
}

impl Shared {
    /// Whether the sink's word on each record of a batch would be passed on to somebody.
    pub(super) fn wants_receipts(&self, batch: &Batch) -> bool {
        if self.reports.is_unused() {
            return false;
        }
        let (seqs, floor) = self.reports.wanted_in(batch.first_seq(), batch.last_seq());
        !seqs.is_empty() || floor <= batch.last_seq()
    }

    /// Tells who waits what became of records of a batch, once that is settled. `report` says it, by the record's index and seq;
    /// `None`: nothing yet.
    pub(super) fn report_batch(&self, batch: &Batch, mut report: impl FnMut(usize, u64) -> Option<DeliveryReport>) {
        if self.reports.is_unused() {
            return;
        }
        let (seqs, floor) = self.reports.wanted_in(batch.first_seq(), batch.last_seq());
        let wanted = |seq: u64| seq >= floor || seqs.binary_search(&seq).is_ok();
        let records = batch.iter().enumerate().filter(|(_, record)| wanted(record.seq));
        let found: Vec<DeliveryReport> = records.filter_map(|(index, record)| report(index, record.seq)).collect();
        self.tell(self.reports.settle(found.into_iter()));
    }

    /// Tells who waits that the records of a range were dropped.
    pub(super) fn report_dropped(&self, first: u64, last: u64) {
        if !self.reports.is_unused() {
            self.tell(self.reports.settle_dropped(first, last));
        }
    }

    /// Tells who waits for a record that was passed over because it was damaged.
    pub(super) fn report_lost(&self) {
        if !self.reports.is_unused() {
            let seqs = self.reports.lost(self.core().committed_seq());
            self.tell(self.reports.settle(seqs.into_iter().map(|seq| DeliveryReport::new(seq, Delivery::Lost))));
        }
    }

    /// Tells all who still wait that the producer is closed.
    pub(super) fn report_closed(&self) {
        self.tell(self.reports.close());
    }

    fn tell(&self, due: Due) {
        for (on_report, report) in due {
            // A panic in it ends nothing else.
            let _ = self.inside(|| on_report(report));
        }
    }
}

/// Says beforehand that the next put's record is to be reported, for those puts that have no `put_with` of their own. Dropping it, where
/// the put failed, ends that.
pub struct Reporting {
    shared: Arc<Shared>,
    /// The seq is at least this.
    floor: u64,
    is_open: bool,
}

impl Reporting {
    /// Names the record by the seq that its put has returned. `on_report` is called once: here, if all is over already.
    pub fn attach(mut self, seq: u64, on_report: impl FnOnce(DeliveryReport) + Send + 'static) {
        self.is_open = false;
        if let Some(due) = self.shared.reports.attach(self.floor, seq, Box::new(on_report)) {
            self.shared.tell(vec![due]);
        }
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        if self.is_open && !self.shared.core().fork.is_forked() {
            self.shared.reports.cancel(self.floor);
        }
    }
}

impl std::fmt::Debug for Reporting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporting").finish_non_exhaustive()
    }
}

impl Producer {
    /// As [`put`](Self::put), and `on_report` is told what became of the record: once, on the thread that found out (a sender's, the one that
    /// settles in manual mode, closes, or puts, which may be this one), with no lock held. Inside it no call may be made to this
    /// producer but [`stats`](Self::stats).
    ///
    /// It lives and ends with this process: of a record that is in the log when the producer is closed it hears
    /// [`Delivery::Closed`], and after a crash, in a forked child, or while a stopped producer is not resumed, nothing. If the put fails it is
    /// dropped, also where [`Error::record_accepted`](crate::Error::record_accepted) says that the record is in the log.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use unistream::{NullSink, Producer};
    /// # let dir = std::env::temp_dir().join(format!("unistream-doc-put-with-{}", std::process::id()));
    /// let producer = Producer::builder(&dir).max_records(1).open(NullSink)?;
    /// let (tell, told) = mpsc::channel();
    /// let seq = producer.put_with("record", move |report| drop(tell.send(report)))?;
    /// let report = told.recv_timeout(Duration::from_secs(30)).unwrap();
    /// assert!(report.is_delivered() && report.seq == seq);
    /// # producer.close(Duration::ZERO)?;
    /// # std::fs::remove_dir_all(&dir).unwrap();
    /// # Ok::<(), unistream::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn put_with<'a>(
        &self,
        record: impl Into<NewRecord<'a>>,
        on_report: impl FnOnce(DeliveryReport) + Send + 'static,
    ) -> Result<u64> {
        let reporting = self.reporting()?;
        let seq = self.put(record)?;
        reporting.attach(seq, on_report);
        Ok(seq)
    }

    /// As [`put_with`](Self::put_with), and gives something to wait with: a future for any runtime, or a thread.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn put_confirmed<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<Confirmation> {
        let state = Arc::<Confirmed>::default();
        let confirmed = state.clone();
        let seq = self.put_with(record, move |report| {
            let waker = {
                let mut answer = lock(&confirmed.answer);
                answer.0 = Some(report);
                answer.1.take()
            };
            confirmed.changed.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        })?;
        Ok(Confirmation { seq, state })
    }

    /// Says that the next put's record is to be reported, whatever call that is: it is given the seq, see [`Reporting::attach`].
    ///
    /// # Errors
    /// `Forked`, `Reentrant`, those of opening in a child of a shared producer.
    pub fn reporting(&self) -> Result<Reporting> {
        let shared = &self.here()?.shared;
        shared.check_caller()?;
        let floor = shared.core().next_seq();
        shared.reports.begin(floor);
        Ok(Reporting { shared: shared.clone(), floor, is_open: true })
    }
}

#[derive(Default)]
struct Confirmed {
    answer: Mutex<(Option<DeliveryReport>, Option<Waker>)>,
    changed: Condvar,
}

/// Waits for what becomes of a record: a future for any runtime, or [`wait`](Self::wait). Dropping it changes nothing for the record.
pub struct Confirmation {
    seq: u64,
    state: Arc<Confirmed>,
}

impl Confirmation {
    /// The record's sequence number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits, for at most `timeout`, on this thread. `None` if it is not known by then; it may be asked again.
    pub fn wait(&self, timeout: Duration) -> Option<DeliveryReport> {
        let deadline = std::time::Instant::now().checked_add(timeout);
        let mut answer = lock(&self.state.answer);
        loop {
            if let Some(report) = &answer.0 {
                return Some(report.clone());
            }
            let left = deadline
                .map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(std::time::Instant::now()));
            if left.is_zero() {
                return None;
            }
            answer = self
                .state
                .changed
                .wait_timeout(answer, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |waited| waited.0);
        }
    }
}

impl Future for Confirmation {
    type Output = DeliveryReport;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DeliveryReport> {
        let mut answer = lock(&self.state.answer);
        if let Some(report) = &answer.0 {
            return Poll::Ready(report.clone());
        }
        answer.1 = Some(context.waker().clone());
        Poll::Pending
    }
}

impl std::fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Confirmation").field("seq", &self.seq).finish_non_exhaustive()
    }
}
