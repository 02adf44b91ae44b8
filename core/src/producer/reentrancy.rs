//! Which producers' sinks and observers the current thread is inside of: from there, calls to the same producer are
//! refused, because they would wait for themselves.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind};
use crate::platform::sync::thread_local;

thread_local! {
    /// The producers, by address, innermost last.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// Whether there is any: all that an ordinary `put` looks at.
    static ANY: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a callback of the producer at this address.
#[inline]
pub(super) fn is_inside(producer: usize) -> bool {
    let contains = |inside: &RefCell<Vec<usize>>| inside.borrow().contains(&producer);
    // The list of a thread that is ending, by an `exit` in a callback, is gone: then only `ANY` is known.
    ANY.with(Cell::get) && INSIDE.try_with(contains).unwrap_or(true)
}

/// Runs a callback of the producer at this address. `None` if it panicked.
pub(super) fn run_inside<T>(producer: usize, callback: impl FnOnce() -> T) -> Option<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let _ = INSIDE.try_with(|inside| {
                let mut inside = inside.borrow_mut();
                inside.pop();
                ANY.with(|any| any.set(!inside.is_empty()));
            });
        }
    }
    let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(producer));
    ANY.with(|any| any.set(true));
    let _leave = Leave;
    catch_unwind(AssertUnwindSafe(callback)).ok()
}

#[cold]
pub(super) fn reentrant() -> Error {
    Error::new(
        ErrorKind::Reentrant,
        "a call from inside a sink or an observer of the same producer; make it from elsewhere",
    )
}
