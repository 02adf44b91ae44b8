//! What a sink proves who it is by.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::nkey::UserKey;
use super::options::NatsOptions;
use crate::error::Result;
use crate::secret::Secret;
use crate::sink::net::{invalid, secret_file};

/// A secret, or the file that it is read from for every connection.
#[derive(Clone)]
pub(super) enum Source {
    Here(Secret),
    File(PathBuf),
}

#[derive(Clone)]
pub(super) enum Auth {
    None,
    User(String, Source),
    Token(Source),
    Nkey(Source),
    Creds(PathBuf),
}

impl Auth {
    /// `username` is the URL's.
    ///
    /// # Errors
    /// `InvalidArgument` if there are several.
    pub(super) fn of(options: &NatsOptions, username: String) -> Result<Self> {
        let NatsOptions { password, password_file, token, token_file, nkey, nkey_file, creds_file, .. } = options;
        let username = match (&options.username[..], username) {
            (_, named) if options.username.is_empty() || options.username == named => named,
            (given, named) if named.is_empty() => given.to_owned(),
            _ => return Err(invalid("the url and the option username name two users")),
        };
        let source = |name: &str, secret: &Secret, file: &str| match (secret.is_empty(), file.is_empty()) {
            (true, true) => Ok(None),
            (false, true) => Ok(Some(Source::Here(secret.clone()))),
            (true, false) => Ok(Some(Source::File(file.into()))),
            (false, false) => Err(invalid(format!("{name} and {name}_file exclude each other"))),
        };
        let password = source("password", password, password_file)?;
        let user = match (username.is_empty(), password) {
            (true, None) => None,
            (false, Some(password)) => Some(Auth::User(username, password)),
            (true, Some(_)) => return Err(invalid("a password is given without a user")),
            (false, None) => {
                return Err(invalid("a user is given without a password; a token is given by token or token_file"));
            }
        };
        let token = source("token", token, token_file)?.map(Auth::Token);
        let nkey = source("nkey", nkey, nkey_file)?.map(Auth::Nkey);
        let creds = Some(creds_file).filter(|path| !path.is_empty()).map(|path| Auth::Creds(path.into()));
        let mut ways = [user, token, nkey, creds].into_iter().flatten();
        let auth = ways.next().unwrap_or(Auth::None);
        match ways.next() {
            None => Ok(auth),
            Some(_) => Err(invalid("username and password, token, nkey and creds_file exclude each other")),
        }
    }

    /// What we say of ourselves in `CONNECT`; `nonce` is what the server asks to be signed.
    ///
    /// # Errors
    /// Why there is no proof now, in words without the secret.
    pub(super) fn prove(&self, nonce: &str) -> Result<Vec<(&'static str, Secret)>, String> {
        Ok(match self {
            Auth::None => Vec::new(),
            Auth::User(user, password) => vec![("user", user.clone().into()), ("pass", password.read("password")?)],
            Auth::Token(token) => vec![("auth_token", token.read("token")?)],
            Auth::Nkey(seed) => {
                let text = seed.read("nkey")?;
                // A file may have comments around the seed.
                let line = text.reveal().lines().map(str::trim).find(|line| line.starts_with("SU"));
                let key = UserKey::of_seed(line.unwrap_or(text.reveal())).map_err(|why| format!("the nkey: {why}"))?;
                vec![("nkey", key.public().into()), ("sig", key.sign(nonce).into())]
            }
            Auth::Creds(path) => {
                let text = read("credentials", path)?;
                let wrong = |why: &str| format!("the credentials of {}: {why}", path.display());
                let part = |title: &str| part(&text, title).ok_or_else(|| wrong(&format!("there is no {title}")));
                let key = UserKey::of_seed(part("USER NKEY SEED")?).map_err(wrong)?;
                vec![("jwt", Secret::new(part("NATS USER JWT")?)), ("sig", key.sign(nonce).into())]
            }
        })
    }
}

impl Source {
    fn read(&self, what: &str) -> Result<Secret, String> {
        match self {
            Source::Here(secret) => Ok(secret.clone()),
            Source::File(path) => Ok(Secret::new(read(what, path)?.trim())),
        }
    }
}

fn read(what: &str, path: &Path) -> Result<Zeroizing<String>, String> {
    secret_file::read_text(path).map_err(|error| format!("cannot read the {what} of {}: {error}", path.display()))
}

/// What stands between the lines `-----BEGIN title-----` and the one that ends it.
fn part<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("BEGIN {title}-"))?;
    let mut lines = after.lines().skip(1).map(str::trim);
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "none",
            Auth::User(..) => "user",
            Auth::Token(_) => "token",
            Auth::Nkey(_) => "nkey",
            Auth::Creds(_) => "credentials",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

    fn proof(options: &NatsOptions) -> Result<Vec<(&'static str, Secret)>, String> {
        Auth::of(options, String::new()).map_err(|error| error.to_string())?.prove("nonce")
    }

    #[test]
    fn each_way_says_what_servers_ask_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
            directory.path().join(name).to_str().unwrap().to_owned()
        };
        let of = |pairs: &[(&str, &str)]| {
            let mut options = NatsOptions::default();
            pairs.iter().try_for_each(|(key, value)| options.set(key, value)).map_err(|error| error.to_string())?;
            proof(&options).map(|proof| proof.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" "))
        };
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\neyJ.a.b\n------END NATS USER JWT------\n\nIMPORTANT\n\
             -----BEGIN USER NKEY SEED-----\r\n{SEED}\r\n------END USER NKEY SEED------\n"
        );
        let (creds, seed, word) =
            (file("creds", &creds), file("seed", &format!("# mine\n{SEED}\n")), file("word", "w\n"));
        assert_eq!(of(&[]).unwrap(), "");
        assert_eq!(of(&[("username", "u"), ("password_file", &word)]).unwrap(), "user pass");
        assert_eq!(of(&[("token_file", &word)]).unwrap(), "auth_token");
        assert_eq!(of(&[("nkey", SEED)]).unwrap(), "nkey sig");
        assert_eq!(of(&[("nkey_file", &seed)]).unwrap(), "nkey sig");
        assert_eq!(of(&[("creds_file", &creds)]).unwrap(), "jwt sig");
        for (bad, why) in [
            (&[("username", "u")][..], "without a password"),
            (&[("password", "p")], "without a user"),
            (&[("token", "t"), ("nkey", SEED)], "exclude"),
            (&[("token", "t"), ("token_file", "f")], "exclude"),
            (&[("token_file", "/nowhere")], "cannot read"),
            (&[("creds_file", &word)], "there is no"),
            (&[("nkey", "SUAB")], "nkey"),
        ] {
            let error = of(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains(SEED), "{error}");
        }
    }
}
