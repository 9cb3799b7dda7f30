# Everyday commands. `just` lists them.

# what a newcomer sees first
demo:
    cargo run --release -- demo

# every test; the Kafka ones are skipped without `just broker`'s tools
test:
    cargo test --workspace

# with a real Kafka broker (needs Java 17 and Maven)
test-kafka:
    scripts/kafka.sh fetch
    WEIR_TEST_KAFKA=1 cargo test --test it kafka -- --nocapture

# the tests of all rules
rules:
    cargo run -- rule test

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# every decoder fuzzed, each for so many seconds
fuzz seconds="600":
    scripts/fuzz.sh {{seconds}}

# what CI runs
ci:
    .ci/run

# events per second of decoder, rules and the whole road, beside sonic-rs in the same run
bench:
    cargo run --release -p weir-benches --bin road

# what rules cost by their number (packs and variants of them): the start, and the road over generated events or those of a file
bench-rules *args:
    cargo run --release -p weir-benches --bin rules -- {{args}}

# each format's decoder beside a floor, in one run; the allocator set as in the Docker image
bench-decode format="all":
    MIMALLOC_PURGE_DELAY=1000 cargo run --release -p weir-benches --bin decode -- --format {{format}}

# state of a rule with a million keys: memory, bytes stored, time to restore
bench-state keys="1000000":
    cargo run --release -p weir-benches --bin state -- --keys {{keys}}

# what alerts cost: correlation and store, up to a million; and one more in an incident of 50,000.
bench-alerts alerts="1000000":
    cargo run --release -p weir-benches --bin alerts -- --alerts {{alerts}}

# from the event that crosses a threshold to its alert, through a real Kafka broker (needs Java 17 and Maven)
bench-delay:
    cargo run --release -p weir-benches --bin delay -- --broker "$(scripts/kafka.sh start)"
    scripts/kafka.sh stop

# two sliding windows over a million disordered events, beside DuckDB over the same file (needs `pip install duckdb`)
bench-windows file="/tmp/weir-windows.ndjson":
    cargo run --release -p weir-benches --bin windows -- --out {{file}}
    python3 benches/windows_duckdb.py {{file}}
