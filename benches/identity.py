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
import platform
import random
import re
import statistics
import subprocess
from pathlib import Path

import psycopg2

ROOT = Path(__file__).resolve().parent.parent
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


def tool(*arguments):
    environment = os.environ | {"TENANT_GUARD_BUILD": "release"}
    return subprocess.run([ROOT / "tools" / arguments[0], *arguments[1:]], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


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
        self.statistics = Path(f"/proc/{self.cursor.fetchone()[0]}/schedstat")
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
        return int(self.statistics.read_text().split()[0])

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


def show(values, unit):
    return f"{statistics.median(values):8.2f} {unit} [{min(values):.2f}..{max(values):.2f}]"


def verdict(value, budget, unit):
    return f"<= {budget}{unit}: {'reached' if value <= budget else 'NOT reached'} ({value:.2f}{unit})"


def machine(rounds):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    server = connect("postgres", "postgres")
    server.execute("SHOW server_version")
    print(f"{os.cpu_count()} x {model.group(1) if model else platform.processor()}, "
          f"Linux {platform.release()}, PostgreSQL {server.fetchone()[0]}, release build")
    print("settings: " + ", ".join(SETTINGS))
    print(f"{TOKENS} tokens of each algorithm, {rounds} rounds, medians [range]\n")


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


def report(times):
    median = {case: statistics.median(values) for case, values in times.items()}
    for algorithm in ALGORITHMS:
        bare, ours, again = ((side, algorithm) for side in ("bare", "server", "again"))
        print(f"{algorithm}\n    the library alone  {show(times[bare], 'us')}")
        print(f"    authenticate       {show(times[ours], 'us')}  "
              f"{verdict(median[ours] / median[bare], RATIO_BUDGET, 'x')}")
        print(f"    same token again   {show(times[again], 'us')}  "
              f"{verdict(median[again], AGAIN_BUDGET, ' us')}")
    few, many = ("server", "ES256"), ("many", "each")
    print(f"ES256 among {KEYS:,} keys, {ISSUERS} issuers more\n"
          f"    authenticate       {show(times[many], 'us')}  "
          f"{verdict(median[many] / median[few], MANY_BUDGET, 'x')}")
    for database in ("few", "many"):
        print(f"    first of a session, {database:4} {show(times['first', database], 'ms')}")


parser = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=7)
options = parser.parse_args()

tool("build.sh")
MATERIAL = bare_library("sign", TOKENS, KEYS)
SOCKET = tool("cluster.sh", "start", CLUSTER, *SETTINGS)
try:
    prepare(json.loads(MATERIAL))
    machine(options.rounds)
    report(measure(options.rounds, MATERIAL))
finally:
    tool("cluster.sh", "drop", CLUSTER)
