//! What a sink proves who it is by.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

use super::options::HttpOptions;
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::{invalid, secret_file};

/// A closure that gives the token of `Authorization: Bearer`.
pub type TokenFn = dyn Fn() -> Result<Secret, Box<dyn StdError + Send + Sync>> + Send + Sync;

/// Where the header `Authorization` comes from.
#[derive(Clone, Default)]
pub(super) enum Auth {
    #[default]
    None,
    /// The credentials of Basic authentication, in Base64.
    Basic(Secret),
    Token(Secret),
    File(PathBuf),
    Function(Arc<TokenFn>),
}

impl Auth {
    /// # Errors
    /// `InvalidArgument` if there are several.
    pub(super) fn of(options: &HttpOptions, function: Option<Arc<TokenFn>>) -> Result<Self> {
        let HttpOptions { username, password, token, token_file, .. } = options;
        let basic = !username.is_empty() || !password.is_empty();
        let ways = [basic, !token.is_empty(), !token_file.is_empty(), function.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            return Err(invalid(
                "username and password, token, token_file and a function for tokens exclude each other",
            ));
        }
        Ok(if basic {
            let both = Zeroizing::new(format!("{username}:{}", password.reveal()));
            Auth::Basic(Secret::from(BASE64_STANDARD.encode(both.as_bytes())))
        } else if !token.is_empty() {
            Auth::Token(token.clone())
        } else if !token_file.is_empty() {
            Auth::File(token_file.into())
        } else {
            function.map_or(Auth::None, Auth::Function)
        })
    }

    /// The secret of this moment, and the header made of it; `before` stands before a token.
    ///
    /// # Errors
    /// Why there is none now, in words without the secret.
    pub(super) fn header(&self, before: &str) -> Result<Option<(Secret, HeaderValue)>, String> {
        let (before, secret) = match self {
            Auth::None => return Ok(None),
            Auth::Basic(secret) => ("Basic ", secret.clone()),
            Auth::Token(secret) => (before, secret.clone()),
            Auth::File(path) => (before, read(path)?),
            Auth::Function(function) => {
                let secret = function().map_err(|error| format!("the function for tokens failed: {error}"))?;
                (before, secret)
            }
        };
        if secret.is_empty() {
            return Err("the token is empty".into());
        }
        let text = Zeroizing::new(format!("{before}{}", secret.reveal()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the token has bytes that no header can have")?;
        value.set_sensitive(true);
        Ok(Some((secret, value)))
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let text = secret_file::read_text(path)
        .map_err(|error| format!("cannot read the token of {}: {error}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "none",
            Auth::Basic(_) => "basic",
            Auth::Token(_) => "token",
            Auth::File(_) => "token of a file",
            Auth::Function(_) => "token of a function",
        })
    }
}
