//! Connections to the servers: which one to ask, signed in, kept while they are good.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::place::Server;
use super::resp::{Reply, command};
use super::session::Session;
use super::slots::{Map, slot};
use crate::secret::Secret;
use crate::sink::net::connect::Dialer;
use crate::sink::net::failure::CallError;
use crate::sink::net::{invalid, secret_file};

/// A connection that was idle for so long is asked whether it is still good before it is used.
const ASK_AFTER: Duration = Duration::from_secs(5);

/// Who we are to a server.
#[derive(Clone, Default)]
pub(super) struct Login {
    username: String,
    password: Password,
}

#[derive(Clone, Default)]
enum Password {
    #[default]
    None,
    Here(Secret),
    File(PathBuf),
}

/// What the servers of the URL are.
pub(super) enum Setting {
    /// Servers of which any that is a master will do.
    Servers,
    /// Sentinels, who know the master of that name.
    Sentinels(String, Login),
    /// Nodes of a cluster.
    Cluster,
}

pub(super) struct Client {
    pub(super) seeds: Vec<Server>,
    pub(super) setting: Setting,
    pub(super) login: Login,
    pub(super) database: u32,
    pub(super) tls: bool,
    pub(super) dialer: Dialer,
    pub(super) connect_timeout: Duration,
    pub(super) known: Mutex<Known>,
    pub(super) interrupts: AtomicU64,
}

/// What is known of the servers.
#[derive(Default)]
pub(super) struct Known {
    idle: HashMap<Server, Vec<Session>>,
    /// Which of the URL's servers is next.
    seed: usize,
    /// The master that a Sentinel has named.
    master: Option<Server>,
    /// The nodes of the cluster.
    map: Option<Map>,
}

impl Login {
    /// # Errors
    /// `InvalidArgument` for a password that is given twice, and a user without one.
    pub(super) fn of(username: &str, password: &Secret, file: &str, what: &str) -> crate::Result<Login> {
        let password = match (password.is_empty(), file.is_empty()) {
            (true, true) if username.is_empty() => Password::None,
            (true, true) => return Err(invalid(format!("{what} is given without a password"))),
            (false, true) => Password::Here(password.clone()),
            (true, false) => Password::File(file.into()),
            (false, false) => return Err(invalid(format!("the password of {what} is given twice"))),
        };
        Ok(Login { username: username.to_owned(), password })
    }

    /// `AUTH`, if there is a password.
    fn command(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let password = match &self.password {
            Password::None => return Ok(None),
            Password::Here(secret) => secret.clone(),
            Password::File(path) => {
                let named = |error| {
                    let message = format!("cannot read the password of {}: {error}", path.display());
                    io::Error::new(ErrorKind::PermissionDenied, message)
                };
                Secret::new(secret_file::read_text(path).map_err(named)?.trim())
            }
        };
        let words = [self.username.as_bytes(), password.reveal().as_bytes()];
        // Large enough at once, because bytes that grow leave copies behind.
        let mut out = Zeroizing::new(Vec::with_capacity(words[0].len() + words[1].len() + 64));
        let words = if self.username.is_empty() { &words[1..] } else { &words };
        let words: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(words.iter().copied()).collect();
        command(words.into_iter(), &mut out);
        Ok(Some(out))
    }
}

impl Client {
    /// The server that takes a stream, if the cluster has one for it. May ask servers for it.
    ///
    /// # Errors
    /// None of them can say.
    pub(super) fn route(&self, stream: &str) -> Result<Option<Server>, CallError> {
        match &self.setting {
            Setting::Servers => {
                let known = self.known();
                Ok(Some(self.seeds[known.seed % self.seeds.len()].clone()))
            }
            Setting::Sentinels(name, login) => {
                let master = self.known().master.clone();
                match master {
                    Some(master) => Ok(Some(master)),
                    None => self.each_seed(|seed| self.ask_sentinel(seed, name, login)).map(Some),
                }
            }
            Setting::Cluster => {
                let slot = slot(stream);
                let node = |known: &Known| known.map.as_ref().and_then(|map| map.node(slot)).cloned();
                if self.known().map.is_none() {
                    let map = self.each_seed(|seed| self.ask_map(seed))?;
                    self.known().map = Some(map);
                }
                let found = node(&self.known());
                Ok(found)
            }
        }
    }

    /// The map of the cluster lacks a slot: it is asked for anew.
    pub(super) fn ask_anew(&self) {
        self.known().map = None;
    }

    /// A connection to a server, and whether it is one that was kept.
    pub(super) fn session(&self, server: &Server) -> io::Result<(Session, bool)> {
        loop {
            let kept = self.known().idle.get_mut(server).and_then(Vec::pop);
            let Some(mut session) = kept else {
                return self.connect(server, &self.login, self.database).map(|session| (session, false));
            };
            if session.is_alive(ASK_AFTER, self.connect_timeout) {
                return Ok((session, true));
            }
        }
    }

