#!/bin/sh
# Builds and runs everything of the C ABI: the header, the exported symbols, the test programs (C99, C++17, gcc, clang,
# valgrind, sanitizers), the examples, and a program that knows only what `make install` lays down. Ends with a line
# "N passed, N failed".
#
# What is missing of gcc, valgrind, clang and cmake is installed from Debian; where that cannot be, the run ends and says so.
#
# ThreadSanitizer: the stable Rust toolchain cannot instrument the library (nor do helgrind and drd know its locks, which
# are futexes of its own), so only the C side is checked by it; see tsan.supp. The library's side of the same test runs
# plain, under AddressSanitizer and under valgrind, and the type system rules out data races in its safe code.
#
#   NO_INSTALL=1   installs nothing, and skips with a message what needs valgrind, clang or cmake
set -u

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root" || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
tree=$scratch/tree
passed=0
failed=0

# ---------------------------------------------------------------------------------------------------------- helpers

# count LABEL COMMAND...: runs a test program and counts its "ok" and "FAILED" lines.
count() {
  label=$1
  shift
  rm -rf "$scratch/tmp"
  mkdir "$scratch/tmp"
  status=0
  TMPDIR=$scratch/tmp timeout 900 "$@" > "$scratch/out" 2>&1 || status=$?
  ok=$(grep -c '^ok ' "$scratch/out")
  bad=$(grep -c '^FAILED ' "$scratch/out")
  # A crash, a leak, a sanitizer's report: the exit status says it.
  if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$ok" -eq 0 ]; }; then bad=1; fi
  passed=$((passed + ok))
  failed=$((failed + bad))
  echo "$label: $ok passed, $bad failed"
  if [ "$bad" -ne 0 ]; then sed 's/^/    /' "$scratch/out"; fi
}

# check LABEL COMMAND...: one test, passed if the command succeeds.
check() {
  label=$1
  shift
  if "$@" > "$scratch/out" 2>&1; then
    passed=$((passed + 1))
    echo "$label: passed"
  else
    failed=$((failed + 1))
    echo "$label: FAILED"
    sed 's/^/    /' "$scratch/out"
  fi
}

# skip WHAT: a tool is missing.
skip() {
  echo "SKIPPED: $1 is not installed"
}

has() {
  command -v "$1" > /dev/null 2>&1
}

strict="-D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Werror -g -I$tree/usr/include"
link="-L$tree/usr/lib -lunistream -lpthread"

# programs LABEL BUILD TESTS [RUNNER...]: builds the tests with BUILD and runs each, by the RUNNER if there is one.
programs() {
  kind=$1
  build=$2
  chosen=$3
  shift 3
  for test in $chosen; do
    # shellcheck disable=SC2086
    if $build $strict -o "$scratch/$test" "$here/$test.c" $link > "$scratch/out" 2>&1; then
      count "$kind, $test" "$@" "$scratch/$test"
    else
      failed=$((failed + 1))
      echo "$kind, $test: does not build"
      sed 's/^/    /' "$scratch/out"
    fi
  done
}

# ------------------------------------------------------------------------------------------------------------ tools

if [ -z "${NO_INSTALL:-}" ]; then tests/packages.sh gcc g++ pkg-config valgrind clang cmake || exit 1; fi

# ---------------------------------------------------------------------------------------------- the installed tree

make -s -f ffi/install.mk install-library PREFIX=/usr DESTDIR="$tree" || exit 1
tests/build.sh || exit 1
PREFIX=/usr DESTDIR=$scratch/debug LIBRARY=${CARGO_TARGET_DIR:-target}/debug ffi/install.sh || exit 1
LD_LIBRARY_PATH=$tree/usr/lib
PKG_CONFIG_PATH=$tree/usr/lib/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$tree
export LD_LIBRARY_PATH PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
library=$tree/usr/lib/libunistream.so

has_soname() {
  readelf -d "$library" | grep -q 'SONAME.*libunistream\.so\.0\]' &&
    [ "$(readlink "$library")" = libunistream.so.0 ] &&
    [ "$(readlink "$library.0")" = "libunistream.so.$(pkg-config --modversion unistream)" ]
}
check "the library has its soname and links" has_soname

has_notices() {
  doc=$tree/usr/share/doc/unistream
  [ -s "$doc/LICENSE-MIT" ] && [ -s "$doc/LICENSE-APACHE" ] && grep -q '^ring ' "$doc/THIRD-PARTY-NOTICES.txt" &&
    grep -q '"pkg:cargo/ring@' "$doc/unistream.cdx.json"
}
check "the licences of all that is linked, and the bill of materials" has_notices

