#!/usr/bin/env bash
# Fuzzes the readers of crates/core with cargo-fuzz, guided by what code an input reaches. What it finds
# stands below target/fuzz/found, and each input can be run again:
#
#   tools/fuzz.sh SECONDS [TARGET]...     each target, or those named, for so many seconds
#   target/fuzz/build/.../TARGET FILE     one input

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

seconds=${1:?how many seconds for each target}
shift
cd "$root/crates/core"
export CARGO_TARGET_DIR=$root/target/fuzz/build
corpus=$root/target/fuzz/corpus found=$root/target/fuzz/found
mkdir -p "$corpus" "$found"
[ $# -gt 0 ] || mapfile -t targets < <(cd fuzz/fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
[ $# -eq 0 ] || targets=("$@")

# Not among the programs, which all get the fuzzer's main function.
cargo run -q --manifest-path fuzz/Cargo.toml --example seeds "$corpus"
# The address sanitizer would look after unsafe code, and the core forbids it.
cargo +nightly fuzz build -s none >&2
passed=0 failed=0
for target in "${targets[@]}"; do
    log=$root/target/fuzz/$target.log
    if "$CARGO_TARGET_DIR"/*/release/"$target" "$corpus/$target" -dict="$corpus/$target.dict" -artifact_prefix="$found/$target-" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -verbosity=1 >"$log" 2>&1; then
        passed=$((passed + 1))
        printf '%s: %s\n' "$target" "$(grep -E 'DONE|Done' "$log" | tail -n 1)"
    else
        failed=$((failed + 1))
        printf '%s: FAILED\n' "$target"
        tail -n 30 "$log"
    fi
done
printf 'test result: cargo-fuzz. %s passed; %s failed; 0 ignored;\n' "$passed" "$failed"
[ "$failed" = 0 ]
