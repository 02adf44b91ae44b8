// unistream in Node, over its C ABI with koffi: a sink of the library, a sink in JavaScript, and mode manual. JavaScript has one
// thread: a sink in it goes with mode inline, where the thread that puts or closes calls it.
const koffi = require("koffi");
const library = koffi.load("libunistream.so.0");

const send = koffi.proto("int32_t send(void *data, void *batch, void *report)");
koffi.struct("record", {
  size: "size_t", data: "void *", data_length: "size_t", key: "void *", key_length: "size_t", id: "void *", id_length: "size_t",
  created_at: "int64_t", seq: "uint64_t", headers: "void *", header_count: "size_t", topic: "void *", topic_length: "size_t", expires_at: "int64_t",
});
const unistream = {};
for (const prototype of [
  "const char *error_message(void *error)", "void error_free(void *error)", "void *config_new()", "void config_free(void *config)",
  "void *config_set(void *config, const char *key, const char *value)", "void *sink_open(const char *url, void *options, _Out_ void **sink)",
  "void *sink_callback(send *send, void *data, void *destroy, _Out_ void **sink)", "void producer_free(void *producer)",
  "void *producer_open(const char *path, void *sink, void *config, _Out_ void **producer)",
  "void *producer_put(void *producer, const char *data, size_t length)", "void *producer_next_batch(void *producer, _Out_ void **batch)",
  "void *producer_commit(void *producer, void *batch)", "void *producer_close(void *producer, int64_t timeout_ms, void *left)",
  "bool batch_record(void *batch, size_t index, _Inout_ record *record)",
]) {
  const name = prototype.match(/(\w+)\(/)[1];
  const call = library.func(prototype.replace(name, `unistream_${name}`));
  const fails = prototype.startsWith("void *") && name !== "config_new";
  unistream[name] = fails ? (...values) => check(call(...values)) : call;
}

function check(error) {
  if (!error) return;
  const message = unistream.error_message(error);
  unistream.error_free(error);
  throw new Error(message);
}

// The pointer that a call writes to its out parameter.
function made(call, ...values) {
  const out = [null];
  call(...values, out);
  return out[0];
}

function produce(path, sink, mode, text, work = () => {}) {
  const config = unistream.config_new();
  unistream.config_set(config, "mode", mode);
  unistream.config_set(config, "linger", "0");
  const producer = made(unistream.producer_open, path, sink, config);
  unistream.config_free(config);
  unistream.producer_put(producer, text, Buffer.byteLength(text));
  work(producer);
  unistream.producer_close(producer, 30000, null);
  unistream.producer_free(producer);
}

function* records(batch) {
  const record = { size: koffi.sizeof("record") };
  for (let index = 0; unistream.batch_record(batch, index, record); index++) {
    yield koffi.decode(record.data, "char", Number(record.data_length));
  }
}

produce("file", made(unistream.sink_open, "file:events.log", null), "background", "hello");

const sink = koffi.register((_, batch) => {
  try {
    for (const data of records(batch)) console.log(`callback: ${data}`);
    return 0; // UNISTREAM_OUTCOME_DELIVERED
  } catch {
    return 1; // UNISTREAM_OUTCOME_FAILED: an exception must not go through C.
  }
}, koffi.pointer(send));
produce("callback", made(unistream.sink_callback, sink, null, null), "inline", "called back");

produce("manual", null, "manual", "by hand", (producer) => {
  const batch = made(unistream.producer_next_batch, producer);
  for (const data of records(batch)) console.log(`manual: ${data}`);
  unistream.producer_commit(producer, batch);
});
