//! A connection to one broker: what it speaks, who we are, requests and their answers.

use std::io::{self, ErrorKind, Read, Write as _};
use std::time::{Duration, Instant};

use super::codes::{self, NONE};
use super::messages::{self, API_VERSIONS, Api, SASL_AUTHENTICATE, SASL_HANDSHAKE, Versions};
use super::sasl::Credentials;
use super::wire::{Malformed, Write};
use crate::sink::net::connect::{self, Dialer};
use crate::sink::net::failure::CallError;

/// The longest answer: the metadata of a cluster of 100,000 partitions.
const MAX_ANSWER: usize = 32 << 20;

/// So much of an answer is read at once.
const PIECE: usize = 64 << 10;

/// A connection that was idle for so long is not used any more: Azure closes those that were for 4 minutes, Kafka after 10.
const MAX_IDLE: Duration = Duration::from_secs(180);

/// A connection is given up so long before the broker wants to be told anew who we are.
const BEFORE_EXPIRY: Duration = Duration::from_secs(30);

/// Host and port of a broker.
pub(super) type Place = (String, u16);

/// How to reach brokers.
pub(super) struct Way {
    pub(super) dialer: Dialer,
    pub(super) tls: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) client_id: String,
    /// The longest time that a request may take to be sent, and again its answer to come.
    pub(super) timeout: Duration,
}

pub(super) struct Connection {
    pub(super) place: Place,
    stream: connect::Connection,
    versions: Versions,
    /// The number of the last request.
    correlation: i32,
    client_id: String,
    timeout: Duration,
    used: Instant,
    expires: Option<Instant>,
}

impl Connection {
    /// Connects, learns what the broker speaks, and says who we are.
    ///
    /// # Errors
    /// Why that is not possible now, in words without secrets.
    pub(super) fn open(way: &Way, place: Place) -> Result<Self, CallError> {
        let (host, port) = &place;
        let stream = way.dialer.connect(host, *port, way.tls);
        let stream = stream.map_err(|error| CallError::unavailable("connect", error.to_string()))?;
        let mut connection = Connection {
            place,
            stream,
            versions: Versions::default(),
            correlation: 0,
            client_id: way.client_id.clone(),
            timeout: way.timeout,
            used: Instant::now(),
            expires: None,
        };
        let (_, body) = connection.call(API_VERSIONS, |_, _| ())?;
        connection.versions = match messages::api_versions(&body) {
            Ok(Ok(versions)) => versions,
            Ok(Err(code)) => return Err(connection.refused(API_VERSIONS, code, None)),
            Err(Malformed) => return Err(connection.malformed(API_VERSIONS)),
        };
        if let Some(credentials) = &way.credentials {
            connection.authenticate(credentials)?;
        }
        Ok(connection)
    }

    fn authenticate(&mut self, credentials: &Credentials) -> Result<(), CallError> {
        let mechanism = credentials.name();
        let (_, body) = self.call(SASL_HANDSHAKE, |out, _| out.text(mechanism))?;
        let (code, offered) = messages::sasl_handshake(&body).map_err(|Malformed| self.malformed(SASL_HANDSHAKE))?;
        if code != NONE {
            let offered = format!("the broker has no {mechanism}, but {}", offered.join(", "));
            return Err(self.refused(SASL_HANDSHAKE, code, Some(&offered)));
        }
        let failed = |message: String| CallError::unavailable(SASL_AUTHENTICATE.name, message);
        let mut exchange = credentials.begin().map_err(failed)?;
        let mut said = exchange.first.clone();
        loop {
            let (version, body) = self.call(SASL_AUTHENTICATE, |out, _| out.bytes(&said))?;
            let answer = messages::sasl_authenticate(version, &body);
            let answer = answer.map_err(|Malformed| self.malformed(SASL_AUTHENTICATE))?;
            if answer.code != NONE {
                return Err(self.refused(SASL_AUTHENTICATE, answer.code, answer.message.as_deref()));
            }
            if answer.lifetime_ms > 0 {
                let lifetime = Duration::from_millis(answer.lifetime_ms.cast_unsigned());
                self.expires = Some(Instant::now() + lifetime.saturating_sub(BEFORE_EXPIRY).max(lifetime / 2));
            }
            match exchange.answer(&answer.bytes).map_err(failed)? {
                Some(next) => said = next.into(),
                None => return Ok(()),
            }
        }
    }

