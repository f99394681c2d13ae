"""docs/gpu-facts.md, from what cards have answered (bench/results/gpu-*.json) and what there is to ask (gpu-facts --list).

    tests/gpu/report.py GPU_FACTS            prints the document
    tests/gpu/report.py GPU_FACTS --check    exits 1 if docs/gpu-facts.md is another one
"""
import argparse
import glob
import json
import operator
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "frameworks")]

import bench  # noqa: E402
import runner  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENT = os.path.join(ROOT, "docs", "gpu-facts.md")
COMPARE = {"==": operator.eq, ">=": operator.ge, "<=": operator.le}

BEGINNING = """\
# What a card has to say

Made by `tests/gpu/report.py` from `bench/results/gpu-*.json`; not written by hand. `scripts/gpu-check` asks a real card and writes
such a file. Until one has answered, what Lull's documents say of real cards is belief, and stands here as open.

The questions are E1 to E10 (moving memory), P1 to P10 (preemption); one program for all, `tests/gpu/facts`, one function each, by
the public Driver API alone. P1 to P4 need the driver's resource-manager interface and wait for a machine of somebody's own; P5 and
P9 are measured with whole programs.
"""


def questions(program):
    """Name, what it asks and the question, as the program lists them."""
    out = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    return [(line[:24].strip(), line[25:34].strip(), line[35:].strip()) for line in out.splitlines()]


def results():
    """The newest last."""
    found = []
    for path in glob.glob(os.path.join(ROOT, "bench", "results", "gpu-*.json")):
        with open(path, encoding="utf-8") as file:
            found.append(json.load(file) | {"file": os.path.basename(path)})
    return sorted(found, key=lambda r: r["date"])


def answers_of(name, runs):
    """What each card said last."""
    last = {}
    for run in runs:
        for fact in run["facts"]:
            if fact["fact"] == name:
                last[run["card"]["name"]] = (run, fact)
    return list(last.values())


def rows_of(runs, key, name):
    """Of each program or part, in the order they ran: what each card said last."""
    last = {}
    for run in runs:
        for row in run.get(key, []):
            last.setdefault(row[name], {})[run["card"]["name"]] = row
    return last


def table_of(runs, key, name, heading, wanted):
    lines = ["", f"## {heading}", "", f"| {name} | answer |", "|---|---|"]
    met = rows_of(runs, key, name)
    for entry in dict.fromkeys([*wanted, *met]):
        said = [f"{card}: {row['sentence']}" if row["state"] == "measured" else f"{card}: {row['state']}, {row['sentence']}"
                for card, row in met.get(entry, {}).items()]
        lines.append(f"| `{entry}` | {'<br>'.join(said) or 'open'} |")
    return lines


def figure_of(fact, path):
    value = fact["figures"]
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


def verdict(claim, runs):
    said = set()
    for _, fact in answers_of(claim["fact"], runs):
        found = figure_of(fact, claim["figure"])
        against = claim["value"] if "value" in claim else figure_of(fact, claim["of"])
        if fact["state"] != "measured" or found is None or against is None:
            continue
        against = against * claim["times"] if "times" in claim else against
        said.add("confirmed" if COMPARE[claim["is"]](found, against) else "refuted")
    return "refuted" if "refuted" in said else "confirmed" if said else "open"


def document(program):
    runs = results()
    lines = [BEGINNING, "## Asked", ""]
    if runs:
        lines += [f"* {r['card']['name']}, driver {r['card']['driver']}, {r['date']}, commit {r['commit']}: `{r['file']}`" for r in runs]
    else:
        lines += ["No card yet."]
    lines += ["", "## Claims", "", "| what Lull's documents say | where | a card says |", "|---|---|---|"]
    with open(os.path.join(ROOT, "tests", "gpu", "claims.json"), encoding="utf-8") as file:
        claims = json.load(file)
    known = {name for name, _, _ in questions(program)}
    for claim in claims:
        if claim["fact"] not in known:
            raise SystemExit(f"tests/gpu/claims.json: no fact is called {claim['fact']}")
        where = os.path.basename(claim["where"])
        lines.append(f"| {claim['claim']} | [{where}]({where}) | {verdict(claim, runs)} |")
    lines += ["", "## Questions", "", "| question | of | answer |", "|---|---|---|"]
    for name, asks, question in questions(program):
        said = [f"{run['card']['name']}: {fact['sentence']}" if fact["state"] == "measured"
                else f"{run['card']['name']}: {fact['state']}, {fact['sentence']}" for run, fact in answers_of(name, runs)]
        lines.append(f"| {question} (`{name}`) | {asks or '-'} | {'<br>'.join(said) or 'open'} |")
    lines += table_of(runs, "frameworks", "framework", "Frameworks, preempted at random moments", [e.name for e in runner.FRAMEWORKS])
    lines += table_of(runs, "bench", "part", "Costs and gains", bench.PARTS)
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="GPU_FACTS")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = document(options.program)
    if not options.check:
        sys.stdout.write(text)
        return 0
    with open(DOCUMENT, encoding="utf-8") as file:
        same = file.read() == text
    if not same:
        print(f"{DOCUMENT} is not what tests/gpu/report.py makes; run: tests/gpu/report.py {options.program} > docs/gpu-facts.md")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
