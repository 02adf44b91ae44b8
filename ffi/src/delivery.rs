//! Delivery reports: what became of one record.

use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use engine::DeliveryReport;

use crate::arguments::required;
use crate::constants::unistream_delivery;
use crate::error::unistream_error;
use crate::producer::unistream_producer;
use crate::record::unistream_record;
use crate::text::c_text;

/// Hears what became of the record `seq`: once, on the thread that found out, which may be the one that puts, before its put
/// has returned. `delivery` is one of the `unistream_delivery` numbers. `reason` says why a record is in the dead letters, and is
/// empty else; `receipt` is what the sink says of a record that it took, such as its offset, or NULL. Both live for the call.
///
/// It must return soon, must not throw or longjmp, and must not call the same producer (`UNISTREAM_ERROR_REENTRANT`),
/// `unistream_producer_stats()` excepted. No lock is held while it runs.
pub type unistream_delivery_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        seq: u64,
        delivery: unistream_delivery,
        reason: *const c_char,
        receipt: *const c_char,
    ),
>;

/// The program's pointer, on its way to the thread that calls back.
struct Pointer(*mut c_void);

// SAFETY: the contract of the call: the callback may be called from any thread with it.
unsafe impl Send for Pointer {}

/// As `unistream_producer_put_record()`, and `callback` is told what became of the record, with `user_data`.
///
/// It is called exactly once if the put succeeds and the process lives until the record is delivered, given up or the producer is
/// closed; of a record that is in the log then it hears `UNISTREAM_DELIVERY_CLOSED`. It is not called if the put fails, after a
/// crash, or in a forked child. A callback costs an allocation; puts without one cost nothing for it.
///
/// Writes the record's sequence number to `seq`, unless NULL, on success. Errors: as of `unistream_producer_put()`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unistream_producer_put_reported(
    producer: Option<&unistream_producer>,
    record: *const unistream_record,
    callback: unistream_delivery_callback,
    user_data: *mut c_void,
    seq: Option<&mut MaybeUninit<u64>>,
) -> Option<Box<unistream_error>> {
    unistream_producer::call(producer, |engine| {
        let callback = required(callback, "callback")?;
        let pointer = Pointer(user_data);
        let on_report = move |report: DeliveryReport| {
            // All of the pointer goes into the closure, not its only field.
            let Pointer(user_data) = { pointer };
            let reason = c_text(report.reason);
            let receipt = report.receipt.map(c_text);
            let receipt = receipt.as_ref().map_or(ptr::null(), |receipt| receipt.as_ptr());
            // SAFETY: the contract: a function of this type that may be called from any thread with this user data.
            unsafe { callback(user_data, report.seq, report.delivery as i32, reason.as_ptr(), receipt) }
        };
        // SAFETY: the contract: a record of the size that it says, whose pointers live for the call.
        let put = unsafe { unistream_record::with_new(record, |record| engine.put_with(record, on_report)) }?;
        if let Some(seq) = seq {
            seq.write(put);
        }
        Ok(())
    })
}