# What is installed has no debug information in it and no path of the machine that built it, and debuggers find theirs.
is_stripped() {
  ! readelf -SW "$library" | grep -q '\.debug_' && readelf -SW "$tree/usr/lib/.debug/$(basename "$(readlink -f "$library")").debug" | grep -q '\.debug_line' &&
    readelf --string-dump=.gnu_debuglink "$library" | grep -q "$(basename "$(readlink -f "$library")").debug" || return 1
  for file in "$library" "$tree/usr/lib/libunistream.a"; do
    if strings -a "$file" | grep -F -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}"; then return 1; fi
  done
}
check "the library is stripped, and says nothing of where it was built" is_stripped

is_removed() {
  make -s -f ffi/install.mk install-library PREFIX=/opt/here DESTDIR="$scratch/other" &&
    touch "$scratch/other/opt/here/lib/of-others" &&
    PREFIX=/opt/here DESTDIR="$scratch/other" REMOVE=1 ffi/install.sh &&
    [ "$(find "$scratch/other" ! -type d)" = "$scratch/other/opt/here/lib/of-others" ]
}
check "uninstall removes what was installed, and that alone" is_removed

by_cmake() {
  mkdir -p "$scratch/cmake" "$scratch/moved"
  # A tree may be moved.
  cp -a "$tree/usr" "$scratch/moved/"
  cp "$root/ffi/examples/hello.c" "$scratch/cmake/"
  cat > "$scratch/cmake/CMakeLists.txt" << 'EOF'
cmake_minimum_required(VERSION 3.13)
project(hello C)
find_package(unistream 0.2 REQUIRED)
add_executable(shared hello.c)
target_link_libraries(shared unistream::unistream)
add_executable(static hello.c)
target_link_libraries(static unistream::static)
find_package(unistream 9.0 QUIET)
if(unistream_FOUND)
  message(FATAL_ERROR "0.2 is not 9.0")
endif()
EOF
  cmake -S "$scratch/cmake" -B "$scratch/cmake/build" -DCMAKE_PREFIX_PATH="$scratch/moved/usr" &&
    cmake --build "$scratch/cmake/build" &&
    (cd "$scratch/cmake/build" && ./shared && ./static && [ "$(cat events.log)" = "$(printf 'hello\nhello')" ]) &&
    ldd "$scratch/cmake/build/shared" | grep -q libunistream && ! ldd "$scratch/cmake/build/static" | grep -q libunistream
}
if has cmake; then
  check "CMake finds it, shared and static" by_cmake
else
  skip cmake
fi

has_manual() {
  page=$tree/usr/share/man/man3/unistream.3
  # Every function has its prototype in it.
  grep -o 'unistream_[a-z_]*(' include/unistream.h | sort -u > "$scratch/functions"
  while read -r function; do
    grep -q "^\.B .*$(echo "$function" | sed 's/-/\\\\-/g')" "$page" || grep -q "(\*$function" include/unistream.h ||
      ! grep -q "^[a-zA-Z].*[ *]$function" include/unistream.h || { echo "$function is not in the page"; return 1; }
  done < "$scratch/functions"
  ! has man || { man --warnings -l "$page" > "$scratch/page" 2> "$scratch/warnings" && [ ! -s "$scratch/warnings" ] && grep -q '^OWNERSHIP' "$scratch/page"; }
}
check "the manual page has every function" has_manual

# ------------------------------------------------------------------------------------------------------- the header

check "the header is the generated one, and the library's own tests" \
  cargo test -q --locked -p unistream-ffi -p unistream-cli -p unistream-python --lib --test header
compiles_alone() {
  printf '#include <unistream.h>\n#include <unistream.h>\n' > "$scratch/alone.$2"
  # shellcheck disable=SC2086
  $1 -Wall -Wextra -Wpedantic -Werror -I"$tree/usr/include" -fsyntax-only "$scratch/alone.$2"
}
check "the header compiles alone, gcc, C99" compiles_alone "gcc -std=c99" c
check "the header compiles alone, g++, C++11" compiles_alone "g++ -std=c++11" cc
if has clang; then
  check "the header compiles alone, clang, C99" compiles_alone "clang -std=c99" c
  check "the header compiles alone, clang++, C++11" compiles_alone "clang++ -std=c++11" cc
fi

# An error that nobody looks at is never freed either.
warns_of_ignored() {
  printf '#include <unistream.h>\nvoid f(void) { unistream_producer_sync(0); }\n' > "$scratch/ignored.$2"
  # shellcheck disable=SC2086
  $1 -I"$tree/usr/include" -c -o "$scratch/ignored.o" "$scratch/ignored.$2" 2>&1 | grep 'warn_unused_result\|unused-result'
}
check "an error that is ignored is warned of, gcc" warns_of_ignored "gcc -std=c99" c
check "an error that is ignored is warned of, g++" warns_of_ignored "g++ -std=c++11" cc

# ------------------------------------------------------------------------------------------------------ the symbols

