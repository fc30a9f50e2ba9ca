#!/usr/bin/python3
"""What recording reads costs: against no recording, and against pgaudit (object auditing, its own lines
in the server's log).

    benches/reads.py [--rounds 9] [--seconds 20]

Three servers with the same table and settings, measured in turn in shuffled order: with neither library,
with tenant_guard in session_preload_libraries and reads of the table recorded, and with pgaudit in
shared_preload_libraries and its role granted SELECT. A point look-up by key, prepared, in a transaction
of its own, and a scan of the table. Processor time of the serving backend (Linux counts it in
nanoseconds); what the sealing worker takes to write the records into the log beside it, a read. Then 16
clients read 5,000 times a second together, and nothing may be lost with the default buffer.
"""

import argparse
import random
import re
import time

import psycopg2

from common import Results, drop, pgbench, processor_time, start, tool

SETTINGS = ["shared_buffers=256MB", "jit=off", "autovacuum=off", "fsync=off", "max_wal_size=8GB",
            "max_parallel_workers_per_gather=0"]
ROWS = 100_000
LOOKUPS = 5_000
SIDES = {
    "none": [],
    "tenant_guard": ["session_preload_libraries=tenant_guard", "tenant_guard.seal_interval=1s"],
    "pgaudit": ["shared_preload_libraries={pgaudit}", "pgaudit.role=auditor", "pgaudit.log=none"],
}
TABLE = f"""
CREATE TABLE t (id int PRIMARY KEY, name text);
INSERT INTO t SELECT n, 'name ' || n FROM generate_series(1, {ROWS}) AS n;
VACUUM (FREEZE, ANALYZE) t;
CREATE ROLE app LOGIN; CREATE ROLE auditor NOLOGIN;
GRANT SELECT ON t TO app;
"""
EXTRA = {
    "none": "",
    "tenant_guard": "CREATE EXTENSION tenant_guard; SELECT tenant_guard.audit('t');"
                    " SELECT tenant_guard.audit_reads('t');",
    "pgaudit": "GRANT SELECT ON t TO auditor;",
}


def connect(socket, user):
    session = psycopg2.connect(host=socket, user=user, dbname="postgres")
    session.autocommit = True
    return session


class Side:
    """One server and a session of it."""

    def __init__(self, name, pgaudit):
        self.name, self.cluster = name, f"bench_reads_{name}"
        settings = [setting.format(pgaudit=pgaudit) for setting in SIDES[name]]
        self.socket = start(self.cluster, [*SETTINGS, *settings])
        with connect(self.socket, "postgres").cursor() as cursor:
            for statement in (TABLE + EXTRA[name]).split(";"):
                if statement.strip():
                    cursor.execute(statement)
        self.session = connect(self.socket, "app")
        self.cursor = self.session.cursor()
        self.cursor.execute("PREPARE look_up (int) AS SELECT name FROM t WHERE id = $1")

    def used(self, work):
        """Microseconds of the backend."""
        pid = self.session.info.backend_pid
        before = processor_time(pid)
        work()
        return (processor_time(pid) - before) / 1e3

    def look_up(self):
        def work():
            for n in range(LOOKUPS):
                self.cursor.execute(f"EXECUTE look_up ({n + 1})")
        return self.used(work) / LOOKUPS

    def scan(self):
        return self.used(lambda: self.cursor.execute("SELECT count(name) FROM t"))

    def drop(self):
        self.session.close()
        drop(self.cluster)


def worker(side):
    """The sealer's processor time a read, while look-ups are written into the log."""
    observer = connect(side.socket, "postgres").cursor()

    def pid():
        observer.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'tenant_guard sealer'")
        found = observer.fetchone()
        return found and found[0]

    side.look_up()
    process = pid()
    before = processor_time(process)
    side.look_up()
    deadline = time.time() + 30
    while time.time() < deadline:
        observer.execute("SELECT used_bytes FROM tenant_guard.reads_status()")
        if observer.fetchone()[0] == 0:
            break
        time.sleep(0.2)
    return (processor_time(process) - before) / 1e3 / LOOKUPS


def flood(side, seconds):
    """16 clients, 5,000 reads a second together: reads done, and reads lost."""
    printed = pgbench(side.socket, f"\\set id random(1, {ROWS})\nSELECT name FROM t WHERE id = :id;\n",
                      "-c", 16, "-j", 2, "-R", 5000, "-T", seconds, user="app")
    done = re.search(r"actually processed: ([0-9]+)", printed).group(1)
    observer = connect(side.socket, "postgres").cursor()
    observer.execute("SELECT lost_reads FROM tenant_guard.reads_status()")
    return int(done), observer.fetchone()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    pgaudit = tool("setup.sh", "pgaudit").splitlines()[-1]
    tool("build.sh")
    sides = []
    try:
        sides = [Side(name, pgaudit) for name in SIDES]
        version = str(sides[0].session.info.parameter_status("server_version"))
        results = Results(version, [*SETTINGS, *(setting for side in SIDES.values() for setting in side)],
                          f"medians of {options.rounds} rounds, processor time of the serving backend")
        for title, work, unit, scale in (("point lookup by key, read recorded", Side.look_up, "us", 1),
                                         (f"scan of {ROWS:,} rows, read recorded", Side.scan, "ms", 1e3)):
            times = {side.name: [] for side in sides}
            for _ in range(options.rounds):
                for side in random.sample(sides, len(sides)):
                    times[side.name].append(work(side) / scale)
            results.ratio(title, unit, times["tenant_guard"], ("no library", times["none"]),
                          {"pgaudit": times["pgaudit"]}, digits=2)
        recorded = next(side for side in sides if side.name == "tenant_guard")
        results.value("the sealer writing reads into the log, a read", "us", [worker(recorded)])
        done, lost = flood(recorded, options.seconds)
        results.value(f"reads lost, 16 clients at {done / options.seconds:,.0f} reads/s for {options.seconds} s", "reads",
                      [lost], at_most=0, digits=0)
        results.keep()
    finally:
        for side in sides:
            side.drop()


if __name__ == "__main__":
    main()
