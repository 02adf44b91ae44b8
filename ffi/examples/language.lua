-- unistream in LuaJIT, over its C ABI: a sink of the library, a sink in Lua, and mode manual. LuaJIT takes no calls on threads
-- of others: a sink in Lua goes with mode inline, where the thread that puts or closes calls it.
local ffi = require("ffi")
ffi.cdef [[
typedef struct { size_t size; const char *data; size_t data_length; const void *key; size_t key_length; const char *id; size_t id_length;
  int64_t created_at; uint64_t seq; const void *headers; size_t header_count; const char *topic; size_t topic_length; int64_t expires_at; } record;
const char *unistream_error_message(void *error);
void unistream_error_free(void *error);
void *unistream_config_new(void);
void *unistream_config_set(void *config, const char *key, const char *value);
void unistream_config_free(void *config);
void *unistream_sink_open(const char *url, const char **options, void **sink);
void *unistream_sink_callback(int32_t (*send)(void *, void *, void *), void *data, void *destroy, void **sink);
void *unistream_producer_open(const char *path, void *sink, void *config, void **producer);
void *unistream_producer_put(void *producer, const char *data, size_t length);
void *unistream_producer_next_batch(void *producer, void **batch);
void *unistream_producer_commit(void *producer, void *batch);
void *unistream_producer_close(void *producer, int64_t timeout_ms, uint64_t *left);
void unistream_producer_free(void *producer);
bool unistream_batch_record(void *batch, size_t index, record *record);
]]
local unistream = ffi.load("unistream")

local function check(failure)
  if failure == nil then return end
  local message = ffi.string(unistream.unistream_error_message(failure))
  unistream.unistream_error_free(failure)
  error(message)
end

-- A producer with one record in it. No compiled code: what calls back into Lua must be interpreted.
local function producer(path, sink, mode, text)
  local config, out = unistream.unistream_config_new(), ffi.new("void *[1]")
  check(unistream.unistream_config_set(config, "mode", mode))
  check(unistream.unistream_config_set(config, "linger", "0"))
  check(unistream.unistream_producer_open(path, sink, config, out))
  unistream.unistream_config_free(config)
  check(unistream.unistream_producer_put(out[0], text, #text))
  return out[0]
end
jit.off()

local function close(opened)
  check(unistream.unistream_producer_close(opened, 30000, nil))
  unistream.unistream_producer_free(opened)
end

local function print_records(how, batch)
  local record, index = ffi.new("record", { size = ffi.sizeof("record") }), 0
  while unistream.unistream_batch_record(batch, index, record) do
    print(how .. ": " .. ffi.string(record.data, record.data_length))
    index = index + 1
  end
end

local sink = ffi.new("void *[1]")
check(unistream.unistream_sink_open("file:events.log", nil, sink))
close(producer("file", sink[0], "background", "hello"))

local send = ffi.cast("int32_t (*)(void *, void *, void *)", function(_, batch)
  local fine = pcall(print_records, "callback", batch)
  return fine and 0 or 1 -- UNISTREAM_OUTCOME_DELIVERED, _FAILED: an error must not go through C.
end)
check(unistream.unistream_sink_callback(send, nil, nil, sink))
close(producer("callback", sink[0], "inline", "called back"))

local manual, batch = producer("manual", nil, "manual", "by hand"), ffi.new("void *[1]")
check(unistream.unistream_producer_next_batch(manual, batch))
print_records("manual", batch[0])
check(unistream.unistream_producer_commit(manual, batch[0]))
close(manual)
