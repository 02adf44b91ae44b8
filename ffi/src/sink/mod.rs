//! Sinks for C: the handle, those that the library brings, and callbacks.

// In the order of the header; the blank lines keep rustfmt from sorting them.
pub mod builtin;

pub mod register;

pub mod callback;
pub mod completion;

use std::ffi::c_void;

use engine::Sink;

use crate::panics::infallible;

/// A destination of batches. Made by one of the functions below, taken over by `unistream_producer_open()`.
pub struct unistream_sink {
    pub(crate) sink: Box<dyn Sink>,
    /// Whether `send` waits for an answer from elsewhere: in inline mode nobody could interrupt that.
    pub(crate) is_async: bool,
}

impl unistream_sink {
    fn boxed(sink: impl Sink + 'static) -> Option<Box<unistream_sink>> {
        Some(Box::new(unistream_sink { sink: Box::new(sink), is_async: false }))
    }
}

/// Frees a sink that was not passed to `unistream_producer_open()`. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn unistream_sink_free(sink: Option<Box<unistream_sink>>) {
    infallible(|| drop(sink));
}

/// Frees what a callback's `user_data` points to. Called exactly once, after the last call of the callback has
/// returned, on any thread. It must not throw or longjmp, and must not call the producer that it belonged to.
pub type unistream_destroy_callback = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// The program's own pointer, and its destroy function, which drop calls exactly once.
pub(crate) struct UserData {
    pointer: *mut c_void,
    destroy: unistream_destroy_callback,
}

// SAFETY: the contract: the pointer is only passed back to callbacks, which may be called from any thread.
unsafe impl Send for UserData {}
// SAFETY: as above; several threads at once where the callback's documentation says so.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(pointer: *mut c_void, destroy: unistream_destroy_callback) -> Self {
        UserData { pointer, destroy }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the contract: a function of this type for this pointer; drop runs once, when no callback that
            // uses it is left.
            unsafe { destroy(self.pointer) }
        }
    }
}
