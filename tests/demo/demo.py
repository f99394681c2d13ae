#!/usr/bin/env python3
"""The main job of Lull, run and shown: a request takes the whole card from a running trainer and gives it back unharmed.

Called by scripts/demo, which builds everything first.
"""
import argparse
import filecmp
import json
import os
import random
import re
import shutil
import signal
import statistics
import sys
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

import view  # noqa: E402
from broker import start_broker  # noqa: E402
from card import NoCard, real_card  # noqa: E402
from stage import Build, Card, Stage, StageError, now_ns, wait_until  # noqa: E402

SIMULATED_BYTES = 1 << 30
IDLE_REQUESTS = 3

# What is not the default here: a small card needs small reserves, and a demo cannot linger for seconds after each request.
CONFIG = """\
[policy]
keep_alive = "100ms"
min_hold = "1s"
loading_linger = "500ms"
"""
SIMULATED_CONFIG = CONFIG + """\
growth_headroom = "16MiB"

[gpu]
residue = "24MiB"
headroom = "16MiB"
slots = 2
"""


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Runs the main job of Lull and shows it.")
    parser.add_argument("--requests", type=int, default=10, metavar="N", help="requests to send (default: 10)")
    parser.add_argument("--gpu", choices=["real", "simulated"], help="the card (default: a real one if there is one)")
    parser.add_argument("--json", metavar="FILE", help="write the result here as one JSON object; - is standard output")
    parser.add_argument("--trace", metavar="FILE", help="write what happened for ui.perfetto.dev or chrome://tracing")
    parser.add_argument("--picture", metavar="FILE", help="draw the last preemption, as SVG")
    parser.add_argument("--dir", default="build", metavar="DIR", help="build directory (default: build)")
    parser.add_argument("--card-bytes", type=int, metavar="N", help="take a real card for one of so many bytes (default: all)")
    parser.add_argument("--check-options", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 1 <= options.requests <= 10000:
        parser.error("--requests: between 1 and 10000")
    for name in ("json", "trace", "picture"):
        path = getattr(options, name)
        if path and not (name == "json" and path == "-") and not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
            parser.error(f"--{name}: cannot write {path}")
    return options


def choose_card(options, say):
    """(what to call it, Card or None for the real one, its bytes, what the configuration says of it)."""
    wanted = options.gpu
    if wanted != "simulated":
        try:
            real = real_card()
            size = min(real.bytes, options.card_bytes or real.bytes)
            part = "" if size == real.bytes else f" of {real.bytes / (1 << 30):.0f}"
            return f"{real.name}, {size / (1 << 30):.0f}{part} GiB", None, size, f'\n[[gpu]]\nuuid = "{real.uuid}"\nmemory = {size}\n'
        except NoCard as why:
            if wanted == "real":
                raise StageError(f"no usable GPU here ({why}); --gpu simulated needs none") from None
            say.line(f"No usable GPU here ({why}): simulating one.")
    card = Card(memory=SIMULATED_BYTES, link=1_000_000_000, context=16 << 20)
    return "simulated, 1 GiB of memory, 1 GB/s each way", card, SIMULATED_BYTES, ""


class Demo:
    def __init__(self, stage, say, card_bytes, options, about_card=""):
        self.about_card = about_card
        self.stage, self.say, self.requests = stage, say, options.requests
        self.trace, self.picture = options.trace, options.picture
        self.trainer_bytes = card_bytes * 80 // 100 >> 21 << 21
        self.service_bytes = card_bytes * 60 // 100 >> 21 << 21
        self.random = random.Random(1)
        self.saved, self.reference = stage.path("trainer.state"), stage.path("undisturbed.state")
        self.rows, self.spans = [], []

    # The three parts, in order.

    def measure_idle(self):
        """The same requests by a service that has the card to itself, without Lull."""
        self.say.step("measuring requests on an idle card ...")
        service = self.stage.start("service", ["--port", 0, "--bytes", self.service_bytes]).wait_ready(300)
        service.request(body="warm up")
        answers = [service.request(body=f"request {i + 1}") for i in range(IDLE_REQUESTS)]
        service.end()
        self.idle = {"request": "idle"}
        for phase, key in (("first_kernel", "first_kernel_ns"), ("answered", "got_ns")):
            self.idle[phase] = statistics.median(a[key] - a["sent_ns"] for a in answers) / 1e6

    def run(self):
        """Trainer and service under Lull; a request each time the trainer has been back for a while."""
        self.broker = start_broker(self.stage, SIMULATED_CONFIG if self.stage.card else CONFIG + self.about_card)
        self.early_wake = self.broker.status()["early_wake"]
        for note in self.broker.notes():
            for line in textwrap.wrap("lulld: " + note, view.WIDTH, subsequent_indent="  "):
                self.say.line(line)
        self.say.step("starting the trainer ...")
        self.trainer = self.stage.start("trainer", ["--bytes", self.trainer_bytes, "--save-on-term", self.saved,
                                                    "--progress", self.stage.path("steps")], klass="training")
        self.trainer.wait_for_output(r"ready at step", 300)
        self._train_for(0.5)
        self.say.step("starting the service while the trainer has the card ...")
        begin = now_ns()
        self.service = self.stage.start("service", ["--port", 0, "--bytes", self.service_bytes], klass="inference")
        self.service.wait_ready(300)
        self.loading_span = (begin, now_ns())
        self.switches_before = self.broker.preemptions()
        for i in range(1, self.requests + 1):
            self.say.step(f"request {i} of {self.requests}: the trainer trains until it comes ...")
            self._train_for(self.random.uniform(0.8, 2.0))
            self.say.progress(f"request {i} of {self.requests}: sent, the card changes hands ...")
            self._request(i)
        self._train_for(0.8)
        self._finish()

    def compare(self):
        """As many steps without Lull and without the service, and every byte compared."""
        self.say.step(f"running the same {self.steps_done} steps undisturbed ...")
        run = self.stage.start("trainer", ["--bytes", self.trainer_bytes, "--steps", self.steps_done, "--out", self.reference])

        def ended():
            last = re.findall(r"^step (\d+) ", run.output(), re.MULTILINE)
            done = int(last[-1]) if last else 0
            self.say.progress(f"running the same {self.steps_done} steps undisturbed: {done * 100 // self.steps_done} %")
            return not run.running()

        wait_until(ended, 600 + self.trained_s * 10, "the undisturbed run ends", every_s=0.2)
        if run.wait(1) != 0:
            raise StageError(f"the undisturbed run failed:\n{run.output()}")
        self.say.step("comparing every byte of weights and momentum ...")
        self.identical = filecmp.cmp(self.saved, self.reference, shallow=False)

    def result(self, gpu):
        return {
            "gpu": gpu,
            "requests": self.rows,
            "idle": self.idle,
            "preemptions": self.preemptions,
            "evicted_bytes": self.evicted_bytes,
            "restored_bytes": self.restored_bytes,
            "bit_identical": self.identical,
            "trainer_steps": self.steps_done,
            "trainer_seconds": round(self.trained_s, 3),
            "trainer_paused_seconds": round(self.paused_s, 3),
        }

    # Their pieces.

    def _steps(self):
        with open(self.stage.path("steps"), encoding="utf-8") as lines:
            return [json.loads(line) for line in lines if line.endswith("\n")]

    def _train_for(self, seconds):
        """Until the trainer has done steps for this long, counted from its next step on."""
        before = len(self._steps())
        self.stage.check_alive()

        def trained():
            self.stage.check_alive()
            new = self._steps()[before + 1:]  # the first may have begun long ago, behind the gate
            return sum(s["end_ns"] - s["start_ns"] for s in new) > seconds * 1e9
        wait_until(trained, 120, lambda: f"the trainer gets the card back; status:\n{self.broker.status_text()}", every_s=0.05)

    def _request(self, number):
        row = {"request": number, "ok": False}
        try:
            answer = self.service.request(body=f"request {number}", timeout_s=120)
        except (OSError, StageError) as error:
            self.say.line(f"request {number} failed: {error}")
            self.rows.append(row)
            return
        sent = answer["sent_ns"]
        # The first kernel as the service saw it, as on the idle card; the rest as the broker recorded it.
        times = self.broker.switch_to(self.service.pid, sent, answer["got_ns"]) or {}
        if not self.early_wake:
            times.pop("packet_seen", None)  # what began the switch was the first blocked submission
        times |= {"first_kernel": answer["first_kernel_ns"], "answered": answer["got_ns"]}
        row |= {"ok": True} | {name: round((times[name] - sent) / 1e6, 3) if name in times else None for name, *_ in view.PHASES}
        self.rows.append(row)
        self.spans.append((sent, answer["got_ns"]))

    def _draw(self):
        for path, arguments in ((self.trace, ["--out"]), (self.picture, ["--switch", "last", "--picture"])):
            if not path:
                continue
            run = self.stage.run_lull("trace", *arguments, os.path.abspath(path))
            if run.returncode != 0:
                raise StageError(f"lull trace failed:\n{run.stderr}")

    def _finish(self):
        self.say.step("ending the trainer, which saves its state ...")
        self.preemptions = self.broker.preemptions() - self.switches_before
        self.evicted_bytes, self.restored_bytes = self.broker.bytes_moved()
        self.paused_s = self.broker.paused_seconds(self.trainer.pid)
        self._draw()  # while the broker remembers
        self.trainer.signal(signal.SIGTERM)
        if self.trainer.wait(300) != 0:
            raise StageError(f"the trainer failed:\n{self.trainer.output()}")
        self.service.end()
        self.broker.end()
        steps = self._steps()
        self.step_spans = [(s["start_ns"], s["end_ns"]) for s in steps]
        self.steps_done = steps[-1]["step"]
        self.trained_s = max(0.0, (steps[-1]["end_ns"] - steps[0]["start_ns"]) / 1e9 - self.paused_s)


def show(demo, say):
    for line in view.table(demo.idle, demo.rows):
        say.line(line)
    answered = [row for row in demo.rows if row["ok"]]
    say.line()
    for line in view.timelines(demo.idle, answered):
        say.line(line)
    say.line()
    # Paused is a step much longer than the others: it met the closed gate.
    usual = statistics.median(end - start for start, end in demo.step_spans)
    steps = [s for s in demo.step_spans if s[1] - s[0] < 5 * usual]
    for line in view.glance(steps, demo.loading_span, demo.spans, demo.step_spans[0][0], demo.step_spans[-1][1]):
        say.line(line)
    say.line()
    say.line(f"requests answered        {len(answered)} of {len(demo.rows)}")
    say.line(f"preemptions              {demo.preemptions}")
    say.line(f"moved                    {demo.evicted_bytes / 1e9:.2f} GB out, {demo.restored_bytes / 1e9:.2f} GB in")
    say.line(f"trainer                  {demo.steps_done} steps, {demo.trained_s:.1f} s trained, {demo.paused_s:.1f} s paused")
    say.line(f"trainer's result identical to an undisturbed run: {'yes' if demo.identical else 'NO'}")


def check_room(stage, card_bytes):
    needed = 2 * card_bytes * 80 // 100 + (0 if not stage.card or stage.pool.startswith("/dev/shm") else card_bytes)
    free = shutil.disk_usage(stage.directory).free
    if free < needed + (64 << 20):
        raise StageError(f"{stage.directory} has {free >> 20} MiB free; the trainer's two results need {needed >> 20} MiB. "
                         "Name a larger place: TMPDIR=DIR scripts/demo")


def run(options, say):
    gpu, card, card_bytes, about_card = choose_card(options, say)
    say.line(f"GPU: {gpu}")
    begin = time.monotonic()
    with Stage(Build(options.dir), card) as stage:
        check_room(stage, card_bytes)
        demo = Demo(stage, say, card_bytes, options, about_card)
        say.line(f"trainer: {demo.trainer_bytes >> 20} MiB (80 %), service: {demo.service_bytes >> 20} MiB (60 %), "
                 f"requests: {options.requests}")
        demo.measure_idle()
        demo.run()
        demo.compare()
        say.line()
        show(demo, say)
        say.line(f"({time.monotonic() - begin:.0f} s)")
        return demo.result(gpu)


def write_result(result, path):
    text = json.dumps(result, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    elif path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def main():
    options = parse_options(sys.argv[1:])
    if options.check_options:
        return 0
    say = view.Say(sys.stderr if options.json == "-" else sys.stdout)

    def interrupted(*_):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what follows is the cleaning up
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        result = run(options, say)
    except KeyboardInterrupt:
        say.line("interrupted; everything that was started has been ended and removed")
        return 130
    except StageError as error:
        say.line(f"demo: {error}")
        return 1
    write_result(result, options.json)
    return 0 if result["bit_identical"] and all(r["ok"] for r in result["requests"]) else 1


if __name__ == "__main__":
    sys.exit(main())
