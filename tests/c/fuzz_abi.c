/*
 * Arbitrary sequences of calls of the C ABI, made from bytes.
 *
 * The bytes choose calls and arguments: handles that are there, closed or NULL, text that is no UTF-8, lengths that
 * cannot be, calls from inside callbacks. What the header forbids outright (a freed handle, a freed completion) is not
 * done. Each case ends with an accounting: every record that was accepted was delivered, is in a dead letter, or comes
 * out when its buffer is opened again; nothing comes out that was refused; each destroy was called once.
 *
 * With main() it runs the corpus in FUZZ_CORPUS and FUZZ_CASES mutations of it. With -DLIBFUZZER it is a target for
 * clang -fsanitize=fuzzer; see ../fuzz/README.md.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz_case.h"

static void see_batch(const unistream_batch *batch) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  uint64_t last = 0;
  char id[8];
  MUST(unistream_batch_id(batch)[0] != '\0' && unistream_batch_count(batch) > 0);
  for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
    pthread_mutex_lock(&world);
    recognise(record.data, record.data_length);
    pthread_mutex_unlock(&world);
    MUST(record.seq > last);
    last = record.seq;
    MUST(unistream_batch_record_id(batch, i, id, sizeof id) > 0 && memchr(id, 0, sizeof id));
  }
  MUST(last <= unistream_batch_last_seq(batch) && unistream_batch_first_seq(batch) <= last);
  MUST(unistream_batch_attempt(batch) > 0);
  size_t memo_length = 7;
  MUST(unistream_batch_memo(batch, &memo_length) ? memo_length <= 4096 : memo_length == 0);
}

/* The sink has answered so for record `index`. */
static void deliver(const unistream_batch *batch, size_t index) {
  unistream_record record = UNISTREAM_RECORD_INIT;
  if (!unistream_batch_record(batch, index, &record)) return;
  pthread_mutex_lock(&world);
  recognise(record.data, record.data_length)->delivered = true;
  pthread_mutex_unlock(&world);
}

/* Answers as `how` says: the outcome of the whole, and others of single records in the report. */
static unistream_outcome answer(const unistream_batch *batch, unistream_report *to, uint8_t how) {
  static const unistream_outcome outcomes[] = {
      UNISTREAM_OUTCOME_DELIVERED, UNISTREAM_OUTCOME_DELIVERED, UNISTREAM_OUTCOME_FAILED,
      UNISTREAM_OUTCOME_UNAVAILABLE, UNISTREAM_OUTCOME_REJECTED, 77,
      UNISTREAM_OUTCOME_DELIVERED, INT32_MIN,
  };
  unistream_outcome outcome = outcomes[how % 8];
  bool wrong = false;
  size_t count = unistream_batch_count(batch);
  int *single = (int *)calloc(count, sizeof *single); /* 0: as the whole; else 1 + outcome. */
  if (how & 8) unistream_report_message(to, how & 16 ? "because" : "\xff");
  if (how & 32) unistream_report_retry_after(to, how & 16 ? 1 : 0);
  if (how & 64) {
    for (size_t i = 0; i < count; i += 2) {
      unistream_outcome one = (unistream_outcome)((i + how) % 4);
      unistream_report_record(to, i, one, i % 3 ? "this one" : NULL);
      single[i] = 1 + one;
    }
  }
  if ((how & 0x90) == 0x90) {
    wrong = true; /* A mistake turns the whole answer into a failed attempt. */
    unistream_report_record(to, how & 64 ? count : 0, how & 64 ? UNISTREAM_OUTCOME_DELIVERED : 99, "a mistake");
  }
  for (size_t i = 0; i < count && !wrong; i++) {
    unistream_outcome its = single[i] ? single[i] - 1 : outcome;
    if (its == UNISTREAM_OUTCOME_DELIVERED) deliver(batch, i);
  }
  free(single);
  return outcome;
}

/* ------------------------------------------------------------------------------------------------- the callbacks */

static context *new_context(int owner) {
  MUST(context_count < CONTEXTS);
  context *made = &contexts[context_count++];
  made->owner = owner;
  return made;
}

