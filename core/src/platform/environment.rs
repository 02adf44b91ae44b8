//! What the engine runs on, passed in so that a test can replace all of it.

use std::sync::Arc;

use super::clock::EngineClock;
use super::disk::Disk;
use super::os_disk::OsDisk;
use super::random::system_random;

/// The disk, the clock, random numbers, and whether there are threads.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: EngineClock,
    pub(crate) random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether threads may be started. Without them the callers' threads do the work in the background.
    pub(crate) threads: bool,
}

impl Environment {
    /// The operating system's.
    pub(crate) fn system() -> Self {
        Environment {
            disk: Arc::new(OsDisk),
            clock: EngineClock::System,
            random: Arc::new(system_random),
            threads: true,
        }
    }
}
