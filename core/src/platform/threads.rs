//! Starts threads. `unsafe`: calls of the system's threads.
//!
//! A thread of the standard library takes a lock of that library when it begins and when it ends, in a program whose `main`
//! is Rust's. If another thread holds it at a fork, it is held in the child for ever, and a thread that the child starts never
//! begins. These threads take no such lock.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};

use super::lock;

/// As large as the standard library's. The C library's own default is 8 MiB here and 128 KiB there.
const STACK_BYTES: usize = 2 << 20;

/// A thread that was started. Dropping it lets the thread run on.
pub(crate) struct JoinHandle {
    /// Until it is joined.
    native: Option<libc::pthread_t>,
    thread: Thread,
    finished: Arc<AtomicBool>,
}

type Body = Box<dyn FnOnce() + Send>;

/// Starts a thread. A name is cut to 15 bytes.
pub(crate) fn start(name: &'static CStr, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
    let begun = Arc::new((Mutex::new(None), Condvar::new()));
    let finished = Arc::new(AtomicBool::new(false));
    let (begins, done) = (begun.clone(), finished.clone());
    let body: Body = Box::new(move || {
        set_name(name);
        *lock(&begins.0) = Some(thread::current());
        begins.1.notify_one();
        drop(begins);
        // The hook has printed a panic; the thread only ends.
        let _ = catch_unwind(AssertUnwindSafe(body));
        done.store(true, Ordering::Release);
    });
    let native = Some(create(Box::new(body))?);
    let mut told = lock(&begun.0);
    // Not a channel, whose receiver leaves a handle of the calling thread behind for as long as the thread lives.
    let thread = loop {
        match told.take() {
            Some(thread) => break thread,
            None => told = begun.1.wait(told).unwrap_or_else(PoisonError::into_inner),
        }
    };
    drop(told);
    Ok(JoinHandle { native, thread, finished })
}

/// Twice boxed, because a pointer to a trait object does not fit into the pointer that a thread is given.
#[allow(clippy::redundant_allocation)]
fn create(body: Box<Body>) -> io::Result<libc::pthread_t> {
    let result = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    let mut attributes = MaybeUninit::uninit();
    let mut native = MaybeUninit::uninit();
    let argument = Box::into_raw(body);
    // SAFETY: the attributes are used between their initialization and their destruction. `run` takes the argument over if
    // the thread exists, and nobody else does; otherwise it is taken back below.
    unsafe {
        result(libc::pthread_attr_init(attributes.as_mut_ptr()))
            .and_then(|()| {
                libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK_BYTES);
                let code = libc::pthread_create(native.as_mut_ptr(), attributes.as_ptr(), run, argument.cast());
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
                result(code)
            })
            .map(|()| native.assume_init())
            .inspect_err(|_| drop(Box::from_raw(argument)))
    }
}

extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    // SAFETY: it is what `create` made of a box, and this is the only call with it.
    let body = unsafe { Box::from_raw(argument.cast::<Body>()) };
    body();
    ptr::null_mut()
}

fn set_name(name: &CStr) {
    let mut cut = [0; 16];
    for (to, from) in cut.iter_mut().take(15).zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the thread is the calling one, and the name ends with a zero.
    unsafe { libc::pthread_setname_np(libc::pthread_self(), cut.as_ptr()) };
}

impl JoinHandle {
    pub(crate) fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Whether it has done its work and only has to end.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Waits until it has ended.
    pub(crate) fn join(mut self) {
        if let Some(native) = self.native.take() {
            // SAFETY: the thread was neither joined nor detached: either takes the number away.
            unsafe { libc::pthread_join(native, ptr::null_mut()) };
        }
    }
}

impl Drop for JoinHandle {
    fn drop(&mut self) {
        if let Some(native) = self.native.take() {
            // SAFETY: as in `join`.
            unsafe { libc::pthread_detach(native) };
        }
    }
}
