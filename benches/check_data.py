#!/usr/bin/python3
"""What check_data() costs against SELECT count(*) of the same tables: its budget is half of that speed.

    benches/check_data.py [--rows 1000000]

A throwaway cluster of a release build, without parallel query. An invoice belongs to one of 1,000
accounts and, in the second case, refers to one of as many contacts as a tenth of its rows. count(*) is
of both tables where both are read; medians of five, taken in turns, tables in shared buffers.
"""

import argparse
import time

import psycopg2

from common import Results, drop, start, tool

CLUSTER = "bench_check_data"
SETTINGS = ["shared_buffers=1GB", "autovacuum=off", "fsync=off", "max_parallel_workers_per_gather=0",
            "maintenance_work_mem=64MB", "max_wal_size=4GB"]
BUDGET = 1 / 0.5

SETUP = """
CREATE EXTENSION tenant_guard;
CREATE SCHEMA plain; CREATE SCHEMA keyed;
CREATE TABLE plain.invoice (id bigint PRIMARY KEY, account_id uuid NOT NULL, number text NOT NULL,
    customer text, status text NOT NULL DEFAULT 'draft', amount numeric(12,2) NOT NULL,
    notes text, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE keyed.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL, name text);
CREATE TABLE keyed.invoice (id bigint PRIMARY KEY, account_id uuid NOT NULL,
    contact_id uuid NOT NULL REFERENCES keyed.contact, number text NOT NULL,
    customer text, status text NOT NULL DEFAULT 'draft', amount numeric(12,2) NOT NULL,
    notes text, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO plain.invoice SELECT n, lpad(to_hex(n % 1000), 32, '0')::uuid, 'F-' || n, 'customer ' || n,
    'draft', n / 100.0, repeat('x', 120), '{{"a": 1}}' FROM generate_series(1, {rows}) AS n;
INSERT INTO keyed.contact SELECT md5('c' || n)::uuid, lpad(to_hex(n % 1000), 32, '0')::uuid, 'c' || n
    FROM generate_series(0, {rows} / 10 - 1) AS n;
INSERT INTO keyed.invoice SELECT n, lpad(to_hex(n % ({rows} / 10) % 1000), 32, '0')::uuid,
    md5('c' || n % ({rows} / 10))::uuid, 'F-' || n, 'customer ' || n,
    'draft', n / 100.0, repeat('x', 120), '{{"a": 1}}' FROM generate_series(1, {rows}) AS n;
SELECT tenant_guard.protect('plain.invoice', audit => false),
    tenant_guard.protect('keyed.contact', audit => false),
    tenant_guard.protect('keyed.invoice', audit => false);
"""

CASES = [
    ("accounts of rows", "plain", "SELECT count(*) FROM plain.invoice"),
    ("and a foreign key", "keyed",
     "SELECT (SELECT count(*) FROM keyed.invoice), (SELECT count(*) FROM keyed.contact)"),
]


def seconds(cursor, query):
    begun = time.monotonic()
    cursor.execute(query)
    rows = cursor.fetchall()
    return time.monotonic() - begun, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    tool("build.sh")
    directory = start(CLUSTER, SETTINGS)
    try:
        connection = psycopg2.connect(host=directory, dbname="postgres", user="postgres")
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(SETUP.format(rows=arguments.rows))
        cursor.execute("VACUUM (FREEZE, ANALYZE)")
        cursor.execute("SHOW server_version")
        results = Results(cursor.fetchone()[0], SETTINGS, f"{arguments.rows:,} rows, medians of five, time that passed")
        for name, schema, count in CASES:
            check = f"SELECT * FROM tenant_guard.check_data('{{{schema}}}')"
            counted, checked = [], []
            for _ in range(5):
                counted.append(seconds(cursor, count)[0] * 1e3)
                taken, findings = seconds(cursor, check)
                checked.append(taken * 1e3)
                assert not findings, findings
            results.ratio(f"check_data(), {name}", "ms", checked, ("count(*)", counted), at_most=BUDGET, digits=0)
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
