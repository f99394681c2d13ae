#!/usr/bin/env python3
"""scripts/bench simulator: how fast the simulated GPU computes, and whether its copies last what its cards say.

  ptx_mips             million thread instructions a second and core, of the slowest kernel measured
  copy_error_percent   the worst copy, 4 KiB to 256 MiB both ways on three cards: its modelled time in the journal
                       against latency + bytes / rate of the card's profile
  streams_64_ratio     kernels a second over 64 streams, against one stream
  processes_8_ratio    kernels a second of 8 processes on one card together, against one process
  errors               calls that failed, and results that were wrong
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import report

CARDS = ("rtx-3090", "rtx-4090", "h100")
LAUNCHES = 4000
UNITS = {"GB/s": 1e9, "us": 1e-6}


class Run:
    """Programs on a card of this run's own."""

    def __init__(self, build, directory):
        self.build, self.directory, self.errors = build, directory, 0
        self.pool = f"/dev/shm/lull-sim-bench-{os.getpid()}"
        self.journal = os.path.join(directory, "journal")

    def start(self, *arguments, **variables):
        driver = os.path.join(self.build, "tests/driver")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LULL_")}
        environment = {**kept, "LD_LIBRARY_PATH": driver, "LULL_SIM_POOL": self.pool, **variables}
        return subprocess.Popen([os.path.join(self.build, "tests/bench/simulator-probe"), *arguments],
                                env=environment, stdout=subprocess.PIPE, text=True)

    def end(self, process):
        output = process.communicate(timeout=300)[0]
        self.errors += process.returncode != 0
        return output

    def records(self):
        dump = os.path.join(self.build, "tests/driver/journal/journal-dump")
        done = subprocess.run([dump, "--ndjson", self.journal], capture_output=True, text=True, check=True)
        os.unlink(self.journal)
        return [json.loads(line) for line in done.stdout.splitlines()]


def profile(card):
    """What the copies of a card should last: read from its file, not from what the simulator made of it."""
    path = os.path.join(os.path.dirname(__file__), "../driver/profiles", f"{card}.card")
    with open(path, encoding="utf-8") as lines:
        text = lines.read()

    def value(key):
        number, unit = re.search(rf"^{key}\s*=\s*([\d.]+)(\S+)", text, re.M).groups()
        return float(number) * UNITS[unit]

    return {"latency": value("copy-latency"), "copy_h2d": value("to-device"), "copy_d2h": value("to-host")}


def copy_errors(run, card):
    run.end(run.start("copies", LULL_SIM_CARD=card, LULL_SIM_MEMORY="600MiB", LULL_SIM_CONTEXT="16MiB",
                      LULL_SIM_JOURNAL=run.journal))
    expected, errors = profile(card), []
    for record in run.records():
        if record["kind"] in ("copy_h2d", "copy_d2h"):
            should_s = expected["latency"] + record["bytes"] / expected[record["kind"]]
            errors.append(abs(record["modelled_ns"] * 1e-9 / should_s - 1) * 100)
    return errors


def kernels_a_second(run, processes, streams):
    running = [run.start("launches", str(streams), str(LAUNCHES)) for _ in range(processes)]
    outputs = [run.end(process) for process in running]
    return sum(LAUNCHES / float(output) for output in outputs if output)


def ptx_mips(build):
    done = subprocess.run([os.path.join(build, "tests/driver/ptx/ptx_bench")], capture_output=True, text=True, check=True)
    return {name: values["million_thread_instructions_per_second"] for name, values in json.loads(done.stdout).items()}


def measure(build):
    mips = ptx_mips(build)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(build, directory)
        try:
            errors = {card: copy_errors(run, card) for card in CARDS}
            one = kernels_a_second(run, 1, 1)
            streams = kernels_a_second(run, 1, 64)
            processes = kernels_a_second(run, 8, 1)
        finally:
            if os.path.exists(run.pool):
                os.unlink(run.pool)
    copies = sum(len(of_card) for of_card in errors.values())
    run.errors += copies != 2 * 9 * len(CARDS)
    worst = max(max(of_card) for of_card in errors.values())
    slowest = min(mips.values())
    return [
        metric("ptx_mips", slowest, "M/s", 100, slowest >= 100),
        *(metric(f"ptx_{name}_mips", value, "M/s") for name, value in mips.items()),
        metric("copy_error_percent", round(worst, 4), "%", 3, worst <= 3),
        metric("kernels_per_s", round(one), "1/s"),
        metric("streams_64_ratio", round(streams / one, 3), ""),
        metric("processes_8_ratio", round(processes / one, 3), ""),
        metric("errors", run.errors, "", 0, run.errors == 0),
    ]


def metric(*arguments):
    return report.metric("simulator", *arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write one JSON object to this file; - is standard output")
    parser.add_argument("--dir", default="build", metavar="DIR", help="build directory (default: build)")
    options = parser.parse_args()
    metrics = measure(os.path.abspath(options.dir))
    report.show({"suite": "simulator", "host": report.host(), "gpu": "simulated (modelled time)", "metrics": metrics},
                options.json)
    return 0 if next(m for m in metrics if m["name"] == "simulator.errors")["value"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
