"""The broker is killed again and again, at any moment, under load; nobody is harmed and everybody comes back.

LULL_TEST_KILLS: how often (default 8). LULL_TEST_SEED: of the moments.
"""
import os
import random
import signal
import statistics
import threading
import time

from case import MIB, SystemTest, main
from stage import Ask, Card, StageError, wait_until

KILLS = int(os.environ.get("LULL_TEST_KILLS", "8"))
SEED = int(os.environ.get("LULL_TEST_SEED", "20"))


class Requests(threading.Thread):
    """One after the other, with random pauses, until told to stop."""

    def __init__(self, service, dice):
        super().__init__(daemon=True)
        self.service, self.dice = service, dice
        self.answered, self.failures = 0, []
        self.stopping = threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                self.service.request(timeout_s=60)
                self.answered += 1
            except (OSError, StageError) as failure:
                self.failures.append(failure)
            self.stopping.wait(self.dice.uniform(0, 0.4))

    def end(self):
        self.stopping.set()
        self.join(60)
        return not self.is_alive()


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


class Restarts(SystemTest):
    # Slow enough that there is a switch under way at most moments.
    card = Card(memory=256 * MIB, link=800_000_000)

    def setUp(self):
        super().setUp()
        self.dice = random.Random(SEED)
        print(f"{KILLS} kills, seed {SEED}", flush=True)

    def replace_broker(self):
        """Kills it and starts another. Seconds from that one's readiness until both clients are managed again."""
        self.broker.kill()
        self.stage.processes.remove(self.broker)
        self.start_broker()
        ready = time.monotonic()
        self.broker.wait_for_clients({self.trainer.pid, self.service.pid}, 10)
        return time.monotonic() - ready

    def test_a_broker_that_is_killed_at_any_moment_harms_nobody(self):
        saved = self.stage.path("trainer.state")
        self.start_broker()
        self.trainer = self.start_trainer("--save-on-term", saved)
        self.wait_for_steps(self.trainer, 2)
        self.service = self.start_service().wait_ready()
        requests = Requests(self.service, self.dice)
        back, open_files = [], []
        for _ in range(KILLS):
            time.sleep(self.dice.uniform(0, 1.2))
            back.append(self.replace_broker())
            open_files.append((descriptors(self.trainer), descriptors(self.service)))
        self.wait_for_steps(self.trainer, 1)
        self.assertTrue(requests.end(), "a request is never answered")
        self.assertEqual(requests.failures, [])
        self.assertGreater(requests.answered, KILLS // 4)
        print(f"managed again after {statistics.median(back):.3f} s in the middle, {max(back):.3f} s at most; "
              f"{requests.answered} requests answered, {self.steps(self.trainer)} steps", flush=True)
        self.assertLess(statistics.median(back), 1)
        # A request's connection may be open at one of the moments; a leak grows with each kill.
        self.assertLessEqual(max(open_files[-1]) - max(open_files[0]), 2, open_files)
        [steps] = self.stop_and_save([self.trainer])
        self.service.kill()
        self.assert_same_bytes(saved, self.undisturbed(steps))

    def test_a_machine_that_slept_goes_on_where_it_was(self):
        """Everybody stands still in the middle of a switch, as in a suspend; the broker alone, as under a debugger."""
        saved = self.stage.path("trainer.state")
        self.start_broker()
        self.trainer = self.start_trainer("--save-on-term", saved)
        self.wait_for_steps(self.trainer, 2)
        self.service = self.start_service().wait_ready()
        for sleepers in ([self.broker], [self.broker, self.trainer, self.service], [self.trainer]):
            before = self.broker.bytes_moved()[0]
            ask = Ask(self.service)
            wait_until(lambda: self.broker.bytes_moved()[0] > before, 20, "the eviction begins")
            for process in sleepers:
                process.signal(signal.SIGSTOP)
            time.sleep(2.5)  # longer than any look, handshake or retry
            for process in sleepers:
                process.signal(signal.SIGCONT)
            self.assertTrue(ask.result()["ok"])
            self.wait_for_steps(self.trainer, 1)
            self.broker.wait_for_clients({self.trainer.pid, self.service.pid})
        [steps] = self.stop_and_save([self.trainer])
        self.service.kill()
        self.assert_same_bytes(saved, self.undisturbed(steps))


if __name__ == "__main__":
    main()
