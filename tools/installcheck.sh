#!/usr/bin/env bash
# Asks an existing server, one that the caller's PGHOST, PGPORT and PGUSER lead to as a superuser,
# whether the extension that is installed there works: the files of tests/regress, by
# PostgreSQL's own pg_regress, in a database of their own.

# tools/env.sh forgets these, so that nothing else here meets a server of the caller's.
server=(${PGHOST:+--host="$PGHOST"} ${PGPORT:+--port="$PGPORT"} ${PGUSER:+--user="$PGUSER"})
password=${PGPASSWORD:-}

. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[ -z "$password" ] || export PGPASSWORD=$password
pg_regress=$("$PG_CONFIG" --pkglibdir)/pgxs/src/test/regress/pg_regress
[ -x "$pg_regress" ] || die "there is no \"$pg_regress\": install the server's development package"
out=$root/target/installcheck
mkdir -p "$out"
"$pg_regress" --bindir="$("$PG_CONFIG" --bindir)" --inputdir="$root/tests/regress" \
    --outputdir="$out" --encoding=UTF8 --no-locale --dbname=tenant_guard_regress "${server[@]}" \
    setup identity isolation ledger teardown
