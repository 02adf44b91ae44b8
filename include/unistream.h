/*
 * unistream: an embedded, durable producer.
 *
 * A program puts records. When a put has returned, the record is in a log on the local disk and survives the death
 * of the process. Batches of records go to a sink: a callback of the program, a file, a service. What the sink does
 * not take is tried again on a schedule, and in the end delivered, or kept as a dead letter with the reason, or
 * still in the buffer. Delivery is at least once and in put order.
 *
 *     #include <stdio.h>
 *     #include <unistream.h>
 *
 *     int main(void) {
 *       unistream_sink *sink = NULL;
 *       unistream_producer *producer = NULL;
 *       unistream_error *error = unistream_sink_file("events.log", 0, &sink);
 *       if (!error) error = unistream_producer_open("outbox", sink, NULL, &producer);
 *       if (!error) error = unistream_producer_put(producer, "hello", 5);
 *       if (!error) error = unistream_producer_close(producer, 30000, NULL);
 *       if (error) fprintf(stderr, "%s\n", unistream_error_message(error));
 *       int status = error ? 1 : 0;
 *       unistream_error_free(error);
 *       unistream_producer_free(producer);
 *       return status;
 *     }
 *
 *     cc app.c $(pkg-config --cflags --libs unistream)
 *
 * Errors
 *   A function that can fail returns a unistream_error *: NULL is success; anything else says what happened and is
 *   the caller's to free with unistream_error_free(); a compiler warns of a call whose error is ignored. There is no
 *   hidden "last error". Out parameters stand last and are written on success only, unless their function says
 *   otherwise. A defect of the library is an error too (UNISTREAM_ERROR_INTERNAL); it never brings the program down.
 *
 * Ownership
 *   What a *_new, *_open, *_file, *_null, *_callback* or *_stats function hands out is the caller's, who frees it
 *   with the function that the type's name begins: unistream_config_new(), unistream_config_free(). A free function
 *   takes NULL and does nothing. A function that takes something over says so; everything else is borrowed for the
 *   call. A const pointer that is returned belongs to what it was asked of, and lives as long. A const handle that
 *   is taken may be shared by threads for the call.
 *   Do not use a handle after its free function; after unistream_producer_close() a producer may still be used, and
 *   answers UNISTREAM_ERROR_CLOSED.
 *
 * Threads
 *   unistream_producer        any threads at once; unistream_producer_free() after all other calls have returned
 *   unistream_batch           any threads at once, for reading is all there is
 *   unistream_error, _stats   any threads at once, likewise
 *   unistream_dead_letter(s)  any threads at once, likewise
 *   unistream_completion      any thread, one at a time
 *   unistream_report          any thread, one at a time
 *   unistream_config          any thread, one at a time
 *   unistream_sink            any thread, one at a time, until a producer takes it over
 *   unistream_event           the thread of the callback only
 *
 * Callbacks
 *   A callback is a function, a user_data pointer that is passed to it, and a destroy function that is called exactly
 *   once when the library needs the pointer no more, even if the call that registers it fails. Each callback's type
 *   says on which threads it is called. From inside one, calls to the same producer answer UNISTREAM_ERROR_REENTRANT
 *   rather than wait for themselves. A callback must not throw a C++ exception, longjmp, or end its thread.
 *
 * Text and sizes
 *   Text passed in is UTF-8, NUL-terminated and borrowed for the call; text handed out is UTF-8 and NUL-terminated,
 *   except inside a unistream_record, which has lengths. Numbers for codes, outcomes, levels and states are 32-bit
 *   integers; expect ones that you do not know. Public structures begin with their own size and only grow: a
 *   program that was compiled with an older header of the same soname runs with a newer library.
 *
 * fork
 *   A producer belongs to the process that opened it. In a forked child every call answers UNISTREAM_ERROR_FORKED, at
 *   once and without a lock; a batch of the parent is empty there, and what pointers into its records point to is
 *   memory, but unspecified. unistream_producer_free() frees the handle and leaves the parent's buffer alone; the
 *   callbacks' destroy functions are not called in the child. Open producers after the fork, also while other threads
 *   of the parent are opening theirs; what the parent has closed, or had when it died, the child can open. Make the
 *   child's sinks in the child too: a sink that was made before the fork shares its files and connections with the
 *   parent, and nothing guards them. This holds for fork(). A child of a bare clone() or _Fork() gets
 *   UNISTREAM_ERROR_FORKED too, but keeps the parent's lock until it ends or runs another program; one of vfork()
 *   must make no call.
 *
 * Many processes
 *   With the option "shared" any number of processes may open one directory: each has a slot in it, and those that live
 *   deliver what the others have left when they ended or were killed. In a forked child the first call opens a slot for
 *   the child, with the same options and events; the sinks of the library are made anew from their options, one of
 *   callbacks by its in_child, and where that is NULL the child gets UNISTREAM_ERROR_FORKED. A child that makes no call
 *   has no slot; unistream_producer_close() and unistream_producer_free() open none.
 *
 * Directories
 *   A producer holds its directory open: a relative path, a chdir(), a directory that is moved or replaced change
 *   nothing for it. It is made with mode 0700, its files with 0600. One that belongs to another user, or that group
 *   or others can write to, is refused with UNISTREAM_ERROR_NOT_TRUSTED unless the option "trust" says otherwise:
 *   "group" takes what the directory's group may write to, "anyone" looks at no owner and no mode. What is in the
 *   directory must be files with one name; links, pipes and the like are errors that name them. The path itself may
 *   end in a symbolic link of the user's own, or of root.
 *
 * Signals
 *   The log is mapped memory. Should the disk fail under it, or someone truncate a file of it, the kernel raises
 *   SIGBUS; the library's handler, installed when the first buffer is opened, makes an error of that
 *   (UNISTREAM_ERROR_IO). Every other SIGBUS, and each that somebody sent, does what it would have done without the
 *   library: the handler that was there before is called with the mask and the flags that it asked for (but on the
 *   alternate stack, if the thread has one), an ignored one is ignored. Over a handler that a program installs later
 *   the library puts its own again when it maps, reads or syncs the log; such a handler should pass on what is not
 *   its own all the same. For the same reasons the library stays loaded after a dlclose(). A file that RLIMIT_FSIZE
 *   does not allow is UNISTREAM_ERROR_DISK_FULL and no SIGXFSZ. No function of this header may be called from a
 *   signal handler: the handler may have interrupted the very call that it waits for. Have it set a flag, or write to
 *   a pipe. The library's threads begin with the signal mask of the thread that opens a producer: a program that
 *   wants its signals on threads of its own blocks them around unistream_producer_open().
 *
 * Limits of the process
 *   A producer has some ten descriptors and mappings, whatever its backlog; none of them is 0, 1 or 2, also where
 *   those are closed. Where there are no more, or no memory or threads, the call answers
 *   UNISTREAM_ERROR_RESOURCE_EXHAUSTED and can be made again; where only mapping is refused, the log is written with
 *   plain writes. An allocation that fails ends the process with abort(), as does exhausting the stack: what was
 *   accepted is on disk then, as after any death. A thread that calls the library needs 64 KiB of stack, besides what
 *   its callbacks use.
 *
 * Ends of threads and of the process
 *   A thread must not end inside a call or a callback: no pthread_exit() there, and no pthread_cancel() of a thread
 *   that may be in one (disable cancellation around the calls). exit() may be called anywhere, also in a callback; a
 *   close from an atexit() handler answers UNISTREAM_ERROR_REENTRANT then, and what was put stays on disk.
 *
 * Ways to drive it (option "mode")
 *   background  a thread of the library sends; a put never waits for the sink
 *   inline      puts, flush and close send; nothing happens between calls
 *   manual      the program asks for batches, sends them its own way, and says how that went
 *   A program or language that takes no calls on threads of others uses inline, whose sink is called by the thread that
 *   puts, flushes or closes, or manual, which calls no sink and has a descriptor for event loops: unistream_producer_fd().
 *
 * Options: unistream_config_set(config, key, value)
 *   Durations: seconds ("0.5"), or with a unit ("250ms", "5m"), or "none" for never. Bytes: "1048576" or "16MiB".
 *
 *   max_records (count: 1 to 1000000; default 500) The most records in a batch. A sink's own limit, if lower, rules.
 *   max_bytes (bytes: 1 to 1GiB; default 1MiB) The most bytes in a batch: payloads, plus what the sink counts
 *       besides. A sink's own limit, if lower, rules.
 *   linger (duration: 0 to 1 day, or none; default 1) The age of its oldest record at which a batch is sealed though
 *       it is not full; none: never by age.
 *   max_record_bytes (bytes: 1 to 256MiB; default 1MiB) The largest payload that put takes.
 *   durability (choice: always, interval, os; default interval) What a power loss can cost.
 *   sync_interval (duration: 0.001 to 3600; default 0.5) The time between syncs under durability = interval.
 *   segment_bytes (bytes: 64KiB to 1GiB; default 16MiB) The size of one file of the log.
 *   max_buffer_bytes (bytes: at least 256KiB; default 1GiB) The most disk that the log may take. Segments are made
 *       smaller where fewer than four would fit.
 *   shared (boolean: true, false; default false) Whether processes share the directory: it is an outbox, in which
 *       each has a log of its own, and those that live send what those that died have left. A directory that one
 *       producer had alone becomes one, and stays one. max_buffer_bytes and max_dead_letter_bytes hold for all logs
 *       together.
 *   when_full (choice: block, error, drop_oldest; default block) What put does when the log has reached
 *       max_buffer_bytes: wait, return an error, or drop the oldest batches that are not in flight, which is counted
 *       (dropped_records, dropped_bytes) and told as an event.
 *   full_timeout (duration: 0 to 1 day, or none; default 60) How long put waits for space before it is an error;
 *       none: for ever.
 *   storage (choice: auto, mapped, file; default auto) How the log is written.
 *   core_dumps (choice: include, exclude; default include) Whether a core dump has the records that are mapped. What
 *       of them is copied to the heap, by the program, by a sink, or because the log is of plain files, is in it in
 *       either case.
 *   trust (choice: owner, group, anyone; default owner) Whose directory and files the buffer goes by: the process's
 *       own user's, those that the directory's group may write to, or anyone's. In a directory of a group (mode 2770)
 *       what is made is the group's, too, so that its users share it.
 *   mode (choice: background, inline, manual; default background) Who sends.
 *   order (choice: auto, total, key, none; default auto) Which order the sink sees: put order (total, one batch at a
 *       time), put order for each key (key: batches are divided into lanes by their records' keys, which are sent
 *       side by side), or any (none). auto: what max_in_flight says, 1 for total and more for none; where that is not
 *       set either, what is best for the sink, total for functions.
 *   max_in_flight (count: 0 to 64; default 0) The most batches, or parts of batches, being sent at once; 0: as many
 *       as are best for the sink, one for functions.
 *   max_batches_ahead (count: 1 to 65536; default 4096) How many batches others may get ahead of one that fails,
 *       waits or is slow: those of other lanes under order = key, any under order = none, where one that fails or
 *       waits takes one of the max_in_flight places.
 *   max_age (duration: at least 0.001, or none; default none) The age, by created_at and the wall clock, at which a
 *       record is not sent any more; none: it is sent however old it is. It is looked at before each attempt, so that
 *       a record in flight does not expire.
 *   on_expired (choice: auto, dead_letter, drop; default auto) What becomes of a record that is older than max_age or
 *       has reached its own expires_at: it goes into the dead letters, or it is dropped. auto: dead letters for the
 *       former, and expires_at is left to the sink. A replay changes neither time, so that under the same options
 *       what is replayed expires once more.
 *   max_rate_records (count: 0 to 1000000000; default 0) The most records a second that are sent, attempts at the
 *       same one included; 0: as many as the sink takes. After an outage this spares a server that has just come up.
 *   max_rate_bytes (bytes: 0 to 1TiB; default 0) The most payload bytes a second, in the same way.
 *   on_exhausted (choice: skip, raise; default skip) What follows the last attempt at a batch.
 *   max_dead_letter_bytes (bytes: any; default 256MiB) The most disk that the dead letters may take; when they would
 *       exceed it the producer stops as under raise.
 *   schedule_base (number: 1 to 100; default 2) The growth of the waits: after the n-th failed attempt multiplier *
 *       base^(n-1).
 *   schedule_multiplier (duration: 0 to 1 day; default 1) The first wait, before growth.
 *   schedule_min (duration: 0 to 1 day; default 0) The shortest wait.
 *   schedule_max (duration: 0 to 1 day; default 60) The longest wait.
 *   schedule_waits (durations: a list of durations, or empty; default empty) The waits as a list, instead of the four
 *       options before; the last repeats.
 *   max_attempts (count: 0 to 1000000; default 10) The most attempts at one batch before on_exhausted rules; 0: no
 *       limit.
 *   jitter (choice: none, full; default full) Spread the waits evenly between schedule_min and the computed wait
 *       (full), or not (none).
 *   count_unavailable (boolean: true, false; default false) Let attempts at an unavailable sink count toward
 *       max_attempts too.
 *
 * Counters: unistream_stats_get(stats, name, &counter)
 *
 *   put_records                  Records accepted by put.
 *   put_bytes                    Payload bytes accepted by put.
 *   delivered_records            Records that the sink took.
 *   delivered_bytes              Their payload bytes.
 *   attempts                     Attempts at a batch.
 *   failed_attempts              Attempts that failed and counted.
 *   unavailable_attempts         Attempts that found the sink unavailable.
 *   rejected_records             Records that the sink rejected for ever.
 *   skipped_records              Records skipped after the last attempt.
 *   expired_records              Records that had expired, by max_age or their own expires_at, before they could be
 *       sent: in the dead letters, or dropped, as on_expired says.
 *   expired_bytes                Their payload bytes.
 *   dropped_records              Records that were dropped because the log was full, under when_full = drop_oldest.
 *   dropped_bytes                Their payload bytes.
 *   pending_records              Records in the log that are neither delivered nor in the dead letters.
 *   pending_bytes                Their payload bytes.
 *   oldest_age_ms                Milliseconds since the first of them was created; 0 if there is none. Reads the log
 *       when that record has changed.
 *   buffer_bytes                 Disk that the log takes, spare segments included.
 *   dead_letters                 Dead letters there are.
 *   dead_letter_bytes            Disk that the dead letters take.
 *   head_attempts                Counted attempts at the head batch so far.
 *   next_attempt_ms              Milliseconds until the head batch's next attempt; 0 when it waits for nothing.
 *   syncs                        Syncs of the log.
 *   corrupt_regions              Corrupt regions set aside since the buffer was made.
 *   corrupt_bytes                Bytes in them.
 *   lost_records                 Records known to be lost by them.
 *   next_seq                     The sequence number that the next record gets.
 *   refused_puts                 Puts that the system refused: a full buffer or disk, a failing disk, a limit of the
 *       process, a producer that has stopped. The same record may be taken later.
 *   invalid_puts                 Puts that the caller got wrong: the record is too large, or an argument is invalid.
 *       It will never be taken.
 *   unavailable_since            Since when the sink has been unavailable in every attempt, in microseconds since the
 *       epoch; 0 when it is not.
 *   unreadable_since             Since when the log cannot be read, so that nothing is sent, in microseconds since
 *       the epoch; 0 when it can.
 *   last_success                 When the sink last took something, in microseconds since the epoch; 0 if it has not.
 *   last_failure                 When an attempt last came to nothing, or to less than all, in microseconds since the
 *       epoch; 0 if none has.
 *   in_flight                    Batches, or parts of them, that are handed out and not answered.
 *   waiting                      Batches, or parts of them, that wait for their next attempt: of lanes, those that
 *       wait.
 *   put_records_per_second       Records put in a second, over the last ten seconds, rounded up.
 *   put_bytes_per_second         Their payload bytes.
 *   delivered_records_per_second Records delivered in a second, over the last ten seconds, rounded up.
 *   delivered_bytes_per_second   Their payload bytes.
 *   sink_calls_1_ms              Calls to the sink that were answered within 1 ms. In manual mode, where the program
 *       sends, no call is timed.
 *   sink_calls_5_ms              Within 5 ms.
 *   sink_calls_10_ms             Within 10 ms.
 *   sink_calls_50_ms             Within 50 ms.
 *   sink_calls_100_ms            Within 100 ms.
 *   sink_calls_500_ms            Within 500 ms.
 *   sink_calls_1_s               Within 1 s.
 *   sink_calls_5_s               Within 5 s.
 *   sink_calls_10_s              Within 10 s.
 *   sink_calls_30_s              Within 30 s.
 *   sink_calls_60_s              Within 60 s.
 *   sink_calls                   Calls to the sink that were answered, whatever the answer.
 *   sink_micros                  Microseconds that they took together.
 *   slots                        Slots that the outbox has, under shared = true; otherwise 0.
 *   adopted_slots                Slots of processes that have ended that this producer is sending. What is counted
 *       above is of these and its own slot, but the dead letters, which are those of all slots.
 *
 * Sinks and their options: unistream_sink_open(url_or_kind, options, &sink)
 *
 * file:PATH
 *   Appends records to a file that others may rotate. Exactly once, through kills and retries, and with sync through
 *       power loss; at least once into pipes and devices.
 *   path (text: a path; default empty) The file.
 *   framing (choice: lines, length-prefixed; default lines) How records stand in the file.
 *   sync (boolean: true, false; default false) Sync each batch to stable storage before it counts as delivered.
 *   mode (mode: an octal number such as 0640; empty: 0640 less the umask; default empty) The permissions of a file
 *       that is created, whatever the umask.
 *   follow_links (boolean: true, false; default false) Follow symbolic links at the path, and take a file that
 *       another user may have put there.
 *
 * null:
 *   Takes everything and keeps nothing: for measuring what comes before the sink. At least once, and at once
 *       forgotten.
 *
 * http://HOST/PATH
 *   Sends records in the requests of HTTP or HTTPS, to any service that takes them. At least once: what the service
 *       accepted without our seeing its answer is sent again, with the same Idempotency-Key, by which a service can
 *       tell.
 *   url (text: an http or https URL without user and password; default empty) Where to: scheme, host, port, path, and
 *       perhaps a query.
 *   preset (choice: none, elastic, opensearch, clickhouse, loki, splunk_hec, datadog_logs, otlp_logs, webhook;
 *       default none) A service that is known: it decides what is sent and how answers are read.
 *   fields (text: such as service=web,host=web-1,tenant={key}, or empty; default empty) Fields that a preset gives
 *       every record besides its payload: Loki's labels, Splunk's host, source, sourcetype, index and indexed fields,
 *       Datadog's service, ddsource, ddtags, hostname, and OpenTelemetry's attributes of the resource. {key}, {id},
 *       {topic} and {header.NAME} stand for the record's.
 *   signing_secret (secret: a text, or whsec_ and Base64, or empty; default empty) The secret that webhooks are
 *       signed with; empty: they are not.
 *   signing_secret_file (text: a path, or empty; default empty) A file with that secret, read when the sink is made.
 *   acknowledge (boolean: true, false; default false) Splunk: a record is delivered when the indexers have
 *       acknowledged it, and not when the collector has taken it.
 *   acknowledge_timeout (duration: 0.01 to 600; default 60) How long an acknowledgement may take; then the records
 *       are sent again.
 *   query (text: such as database=logs&wait=true, or empty; default empty) What follows ? in the requests' URL, as it
 *       is written there; for sinks that are opened by a URL, where ? begins the options.
 *   method (choice: POST, PUT, PATCH; default POST) The method.
 *   headers (text: lines such as X-Scope-OrgID: tenant, or empty; default empty) Headers of every request.
 *   secret_headers (secret: lines such as X-Api-Key: ..., or empty; default empty) Headers of every request that
 *       nobody else is to see, such as an API key.
 *   secret_headers_file (text: a path, or empty; default empty) A file with such lines, read when the sink is made.
 *   body (choice: ndjson, json-array, length-prefixed, single; default ndjson) How the records of a request stand in
 *       its body.
 *   record (choice: payload, envelope; default payload) What is sent of each record: its payload, or an envelope of
 *       JSON with id, seq, key and time.
 *   content_type (text: a media type, or empty; default empty) The Content-Type; empty: the body's own.
 *   compression (choice: none, gzip, zstd; default none) How bodies are compressed.
 *   username (text: a name without a colon, or empty; default empty) The user of HTTP Basic authentication, together
 *       with password.
 *   password (secret: a password, or empty; default empty) The password of HTTP Basic authentication.
 *   password_file (text: a path, or empty; default empty) A file with that password, read anew for every request, so
 *       that it can be rotated.
 *   token (secret: a token, or empty; default empty) The token of Authorization: Bearer, or of what a preset's
 *       service has in its place.
 *   token_file (text: a path, or empty; default empty) A file with that token, read anew for every request, so that
 *       it can be rotated.
 *   client_cert (text: a path, or empty; default empty) A PEM file with the certificate that a server asks for
 *       (mutual TLS), and those between it and its authority.
 *   client_key (text: a path, or empty; default empty) A PEM file with the private key of client_cert; empty: it
 *       stands in the same file.
 *   ca_bundle (text: a path, or empty; default empty) A PEM file of the authorities to trust instead of Mozilla's.
 *   use_environment (boolean: true, false; default true) Read the variables that name proxies (https_proxy,
 *       http_proxy, all_proxy, no_proxy) and authorities (SSL_CERT_FILE). A program that is setuid, setgid or has
 *       capabilities of its file never reads them.
 *   redirects (choice: none, same-host, any; default none) Which redirections with status 307 and 308 are followed.
 *       Others would turn the request into a GET without a body, and never are.
 *   idempotency_header (text: the name of a header; empty: none; default Idempotency-Key) The header that tells a
 *       repeated request from a new one: the batch's id, or the record's where a request has one record.
 *   answer (choice: status, records; default status) Whether the status answers for the whole request, or the body
 *       for each record.
 *   answer_type (text: such as application/json; any; empty: anything but HTML; default empty) The media type of the
 *       service's own answers. Others are somebody else's, and mean that it cannot be reached.
 *   statuses (text: such as 409=delivered,404=rejected,4xx=failed; of delivered, unavailable, failed, rejected,
 *       split; default empty) What statuses mean instead of what the table of the page says.
 *   max_call_records (count: 1 to 1000000; 0: the body's own, 10000; default 0) The most records in a request.
 *   max_call_bytes (bytes: 1 to 1GiB; 0: the body's own, 10MiB; default 0) The most bytes in a request's body, before
 *       compression.
 *   max_record_bytes (bytes: 1 to 1GiB; 0: max_call_bytes; default 0) The most bytes of a record as it stands in the
 *       body.
 *   expect_continue (bytes: 0 to 1TiB; more than max_call_bytes: never; default 1MiB) Bodies of more bytes than this
 *       are announced by Expect: 100-continue, and sent when the server asks for them, or after a second.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect, TLS included.
 *   timeout (duration: 0.01 to 600; default 30) The longest time of one request, from connecting to the last byte of
 *       the answer.
 *
 * kinesis://STREAM
 *   Sends records to a stream of Amazon Kinesis Data Streams. At least once: what the service accepted without our
 *       seeing its answer is sent again. The id of a record can be its partition key.
 *   stream (text: the name or the ARN of a stream; default empty) The stream, by name or ARN.
 *   partition_by (choice: key, id; default key) What the partition key of a record is, unless partition_key is set.
 *   partition_key (text: 1 to 256 characters, or empty; default empty) One partition key for all records: they all go
 *       to one shard.
 *   explicit_hash_key (text: a decimal number below 2^128, key, or empty; default empty) What chooses the shard in
 *       place of the partition key's hash: one number for all records, or key: each record's key, which must then be
 *       such a number.
 *   ordered (boolean: true, false; default false) Keep strict order per partition key: no record is in a call while
 *       an earlier one of its key is not yet accepted. A call then holds at most one record a key. It needs the order
 *       key or total; where the partition key is not the record's key, total.
 *   max_call_bytes (bytes: 1 to 10MiB; default 10MiB) The most bytes in a call, data and partition keys. Streams that
 *       were not raised to more take 5 MiB.
 *   max_record_bytes (bytes: 1 to 10MiB; default 1MiB) The most bytes in a record, data and partition key. Streams
 *       take more than 1 MiB only if set so.
 *   region (text: a region such as eu-central-1, or empty; default empty) The region; empty: that of the ARN, the
 *       environment or the profile.
 *   endpoint_url (text: a URL such as http://127.0.0.1:4567, or empty; default empty) Where to send instead of the
 *       region's own endpoint, such as an emulator or a VPC endpoint.
 *   profile (text: the name of a profile, or empty; default empty) The profile of the shared configuration files;
 *       empty: that of AWS_PROFILE, or default.
 *   access_key_id (secret: an access key id, or empty; default empty) The id of the access key to sign with; empty:
 *       credentials are looked for where the AWS tools do.
 *   secret_access_key (secret: a secret access key, or empty; default empty) The secret access key, together with
 *       access_key_id.
 *   session_token (secret: a session token, or empty; default empty) The session token of temporary keys, together
 *       with access_key_id.
 *   use_fips (boolean: true, false; default false) Use the endpoint that is validated under FIPS 140.
 *   use_dualstack (boolean: true, false; default false) Use the endpoint that is reached by IPv6 too.
 *   ca_bundle (text: a path, or empty; default empty) A file of PEM certificates to trust instead of Mozilla's
 *       authorities.
 *   use_environment (boolean: true, false; default true) Read variables and the files that they or the home directory
 *       name: regions, endpoints, profiles, credentials, proxies, authorities. Without it the options alone count,
 *       and the instance's metadata service. A program that is setuid, setgid or has capabilities of its file never
 *       reads them.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect, TLS included.
 *   timeout (duration: 0.01 to 600; default 30) The longest time of one call, from connecting to the last byte of the
 *       answer.
 *
 * cloudwatch-logs://GROUP/STREAM
 *   Sends records to a log stream of Amazon CloudWatch Logs. At least once: what the service accepted without our
 *       seeing its answer is sent again.
 *   group (text: the name of a log group; default empty) The log group.
 *   stream (text: the name of a log stream; default empty) The log stream in it.
 *   create_if_missing (boolean: true, false; default false) Make the log stream, and the log group too, where a call
 *       finds that there is none.
 *   region (text: a region such as eu-central-1, or empty; default empty) The region; empty: that of the ARN, the
 *       environment or the profile.
 *   endpoint_url (text: a URL such as http://127.0.0.1:4567, or empty; default empty) Where to send instead of the
 *       region's own endpoint, such as an emulator or a VPC endpoint.
 *   profile (text: the name of a profile, or empty; default empty) The profile of the shared configuration files;
 *       empty: that of AWS_PROFILE, or default.
 *   access_key_id (secret: an access key id, or empty; default empty) The id of the access key to sign with; empty:
 *       credentials are looked for where the AWS tools do.
 *   secret_access_key (secret: a secret access key, or empty; default empty) The secret access key, together with
 *       access_key_id.
 *   session_token (secret: a session token, or empty; default empty) The session token of temporary keys, together
 *       with access_key_id.
 *   use_fips (boolean: true, false; default false) Use the endpoint that is validated under FIPS 140.
 *   use_dualstack (boolean: true, false; default false) Use the endpoint that is reached by IPv6 too.
 *   ca_bundle (text: a path, or empty; default empty) A file of PEM certificates to trust instead of Mozilla's
 *       authorities.
 *   use_environment (boolean: true, false; default true) Read variables and the files that they or the home directory
 *       name: regions, endpoints, profiles, credentials, proxies, authorities. Without it the options alone count,
 *       and the instance's metadata service. A program that is setuid, setgid or has capabilities of its file never
 *       reads them.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect, TLS included.
 *   timeout (duration: 0.01 to 600; default 30) The longest time of one call, from connecting to the last byte of the
 *       answer.
 *
 * kafka://BROKERS/TOPIC
 *   Sends records to topics of Apache Kafka, and of what speaks its protocol. Exactly once, also when programs and
 *       brokers are killed, as long as the brokers remember the producer (a day, by default): a producer id, epoch
 *       and sequence numbers are kept with each batch. Under once=none at least once.
 *   brokers (text: such as host:9092,host2:9092; the port may be left out; default empty) Brokers to begin with, from
 *       which the others are learned.
 *   topic (text: 1 to 249 letters, digits, ., _ and -, or empty; default empty) The topic of records that name none;
 *       empty: each must name its own.
 *   once (choice: idempotence, none; default idempotence) By what means a record arrives once.
 *   producer_id_expiration (duration: 1 to 31536000; default 86400) For how long the brokers remember a producer that
 *       is silent (their producer.id.expiration.ms). A batch that comes again later may be there twice, and is told
 *       of.
 *   compression (choice: none, gzip, snappy, lz4, zstd; default none) How batches are compressed.
 *   max_message_bytes (bytes: 1KiB to 256MiB; default 1000000) The most bytes of a batch, before compression: no more
 *       than the topic's max.message.bytes, or batches have to be divided.
 *   id_header (text: a name of at most 256 bytes, or empty; default empty) The name of a header that carries the
 *       record's id; empty: none.
 *   create_topics (boolean: true, false; default false) Whether brokers may make topics that do not exist, where they
 *       are configured to (auto.create.topics.enable).
 *   client_id (text: 1 to 249 bytes; default unistream) The name by which brokers know the sink, in their logs and
 *       quotas.
 *   tls (boolean: true, false; default false) TLS.
 *   sasl (choice: none, plain, scram-sha-256, scram-sha-512, oauthbearer; default none) How the sink proves who it
 *       is.
 *   username (text: a name, or empty; default empty) The user of plain and SCRAM.
 *   password (secret: a password, or empty; default empty) The password of plain and SCRAM.
 *   password_file (text: a path, or empty; default empty) A file with that password, read anew for every connection,
 *       so that it can be rotated.
 *   token (secret: a token, or empty; default empty) The token of oauthbearer.
 *   token_file (text: a path, or empty; default empty) A file with that token, read anew for every connection, so
 *       that it can be rotated.
 *   token_extensions (text: such as logicalCluster=lkc-1,identityPoolId=pool-1, or empty; default empty) What else
 *       oauthbearer tells the broker.
 *   client_cert (text: a path, or empty; default empty) A PEM file with the certificate that a broker asks for
 *       (mutual TLS), and those between it and its authority.
 *   client_key (text: a path, or empty; default empty) A PEM file with the private key of client_cert; empty: it
 *       stands in the same file.
 *   ca_bundle (text: a path, or empty; default empty) A PEM file of the authorities to trust instead of Mozilla's.
 *   use_environment (boolean: true, false; default true) Read the variable that names authorities (SSL_CERT_FILE). A
 *       program that is setuid, setgid or has capabilities of its file never reads it.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect, TLS included.
 *   timeout (duration: 0.01 to 600; default 30) The longest time that a broker may take to answer.
 *
 * nats://HOST/PATH
 *   Publishes records to a stream of NATS JetStream. Exactly once within the stream's duplicate_window: each message
 *       has its record's id as Nats-Msg-Id. A batch that is tried again later than that can be there twice.
 *   url (text: nats:// or tls://, servers divided by commas, perhaps a subject; default empty) The servers, and
 *       perhaps the subject: nats://HOST:PORT,HOST:PORT/SUBJECT; tls:// demands TLS. The port is 4222 where none is
 *       given. A user may stand before the first host; passwords are other options.
 *   subject (text: such as events, orders.{key}, prefix.{topic}, or empty: that of the URL; default empty) The
 *       subject of records that have no topic. {key}, {id}, {topic} and {header.NAME} stand for the record's; with
 *       {topic} in it, it is the subject of all.
 *   stream (text: the name of a stream, or empty; default empty) The stream that must take the records; another
 *       answers with an error. Empty: whichever has the subject.
 *   deduplicate (boolean: true, false; default true) Send each record's id as Nats-Msg-Id, by which a stream knows
 *       what it has within its duplicate_window.
 *   atomic (choice: never, auto, require; default never) Store the records of a batch that have one subject all or
 *       none, which also keeps them in order whatever fails.
 *   metadata (boolean: true, false; default true) Send each record's key and time as X-Record-Key and X-Record-Time,
 *       percent-encoded.
 *   username (text: a name, or empty; default empty) The user, together with password.
 *   password (secret: a password, or empty; default empty) The password.
 *   password_file (text: a path, or empty; default empty) A file with that password, read anew for every connection,
 *       as all such files are.
 *   token (secret: a token, or empty; default empty) A token.
 *   token_file (text: a path, or empty; default empty) A file with that token.
 *   creds_file (text: a path, or empty; default empty) A file with the JWT and the seed of a user, as nsc and Synadia
 *       Cloud make it.
 *   nkey (secret: a seed that begins with SU, or empty; default empty) The seed of a user's nkey.
 *   nkey_file (text: a path, or empty; default empty) A file with that seed.
 *   tls (choice: auto, require, first; default auto) When connections are encrypted.
 *   ca_bundle (text: a path, or empty; default empty) A PEM file of the authorities to trust instead of Mozilla's.
 *   client_cert (text: a path, or empty; default empty) A PEM file with the certificate that a server asks for
 *       (mutual TLS), and those between it and its authority.
 *   client_key (text: a path, or empty; default empty) A PEM file with the private key of client_cert; empty: it
 *       stands in the same file.
 *   use_environment (boolean: true, false; default true) Read the variables that name proxies (https_proxy,
 *       all_proxy, no_proxy) and authorities (SSL_CERT_FILE). A program that is setuid, setgid or has capabilities of
 *       its file never reads them.
 *   discover (boolean: true, false; default true) Use the servers of the cluster, too, of which a server tells.
 *   inbox_prefix (text: a subject without wildcards; default _INBOX) What our inboxes begin with, where the user may
 *       not subscribe to all of _INBOX.>.
 *   domain (text: a name, or empty; default empty) The domain of JetStream, for a leaf node that has one of its own.
 *   connection_name (text: a text; default unistream) The name of our connections, as the server's monitoring shows
 *       it.
 *   max_call_records (count: 1 to 10000; default 1000) The most records that a batch is sealed with. An atomic batch
 *       may have 1000.
 *   max_call_bytes (bytes: 1 to 64MiB; default 8MiB) The most bytes that a batch is sealed with, payloads and
 *       headers.
 *   max_record_bytes (bytes: 1 to 64MiB; default 1MiB) The most bytes of a record with its headers. Servers take 1
 *       MiB unless their max_payload says otherwise, and tell that when we connect; what is larger than that is
 *       rejected.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect to a server, TLS and greeting
 *       included.
 *   timeout (duration: 0.01 to 600; default 10) The longest time without an acknowledgement while some are awaited.
 *
 * redis://HOST/PATH
 *   Adds records to streams of Redis, or of what speaks its protocol. Exactly once: each stream has beside it how far
 *       a buffer's records are in it, stored in one step with them. A server that loses what it has acknowledged
 *       loses records, too.
 *   url (text: redis:// or rediss://, servers divided by commas, perhaps a database and a stream; default empty) The
 *       servers, and perhaps a database and the stream: redis://HOST:PORT,HOST:PORT/DATABASE/STREAM; rediss:// is
 *       with TLS. The port is 6379 where none is given. A user may stand before the first host; passwords are other
 *       options.
 *   stream (text: such as events, orders:{key}, prefix:{topic}, or empty: that of the URL; default empty) The stream
 *       of records that have no topic. {key}, {id}, {topic} and {header.NAME} stand for the record's; with {topic} in
 *       it, it is the stream of all.
 *   once (boolean: true, false; default true) Store with each stream how far this buffer's records are in it, in one
 *       step with them, so that each is there once.
 *   once_expiry (duration: 1 to 31536000, or none: for ever; default 2592000) How long that is kept after the last
 *       record of a buffer.
 *   payload_field (text: a name; default data) The field that has the payload.
 *   id_field (text: a name, or empty; default id) The field that has the record's id; empty: none.
 *   key_field (text: a name, or empty; default key) The field that has the record's key, if it has one; empty: none.
 *   time_field (text: a name, or empty; default created_at) The field that has the time when it was put, in RFC 3339;
 *       empty: none.
 *   headers (boolean: true, false; default true) Send the record's headers, too, as fields whose names begin with
 *       header_prefix.
 *   header_prefix (text: a text, or empty; default header.) What the names of those fields begin with.
 *   max_len (count: 0 to 9000000000000000; default 0) About how many entries a stream keeps (MAXLEN ~); 0: all.
 *   max_age (duration: 1 to 3153600000, or none: for ever; default none) About how long a stream keeps entries (MINID
 *       ~).
 *   exact_trim (boolean: true, false; default false) Keep exactly max_len or max_age, at a cost for every record.
 *   replicas (count: 0 to 100; default 0) So many replicas must have the records before they are delivered (WAIT),
 *       within timeout.
 *   username (text: a name, or empty; default empty) The user (ACL) besides the password; empty: the default user.
 *   password (secret: a password, or empty; default empty) The password.
 *   password_file (text: a path, or empty; default empty) A file with that password, read anew for every connection.
 *   cluster (boolean: true, false; default false) The servers of the URL are nodes of a Redis Cluster, which tell of
 *       the others.
 *   sentinel (text: the name of a master, or empty; default empty) The servers of the URL are Sentinels, which tell
 *       who the master of this name is; empty: they are not.
 *   sentinel_username (text: a name, or empty; default empty) The user of the Sentinels.
 *   sentinel_password (secret: a password, or empty; default empty) The password of the Sentinels; empty: they ask
 *       for none.
 *   sentinel_password_file (text: a path, or empty; default empty) A file with that password.
 *   ca_bundle (text: a path, or empty; default empty) A PEM file of the authorities to trust instead of Mozilla's.
 *   client_cert (text: a path, or empty; default empty) A PEM file with the certificate that a server asks for
 *       (mutual TLS), and those between it and its authority.
 *   client_key (text: a path, or empty; default empty) A PEM file with the private key of client_cert; empty: it
 *       stands in the same file.
 *   use_environment (boolean: true, false; default true) Read the variables that name proxies (https_proxy,
 *       all_proxy, no_proxy) and authorities (SSL_CERT_FILE). A program that is setuid, setgid or has capabilities of
 *       its file never reads them.
 *   max_call_records (count: 1 to 10000; default 1000) The most records of one call, and in a batch. A server does
 *       nothing else while it stores them, some microseconds each.
 *   max_call_bytes (bytes: 1 to 64MiB; default 4MiB) The most bytes of one call, and in a batch.
 *   max_record_bytes (bytes: 1 to 64MiB; default 4MiB) The most bytes of a record with its fields.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect to a server, TLS and sign-in
 *       included.
 *   timeout (duration: 0.01 to 600; default 10) The longest time that a reply may take.
 *
 * postgres://HOST/PATH
 *   Writes records as rows of a table of PostgreSQL. Exactly once: how far a buffer's records are in the table is
 *       noted in the same transaction. Under once=false at least once.
 *   url (text: postgres:// or postgresql://, servers divided by commas, perhaps a database and a table; default
 *       empty) The servers, a database and perhaps the table: postgres://USER@HOST:PORT,HOST:PORT/DATABASE/TABLE. The
 *       port is 5432 where none is given, the database the one that is named like the user. Passwords are other
 *       options.
 *   table (text: such as events, audit.events or "odd.name", or empty: that of the URL; default empty) The table that
 *       has a row for each record. Letters count as they are.
 *   payload_column (text: a name; default payload) The column that has the payload: of any type that reads it as text
 *       (jsonb, json, text, …), or bytea, which has it as it is.
 *   id_column (text: a name, or empty; default id) The column that has the record's id; empty: none. These columns
 *       are of any type that reads what they get as text, or bytea.
 *   key_column (text: a name, or empty; default key) The column that has the record's key, or NULL; empty: none.
 *   topic_column (text: a name, or empty; default topic) The column that has the record's topic, or NULL; empty:
 *       none.
 *   headers_column (text: a name, or empty; default headers) The column that has the record's headers as a JSON
 *       object, or NULL; empty: none.
 *   created_at_column (text: a name, or empty; default created_at) The column that has the time when it was put, in
 *       RFC 3339; empty: none.
 *   batch_column (text: a name, or empty; default empty) The column that has the id of the batch that the record came
 *       in; empty: none.
 *   seq_column (text: a name, or empty; default empty) The column that has the record's number in its buffer; empty:
 *       none.
 *   once (boolean: true, false; default true) Note in progress_table how far this buffer's records are in the table,
 *       in one transaction with them, so that each is there once.
 *   progress_table (text: such as unistream_progress or audit.progress; default unistream_progress) The table of
 *       these notes: a row for each buffer and lane.
 *   create_progress_table (boolean: true, false; default true) Make that table where it does not exist.
 *   username (text: a name, or empty; default empty) The user, if the URL names none; empty: PGUSER.
 *   password (secret: a password, or empty: PGPASSWORD; default empty) The password.
 *   password_file (text: a path, or empty; default empty) A file with that password, read anew for every connection.
 *   sslmode (choice: auto, disable, require, verify-full; default auto) When connections are encrypted. Nothing is
 *       encrypted without knowing whose server it is.
 *   ca_bundle (text: a path, or empty; default empty) A PEM file of the authorities to trust instead of Mozilla's.
 *   client_cert (text: a path, or empty; default empty) A PEM file with the certificate that a server asks for
 *       (mutual TLS), and those between it and its authority.
 *   client_key (text: a path, or empty; default empty) A PEM file with the private key of client_cert; empty: it
 *       stands in the same file.
 *   use_environment (boolean: true, false; default true) Read the variables that name the user and the password
 *       (PGUSER, PGPASSWORD), proxies (https_proxy, all_proxy, no_proxy) and authorities (SSL_CERT_FILE). A program
 *       that is setuid, setgid or has capabilities of its file never reads them.
 *   application_name (text: a text; default unistream) The name of our connections in pg_stat_activity.
 *   max_call_records (count: 1 to 10000; default 2000) The most records of one COPY, and in a batch.
 *   max_call_bytes (bytes: 1 to 64MiB; default 8MiB) The most bytes of one COPY, and in a batch.
 *   max_record_bytes (bytes: 1 to 64MiB; default 8MiB) The most bytes of a record with its headers.
 *   connect_timeout (duration: 0.01 to 600; default 5) The longest time to connect to a server, TLS and sign-in
 *       included.
 *   timeout (duration: 0.01 to 600; default 30) The longest time that an answer may take: of the rows of a call, or
 *       of a COMMIT.
 */


