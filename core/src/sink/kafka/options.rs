//! The options of a Kafka sink.

use std::time::Duration;

use crate::option_table::{Bytes, Text, choice, option_table};
use crate::secret::Secret;

choice! {
    /// How batches are compressed.
    Compression: "one of none, gzip, snappy, lz4, zstd" {
        /// Not at all.
        None = "none",
        /// DEFLATE.
        Gzip = "gzip",
        /// Snappy.
        Snappy = "snappy",
        /// LZ4.
        Lz4 = "lz4",
        /// Zstandard (cargo feature `zstd`), for brokers since 2.1.
        Zstd = "zstd",
    }
}

impl Compression {
    /// The number by which batches name it.
    #[cfg(feature = "kafka")]
    pub(super) fn code(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

choice! {
    /// By what means a record arrives once.
    Once: "one of idempotence, transactions, none" {
        /// A producer id that is kept with each batch, across restarts.
        Idempotence = "idempotence",
        /// Transactions, which this version does not have.
        Transactions = "transactions",
        /// None: what was taken without our seeing the answer is there twice.
        None = "none",
    }
}

choice! {
    /// How the sink proves who it is.
    Sasl: "one of none, plain, scram-sha-256, scram-sha-512, oauthbearer" {
        /// Not at all, or by a certificate.
        None = "none",
        /// Name and password as they are.
        Plain = "plain",
        /// Name and password by SCRAM with SHA-256, which shows the server no password.
        ScramSha256 = "scram-sha-256",
        /// The same with SHA-512.
        ScramSha512 = "scram-sha-512",
        /// A token of OAuth.
        Oauthbearer = "oauthbearer",
    }
}

fn is_time(time: &Duration) -> bool {
    (Duration::from_millis(10)..=Duration::from_secs(600)).contains(time)
}

option_table! {
    /// The options of a `KafkaSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct KafkaOptions, setters kafka_setters;
    /// Brokers to begin with, from which the others are learned.
    brokers: Text = "", "such as host:9092,host2:9092; the port may be left out", |v| !v.is_empty();
    /// The topic of records that name none; empty: each must name its own.
    topic: Text = "", "1 to 249 letters, digits, `.`, `_` and `-`, or empty", |_| true;
    /// By what means a record arrives once.
    once: Once = "idempotence", "idempotence, none", |_| true;
    /// For how long the brokers remember a producer that is silent (their `producer.id.expiration.ms`). A batch that comes again later
    /// may be there twice, and is told of.
    producer_id_expiration: Duration = "86400", "1 to 31536000",
        |v| (Duration::from_secs(1)..=Duration::from_secs(31_536_000)).contains(v);
    /// How batches are compressed.
    compression: Compression = "none", "none, gzip, snappy, lz4, zstd", |_| true;
    /// The most bytes of a batch, before compression: no more than the topic's `max.message.bytes`, or batches have to be divided.
    max_message_bytes: Bytes = "1000000", "1KiB to 256MiB", |v| (1024..=256 << 20).contains(v);
    /// The name of a header that carries the record's id; empty: none.
    id_header: Text = "", "a name of at most 256 bytes, or empty", |v| v.len() <= 256;
    /// Whether brokers may make topics that do not exist, where they are configured to (`auto.create.topics.enable`).
    create_topics: bool = "false", "true, false", |_| true;
    /// The name by which brokers know the sink, in their logs and quotas.
    client_id: Text = "unistream", "1 to 249 bytes", |v| (1..=249).contains(&v.len());
    /// TLS.
    tls: bool = "false", "true, false", |_| true;
    /// How the sink proves who it is.
    sasl: Sasl = "none", "none, plain, scram-sha-256, scram-sha-512, oauthbearer", |_| true;
    /// The user of `plain` and SCRAM.
    username: Text = "", "a name, or empty", |_| true;
    /// The password of `plain` and SCRAM.
    password: Secret = "", "a password, or empty", |_| true;
    /// A file with that password, read anew for every connection, so that it can be rotated.
    password_file: Text = "", "a path, or empty", |_| true;
    /// The token of `oauthbearer`.
    token: Secret = "", "a token, or empty", |_| true;
    /// A file with that token, read anew for every connection, so that it can be rotated.
    token_file: Text = "", "a path, or empty", |_| true;
    /// What else `oauthbearer` tells the broker.
    token_extensions: Text = "", "such as logicalCluster=lkc-1,identityPoolId=pool-1, or empty", |_| true;
    /// A PEM file with the certificate that a broker asks for (mutual TLS), and those between it and its authority.
    client_cert: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the private key of `client_cert`; empty: it stands in the same file.
    client_key: Text = "", "a path, or empty", |_| true;
    /// A PEM file of the authorities to trust instead of Mozilla's.
    ca_bundle: Text = "", "a path, or empty", |_| true;
    /// Read the variable that names authorities (`SSL_CERT_FILE`). A program that is setuid, setgid or has capabilities of its file
    /// never reads it.
    use_environment: bool = "true", "true, false", |_| true;
    /// The longest time to connect, TLS included.
    connect_timeout: Duration = "5", "0.01 to 600", is_time;
    /// The longest time that a broker may take to answer.
    timeout: Duration = "30", "0.01 to 600", is_time;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "kafka")]
#[allow(clippy::single_component_path_imports)]
pub(super) use kafka_setters;
