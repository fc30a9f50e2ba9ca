#!/usr/bin/python3
"""What tests of roles, levels and subjects add to a row, beside the account's condition.

    benches/roles.py [--rounds 7]

One table of 1,000,000 rows of one account, scanned by an ordinary role under one policy, altered
from case to case; the cases are measured in turn in shuffled order. Processor time of the serving
backend. Prints medians and what each case adds to the account's condition, a row.
"""

import argparse
import random

from common import Results, drop, start, tool
from predicate import HUGE, NO_INDEX, SETTINGS, Session, connect, prepare_issuer

CLUSTER = "bench_roles"
ROWS = 1_000_000
ACCOUNT = "account_id OPERATOR(pg_catalog.=) tenant_guard.account_id()"
CASES = {
    "account": "",
    "and a role": "AND tenant_guard.has_any_role('{agent}')",
    "and one of 20 roles": "AND tenant_guard.has_any_role('{%s,agent}')"
                           % ",".join(f"role{n}" for n in range(19)),
    "and a role with a level": "AND tenant_guard.has_any_role('{agent}')"
                               " AND tenant_guard.has_assurance('aal2')",
    "and own rows (text)": "AND owner OPERATOR(pg_catalog.=) tenant_guard.subject()",
    "and own rows (bigint)": "AND owner_id OPERATOR(pg_catalog.=) tenant_guard.user_id_bigint()",
    "and own rows, or a role": "AND (tenant_guard.has_any_role('{admin}') OR"
                               " tenant_guard.has_any_role('{agent}')"
                               " AND owner_id OPERATOR(pg_catalog.=) tenant_guard.user_id_bigint())",
}
SETUP = f"""
CREATE TABLE t AS SELECT n AS id, '{HUGE}'::uuid AS account_id, '7'::text AS owner,
    7::bigint AS owner_id, repeat('x', 100) AS filler FROM generate_series(1, {ROWS}) AS n;
ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY access ON t USING ({ACCOUNT});
GRANT SELECT ON t TO app;
"""


def measure(socket, case):
    """Milliseconds of a scan of everything."""
    connect(socket, "postgres").execute(f"ALTER POLICY access ON t USING ({ACCOUNT} {CASES[case]})")
    session = Session(socket, HUGE, sub="7", roles=["clerk", "agent"], aal="aal2")
    session.run(NO_INDEX + "SET max_parallel_workers_per_gather = 0")
    query = "SELECT count(*) FROM t"
    session.run(query)
    assert session.cursor.fetchone() == (ROWS,), f"{case}: rows are missing"
    return session.run(query)


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
        superuser.execute("VACUUM ANALYZE t")
        superuser.execute("SHOW server_version")
        results = Results(superuser.fetchone()[0], SETTINGS,
                          f"medians of {rounds} rounds, processor time of the serving backend")
        times = {case: [] for case in CASES}
        for _ in range(rounds):
            for case in random.sample(list(CASES), len(CASES)):
                times[case].append(measure(socket, case))
        row = {case: [spent * 1e6 / ROWS for spent in times[case]] for case in CASES}
        for case in list(CASES)[1:]:
            results.difference(f"a row, the account {case}", "ns", row[case], ("the account alone", row["account"]))
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