#ifndef UNISTREAM_H
#define UNISTREAM_H

/* Generated from the source of the library; do not edit. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The version of this header; unistream_version() tells that of the library. */
#define UNISTREAM_VERSION "0.2.0"
#define UNISTREAM_VERSION_MAJOR 0
#define UNISTREAM_VERSION_MINOR 2
#define UNISTREAM_VERSION_PATCH 0
/** One number that grows: major * 1000000 + minor * 1000 + patch. */
#define UNISTREAM_VERSION_NUMBER (UNISTREAM_VERSION_MAJOR * 1000000 + UNISTREAM_VERSION_MINOR * 1000 + UNISTREAM_VERSION_PATCH)

/** Every error that is returned is the caller's to free, so none may be ignored: unistream_error_free(call()) frees one
 *  that is of no interest. */
#if defined(__GNUC__) || defined(__clang__)
#define UNISTREAM_MUST_USE __attribute__((warn_unused_result))
#else
#define UNISTREAM_MUST_USE
#endif

/** A time-out without end. */
#define UNISTREAM_FOREVER ((int64_t)-1)

/** unistream_record record = UNISTREAM_RECORD_INIT; */
#define UNISTREAM_RECORD_INIT { sizeof(unistream_record), NULL, 0, NULL, 0, NULL, 0, 0, 0, NULL, 0, NULL, 0, 0 }

/** unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT; */
#define UNISTREAM_SINK_CALLBACKS_INIT { sizeof(unistream_sink_callbacks), NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 0, NULL, NULL }

/** The longest memo that a sink keeps with a batch, in bytes. */
#define UNISTREAM_MAX_MEMO_BYTES 4096

/**
 * For `unistream_sink_file()`: before each payload its length, as 4 bytes little-endian, and nothing after it.
 * For payloads that may hold line feeds.
 */
#define UNISTREAM_FILE_LENGTH_PREFIXED 1

/**
 * For `unistream_sink_file()`: sync the file after every batch, so that what was delivered survives a power loss.
 */
#define UNISTREAM_FILE_SYNC 2

/**
 * For `unistream_option()`: the key.
 */
#define UNISTREAM_OPTION_KEY 0

/**
 * For `unistream_option()`: `count`, `bytes`, `duration`, `number`, `durations`, `boolean` or `choice`.
 */
#define UNISTREAM_OPTION_KIND 1

/**
 * For `unistream_option()`: the permitted values.
 */
#define UNISTREAM_OPTION_RANGE 2

/**
 * For `unistream_option()`: the default, as `unistream_config_set()` takes it.
 */
#define UNISTREAM_OPTION_DEFAULT 3

/**
 * For `unistream_option()`: what it does.
 */
