"""Two programs that each size themselves by the card they see, and take nearly all of it, run side by side."""
import re
import signal

from case import CARD_BYTES, SystemTest, main

STEPS = 15


class SideBySide(SystemTest):
    def start(self, klass, *options):
        return self.stage.start("trainer", [*options, "--window", "8192", "--print-every", "1"], klass=klass)

    def bytes_of(self, trainer):
        return int(trainer.wait_for_output(r"ready at step \d+, with (\d+) bytes", 60)[1])

    def run_two(self, part, *options):
        """The second takes the card from the first and gives it back at its end; both end with the right bytes."""
        self.start_broker()
        saved, out = self.stage.path("first.state"), self.stage.path("second.state")
        first = self.start("training", *options, "--save-on-term", saved)
        self.wait_for_steps(first, 3, 60)
        second = self.start("inference", *options, "--steps", STEPS, "--out", out)
        size = self.bytes_of(second)
        self.assertEqual(size, self.bytes_of(first), "both see the same card, whoever came first")
        self.assertGreater(2 * size, CARD_BYTES * part, "together they need more than there is")
        self.broker.wait_for_client(first.pid, lambda c: c["evicted_bytes"] > 0, "makes room", 60)
        self.assertEqual(second.wait(60), 0, second.output())
        self.wait_for_steps(first, 3, 60)
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait(60), 0, first.output())
        self.assert_same_bytes(out, self.undisturbed_with(size, STEPS))
        steps = int(re.search(r"saved step (\d+)", first.output())[1])
        self.assert_same_bytes(saved, self.undisturbed_with(size, steps))

    def undisturbed_with(self, size, steps):
        path = self.stage.path(f"undisturbed-{steps}.state")
        run = self.stage.start("trainer", ["--bytes", size, "--window", "8192", "--steps", steps, "--out", path])
        self.assertEqual(run.wait(60), 0, run.output())
        return path

    def test_two_programs_that_preallocate_three_quarters_of_the_total_run_side_by_side(self):
        self.run_two(1.2, "--fraction", "0.75")

    def test_two_programs_that_take_nine_tenths_of_what_is_free_run_side_by_side(self):
        self.run_two(1.4, "--fraction", "0.9", "--of-free")


if __name__ == "__main__":
    main()
