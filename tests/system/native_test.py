"""Native memory beyond what is kept for it: others make room, by the policy of a real broker, and nobody loses a byte."""
import signal

from case import MIB, SystemTest, main
from stage import Card

# Each. A client has 8 MiB of native memory for sure, a context needs 4 of them, and the headroom is 8. What nobody has
# measured yet is believed up to a sixteenth of the card.
MODULE = 4 * MIB


class Native(SystemTest):
    card = Card(memory=256 * MIB, link=4_000_000_000, module=MODULE)

    def start_loader(self, klass, *options):
        return self.stage.start("late_loader", options, klass=klass, env={"CUDA_MODULE_LOADING": "EAGER"})

    def evicted(self, client):
        return self.broker.client(client.pid)["evicted_bytes"]

    def test_a_service_that_loads_modules_on_a_full_card_gets_room_from_the_trainer(self):
        self.start_broker()
        saved = self.stage.path("trainer.state")
        trainer = self.start_trainer("--save-on-term", saved)
        self.wait_for_steps(trainer, 3)
        loader = self.start_loader("inference", "--bytes", "52M", "--modules", "5")
        loader.wait_for_output("ready", 60)
        self.wait_for_steps(trainer, 2, 60)
        before = self.evicted(trainer)
        loader.signal(signal.SIGUSR1)
        loader.wait_for_output("13631488 of 13631488 words are right", 60)
        self.assertEqual(loader.wait(30), 0, loader.output())
        self.assertGreater(self.evicted(trainer), before, self.broker.status_text())
        self.wait_for_steps(trainer, 3, 60)
        [steps] = self.stop_and_save([trainer])
        self.assert_same_bytes(saved, self.undisturbed(steps))

    def test_more_than_the_card_can_hold_is_out_of_memory_at_once(self):
        self.start_broker()
        loader = self.start_loader("inference", "--bytes", "52M", "--modules", "60")
        loader.wait_for_output("ready", 60)
        loader.signal(signal.SIGUSR1)
        loader.wait_for_output("OUT_OF_MEMORY", 60)
        self.assertEqual(loader.wait(30), 1, loader.output())
        self.assertIn("module 30\n", loader.output())


if __name__ == "__main__":
    main()