#define UNISTREAM_OPTION_DOC 4

/**
 * Consecutive records on their way to a sink, shown where they lie in the log. Immutable: any threads may read it at
 * once, for as long as it lives. In a forked child it is empty, and what pointers of before point to is unspecified.
 */
typedef struct unistream_batch unistream_batch;

/**
 * A batch that an asynchronous callback has taken on, to be answered exactly once: by
 * `unistream_completion_finish()`, or by `unistream_completion_free()` as failed. Any thread may hold it, one at a
 * time.
 */
typedef struct unistream_completion unistream_completion;

/**
 * Options for opening producers, and who listens to their events. One thread at a time.
 */
typedef struct unistream_config unistream_config;

/**
 * A batch, or single records of one, that was given up on, with the reasons. Belongs to its list; immutable.
 */
typedef struct unistream_dead_letter unistream_dead_letter;

/**
 * The dead letters of a buffer as they were when this list was made, oldest first. Immutable; any thread may read it.
 */
typedef struct unistream_dead_letters unistream_dead_letters;

/**
 * Why a call failed. Immutable; any thread may read it.
 */
typedef struct unistream_error unistream_error;

/**
 * Something that happened in a producer. It lives for the callback that it is passed to, and belongs to its thread.
 */
typedef struct unistream_event unistream_event;

/**
 * An open buffer and its way to the sink. Any threads may use it at once; only `unistream_producer_free()` must be
 * the last call.
 */
typedef struct unistream_producer unistream_producer;

/**
 * What a sink says besides the outcome of the whole batch: a message, a retry-after, outcomes of single records.
 * One thread at a time.
 */
typedef struct unistream_report unistream_report;

/**
 * A destination of batches. Made by one of the functions below, taken over by `unistream_producer_open()`.
 */
typedef struct unistream_sink unistream_sink;

/**
 * A snapshot of a producer's counters and state. Immutable; any thread may read it.
 */
typedef struct unistream_stats unistream_stats;

/**
 * What an error is about, and so what to do: `unistream_error_code()`.
 */
typedef int32_t unistream_code;

/**
 * How much an event matters.
 */
typedef int32_t unistream_level;

/**
 * Hears of events, on the thread on which they happen: the one that puts or calls, or the sender's. Several threads
 * may call at once. It must return soon, must not throw or longjmp, and must not call the same producer
 * (`UNISTREAM_ERROR_REENTRANT`), `unistream_producer_stats()` excepted.
 */
