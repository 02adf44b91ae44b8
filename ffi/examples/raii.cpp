// unistream.hpp at work: a lambda as a sink, which fails once.
#include "unistream.hpp"

#include <iostream>

int main() {
  try {
    bool failed = false;
    unistream::Producer producer(
        "outbox",
        [&failed](std::string_view data, const unistream_record &record) {
          if (!std::exchange(failed, true)) throw std::runtime_error("the first attempt fails");
          std::cout << record.seq << ": " << data << std::endl;
        },
        unistream::Config().set("schedule_waits", "10ms").set("max_records", "10"));
    producer.put("from C++");
    producer.put(std::string("and again"));
    producer.flush(30000);
    return producer.close(30000) == 0 ? 0 : 1;
  } catch (const unistream::Error &error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
