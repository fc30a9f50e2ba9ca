#!/usr/bin/env python3
"""What it takes to forget people: many of them out of a large log, on a throwaway cluster.

    benches/erasure.py [--events 1000000] [--people 10000] [--build debug]

Half of the events are inserts and half updates of one table, in one account; each person has as many as the
others. Prints the time of the pass that finds what is held of them, of the erasure, of VACUUM and of overwriting,
and of full verification before, between and after, which must find nothing; then one value is removed
without a word, which must be found, by the server and in a bundle.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile

from common import ROOT, Results, drop, psql as run_psql, start, tool

CLUSTER = "bench_erasure"
SETTINGS = ["shared_buffers=2GB", "max_wal_size=8GB", "checkpoint_timeout=1h", "jit=off", "autovacuum=off",
            "fsync=off", "tenant_guard.seal_interval=0"]
BATCH = 50_000

SETUP = """
CREATE EXTENSION tenant_guard;
CREATE TABLE person (id bigint PRIMARY KEY, account_id text NOT NULL, name text, email text, plan text);
SELECT tenant_guard.annotate('person', '{name,email}');
SELECT tenant_guard.protect('person');
"""
INSERT = """INSERT INTO person SELECT i, 'a', 'Person ' || md5(i::text), 'p' || i || '@example.org', 'basic'
FROM generate_series({first}, {last}) AS i;"""
UPDATE = "UPDATE person SET email = 'q' || email, plan = 'plus' WHERE id BETWEEN {first} AND {last};"

# What is held of the people asked for, kept as a table: the pass over the log is timed by itself.
KEYS = "(SELECT array_agg(format('{{\"id\": %s}}', i)) FROM generate_series(1, {people}) AS i)"
PASS = """CREATE TABLE held AS
SELECT event_id FROM tenant_guard.personal_events('a', 'public.person', {keys})"""
ERASE = """SELECT tenant_guard.erase_personal('a', (SELECT array_agg(event_id) FROM held), 'Art. 17 GDPR')"""
VERIFY = "SELECT count(*) FROM tenant_guard.verify_ledger({arguments})"


def psql(script):
    return run_psql(CLUSTER, script)


def timed(title, statement, expected=None):
    output = psql(f"\\timing on\n{statement};")
    elapsed = float(re.search(r"Time: ([0-9.]+) ms", output).group(1))
    result = output.split("\n")[0]
    results.value(title, "ms", [elapsed], digits=0)
    if expected is not None and result != str(expected):
        sys.exit(f"{title}: {result}, not {expected}")


def offline(title, expected):
    """The findings of a bundle, by the program that needs no database."""
    with tempfile.NamedTemporaryFile(suffix=".copy") as bundle:
        text = psql("COPY (SELECT * FROM tenant_guard.export_ledger()) TO STDOUT")
        bundle.write(text.encode() + b"\n")
        bundle.flush()
        program = subprocess.run(
            ["cargo", "run", "-q", *(["--release"] if BUILD == "release" else []), "-p",
             "tenant_guard_verify", "--", "bundle", bundle.name],
            cwd=ROOT, text=True, capture_output=True)
    found = re.findall(r"^(?:\S*\s)?(personal_\w+)", program.stdout, re.MULTILINE)
    results.note(f"{title}: {program.stdout.splitlines()[0] if program.stdout else program.stderr}")
    if found != expected:
        sys.exit(f"{title}: {program.stdout[:2000]}{program.stderr[:2000]}")


parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--events", type=int, default=1_000_000)
parser.add_argument("--people", type=int, default=10_000)
parser.add_argument("--build", default="release")
options = parser.parse_args()
BUILD = options.build
rows = options.events // 2

os.environ["TENANT_GUARD_BUILD"] = BUILD
tool("build.sh")
start(CLUSTER, SETTINGS)
try:
    psql(SETUP)
    results = Results(psql("SHOW server_version"), SETTINGS, f"{options.people:,} people out of {options.events:,} events, "
                      f"time that passed, {BUILD} build")
    for statement in (INSERT, UPDATE):
        for first in range(1, rows + 1, BATCH):
            psql(statement.format(first=first, last=min(first + BATCH - 1, rows)))
            psql("SELECT * FROM tenant_guard.seal()")
    psql("VACUUM ANALYZE tenant_guard.audit_log")
    held = 2 * options.people
    timed("verification before", VERIFY.format(arguments=""), 0)
    timed("the pass over the log", PASS.format(keys=KEYS.format(people=options.people)))
    timed("the erasure", ERASE, held)
    timed("verification between", VERIFY.format(arguments=""), 0)
    psql("SELECT * FROM tenant_guard.seal()")
    timed("verification after", VERIFY.format(arguments=""), 0)
    timed("VACUUM of the log", "VACUUM tenant_guard.audit_log")
    timed("overwriting what it left", "SELECT sum(overwritten) FROM tenant_guard.overwrite_erased()")
    offline("a bundle of it", [])
    psql("""SET tenant_guard.guards = off;
        ALTER TABLE tenant_guard.audit_log DISABLE TRIGGER tenant_guard_guard;
        UPDATE tenant_guard.audit_log SET personal = NULL, personal_salt = NULL WHERE (xid, ordinal) =
            (SELECT xid, ordinal FROM tenant_guard.audit_log WHERE personal IS NOT NULL LIMIT 1);
        ALTER TABLE tenant_guard.audit_log ENABLE ALWAYS TRIGGER tenant_guard_guard""")
    timed("verification with one value removed without a word", VERIFY.format(arguments=""), 1)
    offline("a bundle with it", ["personal_missing"])
    results.keep()
finally:
    drop(CLUSTER)
