"""What every whole-system test needs: a stage of its own, and what happened on it when it fails.

The build directory is the first argument of the test program, or LULL_BUILD_DIR, or `build`.
"""
import os
import re
import signal
import sys
import unittest

from broker import SMALL_CARD_CONFIG, start_broker
from stage import Build, Card, Stage, wait_until

MIB = 1 << 20
CARD_BYTES = 256 * MIB
TRAINER = ["--bytes", "176M", "--window", "8192", "--print-every", "1"]
SERVICE = ["--port", "0", "--bytes", "128M", "--samples", "8192"]


def build_directory():
    return os.environ.get("LULL_BUILD_DIR", "build")


class SystemTest(unittest.TestCase):
    card = Card(memory=CARD_BYTES, link=4_000_000_000)
    config = SMALL_CARD_CONFIG

    def setUp(self):
        self.stage = Stage(Build(build_directory()), self.card)
        self.addCleanup(self._close)
        self.failed_before = self._failures()

    def _failures(self):
        result = self._outcome.result
        return len(result.failures) + len(result.errors)

    def _close(self):
        if self._failures() > self.failed_before or sys.exc_info()[0]:
            self._tell()
        self.stage.close()

    def _tell(self):
        for process in self.stage.processes:
            text = process.output()
            print(f"--- {process.name} (pid {process.pid}), its last lines:\n{text[-4000:]}", file=sys.stderr)

    # The usual cast.

    def start_broker(self, config=None, *options):
        self.broker = start_broker(self.stage, config or self.config, *options)
        return self.broker

    def start_trainer(self, *options, **more):
        return self.stage.start("trainer", [*TRAINER, *options], klass="training", **more)

    def start_service(self, *options, **more):
        return self.stage.start("service", [*SERVICE, *options], klass="inference", **more)

    def steps(self, trainer):
        """Steps the trainer has printed so far."""
        return sum(line.startswith("step ") for line in trainer.output().splitlines())

    def wait_for_steps(self, trainer, more, timeout_s=30):
        target = self.steps(trainer) + more
        wait_until(lambda: self.steps(trainer) >= target, timeout_s,
                   lambda: f"{more} more steps of the trainer; status:\n{self.broker.status_text()}")

    def undisturbed(self, steps, *options):
        """The file a run of so many steps leaves that has the card to itself and knows no Lull."""
        path = self.stage.path(f"undisturbed-{steps}.state")
        run = self.stage.start("trainer", [*TRAINER, *options, "--steps", steps, "--out", path])
        self.assertEqual(run.wait(120), 0, run.output())
        return path

    def stop_and_save(self, trainers):
        """Tells trainers with --save-on-term to stop; the step each of them saved.

        Their number of steps is theirs: a test that fixes it before would race with a fast machine.
        """
        for trainer in trainers:
            trainer.signal(signal.SIGTERM)
        for trainer in trainers:
            self.assertEqual(trainer.wait(60), 0, trainer.output())
        return [int(re.search(r"saved step (\d+)", trainer.output())[1]) for trainer in trainers]

    def assert_same_bytes(self, one, other):
        with open(one, "rb") as a, open(other, "rb") as b:
            at = 0
            while True:
                left, right = a.read(MIB), b.read(MIB)
                if left != right:
                    first = next((i for i, (x, y) in enumerate(zip(left, right)) if x != y), min(len(left), len(right)))
                    self.fail(f"{one} and {other} differ from byte {at + first} on")
                if not left:
                    return
                at += len(left)


def main():
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and os.path.isdir(sys.argv[1]):
        os.environ["LULL_BUILD_DIR"] = sys.argv.pop(1)
    unittest.main(verbosity=2)
