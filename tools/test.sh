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
# What this machine cannot run: arguments that leave it out, and how much it is, for the line of totals.
left_out=()
not_run=()

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

# Tests of full disks need a disk, and a container may let nobody mount one. Where nobody asked for that
# they fail.
try_mounting() {
    local place reason=""
    make_state
    place=$(mktemp -d "$state/mount.XXXXXX")
    if [ "${TENANT_GUARD_NO_MOUNT:-}" = 1 ]; then
        reason="TENANT_GUARD_NO_MOUNT=1"
    elif mount_memory "$place" 1 2>/dev/null; then
        unmount_memory "$place"
    else
        reason="this machine mounts nothing"
    fi
    rmdir "$place"
    [ -n "$reason" ] || return 0
    export TENANT_GUARD_NO_MOUNT=1
    leave_out bad_days::disk:: "$(grep -c '^#\[test\]' tests/server/tests/bad_days/disk.rs)" "$reason"
}

leave_out() {
    left_out+=(--skip "$1")
    not_run+=("$2 not run: $3")
    say "NOT RUN: $2 of the server tests, $1 ($3)"
}

server() { cargo test -q --no-fail-fast -p tenant_guard_tests "$@" "${left_out[@]}"; }

# The upgrade to 18 needs the extension for it, and a server whose tables 18 takes.
try_upgrading() {
    local reason
    if [ "${TENANT_GUARD_NO_UPGRADE:-}" = 1 ]; then
        reason="TENANT_GUARD_NO_UPGRADE=1"
    elif [ "$PG" -ge 18 ]; then
        reason="there is no newer version"
    else
        if ! reason=$(takes_of_18); then
            group "what 18 takes" false
            return
        fi
    fi
    if [ -z "$reason" ]; then
        group "the extension for PostgreSQL 18" build_for_18
    else
        export TENANT_GUARD_NO_UPGRADE=1
        leave_out bad_days::dumps::upgrade_to_18 1 "$reason"
    fi
}

# What of a new server 18 does not take; nothing where it takes all.
takes_of_18() {
    local outcome=0
    tools/cluster.sh start upgradable fsync=off >/dev/null || return 1
    tools/cluster.sh psql upgradable -qAt -c 'CREATE TABLE t (n int)' -c "SELECT DISTINCT
        '18 does not take ' || split_part(unnest(attoptions), '=', 1) || ' of this server' FROM pg_attribute" || outcome=1
    tools/cluster.sh drop upgradable
    return "$outcome"
}

build_for_18() { env -u PG_CONFIG PG=18 tools/setup.sh build && env -u PG_CONFIG PG=18 tools/build.sh; }

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
    try_mounting
    group "fuzzing, 10 s" fuzz 10
    group "server" server --
    group "demo" tools/demo_test.sh
    group "readme" tools/readme_test.sh
    group "installcheck" installcheck
    group "sabotage" tools/sabotage.sh
}

long() {
    full
    group "fuzzing, 5 min" fuzz 300
    group "cargo-fuzz, 20 s a target" tools/fuzz.sh 20
    try_upgrading
    group "server, long tests" server --test main -- --ignored
    # Only where the server is a package of Debian's has its extension one.
    [ "$PG" != "$DEBIAN_PG" ] || group "packages in a clean root" tools/package_test.sh
    group "every version of PostgreSQL, compiled" tools/check_versions.sh
    if tools/regression.sh possible; then
        group "PostgreSQL's own tests" tools/regression.sh
    else
        not_run+=("PostgreSQL's own tests not run")
    fi
}

case $tier in
quick | full | long) "$tier" ;;
*) die "unknown tier \"$tier\"" ;;
esac

outcome=passed
[ ${#failed_groups[@]} = 0 ] || outcome="FAILED in ${failed_groups[*]}"
printf '%s: %s passed, %s failed, %s left to a longer tier, %sin %s s: %s\n' "$tier" \
    "$(count passed)" "$(count failed)" "$(count ignored)" "${not_run[*]/%/,}${not_run[0]:+ }" $((SECONDS - started)) "$outcome"
[ "$outcome" = passed ]
