// unistream in Go, over its C ABI with cgo: a sink of the library, a sink in Go, and mode manual. Go takes calls on threads of
// others, so that a sink in Go goes with every mode.
package main

/*
#cgo pkg-config: unistream
#include <stdlib.h>
#include <unistream.h>

int32_t send_in_go(void *data, unistream_batch *batch, unistream_report *report);
*/
import "C"

import (
	"errors"
	"fmt"
	"log"
	"unsafe"
)

func check(failure *C.unistream_error) {
	if failure != nil {
		defer C.unistream_error_free(failure)
		log.Panic(errors.New(C.GoString(C.unistream_error_message(failure))))
	}
}

// C strings of the program's own, which it never frees: there are few.
func text(value string) *C.char { return C.CString(value) }

func produce(path string, sink *C.unistream_sink, mode string, data string, work func(*C.unistream_producer)) {
	config := C.unistream_config_new()
	defer C.unistream_config_free(config)
	check(C.unistream_config_set(config, text("mode"), text(mode)))
	check(C.unistream_config_set(config, text("linger"), text("0")))
	var producer *C.unistream_producer
	check(C.unistream_producer_open(text(path), sink, config, &producer))
	defer C.unistream_producer_free(producer)
	check(C.unistream_producer_put(producer, unsafe.Pointer(unsafe.StringData(data)), C.size_t(len(data))))
	work(producer)
	check(C.unistream_producer_close(producer, 30000, nil))
}

func printRecords(how string, batch *C.unistream_batch) {
	record := C.unistream_record{size: C.sizeof_unistream_record}
	for index := C.size_t(0); bool(C.unistream_batch_record(batch, index, &record)); index++ {
		fmt.Printf("%s: %s\n", how, C.GoBytes(record.data, C.int(record.data_length)))
	}
}

//export send_in_go
func send_in_go(data unsafe.Pointer, batch *C.unistream_batch, report *C.unistream_report) C.int32_t {
	printRecords("callback", batch)
	return C.UNISTREAM_OUTCOME_DELIVERED
}

func main() {
	nothing := func(*C.unistream_producer) {}
	var sink *C.unistream_sink
	check(C.unistream_sink_open(text("file:events.log"), nil, &sink))
	produce("file", sink, "background", "hello", nothing)

	check(C.unistream_sink_callback(C.unistream_send_callback(C.send_in_go), nil, nil, &sink))
	produce("callback", sink, "background", "called back", nothing)

	produce("manual", nil, "manual", "by hand", func(producer *C.unistream_producer) {
		var batch *C.unistream_batch
		check(C.unistream_producer_next_batch(producer, &batch))
		printRecords("manual", batch)
		check(C.unistream_producer_commit(producer, batch))
	})
}
