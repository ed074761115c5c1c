# make run     builds pinflow and runs its demo: http://127.0.0.1:8765
# make test    every test
# make check   format, lints, documentation, dependencies
# make bench   the benchmarks, into docs/performance.md
# make figures   latency, restarts, the price of checkpoints, metrics and cleaned rows
# make growth  cost from 0.1 to 10 M posts, with curves in docs/: an hour or more
# make overload   1.5 times what can be kept up with, for ten minutes: within the memory budget
# make soak    a day of records in an hour: memory must not grow
# make instructions   what decoding and assembling cost, counted: the same on a busy machine
# make fuzz    the decoder against its judge, guided by coverage, for FUZZ_SECONDS
# make kafka   a real Kafka broker to play with: 127.0.0.1:9092
# make run-kafka   the broker, the emulator and pinflow together
#
# Each installs what it needs and lacks, and nothing where all is there.
# ARGS go to run, test, fuzz and run-kafka: make run ARGS="--rate 3000", make test ARGS=golden.

.PHONY: run test check instructions bench figures growth overload soak fuzz kafka run-kafka
.DEFAULT_GOAL := run

run:
	@scripts/setup build
	cargo build --release --locked
	@echo "The page is at http://127.0.0.1:8765, the metrics at http://127.0.0.1:8765/metrics"
	@cargo run --quiet --release --locked -- run --config config/demo.toml $(ARGS)

test:
	@scripts/setup build test
	cargo test --release --locked --workspace $(ARGS)

# The release profile throughout, so that one build of the dependencies serves all of it and test.
check:
	@scripts/setup build check
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps
	rustfmt --check --edition 2024 fuzz/src/*.rs
	cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null
	scripts/audit

instructions:
	@scripts/setup build instructions
	@scripts/instructions $(ARGS)

bench:
	@scripts/setup build test
	@scripts/bench workload kafka parts

figures growth overload soak:
	@scripts/setup build
	@scripts/bench $@

fuzz:
	@scripts/setup build
	@scripts/fuzz $(ARGS)

kafka:
	@scripts/setup kafka
	@scripts/kafka

run-kafka:
	@scripts/setup build kafka
	cargo build --release --locked
	@scripts/run-kafka $(ARGS)
