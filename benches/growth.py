#!/usr/bin/python3
"""How costs grow: a lookup by key and a count by index with the rows of a table and with its accounts, sealing with
the accounts of the events, verification with the events of the ledger.

    benches/growth.py [--rounds 5] [--events 300000]

A throwaway cluster of a release build; each point is the median of the rounds, processor time of the session
that does the work. The power that fits the points: 0 does not grow, 1 is linear. Writers are in ledger.py,
tables in check.py.
"""

import argparse
import statistics

from common import Results, drop, power, processor_time, start, tool
from predicate import Session, connect, prepare_issuer

CLUSTER = "bench_growth"
SETTINGS = ["shared_buffers=2GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "jit=off", "autovacuum=off",
            "fsync=off", "tenant_guard.seal_interval=0", "max_parallel_workers_per_gather=0"]
ACCOUNT = "00000000-0000-4000-8000-000000000000"
LOOKUPS, COUNTS = 20_000, 200
ROWS_OF_ACCOUNT = 100

TABLE = """
DROP SCHEMA IF EXISTS s CASCADE;
CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO app;
CREATE TABLE s.t AS SELECT n AS id,
    ('00000000-0000-4000-8000-' || lpad((n % {accounts})::text, 12, '0'))::uuid AS account_id,
    n AS amount, repeat('x', 100) AS filler FROM generate_series(0, {rows} - 1) AS n;
ALTER TABLE s.t ADD PRIMARY KEY (id), ALTER account_id SET NOT NULL;
CREATE INDEX ON s.t (account_id);
SELECT tenant_guard.protect('s.t', audit => false);
GRANT SELECT ON s.t TO app;
CREATE FUNCTION s.lookup(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..times LOOP PERFORM amount FROM s.t WHERE id = i * {accounts} % {rows}; END LOOP; END $$;
CREATE FUNCTION s.count(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..times LOOP PERFORM count(amount) FROM s.t; END LOOP; END $$;
"""
EVENTS = """
INSERT INTO audited SELECT i + {first}, md5((i % {accounts})::text)::uuid, 'draft', i / 100.0
FROM generate_series(1, {events}) AS i
"""


def read(superuser, socket, rows, accounts, rounds):
    """Microseconds of a lookup and of a count of the account's rows."""
    for statement in TABLE.format(rows=rows, accounts=accounts).split(";\n"):
        if statement.strip():
            superuser.execute(statement)
    superuser.execute("VACUUM ANALYZE s.t")
    lookups, counts = [], []
    for _ in range(rounds):
        session = Session(socket, ACCOUNT)
        session.run("SELECT s.lookup(100)")
        lookups.append(session.run(f"SELECT s.lookup({LOOKUPS})") * 1e3 / LOOKUPS)
        session.run("SELECT s.count(5)")
        counts.append(session.run(f"SELECT s.count({COUNTS})") * 1e3 / COUNTS)
    return statistics.median(lookups), statistics.median(counts)


class Ledger:
    """A session that writes events, seals and verifies them."""

    def __init__(self, socket):
        self.cursor = connect(socket, "postgres")
        self.cursor.execute("CREATE TABLE audited (id bigint PRIMARY KEY, account_id uuid, status text, amount numeric)")
        self.cursor.execute("SELECT tenant_guard.audit('audited'), pg_backend_pid()")
        self.pid = self.cursor.fetchone()[1]
        self.rows = 0

    def write(self, events, accounts):
        self.cursor.execute(EVENTS.format(first=self.rows, events=events, accounts=accounts))
        self.rows += events

    def timed(self, statement):
        """Milliseconds of processor time, and what came back."""
        began = processor_time(self.pid)
        self.cursor.execute(statement)
        return (processor_time(self.pid) - began) / 1e6, self.cursor.fetchone()[0]

    def seal(self):
        return self.timed("SELECT events FROM tenant_guard.seal()")[0]

    def verify(self):
        spent, findings = self.timed("SELECT count(*) FROM tenant_guard.verify_ledger()")
        assert findings == 0, "findings in a ledger nobody touched"
        return spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=300_000)
    options = parser.parse_args()
    tool("build.sh")
    socket = start(CLUSTER, SETTINGS)
    try:
        superuser = prepare_issuer(socket)
        superuser.execute("SHOW server_version")
        results = Results(superuser.fetchone()[0], SETTINGS,
                          f"medians of {options.rounds} rounds, processor time of the session")
        reads(results, superuser, socket, options.rounds)
        ledger(results, socket, options)
        results.keep()
    finally:
        drop(CLUSTER)


def reads(results, superuser, socket, rounds):
    sizes = [10_000, 100_000, 1_000_000]
    by_rows = [(rows, read(superuser, socket, rows, rows // ROWS_OF_ACCOUNT, rounds)) for rows in sizes]
    accounts = [10, 100, 1_000, 10_000]
    by_accounts = [(each, read(superuser, socket, each * ROWS_OF_ACCOUNT, each, rounds)) for each in accounts]
    for place, path in enumerate(("point lookup by key", f"index scan of {ROWS_OF_ACCOUNT} rows")):
        for by, found in (("rows", by_rows), ("accounts", by_accounts)):
            points = [(x, costs[place]) for x, costs in found]
            results.growth(path, "us", by, points, power(points))


def ledger(results, socket, options):
    session = Ledger(socket)
    batch = options.events // 30
    points = []
    for accounts in (1, 10, 100, 1_000, 10_000):
        spent = []
        for _ in range(3):
            session.write(batch, accounts)
            spent.append(session.seal())
        points.append((accounts, statistics.median(spent)))
    results.growth(f"sealing {batch:,} events", "ms", "accounts", points, power(points))
    points = []
    for events in (options.events // 2, options.events, options.events * 2):
        while session.rows < events:
            session.write(batch, 100)
            session.seal()
        points.append((session.rows, session.verify()))
    results.growth("full verification", "ms", "events", points, power(points))


if __name__ == "__main__":
    main()
