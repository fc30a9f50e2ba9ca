#!/usr/bin/python3
"""What loading the library adds to a new connection, and to the server's shared memory.

    benches/connection.py [--rounds 400]

Two clusters, one with the library in shared_preload_libraries. On the other, one role's sessions have
it in session_preload_libraries and one role's have nothing, so both connect to one server in turn. A
connection is opened, asked `SELECT 1` and closed; wall time, in shuffled order. Medians of groups of
rounds; the budget is 1 ms more than without the library, and no shared memory.
"""

import argparse
import random
import statistics
import time

import psycopg2

from common import Results, drop, start, tool

BARE, PRELOADED = "bench_bare", "bench_preloaded"
SETTINGS = ["shared_buffers=128MB", "autovacuum=off", "fsync=off", "tenant_guard.seal_interval=0"]
BUDGET_MS = 1.0
GROUPS = 8
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
    cursor.execute("SELECT sum(allocated_size)::int8 FROM pg_shmem_allocations")
    total = cursor.fetchone()[0]
    cursor.execute("SELECT coalesce(sum(allocated_size), 0)::int8 FROM pg_shmem_allocations"
                   " WHERE name ~ 'tenant_guard'")
    return total, cursor.fetchone()[0]


def report(sockets, rounds):
    memory = {side: shared_memory(sockets[side]) for side in sockets}
    for socket in sockets.values():
        superuser(socket).execute(ROLES)
    cursor = superuser(sockets["bare"])
    cursor.execute("SHOW server_version")
    results = Results(cursor.fetchone()[0], SETTINGS,
                      f"{GROUPS} medians of {rounds // GROUPS} connections each, time that passed for the client")
    times = {case: [] for case in CASES}
    for round_ in range(rounds + 10):
        for case in random.sample(list(CASES), len(CASES)):
            side, role, question = CASES[case]
            milliseconds = connect(sockets[side], role, question)
            if round_ >= 10:
                times[case].append(milliseconds)
    # One connection of hundreds waits for something else: medians of groups are compared.
    size = rounds // GROUPS
    groups = {case: [statistics.median(found[at:at + size]) for at in range(0, GROUPS * size, size)]
              for case, found in times.items()}
    without, *others = CASES
    for case in others:
        results.difference(f"a new connection, {case}", "ms", groups[case], (without, groups[without]),
                           at_most=BUDGET_MS, digits=2)
    results.value("shared memory that loading in a session adds", "B", [shared_memory(sockets["bare"])[1]], at_most=0,
                  digits=0)
    results.value("shared memory that preloading sets aside", "B", [memory["preloaded"][0] - memory["bare"][0]],
                  digits=0)
    results.keep()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    tool("build.sh")
    sockets = {"bare": start(BARE, SETTINGS)}
    try:
        sockets["preloaded"] = start(PRELOADED, [*SETTINGS, "shared_preload_libraries=tenant_guard"])
        report(sockets, rounds)
    finally:
        drop(BARE)
        drop(PRELOADED)


if __name__ == "__main__":
    main()
