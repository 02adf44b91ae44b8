//! Who we are: what a server asks for, and what we answer.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::wire;
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::encode::hex;
use crate::sink::net::scram::{Scram, ScramHash};
use crate::sink::net::{invalid, secret_file};

/// The kinds of authentication that a server asks for, by their numbers in the protocol.
const OK: u32 = 0;
const CLEAR: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// Who we are to a server.
pub(super) struct Login {
    pub(super) username: String,
    password: Password,
}

enum Password {
    None,
    Here(Secret),
    File(PathBuf),
}

impl Login {
    /// # Errors
    /// `InvalidArgument` for a password that is given twice.
    pub(super) fn of(username: &str, password: &Secret, file: &str, variable: Option<&str>) -> Result<Login> {
        let password = match (password.is_empty(), file.is_empty()) {
            (true, true) => variable.map_or(Password::None, |text| Password::Here(Secret::new(text))),
            (false, true) => Password::Here(password.clone()),
            (true, false) => Password::File(file.into()),
            (false, false) => return Err(invalid("password and password_file exclude each other")),
        };
        Ok(Login { username: username.to_owned(), password })
    }

    /// # Errors
    /// The file cannot be read now.
    pub(super) fn secret(&self) -> io::Result<Option<Secret>> {
        let path = match &self.password {
            Password::None => return Ok(None),
            Password::Here(secret) => return Ok(Some(secret.clone())),
            Password::File(path) => path,
        };
        let text = secret_file::read_text(path).map_err(|error| {
            let message = format!("cannot read the password of {}: {error}", path.display());
            io::Error::new(ErrorKind::PermissionDenied, message)
        })?;
        Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']))))
    }
}

/// A sign-in under way.
pub(super) struct SignIn<'l> {
    username: &'l str,
    secret: Option<&'l Secret>,
    /// Whether a password may be said as it is: nobody else hears it.
    is_private: bool,
    scram: Option<Scram>,
    /// Nothing more is to be proved.
    is_proved: bool,
}

impl<'l> SignIn<'l> {
    pub(super) fn new(username: &'l str, secret: Option<&'l Secret>, is_private: bool) -> Self {
        SignIn { username, secret, is_private, scram: None, is_proved: true }
    }

    /// What we say to a demand; `None`: nothing.
    ///
    /// # Errors
    /// We have no such thing, would not say it here, or the server is not the one that knows the password.
    pub(super) fn answer(&mut self, kind: u32, rest: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let secret = || self.secret.ok_or("the server asks for a password, and none is given");
        // Large enough at once, because bytes that grow leave copies behind.
        let room = |secret: &Secret| Zeroizing::new(Vec::with_capacity(secret.reveal().len() + 64));
        match kind {
            OK if self.is_proved => Ok(None),
            OK => Err("the server does not prove that it knows the password".into()),
            CLEAR if !self.is_private => Err("the server asks for the password in clear on a connection that is not \
                                              encrypted; see the option sslmode"
                .into()),
            CLEAR => {
                let secret = secret()?;
                let mut said = room(secret);
                wire::password(secret.reveal().as_bytes(), &mut said);
                Ok(Some(said))
            }
            MD5 => {
                let salt = rest.first_chunk::<4>().ok_or("the server's salt is none")?;
                let mut said = Zeroizing::new(Vec::with_capacity(64));
                wire::password(hidden(self.username, secret()?, salt).as_bytes(), &mut said);
                Ok(Some(said))
            }
            SASL => {
                if !rest.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err("the server offers no SCRAM-SHA-256".into());
                }
                // The server goes by the name that we have said first.
                let scram = Scram::begin(ScramHash::Sha256, "", secret()?.clone())?;
                let mut said = Zeroizing::default();
                wire::sasl_begin(SCRAM_SHA_256, scram.first().as_bytes(), &mut said);
                (self.scram, self.is_proved) = (Some(scram), false);
                Ok(Some(said))
            }
            SASL_CONTINUE => {
                let scram = self.scram.as_mut().ok_or("the server goes on with what has not begun")?;
                let mut said = Zeroizing::default();
                wire::sasl_answer(&scram.answer(rest)?, &mut said);
                Ok(Some(said))
            }
            SASL_FINAL => {
                let mut scram = self.scram.take().ok_or("the server ends what has not begun")?;
                scram.finish(rest)?;
                self.is_proved = true;
                Ok(None)
            }
            other => Err(format!("the server asks for a kind of authentication that we do not know ({other})")),
        }
    }
}

