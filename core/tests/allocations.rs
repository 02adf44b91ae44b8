//! A put allocates nothing, whatever the record carries and however batches are divided.
//!
//! The allocator counts what the thread asks for that puts; the log's own thread may allocate, which prepares segments.

#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use common::*;
use unistream::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: our caller's promise is what it asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_put_allocates_nothing_whatever_the_record_carries() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(5)));
    assert_eq!(ALLOCATIONS.get() - before, 1, "it counts");
    let headers = [("traceparent", &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..]), ("a", b"")];
    let plain = NewRecord::new(b"payload");
    let carried = plain.headers(&headers).topic("orders").expires_at(i64::from(i32::MAX)).key(b"user-7").id("17");
    for (order, lanes) in [(Order::Total, 1), (Order::Key, 16), (Order::None, 4)] {
        for mode in [Mode::Background, Mode::Manual] {
            let dir = scratch();
            // One segment, and batches of a hundred: puts seal, and none goes on in the next segment.
            let builder = Producer::builder(&dir).mode(mode).order(order).max_in_flight(lanes).linger(NEVER);
            let builder = builder.max_records(100).segment_bytes(64 << 20);
            let producer = match mode {
                Mode::Manual => builder.open_manual(Limits::default()).unwrap(),
                _ => builder.open(NullSink).unwrap(),
            };
            for record in [plain, carried, plain.headers(&headers), plain.topic("t")] {
                // The first one may make what is made once in a thread.
                producer.put(record).unwrap();
                let before = ALLOCATIONS.get();
                (0..1000).for_each(|_| assert!(producer.put(record).is_ok()));
                assert_eq!(ALLOCATIONS.get() - before, 0, "{order:?} {mode:?} {record:?}");
            }
            producer.close(Duration::ZERO).unwrap();
        }
    }
}
