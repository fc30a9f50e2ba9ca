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
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = "bench_history"
SETTINGS = ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "jit=off", "fsync=off",
            "autovacuum=off", "tenant_guard.seal_interval=0"]
BATCH = 50_000
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


def tool(script, *arguments, **options):
    environment = {"TENANT_GUARD_BUILD": "release", **os.environ}
    done = subprocess.run([ROOT / "tools" / script, *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, **options)
    if done.returncode:
        sys.exit(f"tools/{script} {' '.join(arguments)} failed")
    return done.stdout


def psql(script):
    return tool("cluster.sh", "psql", CLUSTER, "-XqAt", "-v", "ON_ERROR_STOP=1",
                input="SET client_min_messages = warning;\n" + script)


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(account):
    now = int(time.time())
    claims = {"iss": "https://issuer.example", "sub": "bench", "account_id": account,
              "roles": ["owner"], "iat": now, "exp": now + 3600}
    parts = [{"alg": "HS256", "kid": "k"}, claims]
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return signed + "." + encoded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())


def measure(what, query, before=""):
    timed = (f"{before}\nSELECT clock_timestamp() AS began \\gset\n"
             f"SELECT count(*) FROM ({query}) AS q;\n"
             "SELECT 'ms', extract(epoch FROM clock_timestamp() - :'began'::timestamptz) * 1000;\n")
    found = [psql("SET track_io_timing = off;" + timed).split() for _ in range(3)]
    times = sorted(float(lines[-1].split("|")[1]) for lines in found)
    print(f"| {what} | {found[0][-2]} | {times[1]:.0f} ms |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=100)
    arguments = parser.parse_args()
    rows = arguments.events // 2
    tool("cluster.sh", "start", CLUSTER, *SETTINGS)
    try:
        keys = {"keys": [{"kty": "oct", "kid": "k", "alg": "HS256", "k": encoded(SECRET)}]}
        psql(SETUP.replace("{keys}", json.dumps(keys)))
        for statement in (INSERT, UPDATE):
            for first in range(1, rows + 1, BATCH):
                last = min(first + BATCH - 1, rows)
                psql(statement.format(accounts=arguments.accounts, first=first, last=last))
            psql("SELECT tenant_guard.seal();")
        psql("VACUUM ANALYZE tenant_guard.audit_log, tenant_guard.audit_context, t;")
        account = hashlib.md5(b"7").hexdigest()
        account = "-".join((account[:8], account[8:12], account[12:16], account[16:20], account[20:]))
        sign_in = (f"BEGIN; SELECT tenant_guard.authenticate('{token(account)}') \\g /dev/null\n"
                   "SET LOCAL ROLE somebody;")
        print(f"{arguments.events} events of {arguments.accounts} accounts\n")
        print("| | rows | time |\n|---|---|---|")
        own = "SELECT * FROM tenant_guard.own_event"
        measure("`own_event`, all of one account", own, sign_in)
        measure("`row_history` of one row",
                "SELECT * FROM tenant_guard.row_history('public.t', '{\"id\": 7}')", sign_in)
        measure("`as_of` now, one account", "SELECT tenant_guard.as_of('public.t', now())", sign_in)
        measure("`as_of` now, all accounts", "SELECT tenant_guard.as_of('public.t', now())")
        measure("`verify_state`", "SELECT * FROM tenant_guard.verify_state('t')")
        measure("`audit_feed`, the first 10,000 lines", "SELECT * FROM tenant_guard.audit_feed(NULL, 10000)")
        position = psql("SELECT position FROM tenant_guard.audit_feed(NULL, 200000) OFFSET 199999;").strip()
        measure("`audit_feed`, 10,000 lines after 200,000",
                f"SELECT * FROM tenant_guard.audit_feed('{position}', 10000)")
        month = psql("SELECT tableoid::regclass FROM tenant_guard.audit_log LIMIT 1;").strip()
        psql(f"CREATE INDEX ON {month} (account_id, occurred_at); ANALYZE {month};")
        measure("`own_event` with an index on the month", own, sign_in)
        psql(f"SET tenant_guard.guards = off; DROP INDEX {month}_account_id_occurred_at_idx;")
        began = time.monotonic()
        psql("SELECT tenant_guard.record_baseline('t');")
        print(f"| `record_baseline` | {rows} | {(time.monotonic() - began) * 1000:.0f} ms |")
    finally:
        tool("cluster.sh", "drop", CLUSTER)


if __name__ == "__main__":
    main()
