#!/usr/bin/python3
"""Which form of the account's condition costs what: `account_id = account_id()` as it stands, the
same wrapped in `(SELECT account_id())`, a literal `WHERE account_id = ...` without row security, and what others
use instead, `current_setting(...)`, both ways. A setting proves nothing: anybody may set it.

    benches/predicate.py [--rounds 7]

All forms on equal data in one throwaway cluster of a release build, measured in turn in
shuffled order. Times are processor time of the serving backend (Linux counts it in nanoseconds), so
that whatever else runs on the machine does not decide; only the scan with workers is wall time.
Prints medians, ratios to the literal and for each budget whether the form in use reached it.
"""

import argparse
import base64
import hashlib
import hmac
import json
import random
import statistics
import time

import psycopg2

from common import Results, drop, processor_time, start, tool

CLUSTER = "bench_predicate"
SETTINGS = ["shared_buffers=1GB", "max_wal_size=4GB", "jit=off", "autovacuum=off", "fsync=off",
            "max_parallel_workers=2", "max_parallel_workers_per_gather=2"]
SECRET = bytes(range(32))
ROWS = 1_000_000
# One account has three rows of ten, 490 others share the rest.
HUGE, SMALL = "00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000116"
SMALL_ROWS = 1429
FORMS = {
    "literal": None,
    "bare": "account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()",
    "wrapped": "account_id OPERATOR(pg_catalog.=) (SELECT tenant_guard.account_id())",
    "setting": "account_id = current_setting('app.account')::uuid",
    "wrapped_setting": "account_id = (SELECT current_setting('app.account')::uuid)",
}
IN_USE = "bare"

SETUP = """
CREATE EXTENSION tenant_guard;
SELECT tenant_guard.add_issuer('bench', '{keys}');
CREATE ROLE app LOGIN;
DO $$ BEGIN EXECUTE format(
    'ALTER DATABASE %I SET tenant_guard.allow_session_identity = on', current_database()); END $$;
"""

SOURCE = """
CREATE TABLE source AS SELECT n AS id, n % 1000 AS n, n * 0.01 AS amount, repeat('x', 100) AS filler,
    ('00000000-0000-4000-8000-' || lpad((CASE WHEN n % 10 < 3 THEN 0 ELSE n % 700 + 1 END)::text,
     12, '0'))::uuid AS account_id
FROM generate_series(1, {rows}) AS n;
"""

TABLES = """
CREATE SCHEMA {form}; GRANT USAGE ON SCHEMA {form} TO app;
CREATE TABLE {form}.t (LIKE source); INSERT INTO {form}.t TABLE source;
ALTER TABLE {form}.t ADD PRIMARY KEY (id), ALTER account_id SET NOT NULL;
CREATE INDEX ON {form}.t (account_id);
CREATE TABLE {form}.child AS SELECT account_id, id AS t_id, n FROM source WHERE n < 500;
CREATE INDEX ON {form}.child (account_id, t_id);
CREATE TABLE {form}.target (LIKE source); CREATE INDEX ON {form}.target (account_id);
CREATE TABLE {form}.part (LIKE source) PARTITION BY HASH (account_id);
DO $$ BEGIN FOR i IN 0..15 LOOP EXECUTE format('CREATE TABLE {form}.part_%s PARTITION OF {form}.part
    FOR VALUES WITH (MODULUS 16, REMAINDER %s)', i, i); END LOOP; END $$;
INSERT INTO {form}.part SELECT * FROM source WHERE id % 10 = 5;
CREATE INDEX ON {form}.part (account_id);
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {form} TO app;
"""

