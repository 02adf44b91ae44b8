//! Turns the answers to calls into a report about the batch, and finds the record that makes a service refuse a call. Knows
//! no service and no network.

use std::sync::Arc;

use super::failure::{CallError, Fault};
use crate::sink::{Outcome, Report};

/// What became of each item of a call, in their order, or of the call itself.
pub(crate) type Outcomes = Result<Vec<Outcome>, CallError>;

/// A record on its way into a call.
pub(crate) trait Item {
    /// Its index in the batch.
    fn index(&self) -> usize;
}

impl<T: Item> Item for &T {
    fn index(&self) -> usize {
        (*self).index()
    }
}

/// Cuts items into consecutive calls. A state measures a call: `start` makes it from a call's first item, `grow`
/// adds one more or says by `None` that it does not fit.
pub(crate) fn split<T, S>(items: &[T], start: impl Fn(&T) -> S, grow: impl Fn(&S, &T) -> Option<S>) -> Vec<&[T]> {
    let mut calls = Vec::new();
    let mut rest = items;
    while let Some(first) = rest.first() {
        let mut state = start(first);
        let mut len = 1;
        while let Some(next) = rest.get(len).and_then(|item| grow(&state, item)) {
            state = next;
            len += 1;
        }
        let (call, after) = rest.split_at(len);
        calls.push(call);
        rest = after;
    }
    calls
}

/// After so many records were refused alone while none was taken, the cause is more likely what the calls have in common
/// than the records. Halving further would cost a call for each record, at every attempt. So the last record is sent alone:
/// if it is refused too, the halving stops.
const SUSPICIOUS: usize = 2;

/// Where the last record may not go before the others, the halving stops after so many.
const SUSPICIOUS_IN_ORDER: usize = 8;

/// What is known about the records of one batch so far.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// By index in the batch; `None` if it is not known or not sent.
    outcomes: Vec<Option<Outcome>>,
    /// Records that were refused in a call of their own.
    refused: Vec<(usize, CallError)>,
    /// How many records were in the calls so far.
    sent: usize,
    /// Whether the service has accepted any call. If so, a refusal is about the records of the refused call.
    understood: bool,
    /// Whether no record may be sent before one that stands before it.
    in_order: bool,
    /// The first and the last record of the call that ended without an answer, as indices in the batch. No call follows it.
    unanswered: Option<(usize, usize)>,
}

impl Delivery {
    pub(crate) fn new(len: usize) -> Self {
        Delivery {
            outcomes: vec![None; len],
            refused: Vec::new(),
            sent: 0,
            understood: false,
            in_order: false,
            unanswered: None,
        }
    }

