#!/usr/bin/env bash
# Shows that the tests can fail. Each file in tests/sabotage breaks one guard of a throwaway copy
# and names, in lines "must fail: TEST", the server tests that have to notice. A named test that
# passes, or is not there, fails this run.
#
#   tools/sabotage.sh [NAME]...      all of them when none is named
#
#   NAME.sql     runs in every test database right after CREATE EXTENSION
#   NAME.patch   changes a copy of the source. All patches go into one copy, which is built once into a
#                private PostgreSQL of its own, so each breaks its guard only where it is switched on:
#                `crate::sabotaged("NAME")` in crates/core, `tenant_guard_core::sabotaged("NAME")` in
#                src. With none switched on the copy must pass every test that a patch names.
#                Without context lines (diff -U0), so that changes nearby leave it alone; a hunk
#                replaces a line that its file has once, because an insertion would go by its number.
#   switch.rs    the switch, which only the copy has: TENANT_GUARD_SABOTAGE of the server's environment

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$root"
export CARGO_BUILD_RUSTFLAGS=$pgrx_flags
copy=$root/target/sabotage/source
patched=$root/target/sabotage/patched
reports=$root/target/sabotage/reports
# Another test must pass each time, or they fail because nothing works at all.
control=harness::extension_is_installed
unset TENANT_GUARD_SABOTAGE TENANT_GUARD_SABOTAGE_SQL
unnoticed=0
noticed=0

# Every name, or those asked for.
names_of() {
    local kind=$1 file
    shift
    for file in tests/sabotage/*."$kind"; do
        file=$(basename "$file" ".$kind")
        if [ $# = 0 ] || [[ " $* " == *" $file "* ]]; then echo "$file"; fi
    done
}

must_fail() { sed -n 's/^.*must fail: //p' "$@"; }

# Patches what the extension is built from and takes over what is different. A file that is not
# keeps its time, so cargo skips it.
make_copy() {
    local name file
    rm -rf "$patched"
    mkdir -p "$copy" "$patched"
    find Cargo.toml Cargo.lock tenant_guard.control src sql crates tests -type f -print0 |
        xargs -0 cp --parents -t "$patched"
    cat tests/sabotage/switch.rs >>"$patched/crates/core/src/lib.rs"
    for name in $(names_of patch); do
        file=$root/tests/sabotage/$name.patch
        grep -q "^+.*sabotaged(\"$name\")" "$file" || die "$file does not ask sabotaged(\"$name\")"
        patch -s --no-backup-if-mismatch -p1 -d "$patched" <"$file" ||
            die "$file does not apply any more"
    done
    (cd "$patched" && find . -type f) | while read -r file; do
        cmp -s "$patched/$file" "$copy/$file" || install -D -m 0644 "$patched/$file" "$copy/$file"
    done
    (cd "$copy" && find . -type f) | while read -r file; do
        [ -f "$patched/$file" ] || rm "$copy/$file"
    done
}

# Takes over the compiled dependencies, so that only our own crates are built again.
seed_target() {
    local target=$root/target/sabotage/target part
    [ ! -d "$target/debug" ] || return 0
    mkdir -p "$target/debug"
    for part in build deps .fingerprint; do
        cp -al "target/debug/$part" "$target/debug/"
    done
    # Linked files of ours could be written to in place; those of dependencies never are.
    find "$target" -depth -name '*tenant_guard*' -exec rm -r {} +
}

# The test program itself: cargo would ask again each time whether it is up to date.
build_tests() {
    program=$(cargo test -q -p tenant_guard_tests --test main --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    [ -x "$program" ] || die "the server tests do not build"
}

# Runs tests with a sabotage on; what they print is the report.
run_tests() {
    local report=$reports/$1
    shift
    (cd tests/server && "$program" --exact "$control" "$@") >"$report" 2>&1 || true
}

run_sabotage() {
    local name=$1 tests
    if [ -f "tests/sabotage/$name.sql" ]; then
        mapfile -t tests < <(must_fail "tests/sabotage/$name.sql")
        TENANT_GUARD_SABOTAGE_SQL=$root/tests/sabotage/$name.sql run_tests "$name" "${tests[@]}"
    else
        mapfile -t tests < <(must_fail "tests/sabotage/$name.patch")
        TENANT_GUARD_BUILD=sabotage TENANT_GUARD_SABOTAGE=$name run_tests "$name" "${tests[@]}"
    fi
}

# Every test that a patch names, on the patched build with nothing switched on.
run_switched_off() {
    local tests
    mapfile -t tests < <(for name in "${patches[@]}"; do must_fail "tests/sabotage/$name.patch"; done | sort -u)
    TENANT_GUARD_BUILD=sabotage run_tests none "${tests[@]}"
}

# As many at a time as there are processors.
in_turn() {
    while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    "$@" &
}

judge() {
    local name=$1 report=$reports/$1 tests test
    mapfile -t tests < <(must_fail "tests/sabotage/$name".{sql,patch} 2>/dev/null)
    [ ${#tests[@]} -gt 0 ] || die "sabotage $name names no test"
    grep -qx "test $control \.\.\. ok" "$report" || {
        cat "$report" >&2
        die "sabotage $name broke more than its guard"
    }
    for test in "${tests[@]}"; do
        if grep -qxE "test $test (- should panic )?\.\.\. FAILED" "$report"; then
            noticed=$((noticed + 1))
        else
            unnoticed=$((unnoticed + 1))
            say "sabotage $name: test $test did not notice"
            grep -E "^test $test |^error" "$report" >&2 || true
        fi
    done
}

for name in "$@"; do
    [ -f "tests/sabotage/$name.sql" ] || [ -f "tests/sabotage/$name.patch" ] ||
        die "there is no sabotage \"$name\" in tests/sabotage"
done
mapfile -t scripts < <(names_of sql "$@")
mapfile -t patches < <(names_of patch "$@")
rm -rf "$reports"
mkdir -p "$reports"
build_tests
if [ ${#patches[@]} -gt 0 ]; then
    make_copy
    seed_target
    TENANT_GUARD_BUILD=sabotage tools/build.sh
    in_turn run_switched_off
fi
for name in "${scripts[@]}" "${patches[@]}"; do in_turn run_sabotage "$name"; done
wait
if [ ${#patches[@]} -gt 0 ] && ! grep -qE '^test result: ok\.' "$reports/none"; then
    cat "$reports/none" >&2
    die "the patched copy fails tests with no sabotage switched on"
fi
for name in "${scripts[@]}" "${patches[@]}"; do judge "$name"; done

# The totals of tools/test.sh count this line like one of a test program.
printf 'test result: sabotage. %s passed; %s failed; 0 ignored;\n' "$noticed" "$unnoticed"
[ "$unnoticed" = 0 ]
