//! [`Credentials`]: keys to sign with. They show in no message and no `Debug`.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::secret::Secret;

/// Keys of AWS to sign with.
#[derive(Clone)]
pub struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    /// Empty for keys that last.
    pub(super) session_token: Secret,
    pub(super) expires_at: Option<SystemTime>,
}

impl Credentials {
    /// Keys that last.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Credentials {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: Secret::default(),
            expires_at: None,
        }
    }

    /// The token that belongs to temporary keys.
    #[must_use]
    pub fn session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = token.into();
        self
    }

    /// When they expire. Five minutes earlier their source is asked for new ones.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    /// Whether they are the same keys.
    pub(super) fn is(&self, other: &Credentials) -> bool {
        self.access_key_id == other.access_key_id
            && self.secret_access_key == other.secret_access_key
            && self.session_token == other.session_token
    }

    /// Whether they can be used for so long from now on.
    pub(super) fn last(&self, time: Duration) -> bool {
        self.expires_at.is_none_or(|end| end > SystemTime::now() + time)
    }
}

impl fmt::Debug for Credentials {
    /// Shows nothing of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