/// A password as old servers want it.
fn hidden(username: &str, secret: &Secret, salt: &[u8; 4]) -> Zeroizing<String> {
    let mut inner = Md5::new();
    inner.update(secret.reveal());
    inner.update(username);
    let inner = Zeroizing::new(hex(&inner.finalize()));
    let mut outer = Md5::new();
    outer.update(inner.as_bytes());
    outer.update(salt);
    Zeroizing::new(format!("md5{}", hex(&outer.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: u32, rest: &[u8], password: Option<&str>, is_private: bool) -> Result<Option<Vec<u8>>, String> {
        let secret = password.map(Secret::new);
        let mut sign_in = SignIn::new("me", secret.as_ref(), is_private);
        sign_in.answer(kind, rest).map(|said| said.map(|said| said.to_vec()))
    }

    #[test]
    fn what_servers_ask_for() {
        assert_eq!(said(OK, b"", None, false), Ok(None));
        assert_eq!(said(CLEAR, b"", Some("pw"), true), Ok(Some(b"p\0\0\0\x07pw\0".to_vec())));
        assert!(said(CLEAR, b"", Some("pw"), false).unwrap_err().contains("in clear"));
        assert!(said(CLEAR, b"", None, true).unwrap_err().contains("none is given"));
        let hidden = said(MD5, b"\x01\x02\x03\x04", Some("pw"), false).unwrap().unwrap();
        // By the rule md5(md5(password, user), salt), reckoned elsewhere.
        assert_eq!(&hidden[5..40], b"md596a0ef0da7c9c4c77c22c155d8ef42d4");
        assert!(said(MD5, b"", Some("pw"), true).is_err());
        assert!(said(7, b"", Some("pw"), true).unwrap_err().contains("(7)"));
        assert!(said(SASL, b"SCRAM-SHA-256-PLUS\0\0", Some("pw"), true).is_err());
        assert!(said(SASL_CONTINUE, b"r=", Some("pw"), true).is_err());
        assert!(said(SASL_FINAL, b"v=", Some("pw"), true).is_err());
    }

    #[test]
    fn a_server_that_proves_nothing_is_not_believed() {
        let secret = Secret::new("pw");
        let mut sign_in = SignIn::new("me", Some(&secret), true);
        sign_in.answer(SASL, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").unwrap().unwrap();
        assert!(sign_in.answer(OK, b"").unwrap_err().contains("prove"));
        assert!(sign_in.answer(SASL_FINAL, b"v=AAAA").is_err());
    }

    #[test]
    fn passwords_come_from_one_place() {
        let of = |password: &str, file: &str, variable| Login::of("me", &Secret::new(password), file, variable);
        let text = |login: Login| login.secret().unwrap().map(|secret| secret.reveal().to_owned());
        assert_eq!(text(of("a", "", Some("v")).unwrap()).as_deref(), Some("a"));
        assert_eq!(text(of("", "", Some("v")).unwrap()).as_deref(), Some("v"));
        assert_eq!(text(of("", "", None).unwrap()), None);
        assert!(of("a", "f", None).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), " a b \n").unwrap();
        assert_eq!(text(of("", file.path().to_str().unwrap(), None).unwrap()).as_deref(), Some(" a b "));
        assert!(of("", "/nowhere/pw", None).unwrap().secret().is_err());
    }
}
