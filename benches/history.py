#!/usr/bin/env python3
"""What looking back costs: the view own_event, row_history, as_of, verify_state, record_baseline and
audit_feed over many events, on a throwaway cluster.

    benches/history.py [--events 1000000] [--accounts 100]

Half of the events are inserts, half updates, each account has as many; one session asks, an auditor's
or that of somebody of one account. Prints milliseconds that passed, and what came back.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import time

from common import Results, drop, psql as run_psql, start, tool

CLUSTER = "bench_history"
SETTINGS = ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "jit=off", "fsync=off",
            "autovacuum=off", "tenant_guard.seal_interval=0"]
BATCH = 50_000
# What the state of all accounts takes at a time is more than the default allows.
UNBOUNDED = "SET tenant_guard.history_memory = '4GB';"
OWN_MEMORY = ("awk '/^VmHWM/ { own = $2 } /^Rss(File|Shmem)/ { own -= $2 } "
              "END { print \"own\", own }' /proc/$pid/status")
SECRET = b"a secret of thirty-two bytes, yes"

SETUP = """
CREATE EXTENSION tenant_guard;
SELECT tenant_guard.add_issuer('https://issuer.example', $${keys}$$);
CREATE TABLE t (id bigint PRIMARY KEY, account_id uuid NOT NULL, status text NOT NULL, amount numeric(12,2),
    notes text);
SELECT tenant_guard.protect('t'), tenant_guard.define_role('owner'), tenant_guard.allow_log('owner');
CREATE ROLE somebody;
"""
INSERT = """INSERT INTO t SELECT i, md5((i % {accounts})::text)::uuid, 'draft', i / 100.0,
    'Delivered to the back door as agreed on the telephone ' || i
FROM generate_series({first}, {last}) AS i;"""
UPDATE = "UPDATE t SET status = 'sent', amount = amount + 1 WHERE id BETWEEN {first} AND {last};"


def psql(script):
    return run_psql(CLUSTER, script)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(account):
    now = int(time.time())
    claims = {"iss": "https://issuer.example", "sub": "bench", "account_id": account,
              "roles": ["owner"], "iat": now, "exp": now + 3600}
    parts = [{"alg": "HS256", "kid": "k"}, claims]
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return signed + "." + encoded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())


def measure(results, what, query, before="", digits=0):
    """Milliseconds that passed, three times, and the most memory of its own that a session had."""
    script = f"""{before}
        SELECT pg_backend_pid() AS pid \\gset
        \\setenv pid :pid
        SELECT clock_timestamp() AS began \\gset
        SELECT 'rows', count(*) FROM ({query}) AS q;
        SELECT 'ms', extract(epoch FROM clock_timestamp() - :'began'::timestamptz) * 1000;
        \\! {OWN_MEMORY}"""
    found = [psql(script) for _ in range(3)]
    times = [float(re.search(r"ms\|([0-9.]+)", printed).group(1)) for printed in found]
    rows = re.search(r"rows\|([0-9]+)", found[0]).group(1)
    memory = max(int(re.search(r"^own (-?[0-9]+)", printed, re.MULTILINE).group(1)) for printed in found) / 1024
    results.value(f"{what}, {int(rows):,} rows", "ms", times, digits=digits)
    results.note(f"    {what}: at most {memory:.0f} MB of memory of its own")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=100)
    arguments = parser.parse_args()
    rows = arguments.events // 2
    tool("build.sh")
    start(CLUSTER, SETTINGS)
    try:
        keys = {"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": encoded(SECRET)}]}
        psql(SETUP.replace("{keys}", json.dumps(keys)))
        for statement in (INSERT, UPDATE):
            for first in range(1, rows + 1, BATCH):
                last = min(first + BATCH - 1, rows)
                psql(statement.format(accounts=arguments.accounts, first=first, last=last))
            psql("SELECT tenant_guard.seal();")
        psql("VACUUM ANALYZE tenant_guard.audit_log, tenant_guard.audit_context, t;")
        results = Results(psql("SHOW server_version"), SETTINGS,
                          f"{arguments.events:,} events of {arguments.accounts} accounts, three times, time that passed")
        account = hashlib.md5(b"7").hexdigest()
        account = "-".join((account[:8], account[8:12], account[12:16], account[16:20], account[20:]))
        sign_in = (f"BEGIN; SELECT tenant_guard.authenticate('{token(account)}') \\g /dev/null\n"
                   "SET LOCAL ROLE somebody;")
        own = "SELECT * FROM tenant_guard.own_event"
        measure(results, "own_event, all of one account", own, sign_in)
        measure(results, "row_history of one row",
                "SELECT * FROM tenant_guard.row_history('public.t', '{\"id\": 7}')", sign_in)
        measure(results, "as_of now, one account", "SELECT tenant_guard.as_of('public.t', now())", sign_in)
        measure(results, "as_of now, all accounts", "SELECT tenant_guard.as_of('public.t', now())", UNBOUNDED)
        measure(results, "verify_state, findings of all accounts", "SELECT * FROM tenant_guard.verify_state('t')",
                UNBOUNDED)
        measure(results, "audit_feed, the first 10,000 lines", "SELECT * FROM tenant_guard.audit_feed(NULL, 10000)")
        position = psql("SELECT position FROM tenant_guard.audit_feed(NULL, 100000) OFFSET 99999;")
        measure(results, "audit_feed, 10,000 lines after 100,000",
                f"SELECT * FROM tenant_guard.audit_feed('{position}', 10000)")
        month = psql("SELECT tableoid::regclass FROM tenant_guard.audit_log LIMIT 1;")
        psql(f"CREATE INDEX ON {month} (account_id, occurred_at); ANALYZE {month};")
        measure(results, "own_event with an index on the month", own, sign_in)
        psql(f"SET tenant_guard.guards = off; DROP INDEX {month}_account_id_occurred_at_idx;")
        began = time.monotonic()
        psql("SELECT tenant_guard.record_baseline('t');")
        results.value(f"record_baseline of {rows:,} rows", "ms", [(time.monotonic() - began) * 1000], digits=0)
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
