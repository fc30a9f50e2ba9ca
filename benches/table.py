"""The table of all budgets and the plots, from what the benches left below target/bench.

    python3 benches/table.py

Writes docs/benchmarks.md, docs/benchmarks.json and docs/benchmarks/*.svg, and the table of budgets in README.md.
"""

import json
import math
import re

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

from common import RESULTS, ROOT

DOCS = ROOT / "docs"
# Whose budgets stand in README.md; those of the others are in docs/benchmarks.md.
PROMISED = ["predicate", "identity", "capture", "ledger", "check"]
BEGIN, END = "<!-- budgets: written by `make bench` -->", "<!-- end of budgets -->"
# The plots are the same files for the same figures.
matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "tenant_guard", "font.size": 9, "svg.fonttype": "none"}
METADATA = {"Date": None, "Creator": None}


def number(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"


def measured(row):
    spread = f"{number(row['value'])} ({number(row['low'])} to {number(row['high'])})"
    unit = "x" if row["kind"] == "ratio" else f" {row['unit']}"
    sign = "+" if row["kind"] == "difference" and row["value"] >= 0 else ""
    return sign + spread.replace(" (", f"{unit} (", 1)


def budget(row):
    if "budget" not in row:
        return ""
    unit = "x" if row["kind"] == "ratio" else f" {row['unit']}"
    return f"{'≤' if row['bound'] == 'at most' else '≥'} {row['budget']:,.4g}{unit}".replace("e+05", "00,000")


def outcome(row):
    return "" if "budget" not in row else "met" if row["reached"] else "**not met**"


def budgets(found):
    """The table of README: each budget, what was measured, and by what."""
    lines = ["| What | Against | Measured (spread) | Budget | | Script |", "|---|---|---|---|---|---|"]
    by_script = {bench["script"]: bench["rows"] for bench in found}
    for script in (f"benches/{name}.py" for name in PROMISED):
        for row in by_script.get(script, []):
            if "budget" in row:
                cells = [row["path"], row["against"] or "", measured(row), budget(row), outcome(row), f"`{script}`"]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page(found):
    """docs/benchmarks.md"""
    parts = ["# Benchmarks\n\nWritten by `make bench`: both sides of each figure in one run, interleaved. A ratio is that of "
             "medians; behind it stands the smallest and the largest of a round. *Others* are what one would take instead, in "
             "the same run, against the same base. The figures as JSON: [benchmarks.json](benchmarks.json).\n",
             "![Ratios](benchmarks/ratios.svg)\n\n![Growth](benchmarks/growth.svg)\n"]
    for bench in found:
        parts.append(f"## {bench['script']}\n\n{bench['machine']}; PostgreSQL {bench['postgresql']}; {bench['about']}. "
                     f"Settings: `{', '.join(bench['settings'])}`\n")
        if bench["rows"]:
            parts.append("| What | Against | It costs | Ours | Measured (spread) | Budget | | Others |\n|---|---|---|---|---|---|---|---|")
            parts.extend(line(row) for row in bench["rows"])
            parts.append("")
        for growth in bench["growth"]:
            points = ", ".join(f"{x:,}: {number(y)} {growth['unit']}" for x, y in growth["points"])
            parts.append(f"* {growth['path']} by {growth['by']}: {points}; grows with the power {growth['power']:.2f}")
        for note in dict.fromkeys(bench.get("notes", [])):
            parts.append(f"* {note.strip()}")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def line(row):
    base = f"{number(row['base']['median'])} {row['unit']}" if "base" in row else ""
    others = "; ".join(f"{name} {other['ratio']:.2f}x" for name, other in row.get("others", {}).items())
    cells = [row["path"], row["against"] or "", base, f"{number(row['ours']['median'])} {row['unit']}", measured(row),
             budget(row), outcome(row), others]
    return "| " + " | ".join(cells) + " |"


def plot_ratios(found):
    """Bars of ours beside those of what one would take instead."""
    rows = [row for bench in found for row in bench["rows"] if row["kind"] == "ratio" and row.get("others")]
    figure, axes = plt.subplots(figsize=(8, 0.42 * sum(1 + len(row["others"]) for row in rows) + 1))
    place, labels = 0, []
    for row in rows:
        bars = [("ours: " + row["path"], row["value"], "#1f6f8b")]
        bars += [(name, other["ratio"], "#c9c9c9") for name, other in row["others"].items()]
        for name, ratio, color in bars:
            axes.barh(place, ratio, color=color)
            axes.text(ratio, place, f" {ratio:.2f}", va="center")
            labels.append((place, name))
            place -= 1
        place -= 0.6
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.12, y=0.01)
    axes.set_xscale("log")
    axes.set_yticks([at for at, _ in labels], [name if len(name) < 70 else name[:67] + "..." for _, name in labels])
    axes.set_xlabel("times the cost of the base (1: nothing added)")
    save(figure, "ratios")


def plot_growth(found):
    """Each cost by what it grows with, both axes by their logarithm."""
    all_growth = [growth for bench in found for growth in bench["growth"]]
    if not all_growth:
        return
    height = (len(all_growth) + 2) // 3
    figure, grid = plt.subplots(height, 3, figsize=(9, 2.6 * height), squeeze=False)
    for axes, growth in zip(grid.flat, all_growth):
        axes.loglog(*zip(*growth["points"]), marker="o", color="#1f6f8b")
        # What hardly grows shall look so: the axis spans a hundredfold at least.
        low, high = axes.get_ylim()
        widen = max(1, math.sqrt(100 / (high / low)))
        axes.set_ylim(low / widen, high * widen)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{growth['path'][:44]}\npower {growth['power']:.2f}", fontsize=8)
        axes.set_xlabel(growth["by"])
        axes.set_ylabel(growth["unit"])
    for axes in list(grid.flat)[len(all_growth):]:
        axes.axis("off")
    save(figure, "growth")


def save(figure, name):
    figure.tight_layout()
    (DOCS / "benchmarks").mkdir(exist_ok=True)
    figure.savefig(DOCS / "benchmarks" / f"{name}.svg", metadata=METADATA)
    plt.close(figure)


def main():
    found = [json.loads(file.read_text()) for file in RESULTS.glob("*.json")]
    scripts = [f"benches/{name}.py" for name in PROMISED]
    found.sort(key=lambda bench: (bench["script"] not in scripts, scripts.index(bench["script"])
                                  if bench["script"] in scripts else 0, bench["script"]))
    (DOCS / "benchmarks.json").write_text(json.dumps(found, indent=1) + "\n")
    (DOCS / "benchmarks.md").write_text(page(found))
    plot_ratios(found)
    plot_growth(found)
    readme = ROOT / "README.md"
    text = readme.read_text()
    table = f"{BEGIN}\n{budgets(found)}\n{END}"
    readme.write_text(re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: table, text, flags=re.DOTALL))
    print(budgets(found))


if __name__ == "__main__":
    main()
