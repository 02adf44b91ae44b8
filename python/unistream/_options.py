"""Options as typed keywords, and the schedule as a value.

The engine's own table (`unistream.options()`) says what each option means, permits and defaults to; a test keeps this
file in step with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from os import PathLike
from typing import Literal, Protocol, TypeAlias, TypedDict

Seconds: TypeAlias = float | timedelta
"""A span of time: a number of seconds or a `timedelta`."""
Bytes: TypeAlias = int | str
"""A number of bytes, or text such as `"16MiB"`."""


class BufferOptions(TypedDict, total=False):
    """The options that a buffer looks at."""

    max_records: int
    max_bytes: Bytes
    linger: Seconds | None
    max_record_bytes: Bytes
    durability: Literal["always", "interval", "os"]
    sync_interval: Seconds
    segment_bytes: Bytes
    max_buffer_bytes: Bytes
    when_full: Literal["block", "error", "drop_oldest"]
    full_timeout: Seconds | None
    storage: Literal["auto", "mapped", "file"]
    core_dumps: Literal["include", "exclude"]
    trust: Literal["owner", "group", "anyone"]


class Options(BufferOptions, total=False):
    """Every option of a producer but its mode. All may change between runs on one directory."""

    shared: bool
    order: Literal["auto", "total", "key", "none"]
    max_in_flight: int
    max_batches_ahead: int
    max_age: Seconds | None
    on_expired: Literal["auto", "dead_letter", "drop"]
    max_rate_records: int
    max_rate_bytes: Bytes
    on_exhausted: Literal["skip", "raise"]
    max_dead_letter_bytes: Bytes
    schedule_base: float
    schedule_multiplier: Seconds
    schedule_min: Seconds
    schedule_max: Seconds
    schedule_waits: Sequence[Seconds]
    max_attempts: int
    jitter: Literal["none", "full"]
    count_unavailable: bool


class Credentials(Protocol):
    """Keys of AWS, as botocore's frozen credentials are."""

    @property
    def access_key(self) -> str:
        """The id of the access key."""

    @property
    def secret_key(self) -> str:
        """The secret access key."""

    @property
    def token(self) -> str | None:
        """The session token of temporary keys."""


class AwsOptions(TypedDict, total=False):
    """The options of every sink of AWS; `unistream.options("kinesis")` describes them."""

    region: str
    endpoint_url: str
    profile: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    use_fips: bool
    use_dualstack: bool
    ca_bundle: str
    use_environment: bool
    connect_timeout: Seconds
    timeout: Seconds


class KinesisOptions(AwsOptions, total=False):
    """The options of a `KinesisSink`; `unistream.options("kinesis")` describes them."""

    partition_by: Literal["key", "id"]
    partition_key: str
    explicit_hash_key: str
    ordered: bool
    max_call_bytes: Bytes
    max_record_bytes: Bytes


class CloudWatchLogsOptions(AwsOptions, total=False):
    """The options of a `CloudWatchLogsSink`; `unistream.options("cloudwatch-logs")` describes them."""

    create_if_missing: bool


class HttpOptions(TypedDict, total=False):
    """The options of an `HttpSink`; `unistream.options("http")` describes them."""

    preset: Literal[
        "none",
        "elastic",
        "opensearch",
        "clickhouse",
        "loki",
        "splunk_hec",
        "datadog_logs",
        "otlp_logs",
        "webhook",
    ]
    fields: str
    signing_secret: str
    signing_secret_file: str | PathLike[str]
    acknowledge: bool
    acknowledge_timeout: Seconds
    query: str
    method: Literal["POST", "PUT", "PATCH"]
    secret_headers: str
    secret_headers_file: str | PathLike[str]
    body: Literal["ndjson", "json-array", "length-prefixed", "single"]
    record: Literal["payload", "envelope"]
    content_type: str
    compression: Literal["none", "gzip", "zstd"]
    username: str
    password: str
    password_file: str | PathLike[str]
    token_file: str | PathLike[str]
    client_cert: str | PathLike[str]
    client_key: str | PathLike[str]
    ca_bundle: str | PathLike[str]
    use_environment: bool
    redirects: Literal["none", "same-host", "any"]
    idempotency_header: str
    answer: Literal["status", "records"]
    answer_type: str
    statuses: str
    max_call_records: int
    max_call_bytes: Bytes
    max_record_bytes: Bytes
    expect_continue: Bytes
    connect_timeout: Seconds
    timeout: Seconds


