//! The C ABI of unistream. Its manual is `include/unistream.h`, which cbindgen makes of the doc comments in
//! this crate (`tests/header.rs`); they are written for C programmers.
//!
//! The crate is thin: it checks what C can get wrong, converts, and calls the engine. Every function runs its work
//! inside `error::fallible` or `panics::infallible`, so that no panic unwinds into C; `arguments` decides what a NULL
//! or a length becomes. Ownership stands in the signatures: `Option<Box<T>>` is taken over, `Option<&T>` is borrowed
//! for the call, and either may be NULL.
//!
//! What no function can check, the header asks of its callers, and the `SAFETY` comments call it *the contract*:
//! a pointer that is not NULL points to what its type says, lives for the call (or as long as the header says),
//! and a handle is not used after its `_free`.
#![allow(non_camel_case_types)] // The types carry their C names.
#![allow(clippy::missing_safety_doc)] // The header's preamble is the safety section of all functions.

// What the others stand on.
mod arguments;
pub mod constants;
mod panics;
mod text;

// In the order of the header's sections; the blank lines keep rustfmt from sorting them.
pub mod version;

pub mod error;

pub mod config;

pub mod event;

pub mod producer;

pub mod manual;

pub mod record;

pub mod delivery;

pub mod batch;

pub mod sink;

pub mod report;

pub mod stats;

pub mod dead_letter;

/// What the header says of threads, checked by the compiler.
const _: () = {
    const fn any_threads_at_once<T: Send + Sync>() {}
    const fn one_thread_at_a_time<T: Send>() {}
    any_threads_at_once::<producer::unistream_producer>();
    any_threads_at_once::<batch::unistream_batch<'static>>();
    any_threads_at_once::<error::unistream_error>();
    any_threads_at_once::<stats::unistream_stats>();
    any_threads_at_once::<dead_letter::unistream_dead_letters>();
    any_threads_at_once::<dead_letter::unistream_dead_letter>();
    one_thread_at_a_time::<sink::completion::unistream_completion>();
    one_thread_at_a_time::<report::unistream_report>();
    one_thread_at_a_time::<config::unistream_config>();
    one_thread_at_a_time::<sink::unistream_sink>();
};