    /// Sends no record before one that stands before it, also while it looks for the one that is refused.
    #[cfg_attr(
        not(any(feature = "http", feature = "kafka", feature = "postgres")),
        allow(dead_code, reason = "for the sinks whose order is that of the calls")
    )]
    pub(crate) fn in_order(len: usize) -> Self {
        Delivery { in_order: true, ..Self::new(len) }
    }

    /// The service has taken something: a refusal is about the records of the refused call.
    #[cfg_attr(
        not(feature = "kafka"),
        allow(dead_code, reason = "for the sinks that send parts of a batch by themselves")
    )]
    pub(crate) fn understand(&mut self) {
        self.understood = true;
    }

    /// Rejects a record that no call can carry.
    pub(crate) fn reject(&mut self, index: usize, reason: String) {
        self.outcomes[index] = Some(Outcome::Rejected { reason });
    }

    /// Sets the outcome of a record that is not sent this time.
    pub(crate) fn hold(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = Some(outcome);
    }

    /// The first and the last record, as indices in the batch, of the call that the service may have taken without our seeing its
    /// answer.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "for the services that know a call by its name"))]
    pub(crate) fn unanswered(&self) -> Option<(usize, usize)> {
        self.unanswered
    }

    /// Whether the service has taken the record, or never will.
    pub(crate) fn is_settled(&self, index: usize) -> bool {
        match &self.outcomes[index] {
            Some(outcome) => matches!(outcome, Outcome::Delivered | Outcome::Rejected { .. }),
            None => self.refused.iter().any(|(refused, _)| *refused == index),
        }
    }

    /// Sends items in one call. If the service refuses the call for its contents, sends its halves, and so on down to single
    /// items. `call` returns an outcome for each item.
    ///
    /// # Errors
    /// The reason why further calls make no sense now.
    pub(crate) fn send<T: Item>(
        &mut self,
        items: &[T],
        call: &mut dyn FnMut(&[T]) -> Outcomes,
    ) -> Result<(), CallError> {
        self.sent += items.len();
        match items {
            [.., last] => self.send_halving(items, last, call),
            [] => Ok(()),
        }
    }

    /// `last` is the last of all items, the only one that may have been sent before its turn, unless that is kept.
    fn send_halving<T: Item>(
        &mut self,
        mut items: &[T],
        last: &T,
        call: &mut dyn FnMut(&[T]) -> Outcomes,
    ) -> Result<(), CallError> {
        if let [before @ .., end] = items
            && self.is_settled(end.index())
        {
            items = before;
        }
        if items.is_empty() {
            return Ok(());
        }
        let error = match self.send_once(items, call)? {
            None => return Ok(()),
            Some(error) => error,
        };
        let (first, second) = items.split_at(items.len() / 2);
        if first.is_empty() {
            return Ok(());
        }
        self.send_halving(first, last, call)?;
        if self.in_order {
            if !self.understood && self.refused.len() >= SUSPICIOUS_IN_ORDER {
                return Err(error);
            }
        } else if !self.understood && self.refused.len() >= SUSPICIOUS {
            self.send_once(std::slice::from_ref(last), call)?;
            if !self.understood {
                return Err(error);
            }
        }
        self.send_halving(second, last, call)
    }

    /// Makes one call. Returns the error if the service refused its contents, and notes an item that was refused alone.
    fn send_once<T: Item>(
        &mut self,
        items: &[T],
        call: &mut dyn FnMut(&[T]) -> Outcomes,
    ) -> Result<Option<CallError>, CallError> {
        match call(items) {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), items.len(), "one outcome an item");
                self.understood = true;
                for (item, outcome) in items.iter().zip(outcomes) {
                    self.outcomes[item.index()] = Some(outcome);
                }
                Ok(None)
            }
            Err(error) if error.fault == Fault::Refused => {
                if let [one] = items {
                    self.refused.push((one.index(), error.clone()));
                }
                Ok(Some(error))
            }
            Err(error) => {
                self.unanswered = items.first().zip(items.last()).map(|(first, last)| (first.index(), last.index()));
                Err(error)
            }
        }
    }

    /// Makes the report. `stopped` is the error that [`send`](Self::send) returned; it is the outcome of all that was not
    /// sent.
    ///
    /// If several records were refused and none was taken, they count as failed and not as rejected: the cause is more
    /// likely what the calls have in common.
    pub(crate) fn finish(mut self, stopped: Option<CallError>) -> Report {
        let culprits = self.understood || self.sent == 1;
        for (index, error) in std::mem::take(&mut self.refused) {
            self.outcomes[index] = Some(match culprits {
                true => Outcome::Rejected { reason: error.to_string() },
                false => Outcome::Failed { error: Arc::new(error) },
            });
        }
        report(self.outcomes, stopped)
    }
}