    /// Makes sure that the server of one of some streams can be reached, if there are any.
    ///
    /// # Errors
    /// Why none can.
    pub(super) fn reach_any(&self, streams: impl Iterator<Item = String>) -> Result<(), CallError> {
        let interrupts = self.interrupts();
        let (mut tried, mut last, mut is_nowhere) = (Vec::new(), None, false);
        for stream in streams {
            let Some(server) = self.route(&stream)? else {
                (last, is_nowhere) = (Some(nowhere(&stream)), true);
                continue;
            };
            if tried.contains(&server) {
                continue;
            }
            match self.session(&server) {
                Ok((session, _)) => {
                    self.keep(session);
                    return Ok(());
                }
                Err(error) => last = Some(unavailable(error.to_string())),
            }
            self.forget(&server);
            if self.interrupts() != interrupts {
                break;
            }
            tried.push(server);
        }
        if is_nowhere {
            self.ask_anew();
        }
        last.map_or(Ok(()), Err)
    }

    /// Keeps a connection for the next batch.
    pub(super) fn keep(&self, session: Session) {
        self.known().idle.entry(session.server.clone()).or_default().push(session);
    }

    /// A server failed, or does not take what is for it: it is looked for anew.
    pub(super) fn forget(&self, server: &Server) {
        let mut known = self.known();
        known.idle.remove(server);
        known.map = None;
        known.master = None;
        // Who told of it may be out of date, and would tell of it again.
        let was_told = !matches!(self.setting, Setting::Servers);
        if was_told || self.seeds[known.seed % self.seeds.len()] == *server {
            known.seed = (known.seed + 1) % self.seeds.len();
        }
    }

    /// The cluster has changed, as one of its nodes says.
    pub(super) fn changed(&self, teller: &Server) {
        let map = self.ask_map(teller).ok();
        self.known().map = map;
    }

    /// How often it was interrupted.
    pub(super) fn interrupts(&self) -> u64 {
        self.interrupts.load(Ordering::Relaxed)
    }

    pub(super) fn interrupt(&self) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
        self.dialer.interrupt();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks each server of the URL, the one that answered last first, unless what it told was wrong.
    fn each_seed<T>(&self, ask: impl Fn(&Server) -> io::Result<T>) -> Result<T, CallError> {
        let interrupts = self.interrupts();
        let first = self.known().seed;
        let mut last = String::new();
        for turn in 0..self.seeds.len() {
            if self.interrupts() != interrupts {
                return Err(unavailable("interrupted"));
            }
            let at = (first + turn) % self.seeds.len();
            match ask(&self.seeds[at]) {
                Ok(answer) => {
                    self.known().seed = at;
                    return Ok(answer);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(unavailable(last))
    }

    fn ask_sentinel(&self, sentinel: &Server, name: &str, login: &Login) -> io::Result<Server> {
        let mut session = self.connect(sentinel, login, 0)?;
        let reply = session.ask(&["SENTINEL", "get-master-addr-by-name", name], self.connect_timeout)?;
        let master = match &reply {
            Reply::Array(parts) => match &parts[..] {
                [Reply::Text(host), Reply::Text(port)] => port.parse().ok().map(|port| sentinel.told(host, port)),
                _ => None,
            },
            _ => None,
        };
        let master = master.ok_or_else(|| {
            named(sentinel, io::Error::new(ErrorKind::NotFound, format!("the Sentinel knows no master {name}")))
        })?;
        self.known().master = Some(master.clone());
        Ok(master)
    }

    fn ask_map(&self, node: &Server) -> io::Result<Map> {
        let mut session = self.connect(node, &self.login, 0)?;
        let reply = session.ask(&["CLUSTER", "SLOTS"], self.connect_timeout).map_err(|error| named(node, error))?;
        let map = Map::of(&reply, node);
        map.ok_or_else(|| named(node, io::Error::new(ErrorKind::InvalidData, "it knows no nodes that have slots")))
    }

    fn connect(&self, server: &Server, login: &Login, database: u32) -> io::Result<Session> {
        let Server { host, port, tls_name } = server;
        let connection = match self.tls {
            true if host != tls_name => {
                let plain = self.dialer.connect(host, *port, false)?;
                self.dialer.secure(plain, tls_name)?
            }
            tls => self.dialer.connect(host, *port, tls)?,
        };
        let mut session = Session::new(server.clone(), connection);
        let wait = self.connect_timeout;
        let deadline = Instant::now() + wait;
        let mut sign_in = || {
            if let Some(command) = login.command()? {
                session.sign_in(&command, wait)?;
            } else {
                session.ping(wait)?;
            }
            if database != 0 {
                session.ask(&["SELECT", &database.to_string()], wait)?;
            }
            match Instant::now() < deadline {
                true => Ok(()),
                false => Err(io::Error::new(ErrorKind::TimedOut, "it takes too long")),
            }
        };
        sign_in().map_err(|error| named(server, error))?;
        Ok(session)
    }
}

/// The same error with the server's name before it.
pub(super) fn named(server: &Server, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}:{}: {error}", server.host, server.port))
}

/// The cluster has no server for a stream.
pub(super) fn nowhere(stream: &str) -> CallError {
    unavailable(format!("no node of the cluster has slot {}", slot(stream)))
}

pub(super) fn unavailable(message: impl Into<String>) -> CallError {
    CallError::unavailable("XADD", message)
}
