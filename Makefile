# Two commands do everything: `make demo` shows the main job, `make test` checks all of it.
CARGO ?= cargo
PYTHON ?= python3

.PHONY: demo test lint bench torture install doc clean

demo:
	$(CARGO) run --quiet --release --locked -p unistream --example demo

test: lint
	$(CARGO) test --locked -p unistream
	$(CARGO) test --locked -p unistream --features aws --lib --test 'aws*'
	$(CARGO) doc --locked --no-deps -p unistream --features aws

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked -p unistream --all-targets -- -D warnings
	$(CARGO) clippy --locked -p unistream --all-targets --features aws -- -D warnings

bench:
	$(CARGO) bench --locked -p unistream --bench rows

clean:
	$(CARGO) clean
