#!/usr/bin/env python3
"""What Lull costs and brings on a card: the table of README, measured with whole programs.

    bench.py [--dir BUILD] [--gpu real|simulated] [--only PART]... [--limit S]

  slowdown   steps of a trainer in a second: alone, and under Lull with nobody else there
  switch     a request while a trainer has the card, for several sizes: each phase, and the rate at which memory moved
  pause      from the gate's closing until the card is idle, for kernels of several lengths: with the work in flight bounded
             while a request is on its way (armed), and not (loose)
  latency    from a request's first byte sent to its first kernel: an exclusive card, Lull, and both programs at once without Lull
  recovered  a trainer beside requests that come at random: the part of the idle time in which it has worked
  restart    what people do instead: stop the trainer so that it saves, answer, and start it from what it saved

One line of JSON for each part. Times are of this machine and this run; ratios are between runs of the same part.
On the simulated card the figures say nothing of a real one.
"""
import argparse
import http.client
import json
import os
import random
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "system"), os.path.join(HERE, "..", "demo")]

from broker import SMALL_CARD_CONFIG, start_broker  # noqa: E402
from card import NoCard, real_card  # noqa: E402
from stage import Build, Card, Stage, StageError, wait_until  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
RESERVES = {"residue": 512 * MIB, "headroom": 128 * MIB, "slots": 3}  # of a real card
SMALL_RESERVES = 32 * MIB  # of SMALL_CARD_CONFIG
PHASES = ("gate_closed", "drained", "evicted", "restored", "first_kernel")