static void on_destroy(void *user_data) {
  pthread_mutex_lock(&world);
  if (((context *)user_data)->destroyed++) fault("destroy was called twice");
  pthread_mutex_unlock(&world);
}

/* Calls to the same producer from inside one of its callbacks: errors, but for the stats. */
static void reenter(const context *from, uint8_t how) {
  pthread_mutex_lock(&handles);
  unistream_producer *producer = from->owner >= 0 ? producers[from->owner] : NULL;
  if (producer) {
    unistream_stats *snapshot = NULL;
    unistream_error *error = NULL;
    switch (how % 6) {
      case 0: error = unistream_producer_put(producer, "<no", 3); break;
      case 1: error = unistream_producer_flush(producer, 1000); break;
      case 2: error = unistream_producer_close(producer, 1000, NULL); break;
      case 3: error = unistream_producer_resume(producer); break;
      case 4: error = unistream_producer_sync(producer); break;
      default: unistream_producer_free(producer); break;
    }
    if (how % 6 < 5) MUST(checked(error) != UNISTREAM_ERROR_NONE);
    MUST(checked(unistream_producer_stats(producer, &snapshot)) == UNISTREAM_ERROR_NONE);
    unistream_stats_free(snapshot);
  }
  pthread_mutex_unlock(&handles);
}

static uint8_t mood_now(void) {
  pthread_mutex_lock(&world);
  uint8_t now = draining ? 0 : mood;
  if (!draining) mood = (uint8_t)(mood * 29 + 17);
  pthread_mutex_unlock(&world);
  return now;
}

static unistream_outcome on_send(void *user_data, const unistream_batch *batch, unistream_report *to) {
  uint8_t how = mood_now();
  see_batch(batch);
  if (how % 5 == 4) reenter((context *)user_data, how / 5);
  return answer(batch, to, how);
}

static void on_send_async(void *user_data, unistream_completion *completion) {
  uint8_t how = mood_now();
  see_batch(unistream_completion_batch(completion));
  if (how % 5 == 4) reenter((context *)user_data, how / 5);
  pthread_mutex_lock(&world);
  bool kept = how % 2 && desk_count < DESK;
  if (kept) desk[desk_count++] = completion;
  pthread_mutex_unlock(&world);
  if (kept) return;
  if (how % 3 == 2) {
    unistream_completion_free(completion);
  } else {
    const unistream_batch *batch = unistream_completion_batch(completion);
    unistream_outcome outcome = answer(batch, unistream_completion_report(completion), how);
    unistream_completion_finish(completion, outcome);
  }
}

static void on_event(void *user_data, const unistream_event *event) {
  MUST(unistream_event_name(event)[0] && unistream_event_message(event)[0]);
  MUST(unistream_event_level(event) >= UNISTREAM_LEVEL_DEBUG && unistream_event_level(event) <= UNISTREAM_LEVEL_ERROR);
  if (unistream_event_batch(event)) see_batch(unistream_event_batch(event));
  if (unistream_event_error(event)) MUST(unistream_error_message(unistream_event_error(event))[0]);
  (void)user_data;
}

/* Keeps a memo, or says that it cannot, or more than there is room for. */
static int64_t on_prepare(void *user_data, const unistream_batch *batch, void *memo) {
  uint8_t how = mood_now();
  (void)user_data;
  MUST(unistream_batch_memo(batch, NULL) == NULL);
  memset(memo, how, how);
  return how % 8 == 7 ? INT64_MIN : how % 8 == 6 ? 4097 : how % 8 == 5 ? 0 : how;
}

static void on_interrupt(void *user_data) { (void)user_data; }

/* ------------------------------------------------------------------------------------------------------ the calls */

static unistream_producer *any_producer(int *slot) {
  *slot = (int)below(SLOTS);
  return producers[*slot];
}

/* Puts, and learns what the library says of it. */
static void finish_put(record_fate *fate, unistream_error *error) {
  bool accepted = !error || unistream_error_record_accepted(error);
  checked(error);
  end_put(fate, accepted);
}

