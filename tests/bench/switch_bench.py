#!/usr/bin/env python3
"""The switch suite: how well the copy engines are used while a card changes hands, and whether too much is moved.

On the simulated card, in modelled time: a copy starts when its engine is free and lasts bytes / bandwidth, whatever the
host does meanwhile; what the host is late with shows as a gap between copies. A trainer fills 80 % of the card, a service
60 %; requests come one by one, each after the trainer is back.

  busy share   of the time from the first copy of a move to its last, how much the engine (hand-over: either engine) worked
  excess       bytes moved beyond what did not fit, and beyond one chunk
  clean        bytes copied out of the service when it leaves, beyond the chunk it has changed: its weights are as they were
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "system"))

import report  # noqa: E402
from broker import start_broker  # noqa: E402
from stage import Build, Card, Stage, StageError, now_ns, wait_until  # noqa: E402

CARD = Card(memory=1 << 30, link=1_000_000_000, context=16 << 20)
CONFIG = """\
[policy]
keep_alive = "0s"
loading_linger = "2s"
growth_headroom = "16MiB"

[gpu]
residue = "24MiB"
headroom = "16MiB"
slots = 2
"""
# The workloads copy results of a few bytes themselves; chunks are far larger.
SMALLEST_MOVE = 1 << 20


def busy_ns(copies):
    """Time in which at least one of these copies was under way."""
    total = end = 0
    for copy in sorted(copies, key=lambda c: c["start_ns"]):
        total += max(0, copy["end_ns"] - max(end, copy["start_ns"]))
        end = max(end, copy["end_ns"])
    return total


def busy_share(copies):
    span = max(c["end_ns"] for c in copies) - min(c["start_ns"] for c in copies)
    return busy_ns(copies) / span


def bytes_of(copies):
    return sum(c["bytes"] for c in copies)


class Switch:
    """One move of the card from one process, all of it there before, to another; and the copies made for it."""

    def __init__(self, name, loser, winner, absent):
        self.name, self.loser, self.winner = name, loser, winner
        self.absent = absent  # bytes of the winner that are not on the card yet
        self.begin_ns = now_ns()

    def end(self):
        self.end_ns = now_ns()

    def attribute(self, copies):
        mine = [c for c in copies if self.begin_ns <= c["start_ns"] < self.end_ns]
        self.evicted = [c for c in mine if c["kind"] == "copy_d2h" and c["pid"] == self.loser]
        self.restored = [c for c in mine if c["kind"] == "copy_h2d" and c["pid"] == self.winner]
        if not self.restored:
            raise StageError(f"{self.name}: nothing was copied in")


class Sizes:
    """Of a quiet moment: what the two need, and what they may have on the card together."""

    def __init__(self, gpu):
        clients = gpu["clients"]
        self.chunk = gpu["chunk"]
        room = gpu["free"] + sum(max(c["quota"] or 0, c["resident"]) for c in clients)
        self.deficit = max(0, sum(c["needed"] for c in clients) - room)


class Run:
    def __init__(self, stage, requests):
        self.stage, self.requests, self.switches = stage, requests, []
        self.journal = stage.path("journal")

    def start(self):
        env = {"LULL_SIM_JOURNAL": self.journal}
        card = CARD.memory
        self.broker = start_broker(self.stage, CONFIG)
        self.trainer = self.stage.start("trainer", ["--bytes", card * 80 // 100 >> 21 << 21], klass="training", env=env)
        self.trainer.wait_for_output(r"ready at step", 120)
        self.service = self.stage.start("service", ["--port", 0, "--bytes", card * 60 // 100 >> 21 << 21],
                                        klass="inference", env=env)
        self.service.wait_ready(120)
        self.wait_for_trainer()
        self.sizes = Sizes(self.broker.gpu())

    def wait_for_trainer(self):
        """Until all of it is on the card and it works."""
        before = self.trainer.output().count("\nstep ")

        def back():
            self.stage.check_alive()
            client = self.broker.client(self.trainer.pid)
            return (client["gate"] == "open" and client["resident"] >= client["needed"] and client["quota"] is not None
                    and self.trainer.output().count("\nstep ") > before)
        wait_until(back, 120, lambda: f"the trainer has the card; status:\n{self.broker.status_text()}", every_s=0.02)

    def switch(self, name, loser, winner, act):
        client = self.broker.client(winner.pid)
        switch = Switch(name, loser.pid, winner.pid, client["needed"] - client["resident"])
        act()
        switch.end()
        self.switches.append(switch)

    def hand_over_and_back(self, number):
        self.switch(f"hand-over {number}", self.trainer, self.service,
                    lambda: self.service.request(body=f"request {number}", timeout_s=120))
        self.switch(f"return {number}", self.service, self.trainer, self.wait_for_trainer)

    def read_journal(self):
        dump = self.stage.build.path("tests/driver/journal/journal-dump")
        lines = subprocess.run([dump, "--ndjson", self.journal], capture_output=True, text=True, check=True).stdout.splitlines()
        records = (json.loads(line) for line in lines if '"copy_' in line)
        copies = [r for r in records if r["bytes"] >= SMALLEST_MOVE]
        for switch in self.switches:
            switch.attribute(copies)


def measure(build_dir, requests):
    with Stage(Build(build_dir), CARD) as stage:
        run = Run(stage, requests)
        run.start()
        for number in range(1, requests + 1):
            print(f"\rswitch: request {number} of {requests}", end="", file=sys.stderr, flush=True)
            run.hand_over_and_back(number)
        print(file=sys.stderr)
        run.trainer.end()
        run.service.end()
        run.read_journal()
        return run.switches, run.sizes


def excess_bytes(switches, sizes):
    """The most that one of them moved needlessly: beyond the deficit and a chunk, or more than was absent."""
    return max(max(0, bytes_of(s.evicted) - sizes.deficit - sizes.chunk) + max(0, bytes_of(s.restored) - s.absent)
               for s in switches)


def clean_bytes(switches, sizes):
    """What was copied out of the service beyond the chunk with its answer, the only one it changes: the median from its
    second eviction on."""
    return round(statistics.median(max(0, bytes_of(s.evicted) - sizes.chunk) for s in switches[3::2]))


def metric(*arguments):
    return report.metric("switch", *arguments)


def metrics_of(switches, sizes):
    shares = {
        "evict": statistics.median(busy_share(s.evicted) for s in switches if len(s.evicted) > 1),
        "restore": statistics.median(busy_share(s.restored) for s in switches),
        "handover": statistics.median(busy_share(s.evicted + s.restored) for s in switches),
    }
    excess, clean = excess_bytes(switches, sizes), clean_bytes(switches, sizes)
    return [
        *(metric(f"{kind}_busy_share", round(share, 4), "", 0.95, share >= 0.95) for kind, share in shares.items()),
        metric("excess_bytes", excess, "bytes", 0, excess == 0),
        metric("clean_bytes", clean, "bytes", 0, clean == 0),
        metric("deficit_bytes", sizes.deficit, "bytes"),
        metric("evicted_bytes", round(statistics.median(bytes_of(s.evicted) for s in switches[::2])), "bytes"),
        metric("restored_bytes", round(statistics.median(bytes_of(s.restored) for s in switches)), "bytes"),
    ]


def main():
    parser = argparse.ArgumentParser(prog="switch-bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--dir", default="build", metavar="DIR")
    parser.add_argument("--requests", type=int, default=5, metavar="N")
    options = parser.parse_args()
    try:
        measured = measure(options.dir, options.requests)
    except StageError as error:
        print(f"switch: {error}", file=sys.stderr)
        return 1
    report.show({"suite": "switch", "host": report.host(), "gpu": "simulated, 1 GiB of memory, 1 GB/s each way (modelled time)",
          "metrics": metrics_of(*measured)}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
