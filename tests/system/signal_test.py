"""A paused program can still be told to stop."""
import signal

from case import SystemTest, main

# The service keeps the card for longer than the test lasts, so the trainer is surely paused when the signal comes.
KEEPS = """\
[policy]
keep_alive = "10min"
min_hold = "0s"
loading_linger = "0s"
growth_headroom = "8MiB"

[gpu]
residue = "8MiB"
headroom = "8MiB"
slots = 3
"""


class Signals(SystemTest):
    config = KEEPS

    def pause_trainer(self, *options):
        self.start_broker()
        trainer = self.start_trainer(*options)
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        service.request()
        self.broker.wait_for_client(trainer.pid, lambda c: c["gate"] == "closed" and c["wants"], "waits at the gate")
        return trainer, service

    def test_a_paused_trainer_saves_its_state_on_sigterm_and_ends_well(self):
        saved = self.stage.path("trainer.state")
        trainer, service = self.pause_trainer("--save-on-term", saved)
        trainer.signal(signal.SIGTERM)
        self.assertEqual(trainer.wait(10), 0, trainer.output())  # 2 s for the turn, then the step and the saving
        self.assert_same_bytes(saved, self.undisturbed_beside(service, self.steps(trainer)))

    def undisturbed_beside(self, service, steps):
        service.end()
        return self.undisturbed(steps)

    def test_a_saved_state_is_gone_on_from_to_the_same_result(self):
        saved, out = self.stage.path("trainer.state"), self.stage.path("out.state")
        trainer, service = self.pause_trainer("--save-on-term", saved)
        trainer.signal(signal.SIGTERM)
        self.assertEqual(trainer.wait(10), 0, trainer.output())
        service.end()
        steps = self.steps(trainer) + 20
        resumed = self.start_trainer("--resume", saved, "--steps", steps, "--out", out)
        self.assertEqual(resumed.wait(60), 0, resumed.output())
        self.assert_same_bytes(out, self.undisturbed(steps))

    def test_a_paused_trainer_without_a_handler_dies_of_sigterm_and_sigkill_at_once(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(signal=number.name):
                trainer, service = self.pause_trainer()
                trainer.signal(number)
                self.assertEqual(trainer.wait(3), -number)
                self.broker.wait_for_clients({service.pid})
                self.assertTrue(service.request()["ok"])
                service.end()
                self.broker.end()


if __name__ == "__main__":
    main()