nm -D --defined-only "$library" | awk '{ print $3 }' | sort > "$scratch/exported"
sed -n 's/^[A-Za-z].*[ *]\(unistream_[a-z_]*\)(.*/\1/p' include/unistream.h | sort > "$scratch/declared"
tests=$(cd "$here" && ls test_*.c | sed 's/\.c$//')
for test in $tests; do
  # shellcheck disable=SC2086
  gcc -std=c99 $strict -c -o "$scratch/$test.o" "$here/$test.c"
done
nm -u "$scratch"/*.o | awk '{ print $2 }' | sort -u > "$scratch/used"
none() {
  [ ! -s "$1" ] || { cat "$1"; return 1; }
}
grep -v '^unistream_' "$scratch/exported" > "$scratch/foreign"
comm -3 "$scratch/exported" "$scratch/declared" > "$scratch/undeclared"
comm -23 "$scratch/exported" "$scratch/used" > "$scratch/unused"
check "the library exports nothing but unistream_*" none "$scratch/foreign"
nm -g --defined-only "$tree/usr/lib/libunistream.a" | awk 'NF == 3 { print $3 }' | sort > "$scratch/static_exported"
comm -3 "$scratch/exported" "$scratch/static_exported" > "$scratch/static_foreign"
check "the static library shows the same symbols" none "$scratch/static_foreign"
check "the library exports what the header declares" none "$scratch/undeclared"
check "the tests use every exported symbol" none "$scratch/unused"

# -------------------------------------------------------------------------------------------------------- the tests

programs "gcc, C99" "gcc -std=c99 -O2" "$tests"
programs "gcc, C99, library with assertions" "gcc -std=c99" "$tests" env LD_LIBRARY_PATH="$scratch/debug/usr/lib"
programs "g++, C++17" "g++ -std=c++17 -x c++" "$tests"
if has clang; then
  programs "clang, C99" "clang -std=c99 -O2" "$tests"
else
  skip clang
fi
programs "address and undefined sanitizers" \
  "gcc -std=c99 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" "$tests"
programs "thread sanitizer" "gcc -std=c99 -O1 -fsanitize=thread" "test_threads test_async test_events" \
  env TSAN_OPTIONS="suppressions=$tree/usr/share/unistream/tsan.supp exitcode=66"
if has valgrind; then
  # With the library as it is developed: optimised code computes with bytes whose value does not matter.
  # Without the processes that fork and end as they like: what they leave to their parent counts as leaked there.
  programs "valgrind" "gcc -std=c99" "$(echo "$tests" | grep -v '^test_process$')" env LD_LIBRARY_PATH="$scratch/debug/usr/lib" UNISTREAM_KILLS=6 \
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect,possible \
    --errors-for-leak-kinds=definite,indirect,possible --child-silent-after-fork=yes
else
  skip valgrind
fi

# ------------------------------------------------------------------------------------------- arbitrary calls (fuzzing)

# The kept corpus and some mutations of it; ../fuzz/README.md says how to do many more.
corpus="FUZZ_CORPUS=$root/tests/fuzz/corpus/abi"
programs "gcc, C99, arbitrary calls" "gcc -std=c99 -O2" fuzz_abi env "$corpus" FUZZ_CASES="${FUZZ_CASES:-50}"
programs "address and undefined sanitizers, library with assertions, arbitrary calls" \
  "gcc -std=c99 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" fuzz_abi \
  env "$corpus" FUZZ_CASES=30 LD_LIBRARY_PATH="$scratch/debug/usr/lib"
if has valgrind; then
  programs "valgrind, arbitrary calls" "gcc -std=c99" fuzz_abi \
    env "$corpus" FUZZ_INPUTS=5 FUZZ_CASES=3 LD_LIBRARY_PATH="$scratch/debug/usr/lib" \
    valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite,indirect,possible \
    --errors-for-leak-kinds=definite,indirect,possible
fi

# ----------------------------------------------------------------------------------------------------- the examples

# example NAME BUILD: builds an example by pkg-config alone, runs it in a directory of its own, keeps what it prints.
example() {
  directory=$scratch/example-$1
  mkdir -p "$directory"
  # shellcheck disable=SC2046,SC2086
  $2 -Wall -Wextra -Wpedantic -Werror -o "$directory/$1" "$root/ffi/examples/$3" \
    $(pkg-config --cflags --libs unistream) -lpthread || return 1
  (cd "$directory" && printf 'one\ntwo\n' | timeout 120 "./$1" > printed && cat printed)
}
hello() {
  example hello "gcc -std=c99" hello.c && [ "$(cat "$scratch/example-hello/events.log")" = hello ]
}
own_sink() {
  example own_sink "gcc -std=c99" own_sink.c && [ "$(cat "$scratch/example-own_sink/received.txt")" = "$(printf 'one\ntwo')" ]
}
socket_sink() {
  example socket_sink "gcc -std=c99 -D_POSIX_C_SOURCE=200809L" socket_sink.c &&
    grep -q '^1 dead letter: it is bad$' "$scratch/example-socket_sink/printed"
}
event_loop() {
  example event_loop "gcc -std=c99 -D_POSIX_C_SOURCE=200809L" event_loop.c &&
    [ "$(cat "$scratch/example-event_loop/printed")" = "$(printf 'taken: one\ntaken: two')" ]
}
lanes() {
  example lanes "gcc -std=c99 -D_POSIX_C_SOURCE=200809L" lanes.c &&
    grep -q 'times the records$' "$scratch/example-lanes/printed"
}
syslog_lines() {
  directory=$scratch/example-syslog_lines
  example syslog_lines "gcc -std=c99 -D_POSIX_C_SOURCE=200809L" syslog_lines.c > "$scratch/usage" 2>&1 && return 1
  (cd "$directory" && printf '<34>Oct 11 22:14:15 host su[12]: failed\nplain\n<165>x: y\n<999>odd' |
    timeout 120 ./syslog_lines outbox file:lines.log > printed) &&
    grep -qx '4 lines taken, 0 refused, 0 left on disk' "$directory/printed" &&
    [ "$(cat "$directory/lines.log")" = "$(printf 'Oct 11 22:14:15 host su[12]: failed\nplain\nx: y\n<999>odd')" ] &&
    { (cd "$directory" && printf '<34>kept\n' |
      timeout -s KILL 5 ./syslog_lines other 'http://127.0.0.1:9/?preset=loki'); true; } &&
    (cd "$directory" && timeout 120 ./syslog_lines other file:kept.log < /dev/null) &&
    [ "$(cat "$directory/kept.log")" = kept ]
}
raii() {
  example raii "g++ -std=c++17" raii.cpp && grep -q '^2: and again$' "$scratch/example-raii/printed"
}
statically() {
  mkdir -p "$scratch/static"
  # shellcheck disable=SC2046
  gcc -std=c99 -o "$scratch/static/hello" "$root/ffi/examples/hello.c" $(pkg-config --cflags unistream) \
    "$tree/usr/lib/libunistream.a" $(pkg-config --static --libs-only-l unistream | sed 's/-lunistream//') &&
    ! readelf -d "$scratch/static/hello" | grep -q libunistream &&
    (cd "$scratch/static" && timeout 120 ./hello && [ "$(cat events.log)" = hello ])
}
# A program of libraries alone, with nothing that is loaded.
all_static() {
  # shellcheck disable=SC2046
  gcc -std=c99 -static -o "$scratch/static/alone" "$root/ffi/examples/hello.c" $(pkg-config --static --cflags --libs unistream) &&
    readelf -d "$scratch/static/alone" | grep -q 'no dynamic section' &&
    (cd "$scratch/static" && rm -f events.log && timeout 120 ./alone && [ "$(cat events.log)" = hello ])
}
# Another library that was made with Rust, whose standard library is in it too; with link-time optimisation of the program.
beside_another() {
  cat > "$scratch/second.rs" << 'EOF'
#[unsafe(no_mangle)]
pub extern "C" fn second(n: u32) -> u32 {
    std::panic::catch_unwind(|| if n > 3 { panic!("more than three") } else { n }).unwrap_or(99)
}
EOF
  rustc --edition 2024 --crate-type staticlib -O -o "$scratch/libsecond.a" "$scratch/second.rs" || return 1
  sed 's/int main(void) {/unsigned second(unsigned);\nint main(void) {\n  if (second(1) != 1 || second(9) != 99) return 7;/' \
    "$root/ffi/examples/hello.c" > "$scratch/two.c"
  # shellcheck disable=SC2046
  gcc -std=c99 -O2 -flto -I"$tree/usr/include" -o "$scratch/static/two" "$scratch/two.c" "$tree/usr/lib/libunistream.a" "$scratch/libsecond.a" \
    $(pkg-config --static --libs-only-l unistream | sed 's/-lunistream//') &&
    (cd "$scratch/static" && rm -f events.log && timeout 120 ./two && [ "$(cat events.log)" = hello ])
}
check "example: hello, by pkg-config alone" hello
check "example: hello, linked statically" statically
check "example: hello, all of it static, by pkg-config --static" all_static
check "example: hello, beside a second library of Rust, with link-time optimisation" beside_another
check "example: a sink of one's own" own_sink
check "example: a sink that posts to a socket" socket_sink
check "example: an event loop in mode manual" event_loop
check "example: lanes, with the order of every key checked" lanes
check "example: lines of syslog" syslog_lines
check "example: a C++ cover" raii

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