static void put_one(unistream_producer *producer, size_t length, uint8_t how) {
  char data[LONGEST + 64];
  uint64_t seq = 0;
  unistream_record record = UNISTREAM_RECORD_INIT;
  record_fate *fate = begin_put(data, &length);
  if (!fate) return;
  if (how % 4 == 0) {
    finish_put(fate, unistream_producer_put(producer, data, length));
    return;
  }
  record.data = data;
  record.data_length = length;
  record.created_at = how & 16 ? INT64_MIN : how;
  if (how & 4) record.key = data, record.key_length = how & 8 ? 0 : length;
  if (how & 32) record.id = how & 64 ? "\xff\xff" : "\xc3\xa9", record.id_length = 2;
  if (how & 128) record.key_length = huge(); /* Without a key, or far too long. */
  /* By a number that is there: what the bytes of kept cases stand for does not change. */
  const unistream_header headers[] = {{"name", 4, "value", 5}, {length % 5 == 4 ? "\xff" : "n", 1, NULL, 0}};
  if (length % 5 > 2) record.headers = headers, record.header_count = length % 7 == 6 ? huge() : length % 3;
  if (length % 3 == 1) record.topic = length % 4 ? "a/topic" : "\xff", record.topic_length = length % 8;
  if (length % 6 == 5) record.expires_at = how & 16 ? INT64_MAX : how;
  finish_put(fate, unistream_producer_put_record(producer, &record, how & 2 ? &seq : NULL));
}

static void put_many(unistream_producer *producer, size_t count, uint8_t how) {
  static char data[8][LONGEST + 64];
  static const unistream_header header = {"n", 1, "v", 1};
  unistream_record records[8];
  record_fate *fate[8];
  size_t accepted = SIZE_MAX;
  for (size_t i = 0; i < count; i++) {
    unistream_record record = UNISTREAM_RECORD_INIT;
    size_t length = i * how % 200;
    fate[i] = begin_put(data[i], &length);
    if (!fate[i]) return;
    record.data = data[i];
    record.data_length = length;
    if (how & 128 && i == 2) record.id = "\xff", record.id_length = 1;
    if (length % 3 == 2) record.headers = &header, record.header_count = length % 2;
    if (how & 64 && i == 3) record.data_length = huge(), record.data = NULL;
    records[i] = record;
  }
  checked(unistream_producer_put_many(producer, count ? records : NULL, count, &accepted));
  MUST(accepted <= count);
  for (size_t i = 0; i < count; i++) end_put(fate[i], i < accepted);
}

static void *put_ten(void *user_data) {
  for (int i = 0; i < 10; i++) put_one((unistream_producer *)user_data, (size_t)i * 7, 0);
  return NULL;
}

static void burst(unistream_producer *producer) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) MUST(pthread_create(&threads[i], NULL, put_ten, producer) == 0);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void make_sink(size_t slot) {
  unistream_sink *made = NULL;
  unistream_error *error = NULL;
  unistream_sink_callbacks callbacks = UNISTREAM_SINK_CALLBACKS_INIT;
  const char *options[] = {text(), text(), text(), text(), NULL};
  context *its = NULL;
  int kind = KEPT;
  if (sinks[slot] || context_count == CONTEXTS) return;
  switch (below(12)) {
    case 0: kind = NOTHING_KEPT, error = unistream_sink_null(&made); break;
    case 1: error = unistream_sink_file(files[below(FILES)], (uint32_t)below(5), &made); break;
    case 2: kind = SERVICE, error = unistream_sink_open(text(), NULL, &made); break;
    case 3: kind = SERVICE, error = unistream_sink_open(text(), below(2) ? options : NULL, &made); break;
    case 4: kind = SERVICE, error = unistream_sink_kinesis(options, below(2) ? NULL : &made); break;
    case 5: kind = SERVICE, error = unistream_sink_cloudwatch_logs(below(2) ? options : NULL, &made); break;
    case 6:
    case 7: its = new_context(-1), error = unistream_sink_callback_async(on_send_async, its, on_destroy, &made); break;
    case 8:
    case 9: its = new_context(-1), error = unistream_sink_callback(on_send, its, on_destroy, &made); break;
    default:
      its = new_context(-1);
      callbacks.user_data = its;
      callbacks.destroy = on_destroy;
      if (below(4)) callbacks.send = on_send;
      if (!below(4)) callbacks.send_async = on_send_async;
      if (below(2)) callbacks.interrupt = on_interrupt;
      if (below(2)) callbacks.name = text();
      callbacks.max_records = below(4);
      /* By a number that is there, as above. */
      if (callbacks.max_records == 2) callbacks.prepare = on_prepare;
      callbacks.max_bytes = below(3) * 100;
      callbacks.max_record_bytes = below(3) * 100;
      error = unistream_sink_new(&callbacks, below(8) ? &made : NULL);
  }
  if (error) MUST(made == NULL && (!its || its->destroyed == 1));
  checked(error);
  sinks[slot] = made;
  sink_kind[slot] = kind;
  sink_context[slot] = its;
}

