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
import os
import platform
import random
import statistics
import subprocess
import time
from pathlib import Path

import psycopg2

ROOT = Path(__file__).resolve().parent.parent
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


def tool(*arguments):
    environment = os.environ | {"TENANT_GUARD_BUILD": "release"}
    return subprocess.run([ROOT / "tools" / arguments[0], *arguments[1:]], env=environment,
                          check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def connect(socket, user):
    session = psycopg2.connect(host=socket, user=user, dbname="postgres")
    session.autocommit = True
    return session


def processor_time(pid):
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3


class Side:
    """One server and a session of it."""

    def __init__(self, name, pgaudit):
        self.name, self.cluster = name, f"bench_reads_{name}"
        settings = [setting.format(pgaudit=pgaudit) for setting in SIDES[name]]
        self.socket = tool("cluster.sh", "start", self.cluster, *SETTINGS, *settings).splitlines()[-1]
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
        return processor_time(pid) - before

    def look_up(self):
        def work():
            for n in range(LOOKUPS):
                self.cursor.execute(f"EXECUTE look_up ({n + 1})")
        return self.used(work) / LOOKUPS

    def scan(self):
        return self.used(lambda: self.cursor.execute("SELECT count(name) FROM t"))

    def drop(self):
        self.session.close()
        tool("cluster.sh", "drop", self.cluster)


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
    return (processor_time(process) - before) / LOOKUPS


def flood(side, seconds):
    """16 clients, 5,000 reads a second together: reads done, and reads lost."""
    script = ROOT / "target" / "bench_reads.sql"
    script.write_text(f"\\set id random(1, {ROWS})\nSELECT name FROM t WHERE id = :id;\n")
    program = Path(tool("cluster.sh", "bindir")) / "pgbench"
    output = subprocess.run(
        [program, "-n", "-h", side.socket, "-U", "app", "-c", "16", "-j", "2", "-M", "prepared",
         "-R", "5000", "-T", str(seconds), "-f", script, "postgres"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    done = next(line.split(":")[1] for line in output.splitlines() if "actually processed" in line)
    observer = connect(side.socket, "postgres").cursor()
    observer.execute("SELECT lost_reads FROM tenant_guard.reads_status()")
    return int(done.split("/")[0]), observer.fetchone()[0]


def machine():
    model = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if "model name" in line)
    return f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()}"


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
        version = sides[0].session.info.server_version
        print(f"{machine()}; PostgreSQL {version // 10000}.{version % 10000}; {', '.join(SETTINGS)}; "
              f"medians of {options.rounds} rounds\n")
        for title, work, unit, digits in (("look-up by key", Side.look_up, 1, 1), ("scan", Side.scan, 1e3, 2)):
            times = {side.name: [] for side in sides}
            for _ in range(options.rounds):
                for side in random.sample(sides, len(sides)):
                    times[side.name].append(work(side) / unit)
            none = statistics.median(times["none"])
            for name, found in times.items():
                median = statistics.median(found)
                print(f"{title}: {name} {median:.{digits}f} {'us' if unit == 1 else 'ms'} "
                      f"({min(found):.{digits}f}-{max(found):.{digits}f}), {median / none:.2f}x")
        recorded = next(side for side in sides if side.name == "tenant_guard")
        print(f"the sealer: {worker(recorded):.1f} us a read, beside the reader")
        done, lost = flood(recorded, options.seconds)
        print(f"16 clients, {done / options.seconds:.0f} reads/s for {options.seconds} s: {lost} lost, "
              f"{'reached' if lost == 0 else 'NOT reached'}")
    finally:
        for side in sides:
            side.drop()


if __name__ == "__main__":
    main()
