//! What the sinks that speak over a network share. It knows no service: what a service's own answers look like, and what
//! its error codes mean, the service's sink says.
//!
//! | file | what it does |
//! |---|---|
//! | `environment` | the variables and the home directory that configure a sink |
//! | `secret_file` | reads small files with secrets |
//! | `trust` | the authorities whose certificates are believed, and the certificate that we show |
//! | `proxy` | through which proxy a host is reached |
//! | `early` | answers that come before the request was sent |
//! | `http` | requests over kept connections: time limits, interruption, bounded answers |
//! | `attempted` | since when a batch may have arrived, as a memo |
//! | `builder` | what the builders of the sinks to brokers have in common |
//! | `crc16` | a checksum |
//! | `exchange` | the connections that HTTP is spoken over |
//! | `connect` | connections over TCP, proxies and TLS, for HTTP and for other protocols |
//! | `socket` | TCP sockets: names, time limits, probes |
//! | `date` | `Date` and `Retry-After` |
//! | `failure` | the table from a failed call to the outcome of its records |
//! | `delivery` | from the answers to calls to the report about a batch |
//! | `redact` | masks secrets that a service repeats |
//! | `template` | texts with `{key}`, `{topic}` and the like; where a record goes within a sink |
//! | `encode` | percent-encoding, hexadecimal digits |
//! | `scram` | proofs of a password, of us and of a server |

#[cfg_attr(not(any(feature = "nats", feature = "redis")), allow(dead_code, reason = "for the sinks to brokers"))]
pub(crate) mod attempted;
#[cfg_attr(
    not(any(feature = "kafka", feature = "nats", feature = "redis")),
    allow(unused_imports, unused_macros, reason = "for the sinks to brokers")
)]
pub(crate) mod builder;
#[cfg(all(test, not(feature = "torture")))]
#[path = "../../../tests/common/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "each sink that speaks to brokers needs a part of it")]
pub(crate) mod connect;
#[cfg_attr(not(any(feature = "nats", feature = "redis")), allow(dead_code, reason = "for the sinks to brokers"))]
pub(crate) mod crc16;
pub(crate) mod date;
pub(crate) mod delivery;
mod early;
pub(crate) mod encode;
pub(crate) mod environment;
mod exchange;
pub(crate) mod failure;
#[cfg(feature = "torture")]
#[path = "../../../../tests/torture/src/fuzz/net.rs"]
pub(crate) mod fuzz;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod redact;
#[cfg(any(feature = "kafka", feature = "postgres"))]
pub(crate) mod scram;
pub(crate) mod secret_file;
#[cfg(any(test, feature = "torture"))]
#[cfg_attr(
    not(any(feature = "nats", feature = "postgres", feature = "redis")),
    allow(dead_code, reason = "for the sinks to brokers")
)]
pub(crate) mod slowly;
mod socket;
pub(crate) mod template;
pub(crate) mod trust;

use crate::error::{Error, ErrorKind};

/// The kind that every wrong option of a sink has.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
