// unistream in Java, over its C ABI with JNA: a sink of the library, a sink in Java, and mode manual. JNA takes calls on threads of
// others, so that a sink in Java goes with every mode.
import com.sun.jna.Callback;
import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;

public class Language {
  interface Send extends Callback {
    int invoke(Pointer data, Pointer batch, Pointer report);
  }

  interface Unistream extends Library {
    String unistream_error_message(Pointer error);
    void unistream_error_free(Pointer error);
    Pointer unistream_config_new();
    Pointer unistream_config_set(Pointer config, String key, String value);
    void unistream_config_free(Pointer config);
    Pointer unistream_sink_open(String url, Pointer options, PointerByReference sink);
    Pointer unistream_sink_callback(Send send, Pointer data, Pointer destroy, PointerByReference sink);
    Pointer unistream_producer_open(String path, Pointer sink, Pointer config, PointerByReference producer);
    Pointer unistream_producer_put(Pointer producer, byte[] data, NativeSize length);
    Pointer unistream_producer_next_batch(Pointer producer, PointerByReference batch);
    Pointer unistream_producer_commit(Pointer producer, Pointer batch);
    Pointer unistream_producer_close(Pointer producer, long timeoutMs, Pointer left);
    void unistream_producer_free(Pointer producer);
    byte unistream_batch_record(Pointer batch, NativeSize index, Pointer record);
  }

  public static class NativeSize extends com.sun.jna.IntegerType {
    public NativeSize() { this(0); }
    public NativeSize(long value) { super(Native.SIZE_T_SIZE, value, true); }
  }

  static final Unistream unistream = Native.load("unistream", Unistream.class);

  static void check(Pointer error) {
    if (error == null) return;
    String message = unistream.unistream_error_message(error);
    unistream.unistream_error_free(error);
    throw new IllegalStateException(message);
  }

  static void produce(String path, Pointer sink, String mode, String text, Consumer<Pointer> work) {
    Pointer config = unistream.unistream_config_new();
    check(unistream.unistream_config_set(config, "mode", mode));
    check(unistream.unistream_config_set(config, "linger", "0"));
    PointerByReference out = new PointerByReference();
    check(unistream.unistream_producer_open(path, sink, config, out));
    unistream.unistream_config_free(config);
    byte[] data = text.getBytes(StandardCharsets.UTF_8);
    check(unistream.unistream_producer_put(out.getValue(), data, new NativeSize(data.length)));
    work.accept(out.getValue());
    check(unistream.unistream_producer_close(out.getValue(), 30000, null));
    unistream.unistream_producer_free(out.getValue());
  }

  static void printRecords(String how, Pointer batch) {
    // Of a record these are the size of the structure, its data, and their length; 14 fields in all.
    Memory record = new Memory(14 * 8);
    record.setLong(0, record.size());
    for (long i = 0; unistream.unistream_batch_record(batch, new NativeSize(i), record) != 0; i++) {
      byte[] data = record.getPointer(8).getByteArray(0, (int) record.getLong(16));
      System.out.println(how + ": " + new String(data, StandardCharsets.UTF_8));
    }
  }

  public static void main(String[] arguments) {
    PointerByReference sink = new PointerByReference();
    check(unistream.unistream_sink_open("file:events.log", null, sink));
    produce("file", sink.getValue(), "background", "hello", producer -> {});

    // Held by a variable for as long as the library may call it. What it throws, JNA prints; that is no outcome, so it catches.
    Send send = (data, batch, report) -> {
      try {
        printRecords("callback", batch);
        return 0; // UNISTREAM_OUTCOME_DELIVERED
      } catch (RuntimeException failure) {
        return 1; // UNISTREAM_OUTCOME_FAILED
      }
    };
    check(unistream.unistream_sink_callback(send, null, null, sink));
    produce("callback", sink.getValue(), "background", "called back", producer -> {});
    java.lang.ref.Reference.reachabilityFence(send);

    produce("manual", null, "manual", "by hand", producer -> {
      PointerByReference batch = new PointerByReference();
      check(unistream.unistream_producer_next_batch(producer, batch));
      printRecords("manual", batch.getValue());
      check(unistream.unistream_producer_commit(producer, batch.getValue()));
    });
  }
}
