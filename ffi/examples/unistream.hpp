// A small C++17 cover of unistream.h: handles free themselves, errors are exceptions, any callable is a sink.
#pragma once

#include <unistream.h>

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace unistream {

class Error : public std::runtime_error {
 public:
  explicit Error(unistream_error *error)
      : std::runtime_error(unistream_error_message(error)),
        code(unistream_error_code(error)),
        retryable(unistream_error_is_retryable(error)),
        record_accepted(unistream_error_record_accepted(error)) {
    unistream_error_free(error);
  }
  const unistream_code code;
  const bool retryable;
  const bool record_accepted;
};

inline void check(unistream_error *error) {
  if (error) throw Error(error);
}

template <auto free>
struct Free {
  template <class T>
  void operator()(T *handle) const {
    free(handle);
  }
};

class Config {
 public:
  Config &set(const char *key, const std::string &value) {
    check(unistream_config_set(handle_.get(), key, value.c_str()));
    return *this;
  }
  const unistream_config *get() const { return handle_.get(); }

 private:
  std::unique_ptr<unistream_config, Free<unistream_config_free>> handle_{unistream_config_new()};
};

// Is called with every record; an exception fails the batch with its message.
using Send = std::function<void(std::string_view data, const unistream_record &record)>;

class Producer {
 public:
  Producer(const std::string &path, Send send, const Config &config = {}) {
    unistream_sink *sink = nullptr;
    unistream_producer *producer = nullptr;
    check(unistream_sink_callback(call, new Send(std::move(send)), destroy, &sink));
    check(unistream_producer_open(path.c_str(), sink, config.get(), &producer));
    handle_.reset(producer);
  }

  void put(std::string_view data) { check(unistream_producer_put(handle_.get(), data.data(), data.size())); }
  void flush(int64_t timeout_ms) { check(unistream_producer_flush(handle_.get(), timeout_ms)); }
  uint64_t close(int64_t timeout_ms) {
    uint64_t left = 0;
    check(unistream_producer_close(handle_.get(), timeout_ms, &left));
    return left;
  }

 private:
  // No exception may leave a callback.
  static unistream_outcome call(void *user_data, const unistream_batch *batch, unistream_report *report) {
    try {
      unistream_record record = UNISTREAM_RECORD_INIT;
      for (size_t i = 0; unistream_batch_record(batch, i, &record); i++) {
        (*static_cast<Send *>(user_data))({static_cast<const char *>(record.data), record.data_length}, record);
      }
      return UNISTREAM_OUTCOME_DELIVERED;
    } catch (const std::exception &exception) {
      unistream_report_message(report, exception.what());
    } catch (...) {
    }
    return UNISTREAM_OUTCOME_FAILED;
  }
  static void destroy(void *user_data) { delete static_cast<Send *>(user_data); }

  std::unique_ptr<unistream_producer, Free<unistream_producer_free>> handle_;
};

}  // namespace unistream
