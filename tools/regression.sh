#!/usr/bin/env bash
# PostgreSQL's own regression tests with the library in the server: four runs on fresh clusters.
#
#   plain       the server without the library: what the others are compared with, so that nothing
#               counts that is due to how this server was compiled
#   preloaded   shared_preload_libraries, and the extension created in the database of the tests
#   session     session_preload_libraries, the extension nowhere
#   created     the extension created, the library loaded when something of it is first used
#
# Without the extension nothing may differ. With it, exactly what tests/regression/<PG>.diff holds, whose
# comments say why; TENANT_GUARD_BLESS=1 writes that file, comments kept. TENANT_GUARD_KEEP=1 leaves
# what was answered.
#
#   tools/regression.sh possible    only says whether there is something to run, by its exit code

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

tests=$root/target/regression-source-$PG/src/test/regress
meant=$root/tests/regression/$PG.diff
[ -r "$tests/parallel_schedule" ] ||
    die "nothing is run: there is no source package of PostgreSQL $PG to be had"
[ -f "$meant" ] || [ -n "${TENANT_GUARD_BLESS:-}" ] ||
    die "nothing is run: no $meant says what may differ on PostgreSQL $PG; TENANT_GUARD_BLESS=1 makes it"
[ "${1:-}" != possible ] || exit 0

pg_regress=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/regress/pg_regress
bin=$(bindir)
work=$clusters/regression
passed=0
failed=0

# The server reads the tests and writes beside its results, so all of it stands with its data.
prepare() {
    make_state
    rm -rf "$work"
    mkdir -m 0700 "$work"
    cp -r "$tests" "$work/tests"
    # It finds its libraries relative to itself, like the other programs.
    install -D -m 0755 "$pg_regress" "$(in_tree "$pg_regress")"
    mkdir "$work/libraries"
    cp "$(in_tree "$("$PG_CONFIG" --pkglibdir)")"/{refint,autoinc}.so "$work/libraries/"
    gcc -O1 -w -shared -fPIC -I "$("$PG_CONFIG" --includedir-server)" \
        -o "$work/libraries/regress.so" "$tests/regress.c"
    [ "$(id -u)" != 0 ] || chown -R "$server_user" "$work"
}

# Runs all tests on a cluster of their own; their answers are in the directory of the run's name.
run() {
    local name=$1 extension=$2 begun=$SECONDS socket
    shift 2
    say "$name ..."
    as_server_user mkdir "$work/$name"
    socket=$("$root/tools/cluster.sh" start regression_server fsync=off "$@")
    # Tests with a difference make it fail; what they are decides later.
    as_server_user "$(in_tree "$pg_regress")" --bindir="$bin" --dlpath="$work/libraries" \
        --inputdir="$work/tests" --outputdir="$work/$name" --host="$socket" --user=postgres \
        --max-concurrent-tests=20 --schedule="$work/tests/parallel_schedule" \
        ${extension:+--load-extension="$extension"} >"$work/$name.log" 2>&1 || true
    cp "$clusters/regression_server/log" "$work/$name.server.log"
    "$root/tools/cluster.sh" drop regression_server
    say "$name: $(ran "$name") tests, $(differing "$name" | wc -l) with other answers than the expected, in $((SECONDS - begun)) s"
}

ran() { find "$work/$1" -path "$work/$1/results/*.out" | wc -l; }

# Tests that gave none of the answers PostgreSQL expects.
differing() {
    [ ! -r "$work/$1/regression.diffs" ] ||
        sed -n 's|^diff .*/results/\([^ ]*\)\.out$|\1|p' "$work/$1/regression.diffs" | sort
}

# The part of an answer that is the same each time. Tests run beside each other: where another one's command
# makes a session read our registry anew in the middle of its SERIALIZABLE transaction, that is a
# predicate lock more.
steady() {
    case $1 in
    tidscan) grep -Ev '^ relation +\| SIReadLock$|^\([0-9]+ rows?\)$' "$2" ;;
    *) cat "$2" ;;
    esac
}

# What a run answered otherwise than the plain one, without places, line numbers and oids of objects of ours.
difference() {
    local test
    for test in $(differing "$1"); do
        diff -U2 --label "$test" --label "$test" <(steady "$test" "$work/plain/results/$test.out") \
            <(steady "$test" "$work/$1/results/$test.out") || true
    done | sed -e 's/^@@ .* @@$/@@/' -e 's/\b[12][0-9]\{4\}\b/<oid>/g' -e "s|$work/$1|<run>|g; s|$work/plain|<run>|g"
}

judge() {
    local name=$1 kept=${2:-/dev/null} comments
    [ "$(ran "$name")" = "$(ran plain)" ] || {
        say "$name: not all tests ran"
        tail -n 5 "$work/$name.log" >&2
        failed=$((failed + 1))
    }
    if grep -n 'terminated by signal' "$work/$name.server.log" >&2; then
        say "$name: a process of the server crashed"
        failed=$((failed + 1))
    fi
    difference "$name" >"$work/$name.diff"
    if [ -n "${TENANT_GUARD_BLESS:-}" ] && [ "$kept" != /dev/null ]; then
        comments=$(grep -s '^#' "$kept" || true)
        { [ -z "$comments" ] || printf '%s\n' "$comments"; cat "$work/$name.diff"; } >"$kept"
    fi
    grep -v '^#' "$kept" >"$work/$name.meant" 2>/dev/null || true
    if cmp -s "$work/$name.meant" "$work/$name.diff"; then
        passed=$((passed + $(ran "$name")))
    else
        say "$name: answers differ otherwise than they may"
        diff -u --label meant --label found "$work/$name.meant" "$work/$name.diff" >&2 || true
        failed=$((failed + 1))
    fi
}

prepare
run plain ""
[ "$(ran plain)" -gt 100 ] || { cat "$work/plain.log" >&2 && die "PostgreSQL's tests do not run"; }
run preloaded tenant_guard shared_preload_libraries=tenant_guard
run session "" session_preload_libraries=tenant_guard
run created tenant_guard
judge preloaded "$meant"
judge session
judge created "$meant"
[ "$failed" != 0 ] || [ -n "${TENANT_GUARD_KEEP:-}" ] || rm -rf "$work"
echo "test result: regression. $passed passed; $failed failed; 0 ignored;"
[ "$failed" = 0 ]
