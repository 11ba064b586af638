#!/bin/sh
# Fetches the release model, verifies its hash, imports it with tied embeddings, and caches the result outside the
# tree, where `--model release` finds it.
#
# usage: sh scripts/make_model.sh        (same as `make model`)
#        PROBADOR_CACHE=/data/probador sh scripts/make_model.sh
set -eu

cache=${PROBADOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/probador}/models
out=$cache/qwen2.5-coder-0.5b-instruct.apr
cd "$(dirname "$0")/.."

gguf=$(python3 scripts/fetch_release_model.py)
cargo build --release --quiet --package apr-cli
if [ -e "$out" ] && target/release/apr validate "$out" >/dev/null 2>&1; then
    echo "already there and valid: $out" >&2
else
    target/release/apr import "$gguf" --tie-embeddings --force -o "$out" >&2
fi
echo "$out"
