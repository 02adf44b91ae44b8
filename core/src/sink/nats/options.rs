//! The options of a NATS sink.

use std::time::Duration;

use crate::option_table::{Bytes, Count, Text, choice, option_table};
use crate::secret::Secret;

const MIB: u64 = 1 << 20;

choice! {
    /// When connections are encrypted.
    NatsTls: "one of auto, require, first" {
        /// When the server demands it.
        Auto = "auto",
        /// Always: a server that does not offer it is not used. What the scheme `tls` means.
        Require = "require",
        /// From the first byte, before the server greets (its option `handshake_first`).
        First = "first",
    }
}

choice! {
    /// When the records of a batch are stored all or none.
    NatsAtomic: "one of never, auto, require" {
        /// Never: each is stored and acknowledged alone.
        Never = "never",
        /// Where the stream allows it (`allow_atomic`, servers from 2.12 on), else each alone.
        Auto = "auto",
        /// Always: a stream that does not allow it is unavailable.
        Require = "require",
    }
}

fn is_time(time: &Duration) -> bool {
    (Duration::from_millis(10)..=Duration::from_secs(600)).contains(time)
}

option_table! {
    /// The options of a `NatsSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct NatsOptions, setters nats_setters;
    /// The servers, and perhaps the subject: `nats://HOST:PORT,HOST:PORT/SUBJECT`; `tls://` demands TLS. The port is 4222 where none is
    /// given. A user may stand before the first host; passwords are other options.
    url: Text = "", "nats:// or tls://, servers divided by commas, perhaps a subject", |v| !v.is_empty();
    /// The subject of records that have no topic. `{key}`, `{id}`, `{topic}` and `{header.NAME}` stand for the record's; with
    /// `{topic}` in it, it is the subject of all.
    subject: Text = "", "such as events, orders.{key}, prefix.{topic}, or empty: that of the URL", |_| true;
    /// The stream that must take the records; another answers with an error. Empty: whichever has the subject.
    stream: Text = "", "the name of a stream, or empty", |v| is_word(v);
    /// Send each record's id as `Nats-Msg-Id`, by which a stream knows what it has within its `duplicate_window`.
    deduplicate: bool = "true", "true, false", |_| true;
    /// Store the records of a batch that have one subject all or none, which also keeps them in order whatever fails.
    atomic: NatsAtomic = "never", "never, auto, require", |_| true;
    /// Send each record's key and time as `X-Record-Key` and `X-Record-Time`, percent-encoded.
    metadata: bool = "true", "true, false", |_| true;
    /// The user, together with `password`.
    username: Text = "", "a name, or empty", |_| true;
    /// The password.
    password: Secret = "", "a password, or empty", |_| true;
    /// A file with that password, read anew for every connection, as all such files are.
    password_file: Text = "", "a path, or empty", |_| true;
    /// A token.
    token: Secret = "", "a token, or empty", |_| true;
    /// A file with that token.
    token_file: Text = "", "a path, or empty", |_| true;
    /// A file with the JWT and the seed of a user, as `nsc` and Synadia Cloud make it.
    creds_file: Text = "", "a path, or empty", |_| true;
    /// The seed of a user's nkey.
    nkey: Secret = "", "a seed that begins with SU, or empty", |_| true;
    /// A file with that seed.
    nkey_file: Text = "", "a path, or empty", |_| true;
    /// When connections are encrypted.
    tls: NatsTls = "auto", "auto, require, first", |_| true;
    /// A PEM file of the authorities to trust instead of Mozilla's.
    ca_bundle: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the certificate that a server asks for (mutual TLS), and those between it and its authority.
    client_cert: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the private key of `client_cert`; empty: it stands in the same file.
    client_key: Text = "", "a path, or empty", |_| true;
    /// Read the variables that name proxies (`https_proxy`, `all_proxy`, `no_proxy`) and authorities (`SSL_CERT_FILE`). A program
    /// that is setuid, setgid or has capabilities of its file never reads them.
    use_environment: bool = "true", "true, false", |_| true;
    /// Use the servers of the cluster, too, of which a server tells.
    discover: bool = "true", "true, false", |_| true;
    /// What our inboxes begin with, where the user may not subscribe to all of `_INBOX.>`.
    inbox_prefix: Text = "_INBOX", "a subject without wildcards", |v| super::subject::check(v).is_ok();
    /// The domain of JetStream, for a leaf node that has one of its own.
    domain: Text = "", "a name, or empty", |v| is_word(v);
    /// The name of our connections, as the server's monitoring shows it.
    connection_name: Text = "unistream", "a text", |_| true;
    /// The most records that a batch is sealed with. An atomic batch may have 1000.
    max_call_records: Count = "1000", "1 to 10000", |v| (1..=10_000).contains(v);
    /// The most bytes that a batch is sealed with, payloads and headers.
    max_call_bytes: Bytes = "8MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The most bytes of a record with its headers. Servers take 1 MiB unless their `max_payload` says otherwise, and tell that when
    /// we connect; what is larger than that is rejected.
    max_record_bytes: Bytes = "1MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The longest time to connect to a server, TLS and greeting included.
    connect_timeout: Duration = "5", "0.01 to 600", is_time;
    /// The longest time without an acknowledgement while some are awaited.
    timeout: Duration = "10", "0.01 to 600", is_time;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "nats")]
#[allow(clippy::single_component_path_imports)]
pub(super) use nats_setters;

/// Whether it can stand in a subject as one of its words, or is empty.
fn is_word(text: &str) -> bool {
    text.is_empty() || (super::subject::check(text).is_ok() && !text.contains('.'))
}
