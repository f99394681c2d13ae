"""Taking the card away from a trainer, again and again, changes nothing of what it computes."""
import random
import time

from case import SystemTest, main

PREEMPTIONS = 50


class Unharmed(SystemTest):
    def test_a_trainer_preempted_at_fifty_random_moments_ends_with_the_same_bytes(self):
        self.start_broker()
        saved = self.stage.path("trainer.state")
        trainer = self.start_trainer("--save-on-term", saved)
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        moments = random.Random(20)
        before = self.broker.preemptions()
        requests = 0
        while self.broker.preemptions() - before < PREEMPTIONS:
            self.assertLess(requests, 3 * PREEMPTIONS, "requests hardly ever preempt the trainer")
            self.wait_for_steps(trainer, 1)
            time.sleep(moments.uniform(0, 0.03))  # anywhere in a step, a copy or a launch
            service.request(body=f"request {requests}")
            requests += 1
        moved, back = self.broker.bytes_moved()
        [steps] = self.stop_and_save([trainer])
        service.end()
        self.assertGreater(moved, 0)
        self.assertGreater(back, 0)
        self.assert_same_bytes(saved, self.undisturbed(steps))

    def test_a_trainer_on_a_stream_of_its_own_ends_with_the_same_bytes(self):
        self.start_broker()
        saved = self.stage.path("trainer.state")
        trainer = self.start_trainer("--streams", "--save-on-term", saved)
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        for i in range(5):
            self.wait_for_steps(trainer, 2)
            service.request(body=f"request {i}")
        [steps] = self.stop_and_save([trainer])
        self.assertGreaterEqual(self.broker.preemptions(), 5)
        service.end()
        self.assert_same_bytes(saved, self.undisturbed(steps, "--streams"))


if __name__ == "__main__":
    main()
