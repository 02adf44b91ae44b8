//! What the URL of a Redis sink says.

use crate::error::Result;
use crate::sink::net::invalid;
use crate::sink::url::percent_decode;

/// The port where a URL names none: of servers, and of Sentinels.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) servers: Vec<Server>,
    pub(super) username: String,
    pub(super) database: u32,
    pub(super) stream: String,
    pub(super) tls: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whose certificate it must show: a server of which another tells by its address has that one's.
    pub(super) tls_name: String,
}

impl Place {
    /// # Errors
    /// `InvalidArgument` for what is no such URL; a password in it is refused, and not repeated.
    pub(super) fn parse(url: &str, of_sentinels: bool) -> Result<Self> {
        let form = "the url is not redis://HOST:PORT/DATABASE/STREAM";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(form))?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err(invalid("the scheme of the url is neither redis nor rediss")),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = hosts.rsplit_once('@').unwrap_or(("", hosts));
        if user.contains(':') {
            return Err(invalid(
                "a password does not belong in a URL, where others see it; password and password_file take it",
            ));
        }
        let decoded = |text: &str| percent_decode(text).ok_or_else(|| invalid("the url is not percent-encoded UTF-8"));
        let default = if of_sentinels { SENTINEL_PORT } else { PORT };
        let servers = hosts.split(',').map(|host| Server::parse(host, default)).collect::<Result<_>>()?;
        // A first part of digits is a database, as in the URLs of others.
        let (first, others) = path.split_once('/').unwrap_or((path, ""));
        let is_number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        let (database, stream) = if is_number { (first, others) } else { ("0", path) };
        let database = database.parse().map_err(|_| invalid("the url names no database that can be"))?;
        Ok(Place { servers, username: decoded(user)?, database, stream: decoded(stream)?, tls })
    }
}

impl Server {
    fn parse(text: &str, default: u16) -> Result<Self> {
        let wrong = || invalid(format!("{text:?} is no server such as host or host:6379"));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => (text, default),
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong());
        }
        Ok(Server { host: host.to_owned(), port, tls_name: host.to_owned() })
    }

    /// A server of which this one tells. Without a host it is this one's.
    pub(super) fn told(&self, host: &str, port: u16) -> Server {
        let host = if host.is_empty() || host == "?" { &self.host } else { host };
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let tls_name = if is_address { &self.tls_name } else { host };
        Server { host: host.to_owned(), port, tls_name: tls_name.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_a_user_a_database_and_a_stream() {
        let of = |url: &str| Place::parse(url, false).unwrap();
        let place = of("rediss://me%40x@a,b:7000,[::1]:1/2/orders:%7Bkey%7D/x");
        let servers: Vec<_> = place.servers.iter().map(|server| (&server.host[..], server.port)).collect();
        assert_eq!(servers, [("a", 6379), ("b", 7000), ("[::1]", 1)]);
        assert_eq!((&place.username[..], place.database, place.tls), ("me@x", 2, true));
        assert_eq!(place.stream, "orders:{key}/x");
        for (url, database, stream) in [
            ("redis://h", 0, ""),
            ("redis://h/", 0, ""),
            ("redis://h/3", 3, ""),
            ("redis://h/events", 0, "events"),
            ("redis://h/3d", 0, "3d"),
        ] {
            let place = of(url);
            assert_eq!((place.database, &place.stream[..]), (database, stream), "{url}");
        }
        assert_eq!(Place::parse("redis://s", true).unwrap().servers[0].port, 26379);
        for bad in [
            "h",
            "http://h",
            "redis://",
            "redis://h:0",
            "redis://h:x",
            "redis://h,",
            "redis://h/%f",
            "redis://h/99999999999",
        ] {
            assert!(Place::parse(bad, false).is_err(), "{bad}");
        }
        let error = Place::parse("redis://:hush@h/s", false).unwrap_err().to_string();
        assert!(error.contains("password_file") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_server_that_is_told_of_by_its_address_has_the_name_of_who_told() {
        let teller = &Place::parse("rediss://redis.example", false).unwrap().servers[0];
        assert_eq!(teller.told("10.0.0.1", 7).tls_name, "redis.example");
        assert_eq!(teller.told("other.example", 7).tls_name, "other.example");
        assert_eq!(teller.told("", 7).host, "redis.example");
    }
}
