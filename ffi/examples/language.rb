# unistream in Ruby, over its C ABI with the standard library's Fiddle: a sink of the library, a sink in Ruby, and mode manual.
# Ruby takes no calls on threads of others: a sink in Ruby goes with mode inline, where the thread that puts or closes calls it.
require "fiddle/import"

module Unistream
  extend Fiddle::Importer
  dlload "libunistream.so.0"
  typealias "size_t", "unsigned long"
  %w[char*\ error_message(void*) void\ error_free(void*) void*\ config_new() void*\ config_set(void*,char*,char*) void\ config_free(void*)
     void*\ sink_open(char*,void*,void*) void*\ sink_callback(void*,void*,void*,void*) void*\ producer_open(char*,void*,void*,void*)
     void*\ producer_put(void*,char*,size_t) void*\ producer_next_batch(void*,void*) void*\ producer_commit(void*,void*)
     void*\ producer_close(void*,long\ long,void*) void\ producer_free(void*) char\ batch_record(void*,size_t,void*)].each do |prototype|
    extern prototype.sub(" ", " unistream_")
  end

  def self.check(error)
    return if error.null?
    message = unistream_error_message(error).to_s
    unistream_error_free(error)
    raise message
  end

  # The pointer that a call writes to its out parameter.
  def self.made
    out = Fiddle::Pointer.malloc(Fiddle::SIZEOF_VOIDP, Fiddle::RUBY_FREE)
    check(yield(out))
    out.ptr
  end

  # Yields a producer with one record in it, and closes it.
  def self.produce(path, sink, mode, text)
    config = unistream_config_new
    { "mode" => mode, "linger" => "0" }.each { |key, value| check(unistream_config_set(config, key, value)) }
    producer = made { |out| unistream_producer_open(path, sink, config, out) }
    unistream_config_free(config)
    check(unistream_producer_put(producer, text, text.bytesize))
    yield producer if block_given?
    check(unistream_producer_close(producer, 30_000, nil))
    unistream_producer_free(producer)
  end

  # Of a record these are the size of the structure, its data, and their length; 14 fields in all.
  def self.records(batch)
    record = Fiddle::Pointer.malloc(14 * 8, Fiddle::RUBY_FREE)
    record[0, 8] = [14 * 8].pack("Q")
    (0..).lazy.take_while { |index| unistream_batch_record(batch, index, record) != 0 }.map do
      _, data, length = record[0, 24].unpack("Q3")
      Fiddle::Pointer.new(data)[0, length]
    end
  end
end

Unistream.produce("file", Unistream.made { |out| Unistream.unistream_sink_open("file:events.log", nil, out) }, "background", "hello")

pointer = Fiddle::TYPE_VOIDP
send = Fiddle::Closure::BlockCaller.new(Fiddle::TYPE_INT, [pointer, pointer, pointer]) do |_, batch, _|
  Unistream.records(batch).each { |data| puts "callback: #{data}" }
  0 # UNISTREAM_OUTCOME_DELIVERED
rescue StandardError
  1 # UNISTREAM_OUTCOME_FAILED: an exception must not go through C.
end
Unistream.produce("callback", Unistream.made { |out| Unistream.unistream_sink_callback(send, nil, nil, out) }, "inline", "called back")

Unistream.produce("manual", nil, "manual", "by hand") do |producer|
  batch = Unistream.made { |out| Unistream.unistream_producer_next_batch(producer, out) }
  Unistream.records(batch).each { |data| puts "manual: #{data}" }
  Unistream.check(Unistream.unistream_producer_commit(producer, batch))
end