typedef void (*unistream_event_callback)(void *user_data, const unistream_event *event);

/**
 * Frees what a callback's `user_data` points to. Called exactly once, after the last call of the callback has
 * returned, on any thread. It must not throw or longjmp, and must not call the producer that it belonged to.
 */
typedef void (*unistream_destroy_callback)(void *user_data);

/**
 * A header of a record: a name with a value. A public structure that never changes.
 */
typedef struct {
  /**
   * The name, UTF-8 without control characters, not NUL-terminated; 1 to 256 bytes.
   */
  const char *name;
  /**
   * Bytes of the name.
   */
  size_t name_length;
  /**
   * The value. May be NULL if `value_length` is 0.
   */
  const void *value;
  /**
   * Bytes of the value.
   */
  size_t value_length;
} unistream_header;

/**
 * A record: what is put, and what a batch holds. A public structure; begin with `UNISTREAM_RECORD_INIT`, or zero it
 * and set `size`. Later versions may add fields at its end, never change these.
 *
 * On the way out everything points into the batch and lives as long as it does.
 */
typedef struct {
  /**
   * `sizeof(unistream_record)`: the version of the structure that the program knows.
   */
  size_t size;
  /**
   * The payload, opaque to unistream. May be NULL if `data_length` is 0.
   */
  const void *data;
  /**
   * Bytes of payload.
   */
  size_t data_length;
  /**
   * The partition key, for sinks that have partitions; NULL: none. At most 65535 bytes.
   */
  const void *key;
  /**
   * Bytes of the key.
   */
  size_t key_length;
  /**
   * The record's own id, UTF-8, not NUL-terminated; NULL: none was given, and
   * `unistream_batch_record_id()` makes one of the buffer and the sequence number. At most 65535 bytes.
   */
  const char *id;
  /**
   * Bytes of the id.
   */
  size_t id_length;
  /**
   * Microseconds since 1970-01-01, UTC, in the years 1 to 9999. 0 on the way in: the time of the put, to about 4 ms.
   */
  int64_t created_at;
  /**
   * The sequence number: it rises with every record of a buffer and is never used again. Ignored on the way in.
   */
  uint64_t seq;
  /**
   * Names with values that travel beside the payload, for sinks that carry them; NULL: none. At most 100, of at most
   * 32768 bytes together. A name may come more than once.
   */
  const unistream_header *headers;
  /**
   * How many headers.
   */
  size_t header_count;
  /**
   * Where within the sink: a topic, subject, stream or path, as the sink has it. UTF-8 without control characters, not
   * NUL-terminated; NULL: the sink's own. 1 to 1024 bytes.
   */
  const char *topic;
  /**
   * Bytes of the topic.
   */
  size_t topic_length;
  /**
   * Microseconds since 1970-01-01, UTC, from when on the record is of no use to anybody, in the years 1 to 9999. 0: never.
   */
  int64_t expires_at;
} unistream_record;

/**
 * What became of a batch or of one record of it: the answer of a sink.
 */
typedef int32_t unistream_outcome;

/**
 * What became of a record, as `unistream_producer_put_reported()` tells it.
 */
typedef int32_t unistream_delivery;

/**
 * Hears what became of the record `seq`: once, on the thread that found out, which may be the one that puts, before its put
 * has returned. `delivery` is one of the `unistream_delivery` numbers. `reason` says why a record is in the dead letters, and is
 * empty else; `receipt` is what the sink says of a record that it took, such as its offset, or NULL. Both live for the call.
 *
 * It must return soon, must not throw or longjmp, and must not call the same producer (`UNISTREAM_ERROR_REENTRANT`),
 * `unistream_producer_stats()` excepted. No lock is held while it runs.
 */
typedef void (*unistream_delivery_callback)(void *user_data,
                                            uint64_t seq,
                                            unistream_delivery delivery,
                                            const char *reason,
                                            const char *receipt);

/**
 * Makes a sink of a registered kind, by one of the functions that make sinks, and hands it over; NULL refuses the options.
 * `options` are keys and values in turn, with NULL behind the last, lent for the call: `place` first, what stands in the
 * URL between the scheme and `?`, as it is written; then the others. Called on the thread that opens. It must not throw or
 * longjmp. The sink must not be asynchronous.
 */
typedef unistream_sink *(*unistream_open_callback)(void *user_data, const char *const *options);

/**
 * Sends a batch and returns what became of it: `UNISTREAM_OUTCOME_DELIVERED`, `UNISTREAM_OUTCOME_FAILED`,
 * `UNISTREAM_OUTCOME_REJECTED` or `UNISTREAM_OUTCOME_UNAVAILABLE`. `report` takes what more there is to say: a
 * message, a retry-after, other outcomes of single records.
 *
 * `batch` and `report` are lent until it returns. It is called on the sender's thread (background mode) or on the
 * one that puts, flushes or closes (inline mode); by one thread at a time, or by up to `max_in_flight`. It may
 * take its time: puts do not wait for it. It must not throw or longjmp, and must not call the same producer
 * (`UNISTREAM_ERROR_REENTRANT`), `unistream_producer_stats()` excepted.
 */
typedef unistream_outcome (*unistream_send_callback)(void *user_data,
                                                     const unistream_batch *batch,
                                                     unistream_report *report);

/**
 * Begins to send a batch, `unistream_completion_batch(completion)`, and returns; later, or at once, on any thread,
 * the program calls `unistream_completion_finish()`. The completion belongs to the program from the moment of the
 * call. The next batch is passed when this one is answered (or as many at once as `max_in_flight` says).
 *
 * The same threads and rules as for `unistream_send_callback`; in inline mode, where a put would have to wait for
 * the answer, asynchronous sinks are refused.
 */
typedef void (*unistream_send_async_callback)(void *user_data, unistream_completion *completion);

/**
 * Asks a `send` under way to return as soon as it can, because the producer's time to close is over. Called from
 * another thread. It must not throw or longjmp, nor call the same producer. What a `send` answers after this as failed
 * or unavailable counts nothing: the next run sends it as if it had not been tried.
 */
typedef void (*unistream_interrupt_callback)(void *user_data);

/**
 * Says what to keep with a batch before it is tried for the first time: writes a memo of at most
 * `UNISTREAM_MAX_MEMO_BYTES` to `memo`, which has as much room, and returns its length; 0 keeps nothing, and is asked again before
 * the next attempt. Negative: it cannot say now; the batch counts as tried in vain.
 *
 * `unistream_batch_memo()` finds the memo at every attempt, across restarts. It is durable before `send` is called:
 * it survives the death of the process, and a power loss as `durability` says. Where the disk does not take it, nothing is
 * sent, and the batch is tried again later. The same threads and rules as for `unistream_send_callback`; not called in manual mode.
 */
typedef int64_t (*unistream_prepare_callback)(void *user_data, const unistream_batch *batch, void *memo);

/**
 * Makes the user data of a forked child: of its first use there of a producer with the option `shared`, before the sink's other
 * callbacks are called in it. `user_data` is the parent's; what it points to is the child's copy, but connections and open files
 * are shared with the parent, and a lock may be held by a thread that the child does not have. Writes what the callbacks are passed
 * in the child to `own`, which `destroy` gets when the child's sink is no longer used, and returns 0. Any other number:
 * it cannot now, and is asked again with each batch; the records wait. The same threads and rules as for `unistream_send_callback`.
 */
typedef int32_t (*unistream_in_child_callback)(void *user_data, void **own);

/**
 * A sink of the program's own. A public structure: zero it, set `size` and what is needed; what is 0 or NULL is
 * left out. Later versions may add fields at its end, never change these.
 */
typedef struct {
  /**
   * `sizeof(unistream_sink_callbacks)`: the version of the structure that the program knows.
   */
  size_t size;
  /**
   * Passed to every callback. It must stay valid until `destroy`.
   */
  void *user_data;
  /**
   * Called once when the sink is no longer used, also if making it or opening its producer fails.
   */
  unistream_destroy_callback destroy;
  /**
   * Sends a batch. Exactly one of `send` and `send_async` must be set.
   */
  unistream_send_callback send;
  /**
   * Begins to send a batch.
   */
  unistream_send_async_callback send_async;
  /**
   * Cuts a `send` short.
   */
  unistream_interrupt_callback interrupt;
  /**
   * A name for messages and dead letters, UTF-8, copied; NULL: `callback`. It must hold no secret.
   */
  const char *name;
  /**
   * The most records in one call; 0: no limit of its own.
   */
  uint64_t max_records;
  /**
   * The most bytes of payload in one call; 0: no limit of its own. A batch that an earlier run sealed under other
   * limits may be larger.
   */
  uint64_t max_bytes;
  /**
   * The most bytes of payload in one record, refused by the put otherwise; 0: no limit of its own.
   */
  uint64_t max_record_bytes;
  /**
   * What to keep with a batch across restarts.
   */
  unistream_prepare_callback prepare;
  /**
   * What a forked child passes to the callbacks; NULL: a child's use of a producer with this sink is
   * `UNISTREAM_ERROR_FORKED`, whatever `shared` says.
   */
  unistream_in_child_callback in_child;
} unistream_sink_callbacks;

/**
 * What a producer is doing.
 */
typedef int32_t unistream_state;

/**
 * Success; the code of a NULL error.
 */
#define UNISTREAM_ERROR_NONE 0

/**
 * An argument or option is out of its range. Correct the call.
 */
#define UNISTREAM_ERROR_INVALID_ARGUMENT 1

/**
 * The record is larger than `max_record_bytes`, a batch, or the sink allows. Never retry.
 */
#define UNISTREAM_ERROR_RECORD_TOO_LARGE 2

/**
 * The log has reached `max_buffer_bytes`. Retry when the sink has caught up, or raise the cap.
 */
#define UNISTREAM_ERROR_BUFFER_FULL 3

/**
 * The filesystem has no space. Retry when there is some; nothing that was accepted is touched.
 */
#define UNISTREAM_ERROR_DISK_FULL 4

/**
 * The disk failed. The buffer refuses further puts; close it and open it again.
 */
#define UNISTREAM_ERROR_IO 5

/**
 * Another producer, of this or another process, has the buffer. Retry when it is closed.
 */
#define UNISTREAM_ERROR_IN_USE 6

/**
 * The producer is closed. Open a new one.
 */
#define UNISTREAM_ERROR_CLOSED 7

/**
 * This process is a fork of the one that opened the producer. Open one after the fork.
 */
#define UNISTREAM_ERROR_FORKED 8

/**
 * The log was written by an unknown version. Nothing was touched; use that version.
 */
#define UNISTREAM_ERROR_UNSUPPORTED_FORMAT 9

/**
 * A batch failed `max_attempts` times under `on_exhausted = raise`. The backlog is on disk;
 * `unistream_producer_resume()` or opening again starts a fresh round.
 */
#define UNISTREAM_ERROR_RETRIES_EXHAUSTED 10

/**
 * The dead letters have reached `max_dead_letter_bytes`. Replay or delete some, then resume.
 */
#define UNISTREAM_ERROR_DEAD_LETTERS_FULL 11

/**
 * The time given was over first. What was not sent stays on disk; call again to wait longer.
 */
#define UNISTREAM_ERROR_TIMEOUT 12

/**
 * There is no such dead letter, counter or file.
 */
#define UNISTREAM_ERROR_NOT_FOUND 13

/**
 * A call from inside a callback of the same producer. Make it from elsewhere.
 */
#define UNISTREAM_ERROR_REENTRANT 14

/**
 * The call does not fit the mode that the producer was opened in.
 */
#define UNISTREAM_ERROR_WRONG_MODE 15

/**
 * This build lacks what was asked for.
 */
#define UNISTREAM_ERROR_UNSUPPORTED 16

/**
 * A defect of unistream. The producer refuses further work.
 */
#define UNISTREAM_ERROR_INTERNAL 17

/**
 * A sink did not take a batch; it is tried again. Only events carry it.
 */
