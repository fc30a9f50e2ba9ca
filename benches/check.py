#!/usr/bin/python3
"""What check() costs, by the number of tables: must be linear, and under 2 s for 1,000 tables.

    benches/check.py [--tables 1000 3000 10000] [--each]

One database that grows, in a throwaway cluster of a release build. Each table has the account, a
foreign key to the one before it, two indexes, a view and a sequence; every tenth a policy of its own
that calls a function, a trigger and two functions. Prints the median of three calls, and in the end the
exponent of the growth, fitted to the logarithms: 1 is linear. --each says which checks take how long.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2

from common import ROOT, Results, drop, power, start, tool

CLUSTER = "bench_check"
SETTINGS = ["shared_buffers=256MB", "max_locks_per_transaction=4096", "autovacuum=off", "fsync=off"]
BUDGET_S = 2.0

SETUP = """
CREATE EXTENSION tenant_guard;
CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
CREATE ROLE app LOGIN; CREATE ROLE holder NOLOGIN;
CREATE FUNCTION s.long(text) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN length($1) > 3; END';
CREATE FUNCTION s.may(text) RETURNS boolean LANGUAGE sql STABLE BEGIN ATOMIC SELECT s.long($1); END;
"""

# In batches: one transaction for all would need a lock a table and index.
TABLES = """
DO $$ DECLARE n int; BEGIN
FOR n IN {first} .. {last} LOOP
    EXECUTE format('CREATE TABLE s.t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        account_id uuid NOT NULL, name text, parent bigint, at timestamptz, amount numeric(12,2),
        note text, data jsonb, UNIQUE (account_id, id))', n);
    EXECUTE format('CREATE INDEX ON s.t%s (account_id, at)', n);
    IF n > {start} THEN
        EXECUTE format('ALTER TABLE s.t%s ADD FOREIGN KEY (account_id, parent)
            REFERENCES s.t%s (account_id, id)', n, n - 1);
    END IF;
    EXECUTE format('CREATE VIEW s.v%s WITH (security_invoker) AS SELECT id, name FROM s.t%s', n, n);
    EXECUTE format('ALTER TABLE s.t%s OWNER TO holder', n);
    EXECUTE format('ALTER VIEW s.v%s OWNER TO holder', n);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON s.t%s, s.v%s TO app', n, n);
    EXECUTE format('SELECT tenant_guard.protect(%L)', 's.t' || n);
    IF n %% 10 = 0 THEN
        EXECUTE format('CREATE POLICY own ON s.t%s AS RESTRICTIVE FOR UPDATE USING (s.may(name))', n);
        EXECUTE format('CREATE FUNCTION s.count%s() RETURNS bigint LANGUAGE plpgsql AS
            ''BEGIN RETURN (SELECT count(*) FROM s.t%s); END''', n, n);
        EXECUTE format('CREATE FUNCTION s.f%s() RETURNS trigger LANGUAGE plpgsql AS
            ''BEGIN RETURN NEW; END''', n);
        EXECUTE format('CREATE TRIGGER f BEFORE UPDATE ON s.t%s FOR EACH ROW EXECUTE FUNCTION s.f%s()', n, n);
    END IF;
END LOOP; END $$
"""


def connect(directory, database):
    connection = psycopg2.connect(host=directory, dbname=database, user="postgres")
    connection.autocommit = True
    return connection


def grow(directory, first, last):
    """Makes the tables of these numbers, on two connections: each its own half."""
    middle = (first + last) // 2

    def half(numbers):
        cursor = connect(directory, "tables").cursor()
        for batch in range(numbers.start, numbers.stop, 50):
            end = min(batch + 49, numbers.stop - 1)
            cursor.execute(TABLES.replace("%%", "%").format(
                start=numbers.start, first=batch, last=end))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(half, [range(first, middle + 1), range(middle + 1, last + 1)]))


def seconds(cursor):
    taken = []
    for _ in range(3):
        begun = time.monotonic()
        cursor.execute("SELECT severity, count(*) FROM tenant_guard.check() GROUP BY 1")
        taken.append(time.monotonic() - begun)
    worse = {severity: count for severity, count in cursor.fetchall() if severity != "info"}
    return taken, worse


def each(cursor):
    """Seconds of each check, the longest first."""
    taken = {}
    cursor.execute("SET search_path = pg_catalog, pg_temp; SET jit = off")
    for file in sorted((ROOT / "sql/checks").glob("*.sql")):
        query = file.read_text().replace("%", "%%").replace("$1", "%(schemas)s::name[]")
        begun = time.monotonic()
        cursor.execute(query, {"schemas": None})
        taken[file.stem] = time.monotonic() - begun
    cursor.execute("RESET search_path")
    return sorted(taken.items(), key=lambda item: -item[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, nargs="+", default=[1000, 3000, 10000])
    parser.add_argument("--each", action="store_true")
    arguments = parser.parse_args()
    tool("build.sh")
    directory = start(CLUSTER, SETTINGS)
    try:
        points = []
        with connect(directory, "postgres").cursor() as cursor:
            cursor.execute("CREATE DATABASE tables")
        cursor = connect(directory, "tables").cursor()
        cursor.execute(SETUP)
        cursor.execute("SHOW server_version")
        results = Results(cursor.fetchone()[0], SETTINGS, "medians of three calls, time that passed")
        made = 0
        for tables in arguments.tables:
            grow(directory, made + 1, tables)
            made = tables
            cursor.execute("ANALYZE")
            taken, worse = seconds(cursor)
            results.value(f"check(), {tables:,} tables", "s", taken, at_most=BUDGET_S if tables == 1000 else None,
                          digits=2)
            results.note(f"    findings worse than info, {tables:,} tables: {worse}")
            points.append((tables, statistics.median(taken)))
            if arguments.each:
                print("    " + ", ".join(f"{name} {taken:.2f} s" for name, taken in each(cursor)[:12]), flush=True)
        if len(points) > 1:
            results.growth("check()", "s", "tables", points, power(points))
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
