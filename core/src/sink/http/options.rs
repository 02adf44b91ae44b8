//! The options of an HTTP sink.

use std::time::Duration;

use crate::option_table::{Bytes, Count, Text, choice, option_table};
use crate::secret::Secret;

const GIB: u64 = 1 << 30;

choice! {
    /// The method of the requests.
    Method: "one of POST, PUT, PATCH" {
        /// `POST`.
        Post = "POST",
        /// `PUT`.
        Put = "PUT",
        /// `PATCH`.
        Patch = "PATCH",
    }
}

choice! {
    /// How the records of a request stand in its body.
    BodyForm: "one of ndjson, json-array, length-prefixed, single" {
        /// JSON, one record a line, each line ended by a line feed.
        Ndjson = "ndjson",
        /// One JSON array of all records.
        JsonArray = "json-array",
        /// Any bytes: each record after its length as 32 bits, little-endian.
        LengthPrefixed = "length-prefixed",
        /// One record a request, as it is.
        Single = "single",
    }
}

choice! {
    /// What is sent of a record.
    RecordForm: "one of payload, envelope" {
        /// The payload as it is.
        Payload = "payload",
        /// A JSON object of the payload, the id, the seq, the key and the time.
        Envelope = "envelope",
    }
}

choice! {
    /// How bodies are compressed.
    Compression: "one of none, gzip, zstd" {
        /// Not at all.
        None = "none",
        /// `Content-Encoding: gzip`.
        Gzip = "gzip",
        /// `Content-Encoding: zstd` (cargo feature `zstd`): smaller than gzip at a third of the time, where the service takes it.
        Zstd = "zstd",
    }
}

choice! {
    /// Which redirections (307, 308) are followed.
    Redirects: "one of none, same-host, any" {
        /// None: the records wait until the URL is corrected.
        None = "none",
        /// Those to the same scheme, host and port.
        SameHost = "same-host",
        /// All but those from https to http. Other hosts get no `Authorization` and no secret header.
        Any = "any",
    }
}

choice! {
    /// A service that is known.
    Preset: "one of none, elastic, opensearch, clickhouse, loki, splunk_hec, datadog_logs, otlp_logs, webhook" {
        /// None: the other options say what is sent.
        None = "none",
        /// Elasticsearch, by `_bulk`.
        Elastic = "elastic",
        /// OpenSearch, likewise.
        Opensearch = "opensearch",
        /// ClickHouse, by `JSONEachRow`.
        Clickhouse = "clickhouse",
        /// Grafana Loki.
        Loki = "loki",
        /// Splunk's HTTP Event Collector.
        SplunkHec = "splunk_hec",
        /// Logs of Datadog.
        DatadogLogs = "datadog_logs",
        /// Logs of OpenTelemetry, by OTLP.
        OtlpLogs = "otlp_logs",
        /// A webhook, signed as Standard Webhooks has it.
        Webhook = "webhook",
    }
}

choice! {
    /// What an answer speaks of.
    AnswerForm: "one of status, records" {
        /// Its status, of the whole request.
        Status = "status",
        /// Its body, of each record.
        Records = "records",
    }
}

fn is_time(time: &Duration) -> bool {
    (Duration::from_millis(10)..=Duration::from_secs(600)).contains(time)
}

