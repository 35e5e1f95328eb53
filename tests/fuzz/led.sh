#!/usr/bin/env bash
# Leads a fuzz target by coverage, with libFuzzer on the stable toolchain; it needs a C++ compiler.
#
#   tests/fuzz/led.sh frames                           until it breaks
#   tests/fuzz/led.sh frames -max_total_time=600       with libFuzzer's own options
#
# What it finds beside the corpus is kept under target/fuzz/. Copy into the corpus what broke the target.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=${1:?which target: $(ls corpus | xargs)}
shift
corpus=$PWD/corpus/$target
[ -d "$corpus" ] || { echo "led.sh: no target $target; there are: $(ls corpus | xargs)" >&2 && exit 2; }
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz FUZZ_TARGET=$target
coverage=(inline-8bit-counters level=4 pc-table trace-compares stack-depth)
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, build scripts and macros are built without these flags.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 $(printf -- '-Cllvm-args=-sanitizer-coverage-%s ' "${coverage[@]}")" \
    cargo build --target "$host"
found=$CARGO_TARGET_DIR/$target
mkdir -p "$found"
exec "$CARGO_TARGET_DIR/$host/debug/fuzz" -artifact_prefix="$found/" -max_len=4096 "$@" "$found" "$corpus"
