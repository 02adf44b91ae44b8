//! Where keys come from, and how long they are kept.
//!
//! `cache` keeps the keys in use and renews them; `chain` knows the sources and their order; each source has a file.

pub(crate) mod answers;
mod cache;
mod chain;
mod fetch;
mod metadata;
pub(crate) mod process;
mod role;
mod single_sign_on;

pub(super) use self::cache::{CredentialsFn, Keys, Source};
