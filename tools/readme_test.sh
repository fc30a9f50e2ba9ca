#!/usr/bin/env bash
# Pastes the README's example into a shell on a throwaway server and compares what it shows.

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

PGHOST=$("$root/tools/cluster.sh" start readme fsync=off)
trap '"$root/tools/cluster.sh" drop readme' EXIT
export PGHOST PGUSER=postgres PSQLRC=/dev/null
PATH=$(bindir):$PATH

shown=$(sed -n '/^```sh$/,/^```$/{/^```/!p}' "$root/README.md" | bash -euo pipefail 2>&1) || true

passed=0
failed=0
# Expects a line that matches $2 to be shown exactly $1 times.
expect() {
    if [ "$(grep -cE "$2" <<<"$shown")" = "$1" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "the README's example does not show $1 times: $2"
    fi
}
expect 1 '^ acme +\| +1 \| anvil$'
expect 1 '^ acme +\| +[0-9]+ \| rope$'
expect 0 'laser'
expect 1 '^ERROR: '
expect 1 '^ERROR:  no identity is bound to this transaction$'
expect 1 '^ insert +\| acme +\| dana +\| \{"account_id":"acme","id":[0-9]+,"item":"rope"\}$'
expect 1 '^ t$'
expect 1 '^ code \| block \| account_id \| event_id \| relation \| detail $'
expect 1 '^ tenant_guard/[0-9a-f]{16}/1 +\+$'

[ "$failed" = 0 ] || printf '%s\n' "$shown" >&2
printf 'test result: readme. %s passed; %s failed; 0 ignored;\n' "$passed" "$failed"
[ "$failed" = 0 ]
