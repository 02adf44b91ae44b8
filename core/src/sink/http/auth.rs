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
    /// User and password of Basic authentication.
    Basic(String, Secret),
    /// The user, and the file with the password.
    BasicFile(String, PathBuf),
    Token(Secret),
    File(PathBuf),
    Function(Arc<TokenFn>),
}

impl Auth {
    /// # Errors
    /// `InvalidArgument` if there are several.
    pub(super) fn of(options: &HttpOptions, function: Option<Arc<TokenFn>>) -> Result<Self> {
        let HttpOptions { username, password, password_file, token, token_file, .. } = options;
        let basic = !username.is_empty() || !password.is_empty() || !password_file.is_empty();
        if !password.is_empty() && !password_file.is_empty() {
            return Err(invalid("password and password_file exclude each other"));
        }
        let ways = [basic, !token.is_empty(), !token_file.is_empty(), function.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            return Err(invalid(
                "username and password, token, token_file and a function for tokens exclude each other",
            ));
        }
        Ok(if !password_file.is_empty() {
            Auth::BasicFile(username.clone(), password_file.into())
        } else if basic {
            Auth::Basic(username.clone(), password.clone())
        } else if !token.is_empty() {
            Auth::Token(token.clone())
        } else if !token_file.is_empty() {
            Auth::File(token_file.into())
        } else {
            function.map_or(Auth::None, Auth::Function)
        })
    }

    /// Whether it is Basic authentication, whose header is the same for every service.
    pub(super) fn is_basic(&self) -> bool {
        matches!(self, Auth::Basic(..) | Auth::BasicFile(..))
    }

    /// The proof of this moment; `before` stands before a token.
    ///
    /// # Errors
    /// Why there is none now, in words without the secret.
    pub(super) fn proof(&self, before: &str) -> Result<Option<Proof>, String> {
        let token = match self {
            Auth::None => return Ok(None),
            Auth::Basic(username, password) => return basic(username, password.clone()).map(Some),
            Auth::BasicFile(username, path) => return basic(username, read("password", path)?).map(Some),
            Auth::Token(secret) => secret.clone(),
            Auth::File(path) => read("token", path)?,
            Auth::Function(function) => {
                function().map_err(|error| format!("the function for tokens failed: {error}"))?
            }
        };
        if token.is_empty() {
            return Err("the token is empty".into());
        }
        let text = Zeroizing::new(format!("{before}{}", token.reveal()));
        Ok(Some(Proof { value: sensitive(&text)?, secrets: vec![token] }))
    }
}

/// What a request proves who it is by.
pub(super) struct Proof {
    pub(super) value: HeaderValue,
    /// What must not show of it.
    pub(super) secrets: Vec<Secret>,
}

fn basic(username: &str, password: Secret) -> Result<Proof, String> {
    let both = Zeroizing::new(format!("{username}:{}", password.reveal()));
    let encoded = Secret::from(BASE64_STANDARD.encode(both.as_bytes()));
    let text = Zeroizing::new(format!("Basic {}", encoded.reveal()));
    Ok(Proof { value: sensitive(&text)?, secrets: vec![encoded, password] })
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| "the token has bytes that no header can have")?;
    value.set_sensitive(true);
    Ok(value)
}

/// The secret that a file holds, `what` it is.
fn read(what: &str, path: &Path) -> Result<Secret, String> {
    let text = secret_file::read_text(path)
        .map_err(|error| format!("cannot read the {what} of {}: {error}", path.display()))?;
    Ok(Secret::new(text.trim()))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "none",
            Auth::Basic(..) | Auth::BasicFile(..) => "basic",
            Auth::Token(_) => "token",
            Auth::File(_) => "token of a file",
            Auth::Function(_) => "token of a function",
        })
    }
}
