#!/usr/bin/python3
"""Plans and times before and after what `74-index-unusable` and `27-unique-across-accounts` propose.

    benches/indexes.py [--times 200]

A protected table of 300,000 rows, 100 accounts, with an index that isolation makes unusable. Before: the
query as the application wrote it. After: the fix of `check()`, pasted, and the query by the stored
column; where there is no fix, the same query with the index led by the account that `detail` speaks of.
For comparison the query before, without row security. Nodes as EXPLAIN names them, processor time of the
serving backend, medians.
"""

import argparse
import json

from common import Results, drop, start, tool
from predicate import SETTINGS, Session, connect, prepare_issuer

CLUSTER = "bench_indexes"
ROWS, ACCOUNTS, ACCOUNT = 300_000, 100, "00000000-0000-4000-8000-000000000042"
SETUP = f"""
CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gin;
CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO app;
CREATE TABLE s.t AS SELECT n AS id,
    ('00000000-0000-4000-8000-' || lpad((n % {ACCOUNTS})::text, 12, '0'))::uuid AS account_id,
    'User' || n || '@Example.com' AS email, 'product number ' || md5(n::text) AS name,
    jsonb_build_object('sku', 'S' || n) AS data, (n % 5000) * 0.01 AS amount, repeat('x', 100) AS filler
    FROM generate_series(1, {ROWS}) AS n;
ALTER TABLE s.t ADD PRIMARY KEY (id), ALTER account_id SET NOT NULL;
GRANT SELECT ON s.t TO app;
SELECT tenant_guard.protect('s.t', audit => false);
"""

# Name, the index, the query, the query by the stored column or the index that narrows.
CASES = [
    ("lower(email) = ...", "CREATE INDEX i ON s.t (lower(email))",
     "id FROM s.t WHERE lower(email) = 'user{n}@example.com'",
     "id FROM s.t WHERE lower_email = 'user{n}@example.com'", None),
    ("data ->> 'sku' = ...", "CREATE INDEX i ON s.t ((data ->> 'sku'))",
     "id FROM s.t WHERE data ->> 'sku' = 'S{n}'",
     "id FROM s.t WHERE data_sku_text = 'S{n}'", None),
    ("length(email) = ...", "CREATE INDEX i ON s.t (length(email))",
     "count(*) FROM s.t WHERE length(email) = 17", "count(*) FROM s.t WHERE length_email = 17", None),
    ("name LIKE ...%", "CREATE INDEX i ON s.t (name text_pattern_ops)",
     "id FROM s.t WHERE name LIKE 'product number 1a%'", None, "CREATE INDEX led ON s.t (account_id)"),
    ("data @> ...", "CREATE INDEX i ON s.t USING gin (data)",
     "id FROM s.t WHERE data @> '{{\"sku\": \"S{n}\"}}'", None, "CREATE INDEX led ON s.t (account_id)"),
    ("to_tsvector @@ ...", "CREATE INDEX i ON s.t USING gin (to_tsvector('simple', email))",
     "id FROM s.t WHERE to_tsvector('simple', email) @@ to_tsquery('simple', 'user{n}@example.com')", None,
     "CREATE INDEX led ON s.t (account_id)"),
    ("amount = ... (numeric)", "CREATE INDEX i ON s.t (amount)",
     "count(*) FROM s.t WHERE amount = 7.42", None, "CREATE INDEX led ON s.t (account_id)"),
    ("email = ... (unique)", "CREATE UNIQUE INDEX i ON s.t (email)",
     "id FROM s.t WHERE email = 'User{n}@Example.com'", "id FROM s.t WHERE email = 'User{n}@Example.com'", None),
]


class Unbound(Session):
    """A session of the superuser, whom no policy binds."""

    def sign_in(self, account, **claims):
        """Nobody: what is measured names its account itself."""


def nodes(plan):
    """The scans of a plan, from the top."""
    name = plan["Node Type"]
    if "Index Name" in plan:
        name += f" ({plan['Index Name']})"
    inner = [nodes(part) for part in plan.get("Plans", [])]
    return ", ".join(filter(None, [name if "Scan" in name else "", *inner]))


def measure(session, query, times):
    """Nodes and the times in ms."""
    query = query.format(n=4242 + 100 * 100)
    session.cursor.execute(f"EXPLAIN (FORMAT json) SELECT {query}")
    plan = session.cursor.fetchone()[0]
    plan = json.loads(plan) if isinstance(plan, str) else plan
    session.run(f"SELECT {query}")
    taken = []
    while len(taken) < times and sum(taken) < 3000:
        taken.append(session.run(f"SELECT {query}"))
    return nodes(plan[0]["Plan"]), taken


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args().times
    tool("build.sh")
    socket = start(CLUSTER, [*SETTINGS, "max_parallel_workers_per_gather=0"])
    try:
        prepare_issuer(socket)
        superuser = connect(socket, "postgres")
        superuser.execute(SETUP)
        superuser.execute("SHOW server_version")
        results = Results(superuser.fetchone()[0], SETTINGS,
                          f"{ROWS:,} rows, {ACCOUNTS} accounts, medians of up to {times}, processor time of the serving backend")
        for name, index, before, after, led in CASES:
            superuser.execute(index)
            superuser.execute("VACUUM ANALYZE s.t")
            session = Session(socket, ACCOUNT)
            unbound = Unbound(socket, user="postgres")
            lines = [measure(unbound, before.replace("WHERE", f"WHERE account_id = '{ACCOUNT}' AND"), times),
                     measure(session, before, times)]
            superuser.execute("SELECT fix FROM tenant_guard.check() WHERE object = 's.i' AND code IN "
                              "('74-index-unusable', '27-unique-across-accounts')")
            (fix,), = superuser.fetchall()
            if (fix == "") != (after is None):
                raise SystemExit(f"{name}: {fix!r}")
            for statement in filter(None, (fix or led).split("; ")):
                superuser.execute(statement)
            superuser.execute("VACUUM ANALYZE s.t")
            lines.append(measure(session, after or before, times))
            (_, bare), (_, broken), (_, mended) = lines
            results.ratio(f"{name}, mended as check() says", "ms", mended, ("without row security", bare),
                          {"before": broken}, digits=3)
            results.note(f"    {name}: " + "; ".join(f"{when}: {plan}" for when, (plan, _) in zip(("without row security", "before", "after"), lines)))
            superuser.execute("DROP INDEX s.i" + ("" if after else ", s.led"))
        results.keep()
    finally:
        drop(CLUSTER)


if __name__ == "__main__":
    main()
