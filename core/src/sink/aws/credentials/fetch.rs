//! How keys are asked for over the network: from services of AWS over TLS, from this machine and its link in the clear
//! and directly. A redirection is not followed: a token goes nowhere but where it was meant to.

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ureq::http::{Request, Uri};
use zeroize::Zeroizing;

use super::super::client::{self, Tls};
use super::super::config::Environment;

/// Keys and tokens are some thousand bytes.
const MAX_ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) environment: Environment,
    pub(super) tls: Tls,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Fetch {
    /// Asks a container's or instance's own service: never through a proxy, which would be told the token.
    pub(super) fn nearby(&self, request: Request<&[u8]>) -> Result<Answer, String> {
        let environment = Environment::empty();
        send(request, &environment, &self.tls, (Duration::from_secs(1), Duration::from_secs(5)))
    }

    /// Asks a service of AWS.
    pub(super) fn remote(&self, request: Request<&[u8]>) -> Result<Answer, String> {
        send(request, &self.environment, &self.tls, (Duration::from_secs(5), Duration::from_secs(30)))
    }
}

fn send(
    request: Request<&[u8]>,
    environment: &Environment,
    tls: &Tls,
    (connect, total): (Duration, Duration),
) -> Result<Answer, String> {
    let uri = request.uri().clone();
    let host = uri.host().unwrap_or_default().to_owned();
    let plain = uri.scheme_str() == Some("http");
    if !plain && uri.scheme_str() != Some("https") {
        return Err("its URL is neither https nor http".into());
    }
    if plain && !is_documented(&host) {
        return Err(format!("keys are not asked of {host} without TLS"));
    }
    // In the clear nothing leaves this machine and its link.
    let direct = Environment::empty();
    let agent = client::agent(&uri, if plain { &direct } else { environment }, tls, connect, total);
    let agent = agent.map_err(|error| error.to_string())?;
    let (parts, body) = request.into_parts();
    let answer = match body.is_empty() {
        true => agent.run(Request::from_parts(parts, ())),
        false => agent.run(Request::from_parts(parts, body)),
    };
    let failed = |error: &dyn std::fmt::Display| format!("{host}: {error}");
    let mut answer = answer.map_err(|error| failed(&error))?;
    // Of its whole size from the start: a vector that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER + 1));
    let mut reader = answer.body_mut().as_reader().take(MAX_ANSWER as u64 + 1);
    let mut chunk = Zeroizing::new([0; 4096]);
    loop {
        match reader.read(&mut *chunk).map_err(|error| failed(&error))? {
            0 => break,
            len => body.extend_from_slice(&chunk[..len]),
        }
    }
    if body.len() > MAX_ANSWER {
        return Err(failed(&format_args!("an answer of more than {MAX_ANSWER} bytes")));
    }
    Ok(Answer { status: answer.status().as_u16(), body })
}

/// Whether a host is one that AWS documents to answer without TLS: this machine, the containers' and the instances'
/// services.
fn is_documented(host: &str) -> bool {
    const SERVICES: [&str; 5] = ["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || SERVICES.iter().any(|service| service.parse() == Ok(ip)),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// A URL from a base and what follows.
pub(super) fn url(base: &str, rest: &str) -> Result<Uri, String> {
    format!("{}{rest}", base.trim_end_matches('/')).parse().map_err(|_| format!("{base} is not a URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_asked_in_the_clear() {
        for (host, documented) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost", true),
            ("169.254.169.254", true),
            ("169.254.170.2", true),
            ("169.254.170.23", true),
            ("[fd00:ec2::23]", true),
            ("[fd00:ec2::254]", true),
            ("169.254.170.3", false),
            ("169.254.1.1", false),
            ("[fd00:ec2::1]", false),
            ("192.0.2.1", false),
            ("10.0.0.1", false),
            ("localhost.example", false),
            ("169.254.169.254.example", false),
            ("", false),
        ] {
            assert_eq!(is_documented(host), documented, "{host}");
        }
    }
}