class KafkaOptions(TypedDict, total=False):
    """The options of a `KafkaSink`; `unistream.options("kafka")` describes them."""

    once: Literal["idempotence", "none"]
    producer_id_expiration: Seconds
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"]
    max_message_bytes: Bytes
    id_header: str
    create_topics: bool
    client_id: str
    tls: bool
    sasl: Literal["none", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]
    username: str
    password: str
    password_file: str | PathLike[str]
    token: str
    token_file: str | PathLike[str]
    token_extensions: str
    client_cert: str | PathLike[str]
    client_key: str | PathLike[str]
    ca_bundle: str | PathLike[str]
    use_environment: bool
    connect_timeout: Seconds
    timeout: Seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long to wait between attempts at a batch, and when to give up.

    After the n-th failed attempt the wait is `multiplier * base**(n-1)` seconds, not less than `min`, not more than
    `max`; or the n-th of `waits`, of which the last repeats. Measured from the end of the attempt.

    Args:
        base: the growth of the waits, from 1 to 100.
        multiplier: the first wait, before growth.
        min: the shortest wait.
        max: the longest wait, at most a day.
        waits: the waits as a list, instead of the four before.
        max_attempts: the most attempts at one batch before `on_exhausted` rules; 0 is no limit.
        jitter: `"full"` spreads each wait evenly between `min` and the computed wait, so that many producers do not
            come back at once; `"none"` keeps it as computed.

    >>> Schedule(max=4, max_attempts=4, jitter="none").options()["schedule_max"]
    4
    """

    base: float = 2.0
    multiplier: Seconds = 1.0
    min: Seconds = 0.0
    max: Seconds = 60.0
    waits: Sequence[Seconds] = ()
    max_attempts: int = 10
    jitter: Literal["none", "full"] = "full"

    def options(self) -> Options:
        """Return the same as options."""
        return Options(
            schedule_base=self.base,
            schedule_multiplier=self.multiplier,
            schedule_min=self.min,
            schedule_max=self.max,
            schedule_waits=self.waits,
            max_attempts=self.max_attempts,
            jitter=self.jitter,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """A snapshot of a producer, as `producer.stats()` returns it.

    Counters start at 0 when the producer opens; what is pending, on disk and in the dead letters is what is there now.

    Attributes:
        put_records: records that `put` has accepted.
        put_bytes: their payload bytes.
        delivered_records: records that the sink has taken.
        delivered_bytes: their payload bytes.
        attempts: attempts at a batch.
        failed_attempts: attempts that failed and counted.
        unavailable_attempts: attempts that found the sink unavailable, and counted nothing.
        rejected_records: records that the sink has rejected for ever; they are in the dead letters.
        skipped_records: records that were skipped after the last attempt; they are in the dead letters.
        expired_records: records that had expired before they could be sent, by `max_age` or their own `expires_at`.
        expired_bytes: their payload bytes.
        dropped_records: records that made room for newer ones, under `when_full="drop_oldest"`.
        dropped_bytes: their payload bytes.
        pending_records: records in the log that are neither delivered nor in the dead letters.
        pending_bytes: their payload bytes.
        oldest_age_ms: milliseconds since the first of the pending records was created; 0 if there is none.
        buffer_bytes: disk that the log takes, spare segments included.
        dead_letters: how many dead letters there are.
        dead_letter_bytes: disk that they take.
        head_attempts: counted attempts at the oldest batch so far.
        next_attempt_ms: milliseconds until its next attempt; 0 when it waits for nothing.
        syncs: syncs of the log to stable storage.
        corrupt_regions: damaged regions of the log that were set aside since the buffer was made.
        corrupt_bytes: bytes in them.
        lost_records: records known to be lost by them.
        next_seq: the sequence number that the next record gets.
        refused_puts: puts that the system refused: a full buffer or disk, a failing disk, a producer that has stopped.
            The same record may be taken later.
        invalid_puts: puts that the caller got wrong: the record is too large, an argument is invalid.
        unavailable_since: since when the sink has been unavailable, in microseconds since 1970; 0 when it is not.
        unreadable_since: since when the log cannot be read, so that nothing is sent, likewise.
        last_success: when the sink last took something, in microseconds since 1970; 0 if it has not.
        last_failure: when an attempt last came to nothing, or to less than all, likewise.
        in_flight: batches, or parts of them, that are handed out and not answered.
        waiting: batches, or parts of them, that wait for their next attempt: of lanes, those that wait.
        put_records_per_second: records put in a second, over the last ten seconds, rounded up.
        put_bytes_per_second: their payload bytes.
        delivered_records_per_second: records delivered in a second, likewise.
        delivered_bytes_per_second: their payload bytes.
        sink_calls_1_ms: calls to the sink that were answered within 1 ms; none is timed in manual mode.
        sink_calls_5_ms: within 5 ms.
        sink_calls_10_ms: within 10 ms.
        sink_calls_50_ms: within 50 ms.
        sink_calls_100_ms: within 100 ms.
        sink_calls_500_ms: within 500 ms.
        sink_calls_1_s: within 1 s.
        sink_calls_5_s: within 5 s.
        sink_calls_10_s: within 10 s.
        sink_calls_30_s: within 30 s.
        sink_calls_60_s: within 60 s.
        sink_calls: calls to the sink that were answered, whatever the answer.
        sink_micros: microseconds that they took together.
        slots: slots that the outbox has, with `shared=True`; otherwise 0.
        adopted_slots: slots of them, of processes that have ended, which this producer sends. What is counted above is
            of its own slot and of these, but for the dead letters, which are those of all slots.
        state: what the producer is doing. `"on_hold"`: the oldest batch waits for its next attempt; `"stopped"`: until
            `resume()`.
        last_error: the last error of the sink, of the disk, or of a put that `refused_puts` counts; empty if none.
    """

    put_records: int
    put_bytes: int
    delivered_records: int
    delivered_bytes: int
    attempts: int
    failed_attempts: int
    unavailable_attempts: int
    rejected_records: int
    skipped_records: int
    expired_records: int
    expired_bytes: int
    dropped_records: int
    dropped_bytes: int
    pending_records: int
    pending_bytes: int
    oldest_age_ms: int
    buffer_bytes: int
    dead_letters: int
    dead_letter_bytes: int
    head_attempts: int
    next_attempt_ms: int
    syncs: int
    corrupt_regions: int
    corrupt_bytes: int
    lost_records: int
    next_seq: int
    refused_puts: int
    invalid_puts: int
    unavailable_since: int
    unreadable_since: int
    last_success: int
    last_failure: int
    in_flight: int
    waiting: int
    put_records_per_second: int
    put_bytes_per_second: int
    delivered_records_per_second: int
    delivered_bytes_per_second: int
    sink_calls_1_ms: int
    sink_calls_5_ms: int
    sink_calls_10_ms: int
    sink_calls_50_ms: int
    sink_calls_100_ms: int
    sink_calls_500_ms: int
    sink_calls_1_s: int
    sink_calls_5_s: int
    sink_calls_10_s: int
    sink_calls_30_s: int
    sink_calls_60_s: int
    sink_calls: int
    sink_micros: int
    slots: int
    adopted_slots: int
    state: Literal["running", "on_hold", "unavailable", "stopped", "closed"]
    last_error: str
