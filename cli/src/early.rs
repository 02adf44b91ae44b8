//! What is looked at before the runtime of the program opens `/dev/null` in the place of closed standard streams.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use unistream_cli::Streams;

static STREAMS: OnceLock<Streams> = OnceLock::new();

extern "C" fn look() {
    let _ = STREAMS.set(Streams::look());
}

// SAFETY: the loader calls the functions that this section lists, once, before `main` and on the only thread. `look` is of
// the type that it calls and ignores what it is passed; it makes three system calls and allocates nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// The standard streams as the process was given them.
pub(crate) fn streams() -> Streams {
    STREAMS.get().copied().unwrap_or_default()
}