class Bench:
    def __init__(self, options):
        self.options = options
        self.real = options.gpu == "real"
        self.window = [] if self.real else ["--window", "8192"]
        self.samples = [] if self.real else ["--samples", "8192"]

    def stage(self, bytes_of_card=0):
        """A card of so many bytes where it is simulated; a real one is told to the broker as such (0: as it is)."""
        card = None if self.real else Card(memory=bytes_of_card or 256 * MIB, link=4_000_000_000)
        return Stage(Build(self.options.dir), card)

    def broker(self, stage, bytes_of_card=0, policy=""):
        if not self.real:
            return start_broker(stage, SMALL_CARD_CONFIG.replace("[policy]\n", "[policy]\n" + policy))
        text = f'[policy]\n{policy}keep_alive = "0s"\nmin_hold = "0s"\nloading_linger = "200ms"\n'
        text += f'\n[[gpu]]\nuuid = "{self.options.card.uuid}"\n'
        text += "".join(f"{key} = {value}\n" for key, value in RESERVES.items())
        return start_broker(stage, text + (f"memory = {bytes_of_card}\n" if bytes_of_card else ""))

    def card_for(self, tenant):
        """Of which a tenant of this size gets nearly all."""
        reserves = RESERVES["slots"] * RESERVES["residue"] + RESERVES["headroom"] if self.real else SMALL_RESERVES
        return tenant * 23 // 20 + reserves

    def trainer(self, stage, nbytes, *more, klass=None):
        window = [] if "--window" in more else self.window
        return stage.start("trainer", ["--bytes", nbytes, "--print-every", "1", *window, *more], klass=klass)

    def service(self, stage, nbytes, klass=None):
        return stage.start("service", ["--port", "0", "--bytes", nbytes, *self.samples], klass=klass).wait_ready(180)

    def whole(self):
        """(bytes of a card for a part that does not ask for sizes, and of a tenant that needs most of it)."""
        card = min(self.options.card.bytes, 16 * GIB) if self.real else 256 * MIB
        return card, card * (60 if self.real else 69) // 100

    # ---- the parts

    def slowdown(self):
        card, tenant = self.whole()
        seconds = 8 if self.real else 1.5
        rates = {"alone": [], "under_lull": []}
        for _ in range(2):  # alternating: what the machine does besides is in both
            for name, klass in (("alone", None), ("under_lull", "training")):
                with self.stage() as stage:
                    if klass:
                        self.broker(stage, card)
                    trainer = self.trainer(stage, tenant, klass=klass)
                    more_steps(trainer, 2, 180)
                    rates[name].append(rate_of(trainer, seconds))
        best = {name: max(values) for name, values in rates.items()}
        ratio = best["under_lull"] / best["alone"]
        return f"a trainer does {ratio:.3f} of the steps it does without Lull", {"steps_per_s": rates, "ratio": ratio}

    def switch(self):
        sizes = [n * GIB for n in (1, 4, 16, 40, 64)] if self.real else [96 * MIB, 160 * MIB]
        room = self.options.card.bytes * 95 // 100 if self.real else 1 << 62
        told, why = [], "no size fits the card"
        for size in sizes:
            card = self.card_for(size)
            # Both fill their memory from the host first: seconds for each GiB.
            if card > room or time.monotonic() + size // GIB * 3 > self.options.end:
                continue
            try:
                told.append(self.switches_of(size, card))
            except (StageError, OSError) as error:  # what the others have told is not lost
                why = str(error)
                told.append({"bytes": size, "failed": why})
        rows = [row for row in told if "failed" not in row]
        if not rows:
            raise StageError(why)
        last = rows[-1]
        return (f"{last['bytes'] / GIB:.2f} GiB change hands within {last['total_ms']:.0f} ms "
                f"({last['out_bytes_per_s'] / 1e9:.1f} GB/s out)"), {"sizes": told}

    def switches_of(self, size, card):
        with self.stage(card) as stage:
            broker = self.broker(stage, card)
            trainer = self.trainer(stage, size, klass="training")
            more_steps(trainer, 2, 240)
            service = self.service(stage, size, klass="inference")
            seen = []
            for _ in range(5):
                more_steps(trainer, 1, 120)
                out_before = broker.bytes_moved()[0]
                answer = service.request(timeout_s=120)
                times = broker.switch_to(service.pid, answer["sent_ns"], answer["got_ns"], timeout_s=5)
                if times and all(phase in times for phase in PHASES):
                    seen.append((times, broker.bytes_moved()[0] - out_before))
        if not seen:
            raise StageError(f"no switch was seen with {size} bytes")
        # The one that moved most is one without host copies that are still good: the link alone decides.
        times, moved = max(seen, key=lambda one: one[1])
        took = {phase: (times[phase] - times["gate_closed"]) / 1e6 for phase in PHASES[1:]}
        return {"bytes": size, "switches": len(seen), "since_gate_closed_ms": took, "total_ms": took["first_kernel"], "moved_bytes": moved,
                "out_bytes_per_s": moved * 1e9 / max(1, times["evicted"] - times["drained"]),
                "median": {"total_ms": statistics.median(t["first_kernel"] - t["gate_closed"] for t, _ in seen) / 1e6,
                           "moved_bytes": statistics.median(moved for _, moved in seen)}}

    def pause(self):
        card, _ = self.whole()
        windows = (1 << 14, 1 << 20, 1 << 24, 1 << 26) if self.real else (4096, 65536)
        rows = []
        for window in windows:
            for name, policy in (("armed", ""), ("loose", 'armed_drain_limit = "1s"\ndrain_limit = "1s"\n')):
                with self.stage() as stage:
                    broker = self.broker(stage, card, policy)
                    trainer = self.trainer(stage, card // 4, "--window", window, klass="training")
                    more_steps(trainer, 2, 180)
                    service = self.service(stage, card // 8, klass="inference")
                    drained = []
                    for _ in range(10):
                        more_steps(trainer, 1, 60)
                        answer = service.request(timeout_s=60)
                        times = broker.switch_to(service.pid, answer["sent_ns"], answer["got_ns"])
                        if times and "drained" in times:
                            drained.append((times["drained"] - times["gate_closed"]) / 1e6)
                    rate = rate_of(trainer, 1)
                if drained:
                    rows.append({"window": window, "limit": name, "pauses": len(drained), "median_ms": statistics.median(drained),
                                 "worst_ms": max(drained), "step_ms": 1e3 / rate if rate else None})
        if not rows:
            raise StageError("no pause was seen")
        return f"a pause takes {rows[0]['median_ms']:.2f} ms with the shortest kernels, {rows[-1]['median_ms']:.2f} ms with the longest", {
            "pauses": rows}

    def latency(self):
        card, tenant = self.whole()
        small = card * 35 // 100  # both fit, for a card without an arbiter
        figures = {}
        plain, lull = (None, None), ("training", "inference")
        for name, nbytes, klasses, neighbour in (("exclusive", tenant, plain, False), ("lull", tenant, lull, True),
                                                 ("time_slices", small, plain, True), ("lull_both_fit", small, lull, True)):
            with self.stage() as stage:
                if klasses[0]:
                    self.broker(stage, card)
                trainer = self.trainer(stage, nbytes, klass=klasses[0]) if neighbour else None
                if trainer:
                    more_steps(trainer, 2, 180)
                service = self.service(stage, nbytes, klass=klasses[1])
                waited = []
                for _ in range(10):
                    if trainer:
                        more_steps(trainer, 1, 120)
                    answer = service.request(timeout_s=120)
                    waited.append((answer["kernel_done_ns"] - answer["sent_ns"]) / 1e6)
                figures[name] = {"median_ms": statistics.median(waited), "worst_ms": max(waited)}
        return ("a request is computed within " + ", ".join(f"{f['median_ms']:.1f} ms ({name.replace('_', ' ')})"
                                                             for name, f in figures.items())), figures

    def recovered(self):
        card, tenant = self.whole()
        seconds, mean = (60, 10) if self.real else (6, 1.5)
        with self.stage() as stage:
            trainer = self.trainer(stage, tenant)
            more_steps(trainer, 2, 180)
            alone = rate_of(trainer, seconds / 6)
        gaps = random.Random(3)
        with self.stage() as stage:
            broker = self.broker(stage, card)
            trainer = self.trainer(stage, tenant, klass="training")
            more_steps(trainer, 2, 180)
            service = self.service(stage, tenant, klass="inference")
            more_steps(trainer, 1, 120)
            begin, done, busy = time.monotonic(), steps(trainer), 0.0
            due = begin
            while (due := due + gaps.expovariate(1 / mean)) < begin + seconds:
                time.sleep(max(0.0, due - time.monotonic()))
                answer = service.request(timeout_s=120)
                busy += (answer["kernel_done_ns"] - answer["first_kernel_ns"]) / 1e9
            time.sleep(max(0.0, begin + seconds - time.monotonic()))
            took, done = time.monotonic() - begin, steps(trainer) - done
            preemptions = broker.preemptions()
        share = done / (alone * (took - busy))
        return (f"{share:.2f} of the time no request needed went into training ({preemptions} preemptions in {took:.0f} s)",
                {"share": share, "seconds": took, "busy_s": busy, "preemptions": preemptions, "mean_gap_s": mean})

    def restart(self):
        card, tenant = self.whole()
        with self.stage() as stage:
            saved = stage.path("saved")
            trainer = self.trainer(stage, tenant, "--save-on-term", saved)
            more_steps(trainer, 2, 180)
            begin = time.monotonic()
            trainer.signal(15)
            trainer.wait(240)
            stopped = time.monotonic()
            service = self.service(stage, tenant)
            service.request(timeout_s=120)
            answered = time.monotonic()
            service.kill()
            freed = time.monotonic()
            trainer = self.trainer(stage, tenant, "--resume", saved)
            more_steps(trainer, 1, 240)
            figures = {"stop_s": stopped - begin, "service_s": answered - stopped, "start_s": time.monotonic() - freed}
        return ("stopping the trainer takes {stop_s:.1f} s, a service from its start to its answer {service_s:.1f} s, "
                "starting the trainer again {start_s:.1f} s".format(**figures)), figures


def steps(process):
    return ("\n" + process.output()).count("\nstep ")  # of thousands a second, asked often


def more_steps(trainer, number, timeout_s):
    """So many beyond those it has done."""
    target = steps(trainer) + number
    wait_until(lambda: steps(trainer) >= target or not trainer.running(), timeout_s, lambda: f"{number} steps of:\n{trainer.output()[-800:]}")
    if steps(trainer) < target:
        raise StageError(f"the trainer has ended:\n{trainer.output()[-800:]}")


def rate_of(trainer, seconds):
    done, begin = steps(trainer), time.monotonic()
    time.sleep(seconds)
    return (steps(trainer) - done) / (time.monotonic() - begin)


PARTS = ("slowdown", "switch", "pause", "latency", "recovered", "restart")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", default="build")
    parser.add_argument("--gpu", choices=["real", "simulated"], default="real")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated; default: all")
    parser.add_argument("--limit", type=float, default=420, metavar="S", help="begin nothing later than this (default: 420)")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.gpu == "real":
        try:
            options.card = real_card()
        except NoCard as why:
            print(f"no card: {why}", file=sys.stderr)
            return 77
    options.end = time.monotonic() + options.limit
    bench, well = Bench(options), True
    for part in options.only or PARTS:
        if time.monotonic() > options.end:
            row = {"part": part, "state": "skipped", "sentence": "no time was left", "figures": {}}
        else:
            try:
                sentence, figures = getattr(bench, part)()
                row = {"part": part, "state": "measured", "sentence": sentence, "figures": figures}
            except (StageError, OSError, ValueError, LookupError, ArithmeticError, http.client.HTTPException) as error:
                row = {"part": part, "state": "failed", "sentence": str(error) or repr(error), "figures": {}}
        print(json.dumps(row), flush=True)
        well = well and row["state"] != "failed"
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
