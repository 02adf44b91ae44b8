//! Through which proxy a host is reached.

use std::net::IpAddr;

use ureq::http::Uri;

use super::environment::Environment;
use super::invalid;
use crate::error::Result;

/// The proxy for a URL, as the variables choose it: `https_proxy` or `http_proxy` by the scheme, else `all_proxy`; each also
/// in upper case, but for `HTTP_PROXY`: a CGI program finds there what a client sent as the header `Proxy`. `no_proxy`
/// lists the exceptions. The proxy is asked for a tunnel (`CONNECT`) for either scheme.
///
/// # Errors
/// The variable holds no URL of an HTTP proxy.
pub(super) fn proxy_for(uri: &Uri, environment: &Environment) -> Result<Option<ureq::Proxy>> {
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let names = if plain { ["HTTP_PROXY", "ALL_PROXY"] } else { ["HTTPS_PROXY", "ALL_PROXY"] };
    choose(&names, uri.host().unwrap_or_default(), port, environment)
}

/// The proxy for a connection of another protocol: with TLS as for `https`, without it `all_proxy` alone.
///
/// # Errors
/// As [`proxy_for`].
pub(super) fn tunnel_for(host: &str, port: u16, tls: bool, environment: &Environment) -> Result<Option<ureq::Proxy>> {
    let names = ["HTTPS_PROXY", "ALL_PROXY"];
    choose(if tls { &names } else { &names[1..] }, host, port, environment)
}

fn choose(names: &[&str], host: &str, port: u16, environment: &Environment) -> Result<Option<ureq::Proxy>> {
    let found = names.iter().find_map(|name| Some((name, variable(environment, name)?)));
    let Some((name, url)) = found else { return Ok(None) };
    if variable(environment, "NO_PROXY").is_some_and(|list| is_listed(list, host, port)) {
        return Ok(None);
    }
    // The URL may hold a password, so that no message repeats it.
    let proxy = ureq::Proxy::new(url).map_err(|_| invalid(format!("{name} is not the URL of a proxy")))?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
        other => Err(invalid(format!("{name}: {other} proxies are not supported, only http and https ones"))),
    }
}

/// A variable by its conventional lower-case name, else by its upper-case name, as curl reads them.
fn variable<'e>(environment: &'e Environment, name: &str) -> Option<&'e str> {
    let upper = || environment.get(name).filter(|_| name != "HTTP_PROXY");
    environment.get(&name.to_ascii_lowercase()).or_else(upper)
}

/// Whether a `no_proxy` list names a host: itself, a domain above it, a network that its address is in, each perhaps with
/// a port, or `*` for all. Commas or white space divide the entries.
fn is_listed(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let ip = host.parse().ok();
    let matches = |entry: &str| {
        if entry == "*" {
            return true;
        }
        let (name, only) = split_port(entry);
        if only.is_some_and(|only| only != port) {
            return false;
        }
        let name = name.trim_matches(['[', ']']);
        if let Some(ip) = ip {
            return name.parse() == Ok(ip) || in_network(name, ip);
        }
        let domain = name.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
        let above = || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
        !domain.is_empty() && (host == domain || above())
    };
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(matches)
}

/// An entry without its port, and the port. An IPv6 address has one only if it stands in brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Whether an address is in a network such as `10.0.0.0/8`.
fn in_network(network: &str, ip: IpAddr) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.trim_end_matches(']').parse(), bits.parse::<u32>()) else { return false };
    match (base, ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) if bits <= 32 => {
            (base.to_bits() ^ ip.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(ip)) if bits <= 128 => {
            (base.to_bits() ^ ip.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_names_hosts_domains_networks_and_ports() {
        for (list, host, listed) in [
            ("*", "any.host", true),
            ("localhost,127.0.0.1", "127.0.0.1", true),
            ("localhost 127.0.0.1", "127.0.0.1", true),
            ("localhost", "localhost.example", false),
            ("amazonaws.com", "kinesis.eu-west-1.amazonaws.com", true),
            (".amazonaws.com", "kinesis.eu-west-1.amazonaws.com", true),
            (".amazonaws.com", "amazonaws.com", true),
            ("amazonaws.com.", "kinesis.eu-west-1.amazonaws.com", true),
            ("amazonaws.com", "kinesis.eu-west-1.amazonaws.com.", true),
            ("*.amazonaws.com", "kinesis.eu-west-1.AMAZONAWS.com", true),
            ("amazonaws.com", "notamazonaws.com", false),
            (" a , [::1] ", "::1", true),
            ("::1", "[::1]", true),
            ("[::1]:443", "[::1]", true),
            ("[::1]:80", "[::1]", false),
            ("host:443", "host", true),
            ("host:8443", "host", false),
            (".example:443", "a.example", true),
            ("10.1.2.3:443", "10.1.2.3", true),
            ("10.1.2.3:80", "10.1.2.3", false),
            ("host:x", "host", false),
            ("10.0.0.0/8", "10.200.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("192.0.2.7/32", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.6", false),
            ("192.0.2.7/33", "192.0.2.7", false),
            ("10.0.0.0/8", "10.example", false),
            ("fd00:ec2::/32", "fd00:ec2::254", true),
            ("fd00:ec2::/32", "fd01::254", false),
            ("::/0", "fd01::254", true),
            // The last label of a name is no part of an address.
            ("1", "10.0.0.1", false),
            ("", "host", false),
            (",", "host", false),
            (".", "host", false),
        ] {
            assert_eq!(is_listed(list, host, 443), listed, "{list} {host}");
        }
    }

    #[test]
    fn proxies_by_scheme() {
        let environment = Environment::empty()
            .var("HTTPS_PROXY", "http://secure:1")
            .var("http_proxy", "http://plain:2")
            .var("NO_PROXY", "direct,port:8443");
        let host = |url: &str| {
            let proxy = proxy_for(&url.parse().unwrap(), &environment).unwrap();
            proxy.map(|proxy| proxy.host().to_owned())
        };
        assert_eq!(host("https://a/").as_deref(), Some("secure"));
        assert_eq!(host("http://a/").as_deref(), Some("plain"));
        assert_eq!(host("https://direct/"), None);
        assert_eq!(host("https://port:8443/"), None);
        assert_eq!(host("https://port/").as_deref(), Some("secure"));
        // What a CGI program's client sends as the header Proxy.
        let cgi = Environment::empty().var("HTTP_PROXY", "http://evil:4");
        assert!(proxy_for(&"http://a/".parse().unwrap(), &cgi).unwrap().is_none());
        let all = Environment::empty().var("ALL_PROXY", "http://all:3");
        assert!(proxy_for(&"https://a/".parse().unwrap(), &all).unwrap().is_some());
        for bad in ["socks5://user:hush@proxy:1", "://hush"] {
            let environment = Environment::empty().var("HTTPS_PROXY", bad);
            let error = proxy_for(&"https://a/".parse().unwrap(), &environment).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
