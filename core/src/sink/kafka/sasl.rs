//! Who we are: the exchanges of SASL, without the connection that they go over.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::options::{KafkaOptions, Sasl};
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::scram::{Scram, ScramHash, shown};
use crate::sink::net::{invalid, secret_file};

/// What the exchanges need.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) mechanism: Sasl,
    username: String,
    secret: Source,
    extensions: Vec<(String, String)>,
}

/// Where the password or the token is.
#[derive(Clone)]
enum Source {
    Given(Secret),
    File(PathBuf),
}

impl Credentials {
    /// # Errors
    /// `InvalidArgument` for options that do not go together.
    pub(super) fn of(options: &KafkaOptions) -> Result<Option<Self>> {
        let KafkaOptions { sasl, username, password, password_file, token, token_file, .. } = options;
        let has_password = !username.is_empty() || !password.is_empty() || !password_file.is_empty();
        let has_token = !token.is_empty() || !token_file.is_empty() || !options.token_extensions.is_empty();
        let (what, given, file) = match sasl {
            Sasl::None if has_password || has_token => {
                return Err(invalid("a user, password or token is given, and the option sasl says how to use none"));
            }
            Sasl::None => return Ok(None),
            Sasl::Oauthbearer if has_password => return Err(invalid("oauthbearer takes a token, and no password")),
            Sasl::Oauthbearer => ("token", token, token_file),
            _ if has_token => return Err(invalid("a token is for sasl=oauthbearer alone")),
            _ if username.is_empty() => return Err(invalid("there is no username for what the option sasl says")),
            _ => ("password", password, password_file),
        };
        let secret = match (given.is_empty(), file.is_empty()) {
            (false, true) => Source::Given(given.clone()),
            (true, false) => Source::File(file.into()),
            (true, true) => return Err(invalid(format!("there is neither {what} nor {what}_file"))),
            (false, false) => return Err(invalid(format!("{what} and {what}_file exclude each other"))),
        };
        let extension = |pair: &str| {
            let (name, value) = pair.split_once('=').filter(|(name, _)| !name.is_empty())?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let pairs = options.token_extensions.split(',').filter(|pair| !pair.trim().is_empty());
        let extensions = pairs.map(extension).collect::<Option<Vec<_>>>();
        let extensions = extensions.ok_or_else(|| invalid("token_extensions are not such as name=value,name=value"))?;
        Ok(Some(Credentials { mechanism: *sasl, username: username.clone(), secret, extensions }))
    }

    /// The mechanism's name in the protocol.
    pub(super) fn name(&self) -> &'static str {
        match self.mechanism {
            Sasl::None => "NONE",
            Sasl::Plain => "PLAIN",
            Sasl::ScramSha256 => "SCRAM-SHA-256",
            Sasl::ScramSha512 => "SCRAM-SHA-512",
            Sasl::Oauthbearer => "OAUTHBEARER",
        }
    }

    /// Begins an exchange.
    ///
    /// # Errors
    /// The password or token cannot be read now, in words without it.
    pub(super) fn begin(&self) -> Result<Exchange, String> {
        let secret = match &self.secret {
            Source::Given(secret) => secret.clone(),
            Source::File(path) => read(path)?,
        };
        let user = &self.username;
        let (first, state) = match self.mechanism {
            Sasl::Plain | Sasl::None => (format!("\0{user}\0{}", secret.reveal()), State::Last),
            Sasl::Oauthbearer => {
                let more: String = self.extensions.iter().map(|(name, value)| format!("{name}={value}\x01")).collect();
                (format!("n,,\x01auth=Bearer {}\x01{more}\x01", secret.reveal()), State::Bearer)
            }
            Sasl::ScramSha256 => begin_scram(ScramHash::Sha256, user, secret)?,
            Sasl::ScramSha512 => begin_scram(ScramHash::Sha512, user, secret)?,
        };
        Ok(Exchange { first: Zeroizing::new(first.into_bytes()), state })
    }
}

fn begin_scram(hash: ScramHash, user: &str, secret: Secret) -> Result<(String, State), String> {
    let scram = Scram::begin(hash, user, secret)?;
    Ok((scram.first(), State::Challenge(scram)))
}

fn read(path: &Path) -> Result<Secret, String> {
    let text = secret_file::read_text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        text => Ok(Secret::new(text)),
    }
}

/// An exchange under way.
pub(super) struct Exchange {
    /// What we say first.
    pub(super) first: Zeroizing<Vec<u8>>,
    state: State,
}

enum State {
    /// The server's next word is its last.
    Last,
    /// The same, where a word that is not empty is a refusal.
    Bearer,
    /// SCRAM: the server's next word is its challenge.
    Challenge(Scram),
    /// SCRAM: the server's next word proves that it knows the password, too.
    Proof(Scram),
}

impl Exchange {
    /// What we say to the server's next word; `None`: we are through.
    ///
    /// # Errors
    /// Why this is not the server that we want, or does not want us.
    pub(super) fn answer(&mut self, word: &[u8]) -> Result<Option<Vec<u8>>, String> {
        match std::mem::replace(&mut self.state, State::Last) {
            State::Last => Ok(None),
            State::Bearer if word.is_empty() => Ok(None),
            State::Bearer => Err(format!("the token was refused: {}", shown(word))),
            State::Challenge(mut scram) => {
                let said = scram.answer(word)?;
                self.state = State::Proof(scram);
                Ok(Some(said))
            }
            State::Proof(mut scram) => scram.finish(word).map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(pairs: &[(&str, &str)]) -> Result<Option<Credentials>> {
        let pairs: Vec<_> = [("brokers", "h")].into_iter().chain(pairs.iter().copied()).collect();
        Credentials::of(&KafkaOptions::from_pairs(&pairs)?)
    }

    #[test]
    fn tokens_and_plain_passwords() {
        let plain = credentials(&[("sasl", "plain"), ("username", "u"), ("password", "p")]).unwrap().unwrap();
        let mut exchange = plain.begin().unwrap();
        assert_eq!(&exchange.first[..], b"\0u\0p");
        assert_eq!(exchange.answer(b"").unwrap(), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "tok\n").unwrap();
        let path = file.path().to_str().unwrap();
        let pairs = [("sasl", "oauthbearer"), ("token_file", path), ("token_extensions", "a=b, c=d")];
        let mut exchange = credentials(&pairs).unwrap().unwrap().begin().unwrap();
        assert_eq!(&exchange.first[..], b"n,,\x01auth=Bearer tok\x01a=b\x01c=d\x01\x01");
        assert!(exchange.answer(b"{\"status\":\"invalid_token\"}").unwrap_err().contains("invalid_token"));
        std::fs::write(file.path(), "").unwrap();
        assert!(credentials(&pairs).unwrap().unwrap().begin().is_err());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for pairs in [
            &[("username", "u")][..],
            &[("sasl", "plain")],
            &[("sasl", "plain"), ("username", "u")],
            &[("sasl", "plain"), ("username", "u"), ("password", "p"), ("password_file", "f")],
            &[("sasl", "plain"), ("username", "u"), ("password", "p"), ("token", "t")],
            &[("sasl", "oauthbearer"), ("token", "t"), ("username", "u")],
            &[("sasl", "oauthbearer")],
            &[("sasl", "oauthbearer"), ("token", "t"), ("token_extensions", "nothing")],
        ] {
            assert!(credentials(pairs).is_err(), "{pairs:?}");
        }
        assert!(credentials(&[]).unwrap().is_none());
    }
}
