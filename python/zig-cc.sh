#!/bin/sh
# The C compiler and linker of wheels that run on old systems: zig, which has the symbols of every glibc. `python/wheels.sh` sets
#   ZIG_PYTHON    the Python that has `ziglang`
#   ZIG_TARGET    such as x86_64-linux-gnu.2.17
#   ZIG_LIBGCC    libgcc_s.so.1 of that machine
# zig would answer `-lgcc_s` by LLVM's unwinder, linked statically. CPython up to 3.13 ends a thread that asks for the GIL after
# the interpreter's end by unwinding it with libgcc, and that through frames which the other unwinder set up: the process dies.
for argument do
  shift
  case $argument in
    -lgcc_s) set -- "$@" "$ZIG_LIBGCC" ;;
    # Of rustc's own name for the machine zig knows nothing.
    --target=*) ;;
    # What zig's linker does not know and does not need.
    -Wl,--no-undefined-version | -Wl,-plugin* | -Wl,--fix-cortex-a53-843419) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
# The libgcc_s.so.1 that is linked here may need a later glibc; that of the machine where the wheel runs does not.
exec "$ZIG_PYTHON" -m ziglang cc -target "$ZIG_TARGET" -Wl,--allow-shlib-undefined "$@"
