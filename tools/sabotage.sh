#!/usr/bin/env bash
# Shows that the tests can fail. Each file in tests/sabotage breaks one guard of a throwaway copy
# and names, in lines "must fail: TEST", the server tests that have to notice. A named test that
# passes, or is not there, fails this run.
#
#   tools/sabotage.sh [NAME]...      all of them when none is named
#
#   NAME.sql     runs in every test database right after CREATE EXTENSION
#   NAME.patch   changes a copy of the source, which is built into a private PostgreSQL of its own;
#                without context lines (diff -U0), so that changes nearby leave it alone

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

cd "$root"
copy=$root/target/sabotage/source
report=$root/target/sabotage/report
mkdir -p "$copy"
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(find tests/sabotage -name '*.sql' -o -name '*.patch' |
    sed 's|.*/||; s|\.[a-z]*$||' | sort)
unnoticed=0
noticed=0

# Brings the copy up to date. A file that did not change keeps its time, so cargo skips it.
copy_source() {
    local file
    find Cargo.toml Cargo.lock tenant_guard.control src sql crates tests -type f |
        while read -r file; do
            cmp -s "$file" "$copy/$file" || install -D -m 0644 "$file" "$copy/$file"
        done
    (cd "$copy" && find . -type f) | while read -r file; do
        [ -f "$root/$file" ] || rm "$copy/$file"
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

# Runs the tests a sabotage must fail; what they print is the report. Another test must pass, or
# they fail because nothing works at all.
run_named_tests() {
    local tests control=harness::extension_is_installed
    mapfile -t tests < <(sed -n 's/^.*must fail: //p' "$file")
    [ ${#tests[@]} -gt 0 ] || die "$file names no test"
    cargo test -p tenant_guard_tests --test main -- --exact "$control" "${tests[@]}" \
        >"$report" 2>&1 || true
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

for name in "${names[@]}"; do
    if [ -f "tests/sabotage/$name.sql" ]; then
        file=$root/tests/sabotage/$name.sql
        TENANT_GUARD_SABOTAGE_SQL=$file run_named_tests
    elif [ -f "tests/sabotage/$name.patch" ]; then
        file=$root/tests/sabotage/$name.patch
        copy_source
        seed_target
        patch -s --no-backup-if-mismatch -p1 -d "$copy" <"$file" || die "$file does not apply any more"
        TENANT_GUARD_BUILD=sabotage tools/build.sh
        TENANT_GUARD_BUILD=sabotage run_named_tests
    else
        die "there is no sabotage \"$name\" in tests/sabotage"
    fi
done

# The totals of tools/test.sh count this line like one of a test program.
printf 'test result: sabotage. %s passed; %s failed; 0 ignored;\n' "$noticed" "$unnoticed"
[ "$unnoticed" = 0 ]
