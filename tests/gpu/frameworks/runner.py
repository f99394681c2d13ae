#!/usr/bin/env python3
"""Programs of the frameworks, preempted at random moments, compute what they compute undisturbed.

    runner.py [--dir BUILD] [--only NAME]... [--gpu real|simulated] [--seconds S] [--limit S]

Each training program runs alone first, without Lull, for some seconds; then as many steps under lulld and the library while a
service on the same card, which does not fit beside it, is asked at random moments. Where the results differ, the first run is
made again: what is not the same twice without Lull is compared with a tolerance. A serving program is asked the same questions
alone and while it shares the card with a trainer. One line of JSON for each; 1 when one failed, 77 without a card.

On the simulated card there are no frameworks, for NVIDIA's runtime library refuses that driver: only our own trainer runs there,
which shows that this program works.
"""
import argparse
import http.client
import json
import os
import random
import sys
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "system"), os.path.join(HERE, "..", "..", "demo")]

from broker import SMALL_CARD_CONFIG, start_broker  # noqa: E402
from card import NoCard, real_card  # noqa: E402
from stage import Build, Card, Process, Service, Stage, StageError, wait_until  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
LEAST_PREEMPTIONS = 3
# Of a number, where a program differs from itself: what these frameworks' own tests allow for float32.
RELATIVE, ABSOLUTE = 1.3e-6 * 100, 1e-4
QUESTIONS = 20
RESERVES = 3 * 600_000_000 + 256 * MIB  # of a card, by default: what is left is what programs see
SECONDS_OF_ONE, SECONDS_OF_WHOLE_CARD = 30, 120  # about, so that none begins that cannot end


@dataclass
class Size:
    """How much of what card the program and its neighbour take: either alone fits, both do not."""
    card: int
    program: int
    neighbour: int


@dataclass
class Entry:
    name: str
    script: str
    mode: str = "plain"
    kind: str = "training"
    whole_card: bool = False
    env: tuple = ()


FRAMEWORKS = [
    *(Entry(f"torch-{mode}", "torch_training.py", mode)
      for mode in ("eager", "amp", "compile", "graphs", "expandable", "async", "workers")),
    Entry("torch-libraries", "torch_libraries.py"),
    Entry("triton-autotune", "triton_autotune.py"),
    Entry("cupy", "cupy_arrays.py"),
    Entry("jax", "jax_training.py"),
    Entry("transformers", "transformers_service.py", kind="serving"),
    Entry("torch-whole-card", "torch_training.py", "eager", whole_card=True),
]
OWN = [Entry("trainer", "", kind="own")]


class Missing(Exception):
    """The framework is not here."""


