//! [`Window`]: which part of which batch may go out next.

use std::collections::VecDeque;
use std::time::Duration;

use super::head::Head;
use super::lanes::bit;
use crate::options::Options;
use crate::order::Order;

/// How far from the first batch that is not finished others may go out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    order: Order,
    /// The most parts that are handed out and not answered.
    in_flight: usize,
    /// The most batches that are read and not committed.
    batches: usize,
    /// The most of them that are not finished.
    unfinished: usize,
}

/// What may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Hand out this part of this batch.
    Part(usize, usize),
    /// Read another batch: what is there is out, waits, or holds only some lanes.
    Read,
    /// Wait.
    Nothing,
}

impl Window {
    pub(crate) fn new(options: &Options) -> Window {
        let in_flight = options.max_in_flight as usize;
        let ahead = options.max_batches_ahead as usize;
        let (batches, unfinished) = match options.order {
            Order::Key => (ahead, usize::MAX),
            // One that is slow or waits takes a place, and others go on. During an outage no more are tried than fit into the
            // places: not every batch has attempts of its own.
            Order::None => (ahead.max(in_flight), in_flight),
            _ => (in_flight, in_flight),
        };
        Window { order: options.order, in_flight, batches, unfinished }
    }

    /// What may be done now; and, of the parts that wait for their next attempt, when the first may go out and how often it was
    /// tried.
    pub(crate) fn next(&self, heads: &VecDeque<Head>, now: Duration) -> (Next, Option<(Duration, u32)>) {
        let mut soonest = None;
        let out = heads.iter().flat_map(|head| &head.parts).filter(|part| part.out.is_some()).count();
        if out >= self.in_flight {
            return (Next::Nothing, None);
        }
        let in_order = self.order != Order::None;
        let (mut held, mut lanes, mut unfinished) = (0, 0, 0);
        let left = heads.iter().take(self.batches).enumerate().filter(|(_, head)| !head.is_finished());
        for (at, head) in left.take(self.unfinished) {
            unfinished += 1;
            // A lane of one is not a lane of the other.
            if in_order && lanes != 0 && head.lanes != lanes {
                return (Next::Nothing, soonest);
            }
            lanes = head.lanes;
            for (index, part) in head.parts.iter().enumerate() {
                if in_order && held & bit(part.lane) != 0 {
                    continue;
                }
                held |= if self.order == Order::Key { bit(part.lane) } else { u64::MAX };
                if part.out.is_some() {
                    continue;
                }
                if part.ready_at <= now {
                    return (Next::Part(at, index), soonest);
                }
                if soonest.is_none_or(|(ready_at, _)| part.ready_at < ready_at) {
                    soonest = Some((part.ready_at, part.progress.attempts));
                }
            }
            let all = u64::MAX >> (64 - lanes);
            if in_order && held & all == all {
                return (Next::Nothing, soonest);
            }
        }
        let has_room = heads.len() < self.batches && unfinished < self.unfinished;
        (if has_room { Next::Read } else { Next::Nothing }, soonest)
    }

    /// Puts away the batches of which every part waits for an earlier one.
    pub(crate) fn put_away(&self, heads: &mut VecDeque<Head>) {
        if self.order != Order::Key {
            return;
        }
        let mut held = 0;
        for head in heads.iter_mut() {
            let lanes = head.parts.iter().fold(0, |lanes, part| lanes | bit(part.lane));
            if head.is_at_hand() && lanes & !held == 0 && !head.is_out() {
                head.put_away();
            }
            held |= lanes;
        }
    }
}
