"""Whoever is killed, and whenever: the others go on."""
import signal
import time

from case import MIB, SystemTest, main
from stage import Ask, Card, wait_until


class Killed(SystemTest):
    # Slow enough that a switch takes a few hundred milliseconds and can be met half-way.
    card = Card(memory=256 * MIB, link=400_000_000)

    def half_way(self, service):
        """Sends a request and returns it when the trainer's memory is on its way out."""
        before = self.broker.bytes_moved()[0]
        ask = Ask(service)
        wait_until(lambda: self.broker.bytes_moved()[0] > before, 20, lambda: f"eviction begins; status:\n{self.broker.status_text()}")
        return ask

    def cast(self, *trainer_options):
        self.start_broker()
        trainer = self.start_trainer(*trainer_options)
        self.wait_for_steps(trainer, 2)
        service = self.start_service().wait_ready()
        self.wait_for_steps(trainer, 2)
        return trainer, service

    def test_a_request_is_answered_when_the_trainer_is_killed_in_the_middle_of_a_switch(self):
        trainer, service = self.cast()
        ask = self.half_way(service)
        trainer.kill()
        self.assertTrue(ask.result()["ok"])
        self.broker.wait_for_clients({service.pid})
        again = self.start_trainer()
        self.wait_for_steps(again, 2)
        self.assertTrue(service.request()["ok"])

    def test_the_trainer_goes_on_when_the_service_is_killed_in_the_middle_of_a_switch(self):
        saved = self.stage.path("trainer.state")
        trainer, service = self.cast("--save-on-term", saved)
        self.half_way(service)
        service.kill()
        self.wait_for_steps(trainer, 3)
        self.broker.wait_for_clients({trainer.pid})
        # Its memory is there again, too: another service finds room.
        other = self.start_service().wait_ready()
        self.assertTrue(other.request()["ok"])
        self.wait_for_steps(trainer, 1)
        trainer.signal(signal.SIGTERM)
        self.assertEqual(trainer.wait(30), 0, trainer.output())
        other.end()
        self.assert_same_bytes(saved, self.undisturbed(self.steps(trainer)))

    def test_all_clients_are_managed_again_within_a_second_when_the_broker_is_killed_in_a_switch(self):
        trainer, service = self.cast()
        ask = self.half_way(service)
        self.broker.kill()
        self.start_broker()
        begin = time.monotonic()
        self.broker.wait_for_clients({trainer.pid, service.pid}, 5)
        self.assertLess(time.monotonic() - begin, 1.5)  # 1 s by design, and what asking takes
        self.assertTrue(ask.result()["ok"])
        self.wait_for_steps(trainer, 2)
        before = self.broker.preemptions()
        self.assertTrue(service.request()["ok"])
        self.assertGreater(self.broker.preemptions(), before)
        self.wait_for_steps(trainer, 1)

    def test_without_a_broker_the_trainer_ends_with_the_same_bytes(self):
        out = self.stage.path("trainer.state")
        trainer, service = self.cast("--out", out, "--save-on-term", out)
        ask = self.half_way(service)
        self.broker.kill()
        # The service may have to wait until the trainer's memory has room beside it; nobody is there to make it.
        service.kill()
        ask.join(30)
        self.wait_for_steps_without_broker(trainer, 3)
        trainer.signal(signal.SIGTERM)
        self.assertEqual(trainer.wait(30), 0, trainer.output())
        self.assert_same_bytes(out, self.undisturbed(self.steps(trainer)))

    def wait_for_steps_without_broker(self, trainer, more):
        target = self.steps(trainer) + more
        # The grace time of 10 s, and a restore.
        wait_until(lambda: self.steps(trainer) >= target, 25, lambda: f"the trainer goes on by itself:\n{trainer.output()[-2000:]}")


if __name__ == "__main__":
    main()
