//! The options of a PostgreSQL sink.

use std::time::Duration;

use crate::option_table::{Bytes, Count, Text, choice, option_table};
use crate::secret::Secret;

const MIB: u64 = 1 << 20;

choice! {
    /// When connections are encrypted.
    PostgresTls: "one of auto, disable, require, verify-full" {
        /// As `verify-full`, but for servers on this machine (`localhost`, 127.0.0.0/8, `::1`), as `disable`.
        Auto = "auto",
        /// Never.
        Disable = "disable",
        /// The same as `verify-full`, which is what a URL means that says so: nobody else is believed to be the server.
        Require = "require",
        /// Always; the certificate must be of an authority that is trusted, and the host's.
        VerifyFull = "verify-full",
    }
}

fn is_time(time: &Duration) -> bool {
    (Duration::from_millis(10)..=Duration::from_secs(600)).contains(time)
}

option_table! {
    /// The options of a `PostgresSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct PostgresOptions, setters postgres_setters;
    /// The servers, a database and perhaps the table: `postgres://USER@HOST:PORT,HOST:PORT/DATABASE/TABLE`. The port is 5432 where none is
    /// given, the database the one that is named like the user. Passwords are other options.
    url: Text = "", "postgres:// or postgresql://, servers divided by commas, perhaps a database and a table",
        |v| !v.is_empty();
    /// The table that has a row for each record. Letters count as they are.
    table: Text = "", "such as events, audit.events or \"odd.name\", or empty: that of the URL", |_| true;
    /// The column that has the payload: of any type that reads it as text (`jsonb`, `json`, `text`, …), or `bytea`, which has it as it is.
    payload_column: Text = "payload", "a name", |v| !v.is_empty();
    /// The column that has the record's id; empty: none. These columns are of any type that reads what they get as text, or `bytea`.
    id_column: Text = "id", "a name, or empty", |_| true;
    /// The column that has the record's key, or NULL; empty: none.
    key_column: Text = "key", "a name, or empty", |_| true;
    /// The column that has the record's topic, or NULL; empty: none.
    topic_column: Text = "topic", "a name, or empty", |_| true;
    /// The column that has the record's headers as a JSON object, or NULL; empty: none.
    headers_column: Text = "headers", "a name, or empty", |_| true;
    /// The column that has the time when it was put, in RFC 3339; empty: none.
    created_at_column: Text = "created_at", "a name, or empty", |_| true;
    /// The column that has the id of the batch that the record came in; empty: none.
    batch_column: Text = "", "a name, or empty", |_| true;
    /// The column that has the record's number in its buffer; empty: none.
    seq_column: Text = "", "a name, or empty", |_| true;
    /// Note in `progress_table` how far this buffer's records are in the table, in one transaction with them, so that each is there once.
    once: bool = "true", "true, false", |_| true;
    /// The table of these notes: a row for each buffer and lane.
    progress_table: Text = "unistream_progress", "such as unistream_progress or audit.progress", |v| !v.is_empty();
    /// Make that table where it does not exist.
    create_progress_table: bool = "true", "true, false", |_| true;
    /// The user, if the URL names none; empty: `PGUSER`.
    username: Text = "", "a name, or empty", |_| true;
    /// The password.
    password: Secret = "", "a password, or empty: PGPASSWORD", |_| true;
    /// A file with that password, read anew for every connection.
    password_file: Text = "", "a path, or empty", |_| true;
    /// When connections are encrypted. Nothing is encrypted without knowing whose server it is.
    sslmode: PostgresTls = "auto", "auto, disable, require, verify-full", |_| true;
    /// A PEM file of the authorities to trust instead of Mozilla's.
    ca_bundle: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the certificate that a server asks for (mutual TLS), and those between it and its authority.
    client_cert: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the private key of `client_cert`; empty: it stands in the same file.
    client_key: Text = "", "a path, or empty", |_| true;
    /// Read the variables that name the user and the password (`PGUSER`, `PGPASSWORD`), proxies (`https_proxy`, `all_proxy`,
    /// `no_proxy`) and authorities (`SSL_CERT_FILE`). A program that is setuid, setgid or has capabilities of its file never reads
    /// them.
    use_environment: bool = "true", "true, false", |_| true;
    /// The name of our connections in `pg_stat_activity`.
    application_name: Text = "unistream", "a text", |_| true;
    /// The most records of one `COPY`, and in a batch.
    max_call_records: Count = "2000", "1 to 10000", |v| (1..=10_000).contains(v);
    /// The most bytes of one `COPY`, and in a batch.
    max_call_bytes: Bytes = "8MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The most bytes of a record with its headers.
    max_record_bytes: Bytes = "8MiB", "1 to 64MiB", |v| (1..=64 * MIB).contains(v);
    /// The longest time to connect to a server, TLS and sign-in included.
    connect_timeout: Duration = "5", "0.01 to 600", is_time;
    /// The longest time that an answer may take: of the rows of a call, or of a `COMMIT`.
    timeout: Duration = "30", "0.01 to 600", is_time;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "postgres")]
#[allow(clippy::single_component_path_imports)]
pub(super) use postgres_setters;