    /// Whether the broker is likely to answer on it still.
    pub(super) fn is_fresh(&self) -> bool {
        let now = Instant::now();
        now.duration_since(self.used) < MAX_IDLE && self.expires.is_none_or(|expires| now < expires)
    }

    /// Begins a request, with the version in which to write the rest of it.
    ///
    /// # Errors
    /// The broker does not speak it.
    pub(super) fn begin(&mut self, api: Api) -> Result<(Vec<u8>, i16), CallError> {
        let version = self.versions.of(api).map_err(|error| CallError::unavailable(api.name, error))?;
        self.correlation = self.correlation.wrapping_add(1);
        Ok((messages::begin(api, version, self.correlation, &self.client_id), version))
    }

    /// Sends a request that [`begin`](Self::begin) has begun.
    pub(super) fn send(&mut self, api: Api, mut request: Vec<u8>) -> Result<(), CallError> {
        messages::finish(&mut request);
        self.stream.wait_until(Instant::now() + self.timeout);
        let sent = self.stream.write_all(&request).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.lost(api, &error))
    }

    /// Reads the answer to the last request.
    pub(super) fn receive(&mut self, api: Api) -> Result<Vec<u8>, CallError> {
        self.stream.wait_until(Instant::now() + self.timeout);
        let answer = read_answer(&mut self.stream, self.correlation).map_err(|error| self.lost(api, &error))?;
        self.used = Instant::now();
        Ok(answer)
    }

    /// Sends a request and reads its answer; `fill` writes what follows the header.
    pub(super) fn call(&mut self, api: Api, fill: impl FnOnce(&mut Vec<u8>, i16)) -> Result<(i16, Vec<u8>), CallError> {
        let (mut request, version) = self.begin(api)?;
        fill(&mut request, version);
        self.send(api, request)?;
        Ok((version, self.receive(api)?))
    }

    fn shown(&self) -> String {
        format!("{}:{}", self.place.0, self.place.1)
    }

    fn lost(&self, api: Api, error: &io::Error) -> CallError {
        let what = match error.kind() {
            ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
            _ => error.to_string(),
        };
        CallError::unavailable(api.name, format!("{what} ({})", self.shown()))
    }

    pub(super) fn malformed(&self, api: Api) -> CallError {
        CallError::undocumented(
            api.name,
            format_args!("it ends too early, or has a length that it cannot have ({})", self.shown()),
        )
    }

    /// The error for a code that says that it is no use now.
    pub(super) fn refused(&self, api: Api, code: i16, message: Option<&str>) -> CallError {
        let message = match message {
            Some(message) => format!("{message} ({})", self.shown()),
            None => self.shown(),
        };
        CallError { code: Some(codes::name(code)), ..CallError::unavailable(api.name, message) }
    }
}

/// Reads the answer to the request of this number.
pub(super) fn read_answer(from: &mut impl Read, correlation: i32) -> io::Result<Vec<u8>> {
    let odd = |what: &str| Err(io::Error::new(ErrorKind::InvalidData, what.to_owned()));
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let [length, number] = [0, 4].map(|at| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let len = usize::try_from(length).ok().and_then(|len| len.checked_sub(4)).filter(|len| *len <= MAX_ANSWER);
    let Some(len) = len else {
        return odd("the answer is none of Kafka's: is it the right port, and is the option tls right?");
    };
    if number != correlation {
        return odd("the answer is to another request");
    }
    let mut body = Vec::new();
    while body.len() < len {
        // Allocate as the bytes come, whatever was announced.
        let begin = body.len();
        body.resize(len.min(begin + PIECE), 0);
        from.read_exact(&mut body[begin..])?;
    }
    Ok(body)
}