/* Settings under which no call takes long. */
static unistream_config *quick_config(void) {
  const char *const pairs[] = {"segment_bytes", "65536", "max_buffer_bytes", "262144", "full_timeout", "2ms",
                               "sync_interval", "5ms",   "linger",           "2ms",    NULL};
  return config_of(pairs);
}

static void open_one(int slot) {
  size_t from = below(SLOTS + 1), path = below(PATHS);
  unistream_sink *sink = from < SLOTS ? sinks[from] : NULL;
  unistream_config *config = configs[below(SLOTS)], *own = NULL;
  if (producers[slot]) return;
  if (sink && sink_kind[from] == SERVICE) return; /* It would call over the network. */
  if (config) {
    checked(unistream_config_set(config, "full_timeout", "2ms"));
  } else if (below(8)) {
    config = own = quick_config();
    checked(unistream_config_set(own, "mode", sink ? "inline" : "manual"));
  }
  uint8_t how = byte();
  unistream_producer *opened = NULL;
  if (sink) sinks[from] = NULL;
  if (how >= 250) {
    MUST(checked(unistream_producer_open(how & 1 ? "" : NULL, sink, config, &opened)) != UNISTREAM_ERROR_NONE);
  } else if (how >= 245) {
    MUST(checked(unistream_producer_open(paths[path], sink, config, NULL)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  } else {
    unistream_code code = checked(unistream_producer_open(paths[path], sink, config, &opened));
    bool taken = false;
    for (int i = 0; i < SLOTS; i++) taken |= producers[i] && producer_path[i] == (int)path && !producer_closed[i];
    if (taken) MUST(opened == NULL);
    MUST((code == UNISTREAM_ERROR_NONE) == (opened != NULL));
    MUST(code == UNISTREAM_ERROR_NONE || code == UNISTREAM_ERROR_INVALID_ARGUMENT || code == UNISTREAM_ERROR_IN_USE ||
         code == UNISTREAM_ERROR_WRONG_MODE);
  }
  if (opened) {
    pthread_mutex_lock(&handles);
    producers[slot] = opened;
    producer_path[slot] = (int)path;
    producer_closed[slot] = false;
    if (sink && sink_context[from]) sink_context[from]->owner = slot;
    pthread_mutex_unlock(&handles);
    if (sink && sink_kind[from] == NOTHING_KEPT) path_keeps_nothing[path] = true;
  } else if (sink && sink_context[from]) {
    MUST(sink_context[from]->destroyed == 1);
  }
  unistream_config_free(own);
}

static void free_producer(int slot) {
  pthread_mutex_lock(&handles);
  unistream_producer *producer = producers[slot];
  producers[slot] = NULL;
  pthread_mutex_unlock(&handles);
  unistream_producer_free(producer);
}

static void close_one(int slot) {
  uint64_t left = UINT64_MAX, again = UINT64_MAX;
  int64_t timeout = timeout_ms();
  unistream_code code = checked(unistream_producer_close(producers[slot], timeout, below(4) ? &left : NULL));
  if (!producers[slot] || timeout < -1) {
    MUST(code == UNISTREAM_ERROR_INVALID_ARGUMENT);
    return;
  }
  producer_closed[slot] = true;
  if (code != UNISTREAM_ERROR_NONE) return;
  MUST(checked(unistream_producer_close(producers[slot], timeout, &again)) == UNISTREAM_ERROR_NONE);
  MUST(left == UINT64_MAX || left == again);
  char data[64];
  size_t length = 0;
  record_fate *fate = begin_put(data, &length);
  if (!fate) return;
  unistream_error *error = unistream_producer_put(producers[slot], data, length);
  MUST(unistream_error_code(error) == UNISTREAM_ERROR_CLOSED);
  finish_put(fate, error);
}

/* Gives a batch back in one of the ways, and notes what the producer took as delivered. */
static void settle_one(unistream_producer *producer, size_t at) {
  unistream_batch *batch = batches[at];
  uint8_t how = byte();
  batches[at] = NULL;
  if (!batch) {
    MUST(checked(unistream_producer_commit(producer, NULL)) != UNISTREAM_ERROR_NONE);
    return;
  }
  see_batch(batch);
  if (how % 4 == 0) {
    /* Noted before: after it, the batch is the library's. An answer that is refused only makes the check weaker. */
    for (size_t i = 0; i < unistream_batch_count(batch); i++) deliver(batch, i);
    checked(unistream_producer_commit(producer, batch));
  } else if (how % 4 == 1) {
    checked(unistream_producer_failed(producer, batch, how & 64 ? NULL : text()));
  } else if (how % 4 == 2) {
    unistream_report *own = unistream_report_new();
    unistream_outcome outcome = answer(batch, own, (uint8_t)(how / 4 | (how & 8) << 4));
    checked(unistream_producer_settle(producer, batch, outcome, own));
    unistream_report_free(own);
  } else {
    unistream_batch_free(batch);
  }
}

static void *finish_from_thread(void *user_data) {
  unistream_completion *completion = (unistream_completion *)user_data;
  const unistream_batch *batch = unistream_completion_batch(completion);
  unistream_outcome outcome = answer(batch, unistream_completion_report(completion), mood_now());
  unistream_completion_finish(completion, outcome);
  return NULL;
}

static void finish_one(uint8_t how) {
  unistream_completion *completion = NULL;
  pthread_t thread;
  pthread_mutex_lock(&world);
  if (desk_count > 0) completion = desk[--desk_count];
  pthread_mutex_unlock(&world);
  if (!completion || how % 3 == 0) {
    unistream_completion_free(completion);
  } else if (how % 3 == 1) {
    finish_from_thread(completion);
  } else {
    MUST(pthread_create(&thread, NULL, finish_from_thread, completion) == 0);
    pthread_join(thread, NULL);
  }
}

/* Looks at a list of dead letters from all sides. */
static void see_letters(const unistream_dead_letters *list, bool excuse) {
  for (size_t i = 0; i <= unistream_dead_letters_count(list); i++) {
    const unistream_dead_letter *letter = unistream_dead_letters_get(list, i);
    unistream_batch *batch = NULL;
    unistream_record record = UNISTREAM_RECORD_INIT;
    if (!letter) continue;
    MUST(unistream_dead_letter_id(letter)[0] && unistream_dead_letter_bytes(letter) > 0);
    MUST(unistream_dead_letter_sink(letter) && unistream_dead_letter_reason(letter, 0));
    MUST(!unistream_dead_letter_error(letter, SIZE_MAX) && !unistream_dead_letter_reason(letter, SIZE_MAX));
    if (checked(unistream_dead_letter_batch(letter, &batch)) != UNISTREAM_ERROR_NONE) continue; /* Gone meanwhile. */
    for (size_t at = 0; unistream_batch_record(batch, at, &record); at++) {
      pthread_mutex_lock(&world);
      record_fate *fate = recognise(record.data, record.data_length);
      fate->excused |= excuse;
      pthread_mutex_unlock(&world);
    }
    unistream_batch_free(batch);
  }
}

static void letter_call(unistream_producer *producer) {
  const unistream_dead_letter *letter = unistream_dead_letters_get(letters, 0);
  const char *id = letter && below(4) ? unistream_dead_letter_id(letter) : text();
  uint64_t records = 0;
  switch (below(5)) {
    case 0:
      unistream_dead_letters_free(letters);
      letters = NULL;
      checked(unistream_producer_dead_letters(producer, &letters));
      break;
    case 1:
      unistream_dead_letters_free(letters);
      letters = NULL;
      checked(unistream_dead_letters_open(below(8) ? paths[below(PATHS)] : text(), &letters));
      break;
    case 2: see_letters(letters, false); break;
    case 3: checked(unistream_producer_replay(producer, id, below(2) ? &records : NULL)); break;
    default:
      see_letters(letters, true); /* What is deleted is given up. */
      checked(unistream_dead_letters_delete(letters, id));
  }
}

/* NULL wherever the header says that it is an error, or nothing. */
static void null_calls(void) {
  unistream_stats *none = NULL;
  uint64_t value = 0;
  int64_t wait = 0;
  MUST(checked(unistream_producer_put(NULL, "x", 1)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(checked(unistream_producer_put_record(NULL, NULL, NULL)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(checked(unistream_producer_flush(NULL, 0)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(checked(unistream_producer_stats(NULL, &none)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(checked(unistream_producer_next_wait(NULL, &wait)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(checked(unistream_stats_get(NULL, "put_records", &value)) != UNISTREAM_ERROR_NONE);
  MUST(checked(unistream_config_set(NULL, NULL, NULL)) == UNISTREAM_ERROR_INVALID_ARGUMENT);
  MUST(unistream_batch_count(NULL) == 0 && !unistream_batch_id(NULL) && !unistream_batch_record(NULL, 0, NULL));
  unistream_report_record(NULL, 0, 0, NULL);
  unistream_completion_finish(NULL, 0);
  unistream_producer_free(NULL);
}

static void look_at_stats(const unistream_producer *producer) {
  uint64_t value = 0;
  unistream_stats_free(stats);
  stats = NULL;
  checked(unistream_producer_stats(producer, &stats));
  char *scraped = NULL;
  if (checked(unistream_producer_prometheus(producer, &scraped)) == UNISTREAM_ERROR_NONE) unistream_text_free(scraped);
  for (size_t i = 0; i <= unistream_stats_count(stats); i++) {
    const char *name = unistream_stats_name(stats, i);
    if (name) MUST(checked(unistream_stats_get(stats, name, &value)) == UNISTREAM_ERROR_NONE);
    if (name) MUST(value == unistream_stats_value(stats, i));
  }
  checked(unistream_stats_get(stats, text(), &value));
}

static void config_call(size_t slot) {
  const char *value = NULL;
  context *its = NULL;
  switch (below(6)) {
    case 0:
      unistream_config_free(configs[slot]);
      configs[slot] = below(4) ? quick_config() : NULL;
      break;
    case 1:
      if (context_count == CONTEXTS) return;
      its = new_context(-1);
      if (checked(unistream_config_on_event(configs[slot], (unistream_level)below(6) - 1, below(4) ? on_event : NULL,
                                            its, on_destroy)) != UNISTREAM_ERROR_NONE) {
        MUST(its->destroyed == 1);
      }
      break;
    case 2: checked(unistream_config_get(configs[slot], text(), &value)); break;
    default: {
      /* Mostly an option that there is. */
      const char *key = below(8) ? unistream_option(below(23), UNISTREAM_OPTION_KEY) : text();
      checked(unistream_config_set(configs[slot], key, text()));
      if (key && configs[slot]) checked(unistream_config_get(configs[slot], key, &value));
    }
  }
}

static void call(void) {
  int slot;
  size_t at;
  int64_t wait = 0;
  unistream_batch *batch = NULL;
  unistream_producer *producer;
  switch (below(24)) {
    case 0:
    case 1: config_call(below(SLOTS)); break;
    case 2: make_sink(below(SLOTS)); break;
    case 3:
      at = below(SLOTS);
      unistream_sink_free(sinks[at]);
      if (sinks[at] && sink_context[at]) MUST(sink_context[at]->destroyed == 1);
      sinks[at] = NULL;
      break;
    case 4:
    case 5: open_one((int)below(SLOTS)); break;
    case 6: close_one((int)below(SLOTS)); break;
    case 7: free_producer((int)below(SLOTS)); break;
    case 8: producer = any_producer(&slot), put_many(producer, below(9), byte()); break;
    case 9: producer = any_producer(&slot), checked(unistream_producer_flush(producer, timeout_ms())); break;
    case 10: producer = any_producer(&slot), checked(unistream_producer_sync(producer)); break;
    case 11: producer = any_producer(&slot), checked(unistream_producer_resume(producer)); break;
    case 12: look_at_stats(any_producer(&slot)); break;
    case 13:
      producer = any_producer(&slot);
      at = below(SLOTS);
      if (batches[at]) break;
      checked(unistream_producer_next_batch(producer, &batch));
      batches[at] = batch;
      if (unistream_batch_count(batch) % 2) {
        uint64_t first = unistream_batch_first_seq(batch);
        size_t most = first % 5 == 4 ? SIZE_MAX : first % 5000, kept = 0;
        static const char memo[5000] = "memo";
        bool had = unistream_batch_memo(batch, NULL) != NULL;
        unistream_error *error = unistream_producer_keep_memo(producer, batch, most > 5000 ? NULL : memo, most);
        if (had || most > 4096) MUST(error != NULL);
        if (checked(error) == UNISTREAM_ERROR_NONE) MUST(unistream_batch_memo(batch, &kept) != NULL && kept == most);
      }
      break;
    case 14: checked(unistream_producer_next_wait(any_producer(&slot), &wait)), MUST(wait >= -1); break;
    case 15: settle_one(any_producer(&slot), below(SLOTS)); break;
    case 16: letter_call(any_producer(&slot)); break;
    case 17: finish_one(byte()); break;
    case 18: null_calls(); break;
    case 19: burst(any_producer(&slot)); break;
    case 20: pthread_mutex_lock(&world), mood = byte(), pthread_mutex_unlock(&world); break;
    case 21: MUST(checked(unistream_producer_put(any_producer(&slot), NULL, huge())) != UNISTREAM_ERROR_NONE); break;
    default: producer = any_producer(&slot), at = below(LONGEST / 16) * 16, put_one(producer, at, byte());
  }
}

/* --------------------------------------------------------------------------------------------------- the accounting */

/* What a file sink was given: the records stand in it as text, whatever the framing. */
static void search_file(const char *path) {
  char expected[LONGEST + 64];
  FILE *file = fopen(path, "rb");
  if (!file) return;
  MUST(fseek(file, 0, SEEK_END) == 0);
  size_t length = (size_t)ftell(file);
  char *bytes = (char *)malloc(length + 1);
  rewind(file);
  MUST(fread(bytes, 1, length, file) == length);
  fclose(file);
  bytes[length] = '\0';
  for (size_t at = 0; at + 12 <= length; at++) {
    size_t number = RECORDS;
    if (bytes[at] != '<' || sscanf(bytes + at, "<%4zu ", &number) != 1 || number >= fate_count) continue;
    size_t expected_length = fill(expected, number, fates[number].length);
    if (at + expected_length <= length && memcmp(bytes + at, expected, expected_length) == 0) {
      if (fates[number].refused) fault("a record in the file whose put was refused");
      fates[number].delivered = true;
    }
  }
  free(bytes);
}

/* Opens a buffer again and takes out what is in it. */
static void drain(const char *path) {
  unistream_producer *producer = NULL;
  unistream_sink *sink = NULL;
  uint64_t left = UINT64_MAX;
  unistream_config *config = quick_config();
  unistream_dead_letters *list = NULL;
  context *its = new_context(-1);
  MUST(checked(unistream_sink_callback(on_send, its, on_destroy, &sink)) == UNISTREAM_ERROR_NONE);
  MUST(checked(unistream_producer_open(path, sink, config, &producer)) == UNISTREAM_ERROR_NONE);
  MUST(checked(unistream_producer_resume(producer)) == UNISTREAM_ERROR_NONE);
  MUST(checked(unistream_producer_flush(producer, PATIENCE_MS)) == UNISTREAM_ERROR_NONE);
  MUST(counter(producer, "lost_records") == 0 && counter(producer, "corrupt_regions") == 0);
  MUST(checked(unistream_producer_close(producer, 0, &left)) == UNISTREAM_ERROR_NONE && left == 0);
  MUST(checked(unistream_dead_letters_open(path, &list)) == UNISTREAM_ERROR_NONE);
  see_letters(list, true);
  unistream_dead_letters_free(list);
  unistream_producer_free(producer);
  unistream_config_free(config);
}

static void remove_tree(const char *path) {
  char below_it[600];
  DIR *directory = opendir(path);
  struct dirent *entry;
  while (directory && (entry = readdir(directory))) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(below_it, sizeof below_it, "%s/%.255s", path, entry->d_name);
    remove_tree(below_it);
  }
  if (directory) closedir(directory);
  remove(path);
}

static void begin_case(void) {
  static unsigned cases;
  const char *directory = getenv("TMPDIR");
  snprintf(root, sizeof root, "%.200s/fuzz-abi-%ld-%u", directory ? directory : "/tmp", (long)getpid(), cases++);
  MUST(mkdir(root, 0700) == 0);
  for (int i = 0; i < PATHS; i++) snprintf(paths[i], sizeof paths[i], "%s/buffer-%d", root, i);
  for (int i = 0; i < FILES; i++) snprintf(files[i], sizeof files[i], "%s/events-%d", root, i);
  memset(fates, 0, sizeof fates);
  memset(contexts, 0, sizeof contexts);
  memset(path_keeps_nothing, 0, sizeof path_keeps_nothing);
  memset(sink_context, 0, sizeof sink_context);
  fate_count = context_count = desk_count = 0;
  mood = 0;
  draining = false;
}

static void end_case(void) {
  bool excused = false;
  for (int i = 0; i < 2 && rest_length % 2; i++) finish_one(0); /* Some before the producers, the others behind them. */
  for (int i = 0; i < SLOTS; i++) free_producer(i);
  while (desk_count > 0) finish_one((uint8_t)desk_count);
  for (int i = 0; i < SLOTS; i++) {
    unistream_batch_free(batches[i]);
    unistream_sink_free(sinks[i]);
    unistream_config_free(configs[i]);
    batches[i] = NULL;
    sinks[i] = NULL;
    configs[i] = NULL;
  }
  unistream_stats_free(stats);
  unistream_dead_letters_free(letters);
  stats = NULL;
  letters = NULL;
  draining = true;
  for (int i = 0; i < PATHS; i++) {
    if (access(paths[i], F_OK) == 0 && context_count < CONTEXTS) drain(paths[i]);
    excused |= path_keeps_nothing[i];
  }
  for (int i = 0; i < FILES; i++) search_file(files[i]);
  for (size_t i = 0; i < context_count; i++) MUST(contexts[i].destroyed == 1);
  for (size_t i = 0; i < fate_count && !excused; i++) {
    if (fates[i].accepted && !fates[i].delivered && !fates[i].excused) {
      printf("# record %zu\n", i);
      fault("LOST: a record that was accepted");
    }
  }
  remove_tree(root);
}

#ifdef __cplusplus
extern "C"
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rest = data;
  rest_length = size;
  begin_case();
  for (int calls = 0; rest_length > 0 && calls < 200; calls++) call();
  end_case();
  return 0;
}

#ifndef LIBFUZZER
#include "fuzz_main.h"
#endif
