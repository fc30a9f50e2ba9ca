#!/usr/bin/python3
"""What lists of columns add to a statement: each statement is held to them when it starts.

    benches/columns.py [--rounds 7]

Point lookups in a loop on the server, by a role of the product, on one protected table: while no list
is declared at all, while one is declared of another table, and of the table itself. Processor time of
the serving backend, medians.
"""

import argparse
import random

from common import Results, drop, start, tool
from predicate import HUGE, SETTINGS, Session, connect, prepare_issuer

CLUSTER = "bench_columns"
TIMES = 50_000
SETUP = f"""
CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO app;
CREATE TABLE s.t AS SELECT n AS id, '{HUGE}'::uuid AS account_id, n AS amount, n AS secret
    FROM generate_series(1, 100000) AS n;
ALTER TABLE s.t ADD PRIMARY KEY (id);
CREATE TABLE s.other (id int PRIMARY KEY, account_id uuid);
GRANT SELECT ON ALL TABLES IN SCHEMA s TO app;
SELECT tenant_guard.protect('s.t', audit => false), tenant_guard.protect('s.other', audit => false);
SELECT tenant_guard.define_role('agent');
SELECT tenant_guard.allow('agent', 's.t', '{{select}}'), tenant_guard.allow('agent', 's.other', '{{select}}');
CREATE FUNCTION s.loop(times int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..times LOOP PERFORM amount FROM s.t WHERE id = i; END LOOP; END $$;
"""
LISTS = {
    "no list": ("NULL", "NULL"),
    "a list of another table": ("NULL", "'{id}'"),
    "a list of the table": ("'{id,account_id,amount}'", "NULL"),
}


def measure(socket, case):
    """Microseconds of a lookup."""
    own, other = LISTS[case]
    superuser = connect(socket, "postgres")
    superuser.execute(f"SELECT tenant_guard.allow('agent', 's.t', '{{select}}', columns => {own}),"
                      f" tenant_guard.allow('agent', 's.other', '{{select}}', columns => {other})")
    session = Session(socket, HUGE, roles=["agent"])
    session.run("SELECT s.loop(100)")
    return session.run(f"SELECT s.loop({TIMES})") * 1e3 / TIMES


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    tool("build.sh")
    socket = start(CLUSTER, SETTINGS)
    try:
        prepare_issuer(socket)
        superuser = connect(socket, "postgres")
        superuser.execute(SETUP)
        superuser.execute("VACUUM ANALYZE s.t")
        superuser.execute("SHOW server_version")
        results = Results(superuser.fetchone()[0], SETTINGS,
                          f"medians of {rounds} rounds, processor time of the serving backend")
        times = {case: [] for case in LISTS}
        for _ in range(rounds):
            for case in random.sample(list(LISTS), len(LISTS)):
                times[case].append(measure(socket, case))
        none, other, own = LISTS
        results.ratio("point lookup, a list of columns of the table", "us", times[own], (none, times[none]),
                      {other: times[other]}, digits=2)
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
