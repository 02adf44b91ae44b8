//! [`Environment`]: the variables and the home directory that configure a sink.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::invalid;
use crate::error::Result;
use crate::secret::is_secure_execution;

/// The variables and the home directory that configure a sink, in place of the process's own.
///
/// A sink reads them when it is built, and the files that they name again whenever its credentials are refreshed. The
/// default is [`process`](Self::process); the option `use_environment = false` is [`empty`](Self::empty).
#[derive(Clone, Default)]
pub struct Environment {
    variables: Arc<HashMap<String, Zeroizing<String>>>,
    home: Option<PathBuf>,
}

impl Environment {
    /// The process's variables and home directory as they are now. Variables that are not UTF-8 are left out.
    ///
    /// In a program that has more rights than who started it (setuid, setgid, capabilities of its file: the kernel's
    /// `AT_SECURE`), it is [`empty`](Self::empty): whoever started it must not choose what is read, run and trusted
    /// with those rights.
    pub fn process() -> Self {
        if is_secure_execution() {
            return Environment::empty();
        }
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, Zeroizing::new(value.into_string().ok()?)))
        };
        let variables = std::env::vars_os().filter_map(text).collect();
        Environment { variables: Arc::new(variables), home: std::env::home_dir() }
    }

    /// What a builder was given, and what its option `use_environment` says.
    ///
    /// # Errors
    /// `InvalidArgument` if the two contradict each other.
    #[cfg_attr(
        not(any(feature = "http", feature = "kafka", feature = "nats", feature = "postgres", feature = "redis")),
        allow(dead_code, reason = "for the sinks with this option")
    )]
    pub(crate) fn chosen(given: Option<Environment>, use_environment: bool) -> Result<Environment> {
        match (given, use_environment) {
            (Some(_), false) => Err(invalid("an environment is given, and use_environment is false")),
            (Some(environment), true) => Ok(environment),
            (None, true) => Ok(Environment::process()),
            (None, false) => Ok(Environment::empty()),
        }
    }

    /// No variables and no home directory: a sink so built depends on its options alone.
    pub fn empty() -> Self {
        Environment::default()
    }

    /// Sets a variable.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.variables).insert(name.into(), Zeroizing::new(value.into()));
        self
    }

    /// Sets the home directory, where `~/.aws` is looked for.
    #[must_use]
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// A variable, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn home_dir(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The path that a variable names, else the default; `None` if it begins with `~/` and there is no home directory.
    pub(crate) fn path(&self, variable: &str, default: &str) -> Option<PathBuf> {
        let path = self.get(variable).unwrap_or(default);
        match path.strip_prefix("~/") {
            Some(rest) => Some(self.home.as_ref()?.join(rest)),
            None => Some(path.into()),
        }
    }
}

impl fmt::Debug for Environment {
    /// Shows no value: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("home", &self.home).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_shows_no_values() {
        let environment = Environment::empty().var("AWS_SECRET_ACCESS_KEY", "hush");
        assert!(!format!("{environment:?}").contains("hush"));
    }

    #[test]
    fn paths_begin_at_the_home_directory() {
        let environment = Environment::empty().var("FILE", "/etc/file");
        assert_eq!(environment.path("FILE", "~/file"), Some("/etc/file".into()));
        assert_eq!(environment.path("OTHER", "~/file"), None, "there is no home directory");
        assert_eq!(environment.home("/home/me").path("OTHER", "~/file"), Some("/home/me/file".into()));
    }
}
