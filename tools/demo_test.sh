#!/usr/bin/env bash
# Runs the demo, which must pass, and then each of its sabotages, which must fail it.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

trap '"$root/tools/cluster.sh" drop demo_test' EXIT
export PYTHONDONTWRITEBYTECODE=1
passed=0
failed=0

# Plays the demo on a new cluster and expects this exit code and this last line.
expect() {
    local wanted=$1 last_line=$2 outcome=0 socket told
    shift 2
    socket=$("$root/tools/cluster.sh" start demo_test fsync=off)
    told=$(/usr/bin/python3 "$root/demo/demo.py" "$socket" "$@" 2>&1) || outcome=$?
    if [ "$outcome" = "$wanted" ] && tail -n 1 <<<"$told" | grep -qE "$last_line"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "demo $*: exit code $outcome"
        printf '%s\n' "$told" >&2
    fi
}
expect 0 '^all [0-9]+ outcomes were as they should be$'
expect 1 '^FAILED: [0-9]+ of [0-9]+ outcomes were NOT as they should be$' policy

printf 'test result: demo. %s passed; %s failed; 0 ignored;\n' "$passed" "$failed"
[ "$failed" = 0 ]