option_table! {
    /// The options of an `HttpSink`. [`TABLE`](Self::TABLE) describes them; [`set`](Self::set) takes them as text.
    pub struct HttpOptions, setters http_setters;
    /// Where to: scheme, host, port, path, and perhaps a query.
    url: Text = "", "an http or https URL without user and password", |v| !v.is_empty();
    /// A service that is known: it decides what is sent and how answers are read.
    preset: Preset = "none", "none, elastic, opensearch, clickhouse, loki, splunk_hec, datadog_logs, otlp_logs, webhook",
        |_| true;
    /// Fields that a preset gives every record besides its payload: Loki's labels, Splunk's host, source, sourcetype, index and
    /// indexed fields, Datadog's service, ddsource, ddtags, hostname, and OpenTelemetry's attributes of the resource. `{key}`,
    /// `{id}`, `{topic}` and `{header.NAME}` stand for the record's.
    fields: Text = "", "such as service=web,host=web-1,tenant={key}, or empty", |_| true;
    /// The secret that webhooks are signed with; empty: they are not.
    signing_secret: Secret = "", "a text, or whsec_ and Base64, or empty", |_| true;
    /// A file with that secret, read when the sink is made.
    signing_secret_file: Text = "", "a path, or empty", |_| true;
    /// Splunk: a record is delivered when the indexers have acknowledged it, and not when the collector has taken it.
    acknowledge: bool = "false", "true, false", |_| true;
    /// How long an acknowledgement may take; then the records are sent again.
    acknowledge_timeout: Duration = "60", "0.01 to 600", is_time;
    /// What follows `?` in the requests' URL, as it is written there; for sinks that are opened by a URL, where `?` begins the
    /// options.
    query: Text = "", "such as database=logs&wait=true, or empty", |_| true;
    /// The method.
    method: Method = "POST", "POST, PUT, PATCH", |_| true;
    /// Headers of every request.
    headers: Text = "", "lines such as X-Scope-OrgID: tenant, or empty", |_| true;
    /// Headers of every request that nobody else is to see, such as an API key.
    secret_headers: Secret = "", "lines such as X-Api-Key: ..., or empty", |_| true;
    /// A file with such lines, read when the sink is made.
    secret_headers_file: Text = "", "a path, or empty", |_| true;
    /// How the records of a request stand in its body.
    body: BodyForm = "ndjson", "ndjson, json-array, length-prefixed, single", |_| true;
    /// What is sent of each record: its payload, or an envelope of JSON with id, seq, key and time.
    record: RecordForm = "payload", "payload, envelope", |_| true;
    /// The `Content-Type`; empty: the body's own.
    content_type: Text = "", "a media type, or empty", |_| true;
    /// How bodies are compressed.
    compression: Compression = "none", "none, gzip, zstd", |_| true;
    /// The user of HTTP Basic authentication, together with `password`.
    username: Text = "", "a name without a colon, or empty", |v| !v.contains(':');
    /// The password of HTTP Basic authentication.
    password: Secret = "", "a password, or empty", |_| true;
    /// A file with that password, read anew for every request, so that it can be rotated.
    password_file: Text = "", "a path, or empty", |_| true;
    /// The token of `Authorization: Bearer`, or of what a preset's service has in its place.
    token: Secret = "", "a token, or empty", |_| true;
    /// A file with that token, read anew for every request, so that it can be rotated.
    token_file: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the certificate that a server asks for (mutual TLS), and those between it and its authority.
    client_cert: Text = "", "a path, or empty", |_| true;
    /// A PEM file with the private key of `client_cert`; empty: it stands in the same file.
    client_key: Text = "", "a path, or empty", |_| true;
    /// A PEM file of the authorities to trust instead of Mozilla's.
    ca_bundle: Text = "", "a path, or empty", |_| true;
    /// Read the variables that name proxies (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`) and authorities
    /// (`SSL_CERT_FILE`). A program that is setuid, setgid or has capabilities of its file never reads them.
    use_environment: bool = "true", "true, false", |_| true;
    /// Which redirections with status 307 and 308 are followed. Others would turn the request into a `GET` without a body, and
    /// never are.
    redirects: Redirects = "none", "none, same-host, any", |_| true;
    /// The header that tells a repeated request from a new one: the batch's id, or the record's where a request has one record.
    idempotency_header: Text = "Idempotency-Key", "the name of a header; empty: none", |_| true;
    /// Whether the status answers for the whole request, or the body for each record.
    answer: AnswerForm = "status", "status, records", |_| true;
    /// The media type of the service's own answers. Others are somebody else's, and mean that it cannot be reached.
    answer_type: Text = "", "such as application/json; any; empty: anything but HTML", |_| true;
    /// What statuses mean instead of what the table of the page says.
    statuses: Text = "", "such as 409=delivered,404=rejected,4xx=failed; of delivered, unavailable, failed, rejected, split",
        |_| true;
    /// The most records in a request.
    max_call_records: Count = "0", "1 to 1000000; 0: the body's own, 10000", |v| *v <= 1_000_000;
    /// The most bytes in a request's body, before compression.
    max_call_bytes: Bytes = "0", "1 to 1GiB; 0: the body's own, 10MiB", |v| *v <= GIB;
    /// The most bytes of a record as it stands in the body.
    max_record_bytes: Bytes = "0", "1 to 1GiB; 0: max_call_bytes", |v| *v <= GIB;
    /// Bodies of more bytes than this are announced by `Expect: 100-continue`, and sent when the server asks for them, or
    /// after a second.
    expect_continue: Bytes = "1MiB", "0 to 1TiB; more than max_call_bytes: never", |v| *v <= 1024 * GIB;
    /// The longest time to connect, TLS included.
    connect_timeout: Duration = "5", "0.01 to 600", is_time;
    /// The longest time of one request, from connecting to the last byte of the answer.
    timeout: Duration = "30", "0.01 to 600", is_time;
}
// A path to it for the builder, which is in another file.
#[cfg(feature = "http")]
#[allow(clippy::single_component_path_imports)]
pub(super) use http_setters;
