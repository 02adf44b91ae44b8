# Two commands do everything: `make demo` shows the main job, `make test` checks all of it.
CARGO ?= cargo
PYTHON ?= python3
export PYTHON

.PHONY: demo test test-rust test-c test-python lint bench torture clean
.DEFAULT_GOAL := test

include ffi/install.mk

# A program that is killed on the way and a file that has every record once; then the session of the spec in Python.
demo:
	$(CARGO) run --quiet --release --locked -p unistream --example demo
	python/examples/run.sh simple_producer.py

test: lint test-rust test-c test-python

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --locked -p unistream --all-targets -- -D warnings
	$(CARGO) clippy --quiet --locked --workspace --all-targets --features unistream/aws -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --no-deps -p unistream --features aws

# The lean build, then the one with the AWS sinks.
test-rust:
	$(CARGO) test --locked -p unistream
	$(CARGO) test --locked -p unistream --features aws --lib -- sink
	$(CARGO) test --locked -p unistream --features aws --test aws

test-c:
	$(CARGO) test --locked -p unistream-ffi
	tests/c/run.sh

test-python:
	tests/python/run.sh

# Figures of all three languages, in target/bench.
bench:
	$(CARGO) bench --locked -p unistream --bench rows

clean:
	$(CARGO) clean
