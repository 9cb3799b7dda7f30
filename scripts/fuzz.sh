#!/usr/bin/env bash
# Fuzzes what reads bytes that others wrote, without cargo-fuzz and without compiling dependencies again.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]     each target for so long (10), all of them without TARGET
#
# A target is a format by its name in the configuration (`auto` for all, told apart by content), `envelope`,
# `json` (the scanner) or `intel` (lists of indicators). The seed is WEIR_FUZZ_SEED (1). It starts from the fixtures and
# from fuzz/kept/<target>.tar.gz, the few inputs of earlier long runs that reach all that these reached. What is found is
# in WEIR_FUZZ_DIR (target/fuzz), by target: corpus/ grows from run to run, crashes/ holds what failed. Put a crash into
# fuzz/regressions/<target>-<what-was-wrong> when it is fixed; `cargo test` replays those. With WEIR_FUZZ_KEEP=1 the
# archives in fuzz/kept are made anew of the corpus.
#
# Ten minutes of everything: scripts/fuzz.sh 600. With cargo-fuzz, and so with AddressSanitizer:
#   RUSTC_BOOTSTRAP=1 WEIR_FUZZ_FORMAT=falco cargo fuzz run format
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-10}
shift || true
seed=${WEIR_FUZZ_SEED:-1}
fixtures=connectors/tests/formats
target_dir=${CARGO_TARGET_DIR:-target}
work=${WEIR_FUZZ_DIR:-$target_dir/fuzz}

formats() {
    for file in "$fixtures"/*.ndjson "$fixtures"/*.log; do
        basename "${file%.*}"
    done | sed 's/-.*//' | sort -u
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(formats; printf '%s\n' mapped auto envelope json intel)

# As the tests are built, so that everything but our own crates is there already.
built=$(RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/rustc cargo test --workspace --locked --no-run --message-format json \
    --bin format --bin envelope --bin json --bin intel)
binary() { grep -o '"executable":"[^"]*/'"$1"'-[^"]*"' <<<"$built" | cut -d'"' -f4 | tail -1; }

# Seeds that we wrote ourselves: each line of the fixtures, and each file of them.
seeds() {
    local from=() file number=0 line
    case $1 in
    intel | mapped) from=("fuzz/seeds/$1"/*) ;;
    envelope) from=(fuzz/seeds/envelope/* "$fixtures"/*.ndjson) ;;
    auto | json) from=("$fixtures"/*.ndjson "$fixtures"/*.log) ;;
    *) from=("$fixtures/$1".* "$fixtures/$1"-*) ;;
    esac
    for file in "${from[@]}"; do
        case $file in *.rows.json | *[*]) continue ;; esac
        cp "$file" "$2"
        case $file in *.ndjson | *.log) ;; *) continue ;; esac
        while IFS= read -r line; do
            number=$((number + 1))
            printf '%s' "$line" >"$2/$number"
        done <"$file"
    done
}

# Keys and words of the seeds, in quotes.
dictionary() {
    echo '"null"' # libFuzzer refuses an empty one
    cat "$1"/* | { grep -aoE '"[A-Za-z0-9_.:@/-]{1,40}"' || true; } | sort -u | sed 's/^"\(.*\)"$/"\\"\1\\""/'
}

# Inputs of up to 2 KiB that together reach all that the corpus reaches.
keep() {
    rm -rf "$home/kept"
    mkdir -p "$home/kept" fuzz/kept
    WEIR_FUZZ_FORMAT=$target "$binary" -set_cover_merge=1 -max_len=2048 \
        "$home/kept" "$home/seeds" "$home/corpus" >"$home/log" 2>&1
    tar -C "$home/kept" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c . | gzip -9n >"$kept"
}

failed=()
for target in "${targets[@]}"; do
    case $target in
    envelope | json | intel) binary=$(binary "$target") ;;
    *) binary=$(binary format) ;;
    esac
    [ -x "$binary" ] || { echo "fuzz.sh: $target is not built" >&2; exit 1; }
    home=$work/$target
    rm -rf "$home/seeds"
    mkdir -p "$home/seeds" "$home/corpus" "$home/crashes"
    seeds "$target" "$home/seeds"
    dictionary "$home/seeds" >"$home/words"
    kept=fuzz/kept/$target.tar.gz
    [ ! -f "$kept" ] || tar -xzf "$kept" -C "$home/seeds"
    printf '%s for %s s, seed %s: ' "$target" "$seconds" "$seed"
    if WEIR_FUZZ_FORMAT=$target "$binary" -max_total_time="$seconds" -seed="$seed" -max_len=8192 -len_control=0 \
        -timeout=20 -rss_limit_mb=4096 -dict="$home/words" -artifact_prefix="$home/crashes/" \
        -print_final_stats=1 "$home/corpus" "$home/seeds" >"$home/log" 2>&1; then
        runs=$(sed -n 's/stat::number_of_executed_units: *//p' "$home/log")
        covered=$(grep -o 'cov: [0-9]*' "$home/log" | tail -1)
        echo "$runs runs, ${covered:-cov: none}"
        [ -z "${WEIR_FUZZ_KEEP:-}" ] || keep
    else
        failed+=("$target")
        echo "FAILED"
        grep -aE -B3 -A6 "panicked at|SUMMARY|Test unit written" "$home/log" | tail -40
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz.sh: failed: ${failed[*]}; see $work/<target>/log and crashes/" >&2
    exit 1
fi
