/*
 * unistream: an embedded, durable producer.
 *
 * A program puts records. When a put has returned, the record is in a log on the local disk and survives the death
 * of the process. Batches of records go to a sink: a callback of the program, a file, a service. What the sink does
 * not take is tried again on a schedule, and in the end delivered, or kept as a dead letter with the reason, or
 * still in the buffer. Delivery is at least once and in put order.
 *
@HELLO@
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
@OPTIONS@
 *
 * Counters: unistream_stats_get(stats, name, &counter)
 *
@COUNTERS@
 *
 * Sinks and their options: unistream_sink_open(url_or_kind, options, &sink)
 *
@SINKS@
 */
