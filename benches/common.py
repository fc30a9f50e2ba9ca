"""What the benches share: a throwaway cluster of a release build, where they ran, and the record of what they
found, from which benches/table.py makes its table."""

import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "target" / "bench"


def tool(script, *arguments, **options):
    """What one of the scripts below tools/ prints, on the release build unless told otherwise."""
    environment = {"TENANT_GUARD_BUILD": "release"} | os.environ
    done = subprocess.run([ROOT / "tools" / script, *arguments], env=environment, text=True,
                          stdout=subprocess.PIPE, **options)
    if done.returncode:
        sys.exit(f"tools/{script} {' '.join(map(str, arguments))} failed")
    return done.stdout.strip()


def start(cluster, settings):
    """Makes a throwaway cluster and returns the directory of its socket."""
    return tool("cluster.sh", "start", cluster, *settings).splitlines()[-1]


def drop(cluster):
    """Stops and removes it."""
    tool("cluster.sh", "drop", cluster)


def psql(cluster, script, database="postgres", **options):
    """What a script prints that a superuser runs in psql, without notices."""
    return tool("cluster.sh", "psql", cluster, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database,
                input="SET client_min_messages = warning;\n" + script, **options)


def pgbench(socket, statement, *arguments, user="postgres", database="postgres", options=""):
    """What pgbench prints about a script of prepared statements."""
    program = Path(tool("cluster.sh", "bindir")) / "pgbench"
    done = subprocess.run(
        [program, "-h", socket, "-U", user, "-n", "-M", "prepared", "-f", "/dev/stdin", *map(str, arguments),
         database], input=statement, text=True, capture_output=True, env=os.environ | {"PGOPTIONS": options})
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def transactions_a_second(printed):
    """Of what pgbench prints."""
    return float(re.search(r"tps = ([0-9.]+)", printed).group(1))


def processor_time(pid):
    """Nanoseconds that a process has used. Linux counts them, whatever else runs on the machine."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def machine():
    """Processors and kernel."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (f"{os.cpu_count()} x {model.group(1) if model else platform.processor()}, "
            f"Linux {platform.release()}")


def summary(values):
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Results:
    """What one run of a bench found, printed as it is found, and kept below target/bench when it ends."""

    def __init__(self, version, settings, about):
        """`version` as the server has it; `about` says what was measured, how often, by which clock."""
        self.script = Path(sys.argv[0]).name
        self.found = {"script": f"benches/{self.script}", "machine": machine(),
                      "postgresql": version.split()[0], "settings": list(settings), "about": about,
                      "rows": [], "growth": []}
        print(f"{self.found['machine']}; PostgreSQL {self.found['postgresql']}, release build\n"
              f"settings: {', '.join(settings)}\n{about}\n", flush=True)

    def ratio(self, path, unit, ours, base, others=None, at_most=None, at_least=None, digits=1):
        """Our cost beside that of `base`, a name and its values, and of others by name. Values of one
        place in the lists are of one round, whose ratios are the spread."""
        name, values = base
        rounds = [one / other for one, other in zip(ours, values)]
        row = {"path": path, "unit": unit, "against": name, "kind": "ratio",
               "value": statistics.median(ours) / statistics.median(values),
               "low": min(rounds), "high": max(rounds), "ours": summary(ours), "base": summary(values),
               "others": {}}
        print(f"{path}: {name} {shown(values, unit, digits)}; ours {shown(ours, unit, digits)}, {spread(row)}x")
        for other, cost in (others or {}).items():
            against = statistics.median(cost) / statistics.median(values)
            row["others"][other] = summary(cost) | {"ratio": against}
            print(f"    {other} {shown(cost, unit, digits)}, {against:.2f}x")
        self._judge(row, at_most, at_least)

    def difference(self, path, unit, ours, base, at_most=None, at_least=None, digits=1):
        """What we cost more than `base`, a name and its values."""
        name, values = base
        rounds = [one - other for one, other in zip(ours, values)]
        row = {"path": path, "unit": unit, "against": name, "kind": "difference",
               "value": statistics.median(ours) - statistics.median(values),
               "low": min(rounds), "high": max(rounds), "ours": summary(ours), "base": summary(values)}
        print(f"{path}: {name} {shown(values, unit, digits)}; ours {shown(ours, unit, digits)}, {spread(row)} {unit}")
        self._judge(row, at_most, at_least)

    def value(self, path, unit, ours, at_most=None, at_least=None, digits=1):
        """A cost that stands beside nothing."""
        row = {"path": path, "unit": unit, "against": None, "kind": "value", **summary(ours), "ours": summary(ours)}
        row["value"] = row.pop("median")
        print(f"{path}: {shown(ours, unit, digits)}")
        self._judge(row, at_most, at_least)

    def growth(self, path, unit, by, points, power):
        """How a cost grows: pairs of `by` and the cost, and the power that fits them."""
        self.found["growth"].append({"path": path, "unit": unit, "by": by, "points": points, "power": power})
        print(f"{path} by {by}: " + ", ".join(f"{x:,}: {y:,.4g} {unit}" for x, y in points)
              + f"; grows with the power {power:.2f}", flush=True)

    def note(self, text):
        """Something beside the figures."""
        self.found.setdefault("notes", []).append(text)
        print(text, flush=True)

    def _judge(self, row, at_most, at_least):
        if at_most is not None or at_least is not None:
            bound = at_most if at_most is not None else at_least
            reached = row["value"] <= bound if at_most is not None else row["value"] >= bound
            row |= {"budget": bound, "bound": "at most" if at_most is not None else "at least", "reached": reached}
            print(f"    budget {row['bound']} {round(bound, 2):,}: {'reached' if reached else 'NOT reached'}")
        self.found["rows"].append(row)
        sys.stdout.flush()

    def keep(self):
        """Writes the record."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / self.script.replace(".py", ".json")).write_text(json.dumps(self.found, indent=1) + "\n")


def shown(values, unit, digits=1):
    return f"{statistics.median(values):,.{digits}f} {unit} [{min(values):,.{digits}f}..{max(values):,.{digits}f}]"


def spread(row):
    return f"{row['value']:.2f} [{row['low']:.2f}..{row['high']:.2f}]"


def power(points):
    """The slope of the line through the logarithms of points, by least squares: 1 is linear."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    x, y = (statistics.mean(axis) for axis in zip(*logs))
    return sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)
