//! The options of a Redis sink.

use std::time::Duration;

use crate::option_table::{Bytes, Count, NEVER, Text, option_table};
use crate::secret::Secret;

const MIB: u64 = 1 << 20;

fn is_time(time: &Duration) -> bool {
    (Duration::from_millis(10)..=Duration::from_secs(600)).contains(time)
}

option_table! {
    /// The options of a `RedisSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct RedisOptions, setters redis_setters;
    /// The servers, and perhaps a database and the stream: `redis://HOST:PORT,HOST:PORT/DATABASE/STREAM`; `rediss://` is with TLS. The
    /// port is 6379 where none is given. A user may stand before the first host; passwords are other options.
    url: Text = "", "redis:// or rediss://, servers divided by commas, perhaps a database and a stream", |v| !v.is_empty();
    /// The stream of records that have no topic. `{key}`, `{id}`, `{topic}` and `{header.NAME}` stand for the record's; with
    /// `{topic}` in it, it is the stream of all.
    stream: Text = "", "such as events, orders:{key}, prefix:{topic}, or empty: that of the URL", |_| true;
    /// Store with each stream how far this buffer's records are in it, in one step with them, so that each is there once.
    once: bool = "true", "true, false", |_| true;
    /// How long that is kept after the last record of a buffer.
    once_expiry: Duration = "2592000", "1 to 31536000, or none: for ever",
        |v| *v == NEVER || (Duration::from_secs(1)..=Duration::from_secs(31_536_000)).contains(v);
    /// The field that has the payload.
    payload_field: Text = "data", "a name", |v| !v.is_empty();
    /// The field that has the record's id; empty: none.
    id_field: Text = "id", "a name, or empty", |_| true;
    /// The field that has the record's key, if it has one; empty: none.
    key_field: Text = "key", "a name, or empty", |_| true;
    /// The field that has the time when it was put, in RFC 3339; empty: none.
    time_field: Text = "created_at", "a name, or empty", |_| true;
    /// Send the record's headers, too, as fields whose names begin with `header_prefix`.
    headers: bool = "true", "true, false", |_| true;
    /// What the names of those fields begin with.
    header_prefix: Text = "header.", "a text, or empty", |_| true;
    /// About how many entries a stream keeps (`MAXLEN ~`); 0: all.
    max_len: Count = "0", "0 to 9000000000000000", |v| *v <= 9_000_000_000_000_000;
    /// About how long a stream keeps entries (`MINID ~`).
    max_age: Duration = "none", "1 to 3153600000, or none: for ever",
        |v| *v == NEVER || (Duration::from_secs(1)..=Duration::from_secs(3_153_600_000)).contains(v);
    /// Keep exactly `max_len` or `max_age`, at a cost for every record.
    exact_trim: bool = "false", "true, false", |_| true;
    /// So many replicas must have the records before they are delivered (`WAIT`), within `timeout`.
    replicas: Count = "0", "0 to 100", |v| *v <= 100;
    /// The user (ACL) besides the password; empty: the default user.
    username: Text = "", "a name, or empty", |_| true;
    /// The password.
    password: Secret = "", "a password, or empty", |_| true;
    /// A file with that password, read anew for every connection.
    password_file: Text = "", "a path, or empty", |_| true;
    /// The servers of the URL are nodes of a Redis Cluster, which tell of the others.
    cluster: bool = "false", "true, false", |_| true;
    /// The servers of the URL are Sentinels, which tell who the master of this name is; empty: they are not.
    sentinel: Text = "", "the name of a master, or empty", |_| true;
    /// The user of the Sentinels.
    sentinel_username: Text = "", "a name, or empty", |_| true;
    /// The password of the Sentinels; empty: they ask for none.
    sentinel_password: Secret = "", "a password, or empty", |_| true;
    /// A file with that password.
    sentinel_password_file: Text = "", "a path, or empty", |_| true;
    /// A PEM file of the authorities to trust instead of Mozilla's.
    ca_bundle: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the certificate that a server asks for (mutual TLS), and those between it and its authority.
    client_cert: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the private key of `client_cert`; empty: it stands in the same file.
    client_key: Text = "", "a path, or empty", |_| true;
    /// Read the variables that name proxies (`https_proxy`, `all_proxy`, `no_proxy`) and authorities (`SSL_CERT_FILE`). A program
    /// that is setuid, setgid or has capabilities of its file never reads them.
    use_environment: bool = "true", "true, false", |_| true;
    /// The most records of one call, and in a batch. A server does nothing else while it stores them, some microseconds each.
    max_call_records: Count = "1000", "1 to 10000", |v| (1..=10_000).contains(v);
    /// The most bytes of one call, and in a batch.
    max_call_bytes: Bytes = "4MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The most bytes of a record with its fields.
    max_record_bytes: Bytes = "4MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The longest time to connect to a server, TLS and sign-in included.
    connect_timeout: Duration = "5", "0.01 to 600", is_time;
    /// The longest time that a reply may take.
    timeout: Duration = "10", "0.01 to 600", is_time;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "redis")]
#[allow(clippy::single_component_path_imports)]
pub(super) use redis_setters;