POLICIES = """
CREATE POLICY floor ON {table} AS RESTRICTIVE USING ({condition}) WITH CHECK ({condition});
CREATE POLICY access ON {table} USING ({condition}) WITH CHECK ({condition});
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""

# A loop on the server: the plan is kept, and no round trip is measured.
LOOP = """CREATE FUNCTION {form}.{name}(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..times LOOP PERFORM {query}; END LOOP; END $$;"""

LOOPS = {
    "point": "amount FROM {form}.t WHERE id = i * 7919 % 1000000 {and_account}",
    "index": "count(amount) FROM {form}.t {where_account}",
    "join": "count(*) FROM {form}.t JOIN {form}.child c ON (c.account_id, c.t_id) = (t.account_id, t.id)"
            " {where_t_account}",
    "pruned": "count(amount) FROM {form}.part WHERE n < 100 {and_account}",
}

NO_INDEX = "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off;"


def token(account, **more):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")
    claims = {"iss": "bench", "sub": "bench", "account_id": account, "exp": int(time.time()) + 36000}
    claims |= more
    body = part(b'{"alg":"HS256","kid":"k"}') + b"." + part(json.dumps(claims).encode())
    return (body + b"." + part(hmac.new(SECRET, body, hashlib.sha256).digest())).decode()


def connect(socket, user):
    connection = psycopg2.connect(host=socket, user=user, dbname="postgres")
    connection.autocommit = True
    return connection.cursor()


def prepare_issuer(socket):
    key = {"kty": "oct", "kid": "k", "alg": "HS256",
           "k": base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()}
    cursor = connect(socket, "postgres")
    cursor.execute(SETUP.format(keys=json.dumps({"keys": [key]})))
    return cursor


def prepare(socket):
    cursor = prepare_issuer(socket)
    cursor.execute(SOURCE.format(rows=ROWS))
    for form, condition in FORMS.items():
        cursor.execute(TABLES.format(form=form))
        if condition:
            tables = ["t", "child", "target", "part"] + [f"part_{i}" for i in range(16)]
            for table in tables:
                cursor.execute(POLICIES.format(table=f"{form}.{table}", condition=condition))
        for name, query in LOOPS.items():
            cursor.execute(LOOP.format(form=form, name=name, query=text(query, form)))
    cursor.execute("VACUUM ANALYZE")
    session = Session(socket)
    for form in FORMS:
        for table in ("t", "part"):
            session.run(text(f"SELECT count(*) FROM {{form}}.{table} {{where_account}}", form))
            assert session.cursor.fetchone() == (SMALL_ROWS,), "the forms see different rows"


def text(query, form):
    """The query for one form: only the literal one names the account."""
    account = f"account_id = '{SMALL}'" if form == "literal" else ""
    return query.format(
        form=form, and_account=account and f"AND {account}",
        where_account=account and f"WHERE {account}",
        where_t_account=account and f"WHERE t.{account}")


class Session:
    """A fresh session of the application, signed in for its whole life."""

    def __init__(self, socket, account=SMALL, user="app", **claims):
        self.cursor = connect(socket, user)
        self.cursor.execute("SELECT pg_backend_pid()")
        self.pid = self.cursor.fetchone()[0]
        self.sign_in(account, **claims)

    def sign_in(self, account, **claims):
        self.cursor.execute("SELECT tenant_guard.sign_out()")
        self.cursor.execute("SELECT tenant_guard.authenticate(%s, is_local => false)",
                            (token(account, **claims),))
        self.cursor.execute("SELECT set_config('app.account', %s, false)", (account,))

    def run(self, statement, clock=None):
        """Milliseconds a statement took by a clock in nanoseconds: the backend's by default."""
        clock = clock or self.processor_time
        started = clock()
        self.cursor.execute(statement)
        return (clock() - started) / 1e6

    def processor_time(self):
        return processor_time(self.pid)

    def explain(self, statement, options=""):
        self.cursor.execute(f"EXPLAIN (SUMMARY, FORMAT JSON {options}) {statement}")
        return self.cursor.fetchone()[0][0]


def loop(name, times):
    """Microseconds of one execution in a loop on the server."""
    def measure(session, form):
        session.run(f"SELECT {form}.{name}(10)")
        return session.run(f"SELECT {form}.{name}({times})") * 1e3 / times
    return measure


def scan(workers):
    """Milliseconds of a scan of the whole table."""
    def measure(session, form):
        session.run(NO_INDEX + f"SET max_parallel_workers_per_gather = {workers};"
                    "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
        query = text("SELECT count(amount) FROM {form}.t {where_account}", form)
        session.run(query)
        return session.run(query, time.perf_counter_ns if workers else None)
    return measure


def insert(session, form):
    """Milliseconds of 20,000 rows in one statement."""
    account = f"'{SMALL}'" if form == "literal" else "tenant_guard.account_id()"
    session.run("BEGIN")
    spent = session.run(f"INSERT INTO {form}.target SELECT id, n, amount, filler, {account}"
                        " FROM literal.t LIMIT 20000")
    session.run("ROLLBACK")
    return spent


def other_account(session, form):
    """Milliseconds of a prepared statement without parameters for a small account, after it was
    planned for the huge one."""
    query = text("SELECT count(amount) FROM {form}.t {where_account}", form)
    session.sign_in(HUGE)
    session.run(f"PREPARE kept AS {query}")
    session.run("EXECUTE kept")
    session.sign_in(SMALL)
    session.run("EXECUTE kept")
    return session.run("EXECUTE kept")


def planning(query):
    """Microseconds of planning, the median of 200."""
    def measure(session, form):
        statement = text(query, form)
        times = [session.explain(statement)["Planning Time"] * 1e3 for _ in range(200)]
        return statistics.median(times)
    return measure


POINT = "SELECT amount FROM {form}.t WHERE id = 5 {and_account}"
PART = "SELECT count(amount) FROM {form}.part WHERE n < 100 {and_account}"
# Name, unit, measure, budget of the form in use as a ratio to the literal.
CASES = [
    ("point lookup by key", "us", loop("point", 20_000), 1.05),
    ("index scan, 1,429 rows", "us", loop("index", 200), 1.05),
    ("join, 1,429 x 714 rows", "us", loop("join", 100), 1.05),
    ("INSERT of 20,000 rows", "ms", insert, 1.05),
    ("scan of 1,000,000 rows", "ms", scan(0), 1.10),
    ("the same, 2 workers (wall)", "ms", scan(2), 1.10),
    ("1 of 16 partitions", "us", loop("pruned", 200), None),
    ("plan kept for a huge account, run for a small one", "ms", other_account, None),
    ("planning, point lookup", "us", planning(POINT), None),
    ("planning, 16 partitions", "us", planning(PART), None),
]


def nodes(plan):
    """All nodes of a plan."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def plans(socket, results):
    """What the planner expects and leaves out, for each form."""
    session = Session(socket)
    for form in FORMS:
        whole = session.explain(text("SELECT * FROM {form}.t {where_account}", form))["Plan"]
        parts = session.explain(text(PART, form), ", ANALYZE")["Plan"]
        planned = [n for n in nodes(parts) if n.get("Relation Name")]
        removed = sum(n.get("Subplans Removed", 0) for n in nodes(parts))
        run = sum(n["Actual Loops"] > 0 for n in planned)
        results.note(f"{form}: {whole['Plan Rows']:,} rows expected of {SMALL_ROWS:,}, by "
                     f"{whole['Node Type']}; of 16 partitions {len(planned) + removed} planned, {run} read")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    tool("build.sh")
    socket = start(CLUSTER, SETTINGS)
    try:
        prepare(socket)
        report(socket, rounds)
    finally:
        drop(CLUSTER)


def report(socket, rounds):
    cursor = connect(socket, "postgres")
    cursor.execute("SHOW server_version")
    results = Results(cursor.fetchone()[0], SETTINGS,
                      f"medians of {rounds} rounds, processor time of the serving backend")
    times = {(case[0], form): [] for case in CASES for form in FORMS}
    for _ in range(rounds):
        for name, _, measure, _ in random.sample(CASES, len(CASES)):
            for form in random.sample(list(FORMS), len(FORMS)):
                times[name, form].append(measure(Session(socket), form))
    plans(socket, results)
    literal = "a literal condition, no row security"
    others = {form.replace("_", " "): form for form in FORMS if form not in ("literal", IN_USE)}
    for name, unit, _, budget in CASES:
        ours, base = times[name, IN_USE], (literal, times[name, "literal"])
        if name.startswith("planning, point"):
            results.difference(name, unit, ours, base, at_most=2.0)
        else:
            results.ratio(name, unit, ours, base, {other: times[name, form] for other, form in others.items()},
                          at_most=budget)
    results.keep()


if __name__ == "__main__":
    main()
