"""Two cards of one host: each is arbitrated by itself, and who works on one knows nothing of the other."""
from case import CARD_BYTES, SystemTest, main
from stage import Card


class TwoCards(SystemTest):
    card = Card(memory=CARD_BYTES, link=4_000_000_000, devices=2)

    def setUp(self):
        super().setUp()
        self.start_broker()
        self.assertEqual(len(self.broker.status()["gpus"]), 2)

    def card_of(self, process):
        """The number of the card of which a process is a client, and what the broker says of it there."""
        for number, gpu in enumerate(self.broker.status()["gpus"]):
            for client in gpu["clients"]:
                if client["pid"] == process.pid:
                    return number, client
        return None, None

    def preemptions(self):
        return [gpu["preemptions"] for gpu in self.broker.status()["gpus"]]

    def test_a_request_on_one_card_stops_nobody_on_the_other(self):
        trainers = [self.start_trainer("--device", n) for n in range(2)]
        for trainer in trainers:
            self.wait_for_steps(trainer, 2)
        services = [self.start_service("--device", n).wait_ready() for n in range(2)]
        for number, process in [*enumerate(trainers), *enumerate(services)]:
            self.assertEqual(self.card_of(process)[0], number)
        for asked in (0, 1):
            other = 1 - asked
            for trainer in trainers:
                self.wait_for_steps(trainer, 1)
            before, paused = self.preemptions(), self.card_of(trainers[other])[1]["paused_ns"]
            for _ in range(3):
                services[asked].request()
                self.wait_for_steps(trainers[asked], 1)
            after = self.preemptions()
            self.assertGreater(after[asked], before[asked])
            self.assertEqual(after[other], before[other])
            self.assertEqual(self.card_of(trainers[other])[1]["paused_ns"], paused)

    def test_both_cards_change_hands_at_once_and_results_stay_the_same(self):
        paths = [self.stage.path(f"{n}.state") for n in range(2)]
        trainers = [self.start_trainer("--device", n, "--save-on-term", paths[n]) for n in range(2)]
        for trainer in trainers:
            self.wait_for_steps(trainer, 2)
        services = [self.start_service("--device", n).wait_ready() for n in range(2)]
        for _ in range(3):
            for trainer in trainers:
                self.wait_for_steps(trainer, 1)
            for service in services:
                service.request()
        steps = self.stop_and_save(trainers)
        for service in services:
            service.kill()
        self.broker.end()
        for path, saved in zip(paths, steps):
            self.assert_same_bytes(path, self.undisturbed(saved))


if __name__ == "__main__":
    main()
