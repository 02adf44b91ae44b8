//! Who we are: the exchanges of SASL, without the connection that they go over.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use super::options::{KafkaOptions, Sasl};
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::encode::hex;
use crate::sink::net::{invalid, secret_file};

/// A server that asks for more rounds than this wants us busy, and not safe. RFC 7677 asks for 4,096.
const MOST_ROUNDS: u32 = 1_000_000;

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
        let mut nonce = [0; 24];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut nonce).map_err(|_| "the system has no random numbers")?;
        Ok(self.begin_with(secret, &hex(&nonce)))
    }

    fn begin_with(&self, secret: Secret, nonce: &str) -> Exchange {
        let user = &self.username;
        let (first, state) = match self.mechanism {
            Sasl::Plain | Sasl::None => (format!("\0{user}\0{}", secret.reveal()), State::Last),
            Sasl::Oauthbearer => {
                let more: String = self.extensions.iter().map(|(name, value)| format!("{name}={value}\x01")).collect();
                (format!("n,,\x01auth=Bearer {}\x01{more}\x01", secret.reveal()), State::Bearer)
            }
            Sasl::ScramSha256 | Sasl::ScramSha512 => {
                let user = user.replace('=', "=3D").replace(',', "=2C");
                let bare = format!("n={user},r={nonce}");
                let wide = self.mechanism == Sasl::ScramSha512;
                (format!("n,,{bare}"), State::Challenge { secret, wide, bare, nonce: nonce.to_owned() })
            }
        };
        Exchange { first: Zeroizing::new(first.into_bytes()), state }
    }
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
    Challenge { secret: Secret, wide: bool, bare: String, nonce: String },
    /// SCRAM: the server's next word proves that it knows the password, too.
    Proof { expected: Vec<u8> },
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
            State::Challenge { secret, wide, bare, nonce } => {
                let (said, expected) = match wide {
                    false => scram::<Sha256Mac>(&secret, &bare, &nonce, word)?,
                    true => scram::<Sha512Mac>(&secret, &bare, &nonce, word)?,
                };
                self.state = State::Proof { expected };
                Ok(Some(said))
            }
            State::Proof { expected } => {
                let text = std::str::from_utf8(word).unwrap_or_default();
                let proof = text.split(',').find_map(|field| field.strip_prefix("v="));
                match proof.and_then(|proof| BASE64_STANDARD.decode(proof).ok()) {
                    Some(proof) if proof == expected => Ok(None),
                    _ => Err(format!("the broker does not prove that it knows the password: {}", shown(word))),
                }
            }
        }
    }
}

fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The two functions of which SCRAM is made.
trait Hash {
    fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>>;
    fn hash(bytes: &[u8]) -> Zeroizing<Vec<u8>>;
}

struct Sha256Mac;
struct Sha512Mac;

macro_rules! hash {
    ($name:ident, $digest:ty) => {
        impl Hash for $name {
            fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
                let mut mac = Hmac::<$digest>::new_from_slice(key).expect("HMAC takes keys of any length");
                parts.iter().for_each(|part| mac.update(part));
                Zeroizing::new(mac.finalize().into_bytes().to_vec())
            }
            fn hash(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
                Zeroizing::new(<$digest>::digest(bytes).to_vec())
            }
        }
    };
}
hash!(Sha256Mac, Sha256);
hash!(Sha512Mac, Sha512);

/// Our last word of SCRAM (RFC 5802), and what the server has to say then.
fn scram<H: Hash>(secret: &Secret, bare: &str, nonce: &str, challenge: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let wrong = || format!("the broker's challenge is none of SCRAM: {}", shown(challenge));
    let challenge = std::str::from_utf8(challenge).map_err(|_| wrong())?;
    let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name)).ok_or_else(wrong);
    let (both, salt) = (field("r=")?, BASE64_STANDARD.decode(field("s=")?).map_err(|_| wrong())?);
    let rounds: u32 = field("i=")?.parse().map_err(|_| wrong())?;
    if !both.starts_with(nonce) || both.len() == nonce.len() || !(1..=MOST_ROUNDS).contains(&rounds) {
        return Err(wrong());
    }
    let salted = salted_password::<H>(secret.reveal().as_bytes(), &salt, rounds);
    let client_key = H::mac(&salted, &[b"Client Key"]);
    let without_proof = format!("c=biws,r={both}");
    let message: [&[u8]; 5] = [bare.as_bytes(), b",", challenge.as_bytes(), b",", without_proof.as_bytes()];
    let signature = H::mac(&H::hash(&client_key), &message);
    let proof: Vec<u8> = client_key.iter().zip(signature.iter()).map(|(key, signature)| key ^ signature).collect();
    let server_key = H::mac(&salted, &[b"Server Key"]);
    let said = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
    Ok((said.into_bytes(), H::mac(&server_key, &message).to_vec()))
}

/// PBKDF2 of one block.
fn salted_password<H: Hash>(password: &[u8], salt: &[u8], rounds: u32) -> Zeroizing<Vec<u8>> {
    let mut last = H::mac(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last.clone();
    for _ in 1..rounds {
        last = H::mac(password, &[&last]);
        sum.iter_mut().zip(last.iter()).for_each(|(sum, last)| *sum ^= last);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(pairs: &[(&str, &str)]) -> Result<Option<Credentials>> {
        let pairs: Vec<_> = [("brokers", "h")].into_iter().chain(pairs.iter().copied()).collect();
        Credentials::of(&KafkaOptions::from_pairs(&pairs)?)
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn scram_as_in_its_rfc() {
        let pairs = [("sasl", "scram-sha-256"), ("username", "user"), ("password", "pencil")];
        let credentials = credentials(&pairs).unwrap().unwrap();
        let mut exchange = credentials.begin_with(Secret::new("pencil"), "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(&exchange.first[..], b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let said = exchange.answer(challenge).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(exchange.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap(), None);
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_none() {
        let pairs = [("sasl", "scram-sha-512"), ("username", "a=b,c"), ("password", "hush-hush")];
        let credentials = credentials(&pairs).unwrap().unwrap();
        let mut exchange = credentials.begin_with(Secret::new("hush-hush"), "abc");
        assert_eq!(&exchange.first[..], b"n,,n=a=3Db=2Cc,r=abc");
        for bad in
            ["", "r=abc,s=AA==,i=1", "r=xyz1,s=AA==,i=1", "r=abcd,s=AA==,i=0", "r=abcd,s=AA==,i=4000000000", "e=no"]
        {
            let mut exchange = credentials.begin_with(Secret::new("hush-hush"), "abc");
            assert!(exchange.answer(bad.as_bytes()).is_err(), "{bad}");
        }
        exchange.answer(b"r=abcd,s=AA==,i=2").unwrap().unwrap();
        let error = exchange.answer(b"v=AAAA").unwrap_err();
        assert!(!error.contains("hush"), "{error}");
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
