//! What the URL of a PostgreSQL sink says.

use std::net::IpAddr;

use crate::error::Result;
use crate::sink::net::invalid;
use crate::sink::url::percent_decode;

/// The port where a URL names none.
const PORT: u16 = 5432;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) servers: Vec<Server>,
    pub(super) username: String,
    pub(super) database: String,
    pub(super) table: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Place {
    /// # Errors
    /// `InvalidArgument` for what is no such URL; a password in it is refused, and not repeated.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let rest = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "postgres" | "postgresql"));
        let (_, rest) = rest.ok_or_else(|| invalid("the url is not postgres://USER@HOST:PORT/DATABASE/TABLE"))?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = hosts.rsplit_once('@').unwrap_or(("", hosts));
        if user.contains(':') {
            return Err(invalid(
                "a password does not belong in a URL, where others see it; password and password_file take it",
            ));
        }
        let decoded = |text: &str| {
            let text = percent_decode(text).ok_or_else(|| invalid("the url is not percent-encoded UTF-8"))?;
            match text.contains('\0') {
                true => Err(invalid("the url has a NUL in it")),
                false => Ok(text),
            }
        };
        let servers = hosts.split(',').map(Server::parse).collect::<Result<_>>()?;
        let (database, table) = path.split_once('/').unwrap_or((path, ""));
        Ok(Place { servers, username: decoded(user)?, database: decoded(database)?, table: decoded(table)? })
    }
}

impl Server {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid(format!("{text:?} is no server such as host or host:5432"));
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            _ => (text, PORT),
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '%') {
            return Err(wrong());
        }
        Ok(Server { host: host.to_owned(), port })
    }

    /// Whether it is this machine, as far as its name says.
    pub(super) fn is_local(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_servers_a_user_a_database_and_a_table() {
        let place = Place::parse("postgres://me%40x@a,b:7000,[::1]:1/my%2Fdb/audit.events").unwrap();
        let servers: Vec<_> = place.servers.iter().map(|server| (&server.host[..], server.port)).collect();
        assert_eq!(servers, [("a", 5432), ("b", 7000), ("[::1]", 1)]);
        assert_eq!([&place.username, &place.database, &place.table], ["me@x", "my/db", "audit.events"]);
        assert_eq!(place.servers.iter().map(Server::is_local).collect::<Vec<_>>(), [false, false, true]);
        for (url, database, table) in [
            ("postgresql://h", "", ""),
            ("postgres://h/", "", ""),
            ("postgres://h/db", "db", ""),
            ("postgres://h/db/", "db", ""),
        ] {
            let place = Place::parse(url).unwrap();
            assert_eq!((&place.database[..], &place.table[..]), (database, table), "{url}");
        }
        for bad in
            ["h", "http://h", "postgres://", "postgres://h:0", "postgres://h,", "postgres://h/%f", "postgres://%2Frun"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
        assert!(Place::parse("postgres://h/a%00b").is_err());
        let error = Place::parse("postgres://me:hush@h/s").unwrap_err().to_string();
        assert!(error.contains("password_file") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn this_machine() {
        for (host, is_local) in
            [("localhost", true), ("127.8.0.1", true), ("::1", true), ("10.0.0.1", false), ("localhost.evil", false)]
        {
            assert_eq!(Server { host: host.into(), port: 1 }.is_local(), is_local, "{host}");
        }
    }
}
