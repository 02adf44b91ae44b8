//! A value of which a forked child makes its own. `unsafe`: a pointer that is exchanged once in the life of each process.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::fork::ForkGuard;

thread_local! {
    /// The address of the value that this thread is making; 0: none.
    static MAKING: Cell<usize> = const { Cell::new(0) };
}

/// Holds a value that a child may exchange for one of its own. Reading it costs a load.
///
/// The parent's value stays where it is, because in the child nothing of it may be dropped, and a caller may still look at it.
pub(crate) struct PerProcess<T> {
    current: AtomicPtr<T>,
    /// The process (its [`ForkGuard`] number) in which a thread makes the child's own; 0: none. It is the process, because a
    /// child that is forked meanwhile has no such thread, and must not wait for it.
    maker: AtomicU64,
}

// SAFETY: it owns a `T` and hands out `&T` to any thread.
unsafe impl<T: Send + Sync> Send for PerProcess<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        PerProcess { current: AtomicPtr::new(Box::into_raw(Box::new(value))), maker: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        // SAFETY: the pointer is of a box that is given up in `drop` only, or never.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    /// In a child: exchanges the value for what `make` returns, unless another thread has done so. `is_own` says of a value
    /// whether it is this process's; `reentrant` what it is to ask for it from inside `make`, which would wait for itself.
    pub(crate) fn exchange<E>(
        &self,
        is_own: impl Fn(&T) -> bool,
        make: impl FnOnce(&T) -> Result<T, E>,
        reentrant: impl FnOnce() -> E,
    ) -> Result<&T, E> {
        struct Making(usize);
        impl Drop for Making {
            fn drop(&mut self) {
                MAKING.set(self.0);
            }
        }
        let address = ptr::from_ref(self).addr();
        if MAKING.get() == address {
            return Err(reentrant());
        }
        struct Turn<'a>(&'a AtomicU64);
        impl Drop for Turn<'_> {
            fn drop(&mut self) {
                self.0.store(0, Ordering::SeqCst);
            }
        }
        let own = ForkGuard::new().number();
        let _turn = loop {
            if is_own(self.get()) {
                return Ok(self.get());
            }
            let maker = self.maker.load(Ordering::SeqCst);
            if maker != own && self.maker.compare_exchange(maker, own, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                break Turn(&self.maker);
            }
            thread::sleep(Duration::from_micros(100));
        };
        if is_own(self.get()) {
            return Ok(self.get());
        }
        let making = Making(MAKING.replace(address));
        let made = Box::into_raw(Box::new(make(self.get())?));
        drop(making);
        // What was there is the parent's: it is never dropped here, and references to it stay valid.
        self.current.store(made, Ordering::Release);
        Ok(self.get())
    }

    /// Never drops the value.
    pub(crate) fn forget(&mut self) {
        *self.current.get_mut() = ptr::null_mut();
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        if !current.is_null() {
            // SAFETY: made by `Box::into_raw`, and nobody has a reference: this is the last use of the only owner.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}