/// The report of what is known of each record. What is not known of one is that it was not sent, because of `stopped`.
pub(crate) fn report(outcomes: Vec<Option<Outcome>>, stopped: Option<CallError>) -> Report {
    let unsent = stopped.map(CallError::into_outcome);
    let mut report = Report::delivered();
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let outcome = outcome.or_else(|| unsent.clone());
        report.set(index, outcome.expect("every record was answered for unless something stopped it"));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Item for usize {
        fn index(&self) -> usize {
            *self
        }
    }

    fn refused() -> CallError {
        CallError {
            operation: "Put",
            fault: Fault::Refused,
            code: Some("ValidationException".into()),
            message: "bad".into(),
        }
    }

    fn away() -> CallError {
        CallError {
            operation: "Put",
            fault: Fault::Unavailable { retry_after: None },
            code: None,
            message: "connection reset".into(),
        }
    }

    /// Sends 0..len through a service that refuses calls with a record of `bad`; what the service took, the
    /// number of calls and the report.
    fn deliver(len: usize, bad: &[usize]) -> (Vec<usize>, usize, Report) {
        deliver_by(Delivery::new(len), len, bad)
    }

    fn deliver_by(mut delivery: Delivery, len: usize, bad: &[usize]) -> (Vec<usize>, usize, Report) {
        let items: Vec<usize> = (0..len).collect();
        let (mut taken, mut calls) = (Vec::new(), 0);
        let result = delivery.send(&items, &mut |call: &[usize]| {
            calls += 1;
            if call.iter().any(|item| bad.contains(item)) {
                return Err(refused());
            }
            taken.extend(call);
            Ok(vec![Outcome::Delivered; call.len()])
        });
        (taken, calls, delivery.finish(result.err()))
    }

    fn rejected(report: &Report) -> Vec<usize> {
        let is_rejected = |outcome: &Outcome| matches!(outcome, Outcome::Rejected { .. });
        report.exceptions().filter(|(_, outcome)| is_rejected(outcome)).map(|(index, _)| index).collect()
    }

    #[test]
    fn halving_finds_every_culprit_alone() {
        // Every subset of six records but those that speak against the call: the first two and the last.
        for mask in (0u32..63).filter(|mask| mask & 0b100_011 != 0b100_011) {
            let bad: Vec<usize> = (0..6).filter(|bit| mask & (1 << bit) != 0).collect();
            let good: Vec<usize> = (0..6).filter(|bit| mask & (1 << bit) == 0).collect();
            let (mut taken, _, report) = deliver(6, &bad);
            if bad.starts_with(&[0, 1]) {
                assert_eq!(taken[0], 5, "the last decides whether the service takes anything");
                taken.rotate_left(1);
            }
            assert_eq!(taken, good, "delivered once each, in order");
            assert_eq!(rejected(&report), bad);
            assert_eq!(report.exceptions().count(), bad.len());
        }
    }

    /// The bug: with the first two refused, the last went before all others of its key.
    #[test]
    fn in_order_nothing_goes_before_its_turn() {
        for mask in 0u32..63 {
            let bad: Vec<usize> = (0..6).filter(|bit| mask & (1 << bit) != 0).collect();
            let good: Vec<usize> = (0..6).filter(|bit| mask & (1 << bit) == 0).collect();
            let (taken, _, report) = deliver_by(Delivery::in_order(6), 6, &bad);
            assert_eq!((taken, rejected(&report)), (good, bad));
        }
        let (taken, calls, report) = deliver_by(Delivery::in_order(500), 500, &(0..500).collect::<Vec<_>>());
        assert!(taken.is_empty() && calls <= 30, "{calls} calls");
        assert!(report.exceptions().all(|(_, outcome)| matches!(outcome, Outcome::Failed { .. })), "{report:?}");
    }

    /// The bug: a service that refused all was asked about every record, 999 calls for 500, at each attempt.
    #[test]
    fn a_service_that_refuses_all_is_not_asked_about_every_record() {
        let (taken, calls, report) = deliver(500, &(0..500).collect::<Vec<_>>());
        assert!(taken.is_empty() && calls <= 15, "{calls} calls");
        assert_eq!(report.exceptions().count(), 500);
        assert!(report.exceptions().all(|(_, outcome)| matches!(outcome, Outcome::Failed { .. })), "{report:?}");
    }

    #[test]
    fn halving_one_culprit_of_many_takes_few_calls() {
        let (taken, calls, report) = deliver(500, &[317]);
        assert_eq!(taken.len(), 499);
        assert_eq!(rejected(&report), [317]);
        assert!(calls <= 2 * 9 + 1, "{calls} calls");
    }

    #[test]
    fn a_record_alone_is_rejected_but_a_refusal_of_all_is_a_failure() {
        let (_, _, report) = deliver(1, &[0]);
        assert_eq!(rejected(&report), [0]);
        let (_, _, report) = deliver(3, &[0, 1, 2]);
        assert_eq!(report.exceptions().count(), 3);
        assert!(report.exceptions().all(|(_, outcome)| matches!(outcome, Outcome::Failed { .. })), "{report:?}");
    }

    #[test]
    fn a_stop_leaves_the_rest_unsent_and_keeps_what_was_delivered() {
        let items: Vec<usize> = (0..6).collect();
        let mut delivery = Delivery::new(8);
        delivery.reject(6, "no".into());
        let mut calls = 0;
        let mut stopped = None;
        for call in items.chunks(2) {
            let sent = delivery.send(call, &mut |_| {
                calls += 1;
                if calls == 2 { Err(away()) } else { Ok(vec![Outcome::Delivered; 2]) }
            });
            if let Err(error) = sent {
                stopped = Some(error);
                break;
            }
        }
        assert_eq!(delivery.unanswered(), Some((2, 3)));
        let report = delivery.finish(stopped);
        assert!(matches!(report.outcome(0), Outcome::Delivered) && matches!(report.outcome(1), Outcome::Delivered));
        for index in [2, 3, 4, 5, 7] {
            assert!(matches!(report.outcome(index), Outcome::Unavailable { .. }), "{index}");
        }
        assert_eq!(rejected(&report), [6]);
    }

    #[test]
    fn a_stop_while_halving_forgets_no_refusal() {
        // [0 1 2 3]: refused, [0 1]: refused, [0]: refused, [1]: taken, [2 3]: the network is gone.
        let items: Vec<usize> = (0..4).collect();
        let mut delivery = Delivery::new(4);
        let result = delivery.send(&items, &mut |call: &[usize]| match call {
            [1] => Ok(vec![Outcome::Delivered]),
            [2, 3] => Err(away()),
            _ => Err(refused()),
        });
        let report = delivery.finish(result.err());
        assert_eq!(rejected(&report), [0]);
        assert!(matches!(report.outcome(1), Outcome::Delivered));
        assert!(matches!(report.outcome(2), Outcome::Unavailable { .. }));
        assert!(matches!(report.outcome(3), Outcome::Unavailable { .. }));
    }

    #[test]
    fn split_cuts_in_order_and_never_loses() {
        let sizes: [usize; 7] = [3, 3, 3, 9, 1, 1, 20];
        let fits = |sum: &usize, size: &usize| Some(sum + size).filter(|sum| *sum <= 10);
        let calls = split(&sizes, |size| *size, fits);
        assert_eq!(calls, [&[3, 3, 3][..], &[9, 1], &[1], &[20]]);
        assert!(split(&[], |size: &usize| *size, fits).is_empty());
    }
}
