#!/usr/bin/python3
"""What the floor from the registry adds to the planning of a statement where its policies stand.

    benches/floor_hook.py [--rounds 15]

Two sets of empty tables under the same policies: one registered, one whose registration is removed,
so that the hook looks and finds nothing. Each statement is parsed, rewritten, planned and executed
anew in a loop on the server; both sides in turn in shuffled order, in one session each. Processor
time of the serving backend. Prints medians and the difference; the budget is 2 us a statement.
"""

import argparse
import random

from common import Results, drop, start, tool
from predicate import SETTINGS, Session, prepare_issuer

CLUSTER = "bench_floor_hook"
TIMES = 5_000
BUDGET_US = 2.0
TABLES = """
CREATE SCHEMA {side}; GRANT USAGE ON SCHEMA {side} TO app;
CREATE TABLE {side}.contact (id int PRIMARY KEY, account_id uuid, name text);
CREATE TABLE {side}.template (id int PRIMARY KEY, account_id uuid, body text);
CREATE TABLE {side}.call (id int PRIMARY KEY, contact_id int REFERENCES {side}.contact);
CREATE TABLE {side}.remark (id int PRIMARY KEY, call_id int REFERENCES {side}.call);
SELECT tenant_guard.protect('{side}.contact', audit => false),
    tenant_guard.protect('{side}.template', archetype => 'shared_defaults', audit => false);
SELECT tenant_guard.protect('{side}.call', via => 'contact_id', audit => false);
SELECT tenant_guard.protect('{side}.remark', via => 'call_id', audit => false);
GRANT ALL ON ALL TABLES IN SCHEMA {side} TO app;
CREATE FUNCTION {side}.repeat(statement text, times int) RETURNS void LANGUAGE plpgsql AS
    $$BEGIN FOR i IN 1..times LOOP EXECUTE statement; END LOOP; END$$;
"""
STATEMENTS = {
    "SELECT by key": "SELECT name FROM {side}.contact WHERE id = 5",
    "UPDATE by key": "UPDATE {side}.contact SET name = '' WHERE id = 5",
    "SELECT by key, shared defaults": "SELECT body FROM {side}.template WHERE id = 5",
    "SELECT by key, child": "SELECT contact_id FROM {side}.call WHERE id = 5",
    "SELECT by key, child of a child": "SELECT call_id FROM {side}.remark WHERE id = 5",
}
SIDES = ["registered", "policies_only"]


def prepare(socket):
    cursor = prepare_issuer(socket)
    for side in SIDES:
        cursor.execute(TABLES.format(side=side))
    cursor.execute("DELETE FROM tenant_guard.protection_member WHERE relation IN"
                   " (SELECT oid FROM pg_class WHERE relnamespace = 'policies_only'::regnamespace)")


def measure(session, statement, side):
    """Microseconds of one statement."""
    def call(times):
        return session.run(f"SELECT {side}.repeat($${statement.format(side=side)}$$, {times})")
    call(20)
    return call(TIMES) * 1e3 / TIMES


def report(socket, rounds):
    session = Session(socket)
    session.cursor.execute("SHOW server_version")
    results = Results(session.cursor.fetchone()[0], SETTINGS,
                      f"medians of {rounds} rounds, processor time of the serving backend")
    times = {(name, side): [] for name in STATEMENTS for side in SIDES}
    for _ in range(rounds):
        for name, side in random.sample(list(times), len(times)):
            times[name, side].append(measure(session, STATEMENTS[name], side))
    for name in STATEMENTS:
        results.difference(f"planning with the floor from the registry, {name}", "us", times[name, "registered"],
                           ("its policies alone", times[name, "policies_only"]), at_most=BUDGET_US)
    results.keep()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    tool("build.sh")
    socket = start(CLUSTER, SETTINGS)
    try:
        prepare(socket)
        report(socket, rounds)
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