#define UNISTREAM_ERROR_SEND_FAILED 18

/**
 * A limit of the process or the system was reached: open files, memory, mappings, threads. Retry when some are free,
 * or raise the limit that the message names; nothing that was accepted is touched.
 */
#define UNISTREAM_ERROR_RESOURCE_EXHAUSTED 19

/**
 * The buffer's directory or a file in it belongs to another user, or others can write to it. Nothing was touched;
 * correct the owner or the mode, use a directory of your own, or set the option `trust`.
 */
#define UNISTREAM_ERROR_NOT_TRUSTED 20

/**
 * The sink has it.
 */
#define UNISTREAM_OUTCOME_DELIVERED 0

/**
 * Not delivered; try again. The attempt counts toward `max_attempts`. So does every number that is not an outcome.
 */
#define UNISTREAM_OUTCOME_FAILED 1

/**
 * Never to be delivered: into the dead letters with it, now.
 */
#define UNISTREAM_OUTCOME_REJECTED 2

/**
 * The sink cannot be reached now (network down, throttled). Retried on the same schedule, using up no attempt.
 */
#define UNISTREAM_OUTCOME_UNAVAILABLE 3

/**
 * The ordinary course.
 */
#define UNISTREAM_LEVEL_DEBUG 0

/**
 * Worth a line in a log.
 */
#define UNISTREAM_LEVEL_INFO 1

/**
 * Something does not work and is tried again, or works again.
 */
#define UNISTREAM_LEVEL_WARNING 2

/**
 * Something was given up, set aside or stopped.
 */
#define UNISTREAM_LEVEL_ERROR 3

/**
 * Sending, or ready to.
 */
#define UNISTREAM_STATE_RUNNING 0

/**
 * The head batch waits for its next attempt.
 */
#define UNISTREAM_STATE_ON_HOLD 1

/**
 * The sink cannot be reached now; retried without using up attempts.
 */
#define UNISTREAM_STATE_UNAVAILABLE 2

/**
 * Stopped by an error until `unistream_producer_resume()`.
 */
#define UNISTREAM_STATE_STOPPED 3

/**
 * Closed.
 */
#define UNISTREAM_STATE_CLOSED 4

/**
 * The sink has it.
 */
#define UNISTREAM_DELIVERY_DELIVERED 0

/**
 * It is in the dead letters: the sink rejected it, or the last attempt has failed. The reason says why.
 */
#define UNISTREAM_DELIVERY_DEAD_LETTERED 1

/**
 * It had expired before it could be sent: in the dead letters, or dropped, as `on_expired` says.
 */
#define UNISTREAM_DELIVERY_EXPIRED 2

/**
 * It was dropped because the log was full, under `when_full = drop_oldest`.
 */
#define UNISTREAM_DELIVERY_DROPPED 3

/**
 * The producer was closed before. The record is in the log, and the next producer sends it; or it was delivered and the
 * answer came too late.
 */
#define UNISTREAM_DELIVERY_CLOSED 4

/**
 * Its bytes were damaged on disk before it could be sent.
 */
#define UNISTREAM_DELIVERY_LOST 5

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* Version ---------------------------------------------------------------------------------------------------------- */

/**
 * The version of the library that is loaded, such as `0.2.0`. Compare it with `UNISTREAM_VERSION`, the version of
 * the header that the program was compiled with. The text is static.
 */
const char *unistream_version(void);

/**
 * The version of the library that is loaded as one number that grows:
 * major * 1000000 + minor * 1000 + patch, as `UNISTREAM_VERSION_NUMBER` has it for the header.
 */
uint32_t unistream_version_number(void);

/* Errors ----------------------------------------------------------------------------------------------------------- */

/**
 * What the error is about: one of the `unistream_code` numbers; `UNISTREAM_ERROR_NONE` for NULL.
 */
unistream_code unistream_error_code(const unistream_error *error);

/**
 * The code's name, such as `record_too_large`; `none` for NULL. The text lives as long as the error.
 */
const char *unistream_error_name(const unistream_error *error);

/**
 * What went wrong, for a person: one line of UTF-8; `success` for NULL. The text lives as long as the error.
 */
const char *unistream_error_message(const unistream_error *error);

/**
 * The cause behind the error, the cause behind that one, and so on: `index` counts from 0. Returns NULL behind the
 * last one, and for NULL. The text lives as long as the error.
 */
const char *unistream_error_cause(const unistream_error *error, size_t index);

/**
 * Whether the same call can succeed later with nothing changed by the caller. False for NULL.
 */
bool unistream_error_is_retryable(const unistream_error *error);

/**
 * Whether the record of the put that returned this error is in the log nevertheless, and must not be put again.
 * Happens in inline mode, where a put also sends. False for NULL.
 */
bool unistream_error_record_accepted(const unistream_error *error);

/**
 * Frees an error. NULL does nothing.
 */
void unistream_error_free(unistream_error *error);

/* Configuration ---------------------------------------------------------------------------------------------------- */

/**
 * Field `field` (`UNISTREAM_OPTION_KEY`, ...) of option `index` of the table above, counted from 0: for a program
 * that offers all options to its own users. Returns NULL behind the last option and for an unknown field. The text
 * is static.
 */
const char *unistream_option(size_t index, int32_t field);

/**
 * Makes a configuration in which every option has its default. Free it with `unistream_config_free()`.
 */
unistream_config *unistream_config_new(void);

/**
 * Sets an option from text: `unistream_config_set(config, "linger", "250ms")`. The table above lists all of them.
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, naming the option and what it takes, for an unknown key, for a value
 * that is none or out of its range, and for text that is not UTF-8. The configuration then stays as it was.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_config_set(unistream_config *config,
                                      const char *key,
                                      const char *value);

/**
 * Gets an option in the form that `unistream_config_set()` takes.
 *
 * Writes to `value`, on success, a text that lives until the next call with this configuration.
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` for NULL or text that is not UTF-8, `UNISTREAM_ERROR_NOT_FOUND` for an
 * unknown key.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_config_get(unistream_config *config,
                                      const char *key,
                                      const char **value);

/**
 * Sets who hears of the events of level `level` and above of every producer that is opened with this configuration
 * afterwards. A NULL `callback` takes the listener away.
 *
 * Ownership: `destroy(user_data)`, unless NULL, is called exactly once, when this configuration and the last of
 * those producers are freed, or the listener was replaced; if this call fails, before it returns.
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` for a NULL config or a number that is no level.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_config_on_event(unistream_config *config,
                                           unistream_level level,
                                           unistream_event_callback callback,
                                           void *user_data,
                                           unistream_destroy_callback destroy);

/**
 * Frees a configuration. Producers opened with it are not concerned. NULL does nothing.
 */
void unistream_config_free(unistream_config *config);

/* Events ----------------------------------------------------------------------------------------------------------- */

/**
 * What happened: `put`, `on_hold`, `should_not_emit`, `send_started`, `send_succeeded`, `send_failed`, `rejected`,
 * `once_ended` (records that the sink delivers once otherwise may have arrived twice), `skipped`, `expired` (records had become too old to be sent), `dropped` (the oldest made room for others), `stopped`, `recovered`, `corrupt`, `shared` (the directory of
 * one producer became an outbox that processes share), `adopted` (a slot whose process has ended is sent from now on), `put_waiting` (a put waits for space; reported at most once a
 * minute), `sink_down` (attempts fail or find the sink unavailable: reported when that begins, while it lasts after
 * 1, 2, 4 ... minutes and then every hour), `sink_up` (it takes batches again), `log_unreadable` (the log cannot be
 * read, so nothing is sent: reported as `sink_down` is) or `log_readable`. Later versions may add names. The text
 * lives as long as the event.
 */
const char *unistream_event_name(const unistream_event *event);

/**
 * How much it matters: one of the `unistream_level` numbers.
 */
unistream_level unistream_event_level(const unistream_event *event);

/**
 * One line for a log. The text lives as long as the event.
 */
const char *unistream_event_message(const unistream_event *event);

/**
 * The batch that `send_started`, `send_succeeded` and `send_failed` are about; NULL for other events. It lives as
 * long as the event.
 */
const unistream_batch *unistream_event_batch(const unistream_event *event);

/**
 * The error that `send_failed`, `skipped`, `stopped`, `sink_down` and `log_unreadable` are about; NULL for other
 * events. It belongs to the event and lives as long.
 */
const unistream_error *unistream_event_error(const unistream_event *event);

/* Producer --------------------------------------------------------------------------------------------------------- */

/**
 * Opens the buffer in the directory `path`, creating it if there is none, and begins to deliver: first what an
 * earlier run left there.
 *
 * `sink`: where batches go. In mode `manual`, and only there, it must be NULL.
 * `config`: the options, copied; NULL: every option has its default.
 *
 * Writes the producer to `producer` on success; free it with `unistream_producer_free()`. Ownership: takes the sink
 * over in every case; on failure it is freed, and its `destroy` called, before this returns.
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` (also for `max_in_flight` above 1 with a sink that is to keep order,
 * such as Kinesis with `ordered`), `UNISTREAM_ERROR_IN_USE` (the message names the process that has the buffer),
 * `UNISTREAM_ERROR_UNSUPPORTED_FORMAT`, `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_RESOURCE_EXHAUSTED`,
 * `UNISTREAM_ERROR_IO`. Damaged bytes are no error: they are set aside, counted, and reported as the event
 * `corrupt`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_open(const char *path,
                                         unistream_sink *sink,
                                         const unistream_config *config,
                                         unistream_producer **producer);

/**
 * Puts a record: `length` bytes at `data`, copied. When it has returned NULL, the record is in the log and survives
 * the death of the process at any later instant; what it survives beyond that, `durability` says.
 *
 * Errors: `UNISTREAM_ERROR_RECORD_TOO_LARGE`, `UNISTREAM_ERROR_BUFFER_FULL` (after `full_timeout`, or at once, as
 * `when_full` says), `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_RESOURCE_EXHAUSTED`, `UNISTREAM_ERROR_IO`,
 * `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`,
 * `UNISTREAM_ERROR_INVALID_ARGUMENT`; and when the producer has stopped, the error that stopped it:
 * `UNISTREAM_ERROR_RETRIES_EXHAUSTED` or `UNISTREAM_ERROR_DEAD_LETTERS_FULL`. The record was not accepted, unless
 * `unistream_error_record_accepted()` says otherwise.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_put(const unistream_producer *producer,
                                        const void *data,
                                        size_t length);

/**
 * Puts a record with an id, a key, a time, headers or a topic of its own. All of it is copied.
 *
 * Writes its sequence number to `seq`, unless NULL, on success. Errors: as of `unistream_producer_put()`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_put_record(const unistream_producer *producer,
                                               const unistream_record *record,
                                               uint64_t *seq);

/**
 * Puts `count` records in one call, in order: an array of structures that all say the same `size`. The first record
 * that is refused ends the call.
 *
 * Writes to `accepted`, unless NULL, how many were put, also on failure: those at the front. The error's message
 * says it too. Errors: as of `unistream_producer_put()`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_put_many(const unistream_producer *producer,
                                             const unistream_record *records,
                                             size_t count,
                                             size_t *accepted);

/**
 * Waits until every record that was put before is delivered or a dead letter. Batches that are not full are sealed.
 *
 * `timeout_ms`: milliseconds, or `UNISTREAM_FOREVER`. In mode manual, another thread must be sending.
 *
 * Errors: `UNISTREAM_ERROR_TIMEOUT` (nothing is lost; call again), the error that stopped the producer,
 * `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_flush(const unistream_producer *producer,
                                          int64_t timeout_ms);

/**
 * Makes every record that was put before durable: it then survives a power loss, in any durability.
 *
 * Errors: `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`.
 */
UNISTREAM_MUST_USE unistream_error *unistream_producer_sync(const unistream_producer *producer);

/**
 * Goes on after the producer has stopped, with a fresh round of attempts. If it has not, batches that wait for their
 * next attempt, whatever the schedule or the sink says, may go out now; their attempts stay counted.
 *
 * Errors: `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`.
 */
