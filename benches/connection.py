#!/usr/bin/python3
"""What loading the library adds to a new connection, and to the server's shared memory.

    benches/connection.py [--rounds 400]

Two clusters, one with the library in shared_preload_libraries. On the other, one role's sessions have
it in session_preload_libraries and one role's have nothing, so both connect to one server in turn. A
connection is opened, asked `SELECT 1` and closed; wall time, in shuffled order. The medians are of all
rounds; the budget is 1 ms more than without the library, and no shared memory.
"""

import argparse
import os
import platform
import random
import statistics
import time

import psycopg2

from predicate import tool

BARE, PRELOADED = "bench_bare", "bench_preloaded"
SETTINGS = ["shared_buffers=128MB", "autovacuum=off", "fsync=off", "tenant_guard.seal_interval=0"]
BUDGET_MS = 1.0
ROLES = """
CREATE EXTENSION tenant_guard;
CREATE ROLE nothing LOGIN;
CREATE ROLE session LOGIN;
ALTER ROLE session SET session_preload_libraries = 'tenant_guard';
CREATE ROLE called LOGIN;
"""
# How a session comes to the library: the cluster, the role, what it asks first.
CASES = {
    "without the library": ("bare", "nothing", "SELECT 1"),
    "session_preload_libraries": ("bare", "session", "SELECT 1"),
    "loaded by the first call": ("bare", "called", "SELECT tenant_guard.is_authenticated()"),
    "shared_preload_libraries": ("preloaded", "nothing", "SELECT 1"),
}


def superuser(socket):
    connection = psycopg2.connect(host=socket, user="postgres", dbname="postgres")
    connection.autocommit = True
    return connection.cursor()


def connect(socket, role, question):
    """Milliseconds of one short session."""
    begun = time.perf_counter_ns()
    connection = psycopg2.connect(host=socket, user=role, dbname="postgres")
    connection.cursor().execute(question)
    connection.close()
    return (time.perf_counter_ns() - begun) / 1e6


def shared_memory(socket):
    cursor = superuser(socket)
    cursor.execute("SELECT sum(allocated_size) FROM pg_shmem_allocations")
    total = cursor.fetchone()[0]
    cursor.execute("SELECT count(*) FROM pg_shmem_allocations WHERE name ~ 'tenant_guard'")
    return total, cursor.fetchone()[0]


def report(sockets, rounds):
    memory = {side: shared_memory(sockets[side]) for side in sockets}
    for socket in sockets.values():
        superuser(socket).execute(ROLES)
    times = {case: [] for case in CASES}
    for round_ in range(rounds + 10):
        for case in random.sample(list(CASES), len(CASES)):
            side, role, question = CASES[case]
            milliseconds = connect(sockets[side], role, question)
            if round_ >= 10:
                times[case].append(milliseconds)
    cursor = superuser(sockets["bare"])
    cursor.execute("SELECT version()")
    print(f"{cursor.fetchone()[0]}\n{platform.machine()}, {os.cpu_count()} processors, {rounds} rounds\n\n"
          "| session | median | quartiles | more |\n|---|---|---|---|")
    without = statistics.median(times["without the library"])
    for case, all_times in times.items():
        low, median, high = statistics.quantiles(all_times, n=4)
        more = median - without
        verdict = "" if case == "without the library" else (
            f"{more:+.2f} ms: " + ("reached" if more < BUDGET_MS else "NOT reached"))
        print(f"| {case} | {median:.2f} ms | {low:.2f} to {high:.2f} ms | {verdict} |")
    more = memory["preloaded"][0] - memory["bare"][0]
    print(f"\nShared memory of the server with the library preloaded: {more:+d} B,"
          f" {memory['preloaded'][1]} segments of ours")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    tool("build.sh")
    sockets = {"bare": tool("cluster.sh", "start", BARE, *SETTINGS)}
    try:
        sockets["preloaded"] = tool("cluster.sh", "start", PRELOADED, *SETTINGS,
                                    "shared_preload_libraries=tenant_guard")
        report(sockets, rounds)
    finally:
        tool("cluster.sh", "drop", BARE)
        tool("cluster.sh", "drop", PRELOADED)


if __name__ == "__main__":
    main()
