#!/usr/bin/env bash
# Fuzz the parsers of what others write: first one with a planted fault, which must be found, then the real ones, in
# which nothing may be, starting from the corpora of hostile files (scripts/hostile_corpus.py) and from sound ones. What
# was done is kept in checklist/fuzz.json, dated; a test demands that it is recent.
#
# usage: scripts/fuzz.sh [SECONDS]     for each parser (default 60); a crash is kept in target/fuzz/artifacts/
#
# Needs a nightly toolchain (RUSTUP_TOOLCHAIN names another) and a C++ compiler; installs cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
cargo build --release --package apr-cli --quiet
export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-nightly}
command -v cargo-fuzz >/dev/null || cargo install --locked --quiet cargo-fuzz

made=$PWD/target/fuzz
fixtures=subjects/interop/tests/fixtures

# Where a target is defined.
package() {
    case $1 in
    checklist | playbook) echo probador/fuzz ;;
    *) echo subjects/fuzz ;;
    esac
}

seeds() {
    local corpus=$made/corpus/$1
    mkdir -p "$corpus"
    case $1 in
    apr) target/release/apr import "$fixtures/tiny-qwen2.gguf" -o "$corpus/seed.apr" --force >/dev/null ;;
    gguf) cp "$fixtures"/*.gguf "$corpus" ;;
    safetensors) cp "$fixtures"/*.safetensors "$corpus" ;;
    template) cp subjects/tokenizer/tests/fixtures/*.jinja "$corpus" ;;
    tokenizer) cp subjects/tokenizer/tests/fixtures/tokenizer.json "$corpus" ;;
    checklist) cp checklist/*.yaml "$corpus" ;;
    playbook) cp playbooks/*/*.yaml "$corpus" ;;
    esac
    case $1 in
    checklist | playbook) cp probador/tests/hostile/* "$corpus" ;;
    planted) ;;
    *) cp "subjects/fuzz/hostile/$1"/* "$corpus" ;;
    esac
}

run() {
    seeds "$1"
    mkdir -p "$made/artifacts/$1"
    cargo fuzz run --fuzz-dir "$(package "$1")" --target-dir "$made" "$1" "$made/corpus/$1" -- \
        "-artifact_prefix=$made/artifacts/$1/" "-max_total_time=$2" \
        -max_len=262144 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1
}

if run planted 60 >/dev/null 2>&1; then
    echo "error: the fuzzer did not find the planted fault" >&2
    exit 1
fi
rm -rf "$made/artifacts/planted"
echo "the planted fault is found"
results=""
for target in apr gguf safetensors tokenizer template checklist playbook; do
    echo "fuzzing $target for $seconds s"
    log=$(mktemp)
    run "$target" "$seconds" >"$log" 2>&1 || {
        tail -n 40 "$log" >&2
        echo "error: $target crashed; see target/fuzz/artifacts/$target" >&2
        exit 1
    }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$executions executions, no crash"
    results="$results${results:+, }\"$target\": $executions"
    rm -f "$log"
done

stored=checklist/fuzz.json
printf '{"made_at": %s, "seconds": %s, "executions": {%s}}\n' "$(date +%s)" "$seconds" "$results" >"$stored.new"
mv "$stored.new" "$stored"