class Run:
    """One entry on one stage."""

    def __init__(self, entry, options, size):
        self.entry, self.options, self.size = entry, options, size
        self.card = None if options.gpu == "real" else Card(memory=256 * MIB, link=4_000_000_000)
        self.moments = random.Random(entry.name)

    def stage(self):
        return Stage(Build(self.options.dir), self.card)

    def config(self):
        if self.card:
            return SMALL_CARD_CONFIG
        text = '[policy]\nkeep_alive = "0s"\nmin_hold = "100ms"\nloading_linger = "200ms"\n'
        return text + f'\n[[gpu]]\nuuid = "{self.options.uuid}"\nmemory = {self.size.card}\n'

    def start(self, stage, klass, *words):
        if self.entry.kind == "own":
            argv = [stage.build.workload("trainer"), "--window", "8192", "--print-every", "1"]
        else:
            argv = [sys.executable, os.path.join(HERE, "programs", self.entry.script)]
            argv += ["--mode", self.entry.mode] if self.entry.kind == "training" else []
        argv += ["--bytes", str(self.size.program), *map(str, words)]
        return stage.spawn(self.entry.name, argv, klass, {"PYTHONDONTWRITEBYTECODE": "1"},
                           Service if self.entry.kind == "serving" else Process)

    def wait(self, process, seconds):
        code = process.wait(seconds)
        if code == 77:
            raise Missing(process.output().strip().splitlines()[-1])
        if code != 0:
            raise StageError(f"{process.name} ended with {code}:\n{process.output()[-2000:]}")

    # A training program.

    def alone(self, name, *words):
        """What a run without Lull leaves, and how many steps it did."""
        with self.stage() as stage:
            out = stage.path(name)
            program = self.start(stage, None, *words, "--out", out)
            begin = time.monotonic()
            self.wait(program, 240)
            return contents(out), steps_of(program), time.monotonic() - begin

    def preempted(self, steps):
        """What a run under Lull leaves, and how often it lost the card."""
        with self.stage() as stage:
            broker = start_broker(stage, self.config())
            neighbour = stage.start("service", ["--port", "0", "--bytes", self.size.neighbour], klass="inference").wait_ready(120)
            out = stage.path("preempted")
            program = self.start(stage, "training", "--steps", steps, "--out", out)
            wait_until(lambda: steps_of(program) or not program.running(), 240, "the first step")
            begin = time.monotonic()
            requests = 0
            while program.running():
                if time.monotonic() - begin > 180:
                    raise StageError(f"not done after 180 s; status:\n{broker.status_text()}")
                time.sleep(self.moments.uniform(0.02, 0.4))
                neighbour.request(body=f"question {requests}", timeout_s=60)
                requests += 1
            self.wait(program, 5)
            out_bytes, in_bytes = broker.bytes_moved()
            return contents(out), {"requests": requests, "preemptions": broker.preemptions(), "evicted_bytes": out_bytes,
                                   "restored_bytes": in_bytes, "seconds": round(time.monotonic() - begin, 2)}

    def training(self):
        for longer in (1, 3, 9):  # a machine that was busy before may be quick now, and done too soon
            first, steps, seconds = self.alone("first", "--seconds", self.options.seconds * longer)
            met, figures = self.preempted(steps)
            if figures["preemptions"] >= LEAST_PREEMPTIONS:
                break
        figures |= {"steps": steps, "seconds_alone": round(seconds, 2)}
        if figures["preemptions"] < LEAST_PREEMPTIONS or not figures["evicted_bytes"]:
            return "failed", f"only {figures['preemptions']} preemptions, {figures['evicted_bytes']} bytes moved", figures
        after = f"after {figures['preemptions']} preemptions and {figures['evicted_bytes'] / GIB:.1f} GiB moved away"
        if first == met:
            return "identical", f"the same bytes {after}", figures
        again, _, _ = self.alone("again", "--steps", steps)
        figures |= {"difference": difference(first, met), "difference_alone": difference(first, again)}
        if again == first:
            return "failed", f"other bytes {after}, though two runs alone leave the same", figures
        if figures["difference"] <= 1:
            return "within", f"within its tolerance {after}; two runs alone are not the same either", figures
        return "failed", f"beyond its tolerance {after}", figures

    # A serving program.

    def listening(self, service):
        wait_until(lambda: "listening on" in service.output() or not service.running(), 240, f"{service.name} listens")
        if not service.running():
            self.wait(service, 1)
        return service.wait_ready(1).port

    def serving(self):
        with self.stage() as stage:
            port = self.listening(self.start(stage, None))
            first = [ask(port, f"question {i}") for i in range(QUESTIONS)]
        with self.stage() as stage:
            broker = start_broker(stage, self.config())
            trainer = stage.start("trainer", ["--bytes", self.size.neighbour, "--print-every", "1"], klass="training")
            wait_until(lambda: steps_of(trainer) > 1, 120, "the trainer's first steps")
            port = self.listening(self.start(stage, "inference"))
            met = []
            for i in range(QUESTIONS):
                before = steps_of(trainer)
                wait_until(lambda steps=before: steps_of(trainer) > steps, 60, "the trainer's next step")
                met.append(ask(port, f"question {i}"))
            out_bytes, in_bytes = broker.bytes_moved()
            figures = {"requests": QUESTIONS, "preemptions": broker.preemptions(), "evicted_bytes": out_bytes, "restored_bytes": in_bytes}
        if figures["preemptions"] < LEAST_PREEMPTIONS or not out_bytes:
            return "failed", f"only {figures['preemptions']} preemptions, {out_bytes} bytes moved", figures
        same = sum(a == b for a, b in zip(first, met))
        state = "identical" if same == QUESTIONS else "failed"
        return state, f"{same} of {QUESTIONS} answers the same, {figures['preemptions']} preemptions", figures

    def row(self):
        try:
            state, sentence, figures = self.serving() if self.entry.kind == "serving" else self.training()
        except Missing as why:
            state, sentence, figures = "skipped", str(why), {}
        except (StageError, OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            state, sentence, figures = "failed", str(error) or repr(error), {}
        return {"framework": self.entry.name, "state": state, "sentence": sentence, "figures": figures}


def contents(path):
    """An object of programs/outcome.py, or the bytes of our trainer's file."""
    with open(path, "rb") as file:
        data = file.read()
    return json.loads(data) if data[:1] == b"{" else data


def steps_of(process):
    return ("\n" + process.output()).count("\nstep ")  # of thousands a second, asked often


def difference(one, other):
    """The largest between two samples, as a part of what is allowed."""
    if not isinstance(one, dict):
        return float("inf")
    worst = 0.0
    for name, array in one.items():
        for a, b in zip(array["sample"], other[name]["sample"]):
            worst = max(worst, abs(a - b) / (ABSOLUTE + RELATIVE * abs(a)) if a == a and b == b else float("inf"))
    return worst


def ask(port, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/", body)
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise StageError(f"answered {response.status}: {text}")
    return json.loads(text)


def size_for(entry, options, total):
    if options.gpu == "simulated":
        return Size(0, 176 * MIB, 128 * MIB)
    if entry.whole_card:  # what the program has beside its model is not counted; both must have room in the host's memory
        return Size(total, total * 60 // 100, total * 61 // 100)
    # A part of a large card, so that many programs have their turn in little time.
    card = min(total, 12 * GIB)
    share = (card - RESERVES) * 60 // 100
    return Size(card, share, share)


def parse_options(entries_of):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="build")
    parser.add_argument("--gpu", choices=["real", "simulated"], default="real")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated; default: all")
    parser.add_argument("--seconds", type=float, default=4, metavar="S", help="of the run alone (default: 4)")
    parser.add_argument("--limit", type=float, default=510, metavar="S", help="begin no program that will not end before this (default: 510)")
    options = parser.parse_args()
    names = [entry.name for entry in entries_of(options)]
    for name in options.only or []:
        if name not in names:
            parser.error(f"--only {name}: there are {', '.join(names)}")
    return options


def main():
    def entries_of(options):
        return OWN if options.gpu == "simulated" else FRAMEWORKS

    options = parse_options(entries_of)
    total = 256 * MIB
    if options.gpu == "real":
        try:
            card = real_card()
        except NoCard as why:
            print(f"no card: {why}", file=sys.stderr)
            return 77
        total, options.uuid = card.bytes, card.uuid
    begin, well = time.monotonic(), True
    for entry in entries_of(options):
        if options.only and entry.name not in options.only:
            continue
        if time.monotonic() - begin + (SECONDS_OF_WHOLE_CARD if entry.whole_card else SECONDS_OF_ONE) > options.limit:
            row = {"framework": entry.name, "state": "skipped", "sentence": "no time was left", "figures": {}}
        else:
            row = Run(entry, options, size_for(entry, options, total)).row()
        print(json.dumps(row), flush=True)
        well = well and row["state"] != "failed"
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