UNISTREAM_MUST_USE unistream_error *unistream_producer_resume(const unistream_producer *producer);

/**
 * Delivers what it can within `timeout_ms` milliseconds (or `UNISTREAM_FOREVER`) and closes the buffer. A send that
 * is still under way then is interrupted. What is left stays safe on disk, for the next run. Closing again returns
 * the same number. The handle remains, and answers `UNISTREAM_ERROR_CLOSED`, until it is freed.
 *
 * Writes to `left`, unless NULL, on success how many records were left. Errors: the error that stopped the producer,
 * `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_IO`, and `UNISTREAM_ERROR_TIMEOUT` if a callback does not return
 * even after it was interrupted (the buffer is released when it does): the producer is closed all the same.
 * `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`: it is not.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_close(const unistream_producer *producer,
                                          int64_t timeout_ms,
                                          uint64_t *left);

/**
 * Frees a producer, after closing it, if that was not done, without waiting for deliveries. No other call may be
 * under way. Its sink is freed and `destroy` called before it returns, or, if a callback does not return even after
 * it was interrupted, when it does. NULL does nothing.
 *
 * From inside a callback of the same producer it does nothing, since the callback's caller still needs it; free it
 * from elsewhere. In a forked child it frees the handle only: the parent's buffer is left alone, and `destroy`,
 * which is the parent's to call, is not called.
 */
void unistream_producer_free(unistream_producer *producer);

/**
 * Takes a snapshot of the counters and the state. Allowed at any time: inside callbacks, and after the close.
 *
 * Writes it to `stats` on success; free it with `unistream_stats_free()`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_stats(const unistream_producer *producer,
                                          unistream_stats **stats);

/* Producer: dead letters ------------------------------------------------------------------------------------------- */

/**
 * Lists the dead letters of the producer's buffer.
 *
 * Writes the list to `letters` on success; free it with `unistream_dead_letters_free()`.
 * Errors: `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_dead_letters(const unistream_producer *producer,
                                                 unistream_dead_letters **letters);

/**
 * Puts the records of the dead letter `id` into the buffer again, in order, behind what is there, with their ids,
 * keys and times; then deletes the letter.
 *
 * Writes to `records`, unless NULL, on success how many there were. Errors: `UNISTREAM_ERROR_NOT_FOUND`,
 * `UNISTREAM_ERROR_IN_USE` while another thread replays or deletes it, and those of `unistream_producer_put()`; the
 * letter then stays.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_replay(const unistream_producer *producer,
                                           const char *id,
                                           uint64_t *records);

/* Producer: mode manual -------------------------------------------------------------------------------------------- */

/**
 * Mode manual: takes the next batch whose time has come.
 *
 * Writes it to `batch` on success, or NULL if there is none now: wait as long as `unistream_producer_next_wait()`
 * says. Ownership: the caller's, until it is given back by `unistream_producer_commit()`, `_failed()` or
 * `_settle()`. Until then it is not handed out again, also not after `unistream_batch_free()`: what was never
 * answered is handed out again when the producer is closed and opened again.
 *
 * Errors: `UNISTREAM_ERROR_WRONG_MODE`, the error that stopped the producer, `UNISTREAM_ERROR_IO`,
 * `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_next_batch(const unistream_producer *producer,
                                               unistream_batch **batch);

/**
 * Mode manual: keeps a memo with a batch of `unistream_producer_next_batch()`, as the callback `prepare` does in the other
 * modes: `length` bytes, at most 4,096, which are copied. `unistream_batch_memo()` has it from now on, also in every later
 * attempt, across restarts. Call it before anything of the batch is sent for the first time: while there is no memo.
 *
 * When this has returned, the memo survives the death of the process, and a power loss as `durability` says. `memo`
 * may be NULL where `length` is 0. Any thread may call it, and others may read the batch meanwhile.
 *
 * Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_NOT_FOUND` for a batch that waits for no answer,
 * `UNISTREAM_ERROR_INVALID_ARGUMENT` for a memo that is too long and for a batch that has one, `UNISTREAM_ERROR_DISK_FULL`,
 * `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`. The batch has no other memo than before then.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_keep_memo(const unistream_producer *producer,
                                              const unistream_batch *batch,
                                              const void *memo,
                                              size_t length);

/**
 * Mode manual: how long until `unistream_producer_next_batch()` may have a batch, for the timer of an event loop.
 *
 * Writes to `wait_ms` milliseconds, rounded up, such as poll() takes: 0 for now, `UNISTREAM_FOREVER` (-1) if only a
 * put or an answer can change that, or if the producer has stopped or was closed, as
 * `unistream_producer_next_batch()` then says. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_next_wait(const unistream_producer *producer,
                                              int64_t *wait_ms);

/**
 * Mode manual: a descriptor that is readable when `unistream_producer_next_batch()` may have a batch, also by `linger`,
 * the schedule or `max_rate_*`: an event loop that polls it needs no timer. Where the directory is shared, it is readable
 * too when it is time to look for what other processes have left. Then take batches until there is none.
 *
 * It is level-triggered: readable until `unistream_producer_next_batch()` has written NULL, and once the producer has
 * stopped or is closed, as that function then says. poll(), select(), epoll and the libraries above them (libuv, libev,
 * GLib) take it; only poll it: do not read from it, write to it or close it. It is opened at the first call, closed on
 * exec, and stays the same, and open, until the producer is freed. In a forked child the parent's descriptor means
 * nothing; the child's own call opens its own if the producer is shared.
 *
 * Writes it to `fd` on success. Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_IO` (no descriptor is left),
 * `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_REENTRANT`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_fd(const unistream_producer *producer,
                                       int *fd);

/**
 * Mode manual: the batch was delivered. Takes the batch over, in every case.
 *
 * Errors: `UNISTREAM_ERROR_WRONG_MODE`, `UNISTREAM_ERROR_NOT_FOUND` for a batch that waits for no answer (one of
 * another producer or of an earlier opening, or of a dead letter), `UNISTREAM_ERROR_DISK_FULL`,
 * `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_CLOSED`, `UNISTREAM_ERROR_FORKED`, `UNISTREAM_ERROR_INVALID_ARGUMENT`. On
 * failure the batch stays in the buffer.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_commit(const unistream_producer *producer,
                                           unistream_batch *batch);

/**
 * Mode manual: the attempt at the batch failed; it comes again as the schedule says. Takes the batch over, in every
 * case.
 *
 * `message`, copied, says why; it may be NULL. Errors: as of `unistream_producer_commit()`, and, if this was the last
 * attempt under `on_exhausted = raise`, `UNISTREAM_ERROR_RETRIES_EXHAUSTED`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_failed(const unistream_producer *producer,
                                           unistream_batch *batch,
                                           const char *message);

/**
 * Mode manual: says what became of the batch as a callback does, with an outcome and a report (NULL: no more to
 * say). Takes the batch over, in every case but one; borrows the report.
 *
 * Errors: as of `unistream_producer_failed()`, and `UNISTREAM_ERROR_INVALID_ARGUMENT` for a report that names a
 * record the batch does not have: nothing has changed then, and the batch is still the caller's, to be given back or
 * freed.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_settle(const unistream_producer *producer,
                                           unistream_batch *batch,
                                           unistream_outcome outcome,
                                           const unistream_report *report);

/**
 * As `unistream_producer_put_record()`, and `callback` is told what became of the record, with `user_data`.
 *
 * It is called exactly once if the put succeeds and the process lives until the record is delivered, given up or the producer is
 * closed; of a record that is in the log then it hears `UNISTREAM_DELIVERY_CLOSED`. It is not called if the put fails, after a
 * crash, or in a forked child. A callback costs an allocation; puts without one cost nothing for it.
 *
 * Writes the record's sequence number to `seq`, unless NULL, on success. Errors: as of `unistream_producer_put()`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_put_reported(const unistream_producer *producer,
                                                 const unistream_record *record,
                                                 unistream_delivery_callback callback,
                                                 void *user_data,
                                                 uint64_t *seq);

/* Batches ---------------------------------------------------------------------------------------------------------- */

/**
 * The batch's id: no other batch has it, and it stays the same across retries and restarts, so that a target can
 * recognise what it has already. The text lives as long as the batch. NULL for NULL.
 */
const char *unistream_batch_id(const unistream_batch *batch);

/**
 * How many records it holds. Those that the sink took or rejected in an earlier attempt are no longer in it.
 */
size_t unistream_batch_count(const unistream_batch *batch);

/**
 * Whether somebody waits for what the sink says of a record, see `unistream_report_receipt()`.
 */
bool unistream_batch_wants_receipts(const unistream_batch *batch);

/**
 * The sequence number of the first record that the batch was made of.
 */
uint64_t unistream_batch_first_seq(const unistream_batch *batch);

/**
 * The sequence number of the last record that the batch was made of.
 */
uint64_t unistream_batch_last_seq(const unistream_batch *batch);

/**
 * The number of this attempt, from 1, counting those that count.
 */
uint32_t unistream_batch_attempt(const unistream_batch *batch);

/**
 * The memo that the sink's `prepare` kept with the batch, or `unistream_producer_keep_memo()` in mode manual, and its length
 * in `length`; NULL and 0 if there is none. It lives as long as the batch.
 */
const void *unistream_batch_memo(const unistream_batch *batch,
                                 size_t *length);

/**
 * Shows record `index`, counted from 0, in put order. Nothing is copied: the pointers live as long as the batch.
 *
 * Set `record->size` before, as `UNISTREAM_RECORD_INIT` does. Returns false, and writes nothing, behind the last
 * record, for NULL, and for a size that is not set; so a loop needs no more than
 *
 *     for (size_t i = 0; unistream_batch_record(batch, i, &record); i++)
 */
bool unistream_batch_record(const unistream_batch *batch, size_t index, unistream_record *record);

/**
 * Copies the id of record `index`: the one that was put, else `<buffer id>-<seq>`, which no other record has.
 *
 * Writes at most `capacity` bytes, the closing NUL included, to `buffer`, and returns the length of the whole id
 * without the NUL, as snprintf does; 0 if there is no such record. A NULL `buffer` only asks for the length.
 */
size_t unistream_batch_record_id(const unistream_batch *batch, size_t index, char *buffer, size_t capacity);

/**
 * Frees a batch of `unistream_dead_letter_batch()`, or one of `unistream_producer_next_batch()` without an answer.
 * A batch that was lent to a callback is not the callback's to free. NULL does nothing.
 */
void unistream_batch_free(unistream_batch *batch);

/* Sinks ------------------------------------------------------------------------------------------------------------ */

/**
 * Frees a sink that was not passed to `unistream_producer_open()`. NULL does nothing.
 */
void unistream_sink_free(unistream_sink *sink);

/**
 * Makes a sink that appends every payload to the file `path`, with a line feed after each; the file is created if
 * there is none. Beside it a file with `.unistream` behind its name remembers what was written, so that a crash neither
 * tears a record nor writes it twice. The path is followed: when the file is renamed, removed or truncated (logrotate),
 * the next batch goes to the file that is there then. `/dev/stdout`, other devices and named pipes are written to without
 * a sidecar, at least once.
 *
 * `flags`: 0, or the sum of `UNISTREAM_FILE_LENGTH_PREFIXED` and `UNISTREAM_FILE_SYNC`. For the other options of the table
 * above (`mode`, `follow_links`): `unistream_sink_open("file", ...)`.
 *
 * Writes the sink to `sink` on success.
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT` (also for a directory, a socket or a link at that path), `UNISTREAM_ERROR_IO`,
 * `UNISTREAM_ERROR_DISK_FULL`, `UNISTREAM_ERROR_IN_USE`, `UNISTREAM_ERROR_NOT_TRUSTED` if others can change the sidecar.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_file(const char *path,
                                     uint32_t flags,
                                     unistream_sink **sink);

/**
 * Makes a sink that takes everything and keeps nothing: for measuring what comes before it.
 *
 * Writes the sink to `sink`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE unistream_error *unistream_sink_null(unistream_sink **sink);

/**
 * Makes a sink that sends records to a stream of Amazon Kinesis Data Streams: a synonym of
 * `unistream_sink_open("kinesis", options, sink)`.
 *
 * `options`: an array of keys and values in turn, with NULL behind the last; the table above lists them. `stream` is
 * needed, and a region there or where the AWS tools look for one, as for all that is left out. Credentials are looked
 * for at the first send; making the sink calls nobody.
 *
 * Writes the sink to `sink` on success.
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`; `UNISTREAM_ERROR_IO` for a file that cannot be read; `UNISTREAM_ERROR_UNSUPPORTED` if the
 * library was built without that sink.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_kinesis(const char *const *options,
                                        unistream_sink **sink);

/**
 * Makes a sink that sends records to a stream of Amazon CloudWatch Logs. As `unistream_sink_kinesis()`; `group` and
 * `stream` are needed. A synonym of `unistream_sink_open("cloudwatch-logs", options, sink)`.
 */
