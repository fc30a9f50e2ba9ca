#!/usr/bin/python3
"""What `authenticate` costs: tokens of four algorithms, each seen for the first time, beside the JWT
library alone verifying the same tokens; the same token again; and many keys and issuers beside few.

    benches/identity.py [--rounds 7]

Both sides run in turn in one go, on release builds. Times are processor time of the process that does
the work (Linux counts it in nanoseconds), so that whatever else runs on the machine does not decide; of
the server's, the time of an empty loop over the same tokens is taken off. Prints medians with their
range, ratios, and for each budget whether it was reached.
"""

import argparse
import json
import os
import random
import subprocess
from pathlib import Path

import psycopg2

from common import ROOT, Results, drop, processor_time, start, tool

CLUSTER = "bench_identity"
SETTINGS = ["shared_buffers=256MB", "jit=off", "autovacuum=off", "fsync=off"]
# Far more tokens than a session remembers, so that none is met again before it is forgotten.
TOKENS, PASSES = 2_000, 5
AGAIN = 200_000
KEYS, ISSUERS = 10_000, 100
ALGORITHMS = ["HS256", "RS256", "ES256", "EdDSA"]
RATIO_BUDGET, AGAIN_BUDGET, MANY_BUDGET = 1.25, 2.0, 1.05

SETUP = """
CREATE EXTENSION tenant_guard;
CREATE TABLE token (algorithm text, token text);
GRANT SELECT ON token TO PUBLIC;
CREATE FUNCTION authenticate_each(tokens text[], passes int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE token text; claims jsonb;
BEGIN
    FOR pass IN 1..passes LOOP
        FOREACH token IN ARRAY tokens LOOP claims := tenant_guard.authenticate(token); END LOOP;
    END LOOP;
END $$;
CREATE FUNCTION pass_each(tokens text[], passes int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE token text; size int;
BEGIN
    FOR pass IN 1..passes LOOP
        FOREACH token IN ARRAY tokens LOOP size := octet_length(token); END LOOP;
    END LOOP;
END $$;
"""


def bare_library(*arguments, material=None):
    command = ["cargo", "bench", "-q", "-p", "tenant_guard_core", "--bench", "bare_library", "--"]
    path = f"{os.environ['PATH']}:{Path.home() / '.cargo/bin'}"
    return subprocess.run([*command, *map(str, arguments)], input=material, check=True, cwd=ROOT,
                          env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, text=True).stdout


def connect(database, user):
    connection = psycopg2.connect(host=SOCKET, user=user, dbname=database)
    connection.autocommit = True
    return connection.cursor()


def prepare(material):
    """Database `few` with the four issuers, and `many` where one of them has 10,000 keys more and
    100 others stand beside it."""
    server = connect("postgres", "postgres")
    server.execute("CREATE ROLE app LOGIN")
    server.execute("CREATE DATABASE few")
    few = connect("few", "postgres")
    few.execute(SETUP)
    for algorithm, issuer in material["issuers"].items():
        few.execute("SELECT tenant_guard.add_issuer(%s, %s, audiences => '{bench}')",
                    (algorithm, json.dumps({"keys": [issuer["key"]]})))
        few.execute("INSERT INTO token SELECT %s, unnest(%s)", (algorithm, issuer["tokens"]))
    few.connection.close()
    server.execute("CREATE DATABASE many TEMPLATE few")
    many = connect("many", "postgres")
    keys = [material["issuers"]["ES256"]["key"], *material["further_keys"]]
    many.execute("SELECT tenant_guard.set_issuer_keys('ES256', %s)", (json.dumps({"keys": keys}),))
    for number, key in enumerate(material["further_keys"][:ISSUERS]):
        many.execute("SELECT tenant_guard.add_issuer(%s, %s)",
                     (f"https://issuer-{number}.example", json.dumps({"keys": [key]})))


class Session:
    """A fresh session of the application in one transaction, its keys warm."""

    def __init__(self, database, algorithm):
        self.cursor = connect(database, "app")
        self.cursor.execute("SELECT pg_backend_pid()")
        self.pid = self.cursor.fetchone()[0]
        self.tokens = f"(SELECT array_agg(token) FROM token WHERE algorithm = '{algorithm}')"
        self.cursor.execute("BEGIN")
        self.first = self.spent("authenticate_each", 1, f"{self.tokens}[:1]")
        self.spent("authenticate_each", 1, self.tokens)

    def spent(self, function, passes, tokens):
        """Nanoseconds of the backend's processor time."""
        begun = self.processor_time()
        self.cursor.execute(f"SELECT {function}({tokens}, {passes})")
        return self.processor_time() - begun

    def processor_time(self):
        return processor_time(self.pid)

    def net(self, tokens, passes, times):
        """Microseconds of one `authenticate`."""
        loop = self.spent("pass_each", passes, tokens)
        return (self.spent("authenticate_each", passes, tokens) - loop) / times / 1e3


def each_token(database, algorithm):
    session = Session(database, algorithm)
    return session.net(session.tokens, PASSES, PASSES * TOKENS)


def same_token(algorithm):
    session = Session("few", algorithm)
    return session.net(f"{session.tokens}[:1]", AGAIN, AGAIN)


def first_token(database):
    """Milliseconds of the first `authenticate` of a session, which prepares the keys."""
    return Session(database, "ES256").first / 1e6


def measure(rounds, text):
    times = {}
    cases = {("server", algorithm): (each_token, "few", algorithm) for algorithm in ALGORITHMS}
    cases |= {("again", algorithm): (same_token, algorithm) for algorithm in ALGORITHMS}
    cases |= {("many", "each"): (each_token, "many", "ES256")}
    cases |= {("first", database): (first_token, database) for database in ("few", "many")}
    for _ in range(rounds):
        for name, nanoseconds in json.loads(bare_library("verify", PASSES, material=text)).items():
            times.setdefault(("bare", name), []).append(nanoseconds / 1e3)
        for case in random.sample(list(cases), len(cases)):
            function, *arguments = cases[case]
            times.setdefault(case, []).append(function(*arguments))
    return times


def report(times, results):
    for algorithm in ALGORITHMS:
        bare, ours, again = (times[side, algorithm] for side in ("bare", "server", "again"))
        results.ratio(f"authenticate, {algorithm}, warm keys", "us", ours, ("the JWT library alone", bare),
                      at_most=RATIO_BUDGET, digits=2)
        results.value(f"the same {algorithm} token again in a session", "us", again, at_most=AGAIN_BUDGET, digits=2)
    results.ratio(f"authenticate, ES256, among {KEYS:,} keys and {ISSUERS} issuers", "us", times["many", "each"],
                  ("among four keys", times["server", "ES256"]), at_most=MANY_BUDGET, digits=2)
    for database in ("few", "many"):
        results.value(f"first authenticate of a session, {database} keys", "ms", times["first", database], digits=2)


parser = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=7)
options = parser.parse_args()

tool("build.sh")
MATERIAL = bare_library("sign", TOKENS, KEYS)
SOCKET = start(CLUSTER, SETTINGS)
try:
    prepare(json.loads(MATERIAL))
    server = connect("postgres", "postgres")
    server.execute("SHOW server_version")
    found = Results(server.fetchone()[0], SETTINGS,
                    f"{TOKENS} tokens of each algorithm, medians of {options.rounds} rounds, processor time")
    report(measure(options.rounds, MATERIAL), found)
    found.keep()
finally:
    drop(CLUSTER)
