//! Which servers there are, and which is next.

use crate::error::Result;
use crate::platform::system_random;
use crate::sink::net::invalid;

/// The port where a URL names none.
const PORT: u16 = 4222;
/// So many servers of a cluster are remembered at most.
const MOST: usize = 64;

/// What a URL says: servers, a user, a subject, and whether its scheme demands TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) servers: Vec<Server>,
    pub(super) username: String,
    pub(super) subject: String,
    pub(super) tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whose certificate it must show: a server of which another tells by its address has that one's.
    pub(super) tls_name: String,
}

impl Place {
    /// # Errors
    /// `InvalidArgument` for what is no such URL; a password in it is refused, and not repeated.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("the url is not nats://HOST:PORT/SUBJECT"))?;
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(invalid("the scheme of the url is neither nats nor tls")),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (users, hosts): (Vec<_>, Vec<_>) =
            hosts.split(',').map(|host| host.rsplit_once('@').map_or(("", host), |pair| pair)).unzip();
        if users.iter().any(|user| user.contains(':')) {
            return Err(invalid(
                "a password does not belong in a URL, where others see it; password and password_file take it",
            ));
        }
        let mut named = users.iter().filter(|user| !user.is_empty());
        let username = decoded(named.next().unwrap_or(&""))?;
        if named.any(|other| decoded(other).ok().as_deref() != Some(&username)) {
            return Err(invalid("the servers of the url have several users"));
        }
        let servers = hosts.iter().map(|host| Server::parse(host)).collect::<Result<_>>()?;
        let subject = decoded(path)?;
        Ok(Place { servers, username, subject, tls })
    }
}

fn decoded(text: &str) -> Result<String> {
    crate::sink::url::percent_decode(text).ok_or_else(|| invalid("the url is not percent-encoded UTF-8"))
}

impl Server {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid(format!("{text:?} is no server such as host or host:4222"));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => (text, PORT),
        };
        let is_of_a_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']' | '%');
        if host.is_empty() || !host.chars().all(is_of_a_host) {
            return Err(wrong());
        }
        Ok(Server { host: host.to_owned(), port, tls_name: host.to_owned() })
    }
}

/// The servers of one sink.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<Server>,
    next: usize,
}

impl Servers {
    /// Begins with any of them, so that many programs do not all use the first.
    pub(super) fn new(all: Vec<Server>) -> Self {
        let next = (system_random() % all.len().max(1) as u64) as usize;
        Servers { all, next }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn current(&self) -> Server {
        self.all[self.next % self.all.len()].clone()
    }

    /// Goes on behind a server that failed or asks us to leave, unless another thread has done so.
    pub(super) fn leave(&mut self, server: &Server) {
        if self.current() == *server {
            self.next = (self.next + 1) % self.all.len();
        }
    }

    /// Remembers the servers of the cluster that one of them tells of. What was told `in_clear` before TLS may be somebody else's
    /// word, who names servers of his own: then only addresses count, because they must show the certificate of who told.
    pub(super) fn discover<'a>(&mut self, teller: &Server, told: impl Iterator<Item = &'a str>, in_clear: bool) {
        for mut server in told.filter_map(|text| Server::parse(text).ok()) {
            let is_address = server.host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok();
            if is_address {
                server.tls_name.clone_from(&teller.tls_name);
            }
            if in_clear && !is_address {
                continue;
            }
            let is_known = self.all.iter().any(|known| known.host == server.host && known.port == server.port);
            if !is_known && self.all.len() < MOST {
                self.all.push(server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_a_user_and_a_subject() {
        let place = Place::parse("tls://me%40x@a,b:4333,me%40x@[::1]:1/orders.%7Bkey%7D").unwrap();
        let servers: Vec<_> = place.servers.iter().map(|server| (&server.host[..], server.port)).collect();
        assert_eq!(servers, [("a", 4222), ("b", 4333), ("[::1]", 1)]);
        assert_eq!((&place.username[..], &place.subject[..], place.tls), ("me@x", "orders.{key}", true));
        assert_eq!(Place::parse("nats://h").unwrap().subject, "");
        for bad in [
            "h",
            "http://h",
            "nats://",
            "nats://h:0",
            "nats://h:x",
            "nats://a@h,b@i",
            "nats://h,",
            "nats://h/%f",
            "nats://a b",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
        let error = Place::parse("nats://me:hush@h/s").unwrap_err().to_string();
        assert!(error.contains("password_file") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn servers_take_turns_and_learn_of_others() {
        let mut servers = Servers::new(Place::parse("nats://a,b").unwrap().servers);
        let first = servers.current();
        servers.leave(&first);
        let second = servers.current();
        servers.leave(&first);
        assert_eq!(servers.current(), second, "it was left already");
        let told = ["a:4222", "10.0.0.1:4222", "c:4222", "nonsense:x", "NATS/1.0", "\"q\"", "a\r\nb"];
        servers.discover(&second, told.into_iter(), true);
        assert_eq!(servers.len(), 3, "a name is not believed that was told before TLS");
        servers.discover(&second, told.into_iter(), false);
        assert_eq!(servers.len(), 4);
        assert_eq!((&servers.all[2].tls_name, &servers.all[3].tls_name[..]), (&second.host, "c"));
    }
}