UNISTREAM_MUST_USE unistream_error *unistream_sink_cloudwatch_logs(const char *const *options, unistream_sink **sink);

/**
 * Makes a sink by a URL, such as `file:events.log`, `https://host/path?compression=gzip`,
 * `kinesis://stream?region=eu-central-1` or `cloudwatch-logs://group/stream?create_if_missing=true`, or by the name of its kind:
 * `file`, `null`, `http`, `kinesis`, `cloudwatch-logs`, or what was registered. What follows `?` in a URL are options of the sink, as the table above lists
 * them, divided by `&`; reserved characters are percent-encoded. Secrets are refused there.
 *
 * `options`: an array of keys and values in turn, with NULL behind the last; NULL: none. They may come besides those of a
 * URL; an option that is given twice is refused.
 *
 * Writes the sink to `sink` on success.
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`; `UNISTREAM_ERROR_UNSUPPORTED` if the library was built without that sink; what the
 * sink itself finds wrong.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_open(const char *url_or_kind,
                                     const char *const *options,
                                     unistream_sink **sink);

/**
 * Makes a kind of sinks known to the whole process, for as long as it runs: `unistream_sink_open()` calls `open` for
 * `scheme` and for URLs that begin with it, on whatever threads it is called, and passes on all options.
 *
 * `scheme`: small letters, digits, `+`, `-` and `.`, beginning with a letter. Ownership: `destroy(user_data)` is called
 * before the return if this call fails, and never if it succeeds.
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, also for a scheme that is taken.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_register(const char *scheme,
                                         unistream_open_callback open,
                                         void *user_data,
                                         unistream_destroy_callback destroy);

/**
 * Makes a sink of callbacks. The structure is copied; it need not outlive the call.
 *
 * Writes the sink to `sink` on success. Ownership: `destroy(user_data)` is called exactly once, when the sink is
 * freed, be it by the producer that took it over; if this call fails, before it returns (but not if `callbacks` is
 * NULL or its `size` is wrong, since then there is nothing to rely on).
 *
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_new(const unistream_sink_callbacks *callbacks,
                                    unistream_sink **sink);

/**
 * Makes a sink of one callback: `unistream_sink_new()` with `send`, `user_data` and `destroy` set, and its rules.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_callback(unistream_send_callback send,
                                         void *user_data,
                                         unistream_destroy_callback destroy,
                                         unistream_sink **sink);

/**
 * Makes a sink of one asynchronous callback: `unistream_sink_new()` with `send_async`, `user_data` and `destroy`
 * set, and its rules.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_sink_callback_async(unistream_send_async_callback send,
                                               void *user_data,
                                               unistream_destroy_callback destroy,
                                               unistream_sink **sink);

/* Completions of asynchronous sinks -------------------------------------------------------------------------------- */

/**
 * The batch to send. It lives until the completion is finished or freed, even if the producer is closed before.
 */
const unistream_batch *unistream_completion_batch(const unistream_completion *completion);

/**
 * The report that goes with the answer. It lives until the completion is finished or freed.
 */
unistream_report *unistream_completion_report(unistream_completion *completion);

/**
 * Answers: `outcome` holds for every record that the report says nothing else of. Takes the completion over, on any
 * thread, also inside the callback that it was passed to.
 *
 * An answer after the producer was closed has no effect: the batch is still in the buffer, and the next run sends
 * it again; nor has one in a forked child. NULL does nothing.
 */
void unistream_completion_finish(unistream_completion *completion, unistream_outcome outcome);

/**
 * Gives a completion up without an answer: the attempt counts as failed. NULL does nothing.
 */
void unistream_completion_free(unistream_completion *completion);

/* Reports ---------------------------------------------------------------------------------------------------------- */

/**
 * Makes an empty report for `unistream_producer_settle()`. Callbacks are lent theirs.
 */
unistream_report *unistream_report_new(void);

/**
 * Answers for record `index` of the batch, counted from 0; the last answer for a record holds. Records that are not
 * answered for share the outcome of the whole batch.
 *
 * `message`, copied, says why, and stands in the dead letter of a rejected record; NULL: the report's message. More
 * than 4096 bytes of it are cut off.
 *
 * An index past the batch's end and a number that is no outcome turn the whole answer into a failed attempt whose
 * error names the mistake; the attempt's records are then all sent again.
 */
void unistream_report_record(unistream_report *report, size_t index, unistream_outcome outcome, const char *message);

/**
 * Says something of record `index`, if it is delivered, such as its partition and offset: the callback of
 * `unistream_producer_put_reported()` hears it. Copied, at most 1024 bytes of it; NULL does nothing. Nobody else hears it, so
 * that it may be left out where `unistream_batch_wants_receipts()` is false.
 */
void unistream_report_receipt(unistream_report *report,
                              size_t index,
                              const char *receipt);

/**
 * Says, for the log, the error and the dead letter, why records were not delivered. Copied, at most 4096 bytes of it;
 * NULL takes it back.
 */
void unistream_report_message(unistream_report *report, const char *message);

/**
 * Asks, beside `UNISTREAM_OUTCOME_UNAVAILABLE`, not to be tried again before this many milliseconds; more than a day
 * counts as a day. The schedule may wait longer, and `unistream_producer_resume()` tries at once. Without effect on
 * other outcomes.
 */
void unistream_report_retry_after(unistream_report *report, uint64_t milliseconds);

/**
 * Frees a report of `unistream_report_new()`. NULL does nothing.
 */
void unistream_report_free(unistream_report *report);

/* Statistics ------------------------------------------------------------------------------------------------------- */

/**
 * Gets the counter `name` of the table above.
 *
 * Writes it to `counter` on success. Errors: `UNISTREAM_ERROR_NOT_FOUND`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_stats_get(const unistream_stats *stats,
                                     const char *name,
                                     uint64_t *counter);

/**
 * How many counters there are, for a program that goes through all of them.
 */
size_t unistream_stats_count(const unistream_stats *stats);

/**
 * The name of counter `index`, counted from 0; NULL behind the last one. The text lives as long as the snapshot.
 */
const char *unistream_stats_name(const unistream_stats *stats, size_t index);

/**
 * The value of counter `index`, counted from 0; 0 behind the last one.
 */
uint64_t unistream_stats_value(const unistream_stats *stats, size_t index);

/**
 * What the producer was doing: one of the `unistream_state` numbers.
 */
unistream_state unistream_stats_state(const unistream_stats *stats);

/**
 * The state's name, such as `running`. The text lives as long as the snapshot.
 */
const char *unistream_stats_state_name(const unistream_stats *stats);

/**
 * The last error of the sink, of the disk or of a put that `refused_puts` counts, as text of at most 4096 bytes; empty
 * if there was none. What `invalid_puts` counts is not here. It lives as long as the snapshot.
 */
const char *unistream_stats_last_error(const unistream_stats *stats);

/**
 * Frees a snapshot. NULL does nothing.
 */
void unistream_stats_free(unistream_stats *stats);

/**
 * Writes the counters and the state as the text that Prometheus scrapes, with the labels `path` and, in an outbox, `slot`.
 * Its type of content is `text/plain; version=0.0.4; charset=utf-8`. Allowed at any time: inside callbacks, and after the close.
 *
 * Writes it to `text` on success; free it with `unistream_text_free()`. Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_producer_prometheus(const unistream_producer *producer,
                                               char **text);

/**
 * Frees a text that a call handed out as the caller's own. NULL does nothing.
 */
void unistream_text_free(char *text);

/* Dead letters ----------------------------------------------------------------------------------------------------- */

/**
 * Lists the dead letters of the buffer in the directory `buffer_path`, whether a producer has it open or not. A
 * program that has it open can ask its producer: `unistream_producer_dead_letters()`.
 *
 * Writes the list to `letters` on success; free it with `unistream_dead_letters_free()`.
 * Errors: `UNISTREAM_ERROR_INVALID_ARGUMENT`, `UNISTREAM_ERROR_IO`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_dead_letters_open(const char *buffer_path,
                                             unistream_dead_letters **letters);

/**
 * How many letters the list has.
 */
size_t unistream_dead_letters_count(const unistream_dead_letters *letters);

/**
 * Letter `index`, counted from 0; NULL behind the last one. It lives as long as the list.
 */
const unistream_dead_letter *unistream_dead_letters_get(const unistream_dead_letters *letters, size_t index);

/**
 * Deletes a letter from the disk, records and all, also those that were added since it was listed. The list stays as
 * it is.
 *
 * Errors: `UNISTREAM_ERROR_NOT_FOUND`, `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_dead_letters_delete(const unistream_dead_letters *letters,
                                               const char *id);

/**
 * Frees a list and the letters in it. Nothing on the disk changes. NULL does nothing.
 */
void unistream_dead_letters_free(unistream_dead_letters *letters);

/**
 * The letter's id, by which it is replayed and deleted. The text lives as long as the list.
 */
const char *unistream_dead_letter_id(const unistream_dead_letter *letter);

/**
 * The name of the sink that did not take it. The text lives as long as the list.
 */
const char *unistream_dead_letter_sink(const unistream_dead_letter *letter);

/**
 * How many attempts were made that counted.
 */
uint32_t unistream_dead_letter_attempts(const unistream_dead_letter *letter);

/**
 * When the first attempt was made: microseconds since 1970-01-01, UTC.
 */
int64_t unistream_dead_letter_first_attempt(const unistream_dead_letter *letter);

/**
 * When the last attempt was made: microseconds since 1970-01-01, UTC.
 */
int64_t unistream_dead_letter_last_attempt(const unistream_dead_letter *letter);

/**
 * When it became a dead letter: microseconds since 1970-01-01, UTC.
 */
int64_t unistream_dead_letter_created_at(const unistream_dead_letter *letter);

/**
 * The disk that it takes, in bytes.
 */
uint64_t unistream_dead_letter_bytes(const unistream_dead_letter *letter);

/**
 * The errors that led here, `index` counted from 0; NULL behind the last one. The text lives as long as the list.
 */
const char *unistream_dead_letter_error(const unistream_dead_letter *letter, size_t index);

/**
 * Why record `index`, counted from 0 as in `unistream_dead_letter_batch()`, is here; NULL behind the last one. The
 * text lives as long as the list.
 */
const char *unistream_dead_letter_reason(const unistream_dead_letter *letter, size_t index);

/**
 * Whether the sink rejected record `index`, rather than failing until the attempts were used up.
 */
bool unistream_dead_letter_is_rejected(const unistream_dead_letter *letter, size_t index);

/**
 * Reads the records of a letter from the disk.
 *
 * Writes them to `batch` on success; free it with `unistream_batch_free()`. Errors: `UNISTREAM_ERROR_NOT_FOUND` if
 * the letter was deleted meanwhile, `UNISTREAM_ERROR_IO`, `UNISTREAM_ERROR_INVALID_ARGUMENT`.
 */
UNISTREAM_MUST_USE
unistream_error *unistream_dead_letter_batch(const unistream_dead_letter *letter,
                                             unistream_batch **batch);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UNISTREAM_H */
