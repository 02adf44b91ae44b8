# Two commands do everything: `make demo` shows the main job, `make test` checks all of it.
CARGO ?= cargo
PYTHON ?= python3
export PYTHON
# Every feature of the core.
FEATURES = async sinks tracing

.PHONY: site demo test test-rust test-c test-cli test-python test-compat test-aws test-http test-kafka test-brokers test-own-sink test-languages wheels test-wheels crates release-check lint requirements notices advisories reproduce bench torture fuzz clean
.DEFAULT_GOAL := test

include ffi/install.mk

# A program that is killed on the way and a file that has every record once; then the session of the spec in Python.
demo:
	$(CARGO) run --quiet --release --locked -p unistream --example demo
	python/examples/run.sh simple_producer.py

# Each part says how long it took. What mostly waits, for servers and for programs that die, goes side by side. The added sink
# goes alone, because it builds another tree into the same target directory.
test: $(addprefix timed-,lint test-rust)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target \
	  $(addprefix timed-,test-python test-c test-compat test-aws test-http test-kafka test-brokers test-cli test-languages)
	@$(MAKE) --no-print-directory timed-test-own-sink

timed-%:
	@start=$$(date +%s) && $(MAKE) --no-print-directory $* && echo "== $*: $$(($$(date +%s) - start)) s"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --locked -p unistream --all-targets -- -D warnings
	$(CARGO) clippy --quiet --locked -p unistream --features net -- -D warnings
	$(CARGO) clippy --quiet --locked --workspace --all-targets \
	  --features "$(FEATURES:%=unistream/%) unistream-torture/scheduled" -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps -p unistream
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps -p unistream --features "$(FEATURES)"
	tests/documents.sh
	tests/release/versions.py
	tests/supply_chain/run.sh

# Writes every requirements.txt anew from the requirements.in beside it, with hashes.
requirements:
	tests/requirements.sh

# Writes the notices and bills of materials that are packaged, after Cargo.lock has changed.
notices:
	$(PYTHON) tests/supply_chain/notices.py

# Known advisories about what we build from; needs the network.
advisories:
	tests/supply_chain/run.sh --advisories

# Two builds of the C library in two directories: the same bytes.
reproduce:
	tests/supply_chain/reproduce.sh

# The lean build; the one with the network's sinks, async ones and the layer for tracing; the bounded part of the proofs, with every unit test beside them.
test-rust:
	$(CARGO) test --locked -p unistream
	$(CARGO) test --locked -p unistream --features "$(FEATURES)" --test aws --test async_sink --test http --test kafka --test nats --test postgres --test redis --test tracing
	$(CARGO) test --locked -p unistream-torture --lib
	$(CARGO) test --locked -p unistream-torture --lib --no-default-features --features scheduled -- torture::threads

test-c:
	tests/c/run.sh

# Node, Go, Java, Ruby and LuaJIT over the C ABI, those of them that are there.
test-languages:
	tests/languages/run.sh

# The wheel for Linux with glibc 2.17 or later and every CPython from 3.11 on, in target/dist; ARCH=aarch64 for another machine.
wheels:
	python/wheels.sh

# That wheel in every CPython that is found; some minutes, so that it is no part of `make test`.
test-wheels:
	tests/wheels/run.sh

# The crates, as they would be published, in target/dist: each is built from what was packed.
crates:
	$(CARGO) package --locked -p unistream -p unistream-cli
	mkdir -p target/dist
	cp target/package/unistream-*.crate target/dist/

# The release workflow on this machine, as far as it needs no forge; JOBS='source wheels' runs some of it.
release-check:
	. tests/wheels/install.sh && "$$place/venv/bin/python" tests/release/check.py $(JOBS)

# The command line alone, without Python; `make test-python` has that of the wheel.
test-cli:
	$(CARGO) test --locked -p unistream-ffi -p unistream-cli -p unistream-python

test-python:
	tests/python/run.sh

# A sink that is added to a copy of the tree, by its folder and one line, is reached from everywhere.
test-own-sink:
	tests/own_sink/run.sh

# Programs of both halves of 0.1.2, beside the predecessor itself, and its plugin.
test-compat:
	tests/compat/run.sh

# The AWS sinks against emulators that others wrote, on loopback.
test-aws:
	tests/aws/run.sh

# The HTTP sink against servers and proxies that others wrote, on loopback.
test-http:
	tests/http/run.sh

# The documents as static pages, with every link checked, in target/site/html.
site:
	docs/site/build.sh

# The Kafka sink against Apache Kafka itself, on loopback; three brokers of it, killed and cut off.
test-kafka:
	tests/kafka/run.sh

# The NATS, Redis and PostgreSQL sinks against servers of those, on loopback; alone and as clusters, killed and cut off.
test-brokers:
	tests/brokers/run.sh

# Figures of all three languages and of the sinks over a network, each beside its limit or its rivals; all in
# target/bench/results.json at the end.
bench:
	mkdir -p target/bench
	$(CARGO) bench --locked -p unistream --bench rows
	ffi/bench/run.sh | tee target/bench/c.jsonl
	python/bench/run.sh
	tests/aws/bench.sh | tee target/bench/aws.json
	tests/http/bench.sh | tee target/bench/http.json
	tests/kafka/bench.sh | tee target/bench/kafka.json
	tests/brokers/bench.sh | tee target/bench/brokers.json
	$(PYTHON) core/benches/merge.py target/bench

# The proofs at full depth: crashes and faults at every operation of a simulated disk, programs against the model, fuzzing,
# schedules of threads, and programs of three languages that are killed on a real disk.
torture:
	$(CARGO) run --quiet --release --locked -p unistream-torture --bin torture
	$(CARGO) run --quiet --release --locked -p unistream-torture --no-default-features --features scheduled --bin schedules 10
	UNISTREAM_SOAK_SECONDS=600 $(CARGO) test --release --locked -p unistream --test outbox sixteen -- --nocapture
	tests/torture.sh
	KAFKA_FAILURES=200 tests/kafka/run.sh -s -k once_whatever_fails
	BROKERS_FAILURES=200 tests/brokers/run.sh -s -k whatever_fails

# Fuzzing with coverage, so many seconds for each target: `cargo install cargo-fuzz`, and clang for the C ABI.
FUZZ_SECONDS ?= 600
fuzz:
	@$(CARGO) fuzz --version > /dev/null 2>&1 || { echo "make fuzz needs cargo-fuzz: cargo install cargo-fuzz"; exit 1; }
	for target in $(notdir $(basename $(wildcard tests/fuzz/targets/*.rs))); do \
	  mkdir -p target/fuzz/corpus/$$target; \
	  $(CARGO) fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz -s none $$target target/fuzz/corpus/$$target \
	    tests/fuzz/corpus/$$target tests/fuzz/crashes -- -max_len=2048 -timeout=20 -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done
	@if command -v clang > /dev/null; then tests/fuzz/abi.sh -max_total_time=$(FUZZ_SECONDS); else echo "SKIPPED: the C ABI; clang is not installed"; fi

clean:
	$(CARGO) clean
