#!/usr/bin/env bash
# Runs one tier of the tests, every group of it even when an earlier one failed, and ends with a
# line of totals. The exit code is 0 only when everything passed.
#
#   tools/test.sh quick     formatting, lints, the pure crates: under 90 seconds
#   tools/test.sh full      quick, then fuzzing, server tests, demo, README, installcheck, sabotage: what CI runs
#   tools/test.sh long      full, then the tests that take minutes

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

tier=${1:-full}
cd "$root"
mkdir -p target
export CARGO_BUILD_RUSTFLAGS=$pgrx_flags
log=$root/target/test.log
: >"$log"
started=$SECONDS
failed_groups=()

# Runs one group: its output is shown and counted, its failure noted.
group() {
    local title=$1 begun=$SECONDS
    shift
    say "$title"
    if "$@" 2>&1 | tee -a "$log"; then
        say "$title: ok ($((SECONDS - begun)) s)"
    else
        failed_groups+=("$title")
        say "$title: FAILED ($((SECONDS - begun)) s)"
    fi
}

# The sum of one count over the result lines of all test programs.
count() {
    sed -n "s/^test result: .* \([0-9]*\) $1;.*/\1/p" "$log" | awk '{ n += $1 } END { print n + 0 }'
}

# The version stands in Cargo.toml; what PGXN reads repeats it, and nothing else does.
one_version() {
    local version
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    [ "$(grep -c "\"version\": \"$version\"" META.json)" = 2 ] ||
        die "META.json does not have version $version"
}

# Another version than Debian's has other bindings, and a target directory of its own.
lints() {
    if [ "$PG" = "$DEBIAN_PG" ]; then
        cargo clippy -q --workspace --all-targets --features tenant_guard/fault_points -- -D warnings
    else
        CARGO_TARGET_DIR=$root/target/pg$PG cargo clippy -q --workspace --all-targets --no-default-features \
            --features "tenant_guard/pg$PG tenant_guard/fault_points" -- -D warnings
    fi
}

quick() {
    group "one version" one_version
    group "formatting" cargo fmt --all --check
    group "lints" lints
    group "core" cargo test -q --no-fail-fast -p tenant_guard_core
    group "command line" cargo test -q --no-fail-fast -p tenant_guard_verify
    group "ledger format, second verifier" tests/vectors/verify_ledger_vectors.py
    group "bundles and receipts, second verifier" tests/vectors/verify_bundle_vectors.py
}

fuzz() {
    TENANT_GUARD_FUZZ_SECONDS=$1 \
        cargo test -q -p tenant_guard_core --test fuzz -- --nocapture
}

# What somebody runs against a server of their own, here against one of ours.
installcheck() {
    local socket outcome=0
    socket=$(tools/cluster.sh start installcheck fsync=off) || return 1
    PGHOST=$socket PGUSER=postgres tools/installcheck.sh >"$root/target/installcheck.log" 2>&1 || outcome=1
    tools/cluster.sh drop installcheck
    if [ "$outcome" = 0 ]; then
        echo "test result: installcheck. 5 passed; 0 failed; 0 ignored;"
    else
        cat "$root/target/installcheck.log" "$root"/target/installcheck/regression.diffs
        echo "test result: installcheck. 0 passed; 1 failed; 0 ignored;"
    fi
    return "$outcome"
}

full() {
    quick
    group "fuzzing, 10 s" fuzz 10
    group "server" cargo test -q --no-fail-fast -p tenant_guard_tests
    group "demo" tools/demo_test.sh
    group "readme" tools/readme_test.sh
    group "installcheck" installcheck
    group "sabotage" tools/sabotage.sh
}

long() {
    full
    group "fuzzing, 5 min" fuzz 300
    group "cargo-fuzz, 20 s a target" tools/fuzz.sh 20
    group "server, long tests" cargo test -q -p tenant_guard_tests --test main -- --ignored
    # Only where the server is a package of Debian's has its extension one.
    [ "$PG" != "$DEBIAN_PG" ] || group "packages in a clean root" tools/package_test.sh
    group "every version of PostgreSQL, compiled" tools/check_versions.sh
    group "PostgreSQL's own tests" tools/regression.sh
}

case $tier in
quick | full | long) "$tier" ;;
*) die "unknown tier \"$tier\"" ;;
esac

outcome=passed
[ ${#failed_groups[@]} = 0 ] || outcome="FAILED in ${failed_groups[*]}"
printf '%s: %s passed, %s failed, %s left to a longer tier, in %s s: %s\n' "$tier" \
    "$(count passed)" "$(count failed)" "$(count ignored)" $((SECONDS - started)) "$outcome"
[ "$outcome" = passed ]
