"""Processes that run together, on one card and on two; and the models of a product, used one after another."""
from broker import SMALL_CARD_CONFIG
from case import CARD_BYTES, SERVICE, SystemTest, main
from stage import Ask, Card

RANK = ["--window", "8192", "--print-every", "1"]


class Ranks(SystemTest):
    def start_ranks(self, *options_of_each):
        """As a launcher does: children of one process, WORLD_SIZE set."""
        ranks = []
        for number, options in enumerate(options_of_each):
            saved = ["--save-on-term", self.stage.path(f"rank-{number}.state")]
            ranks.append(self.stage.start("trainer", [*RANK, *options, *saved], klass="training",
                                          env={"WORLD_SIZE": str(len(options_of_each)), "RANK": str(number)}))
        for rank in ranks:
            self.wait_for_steps(rank, 3)
        return ranks

    def states(self, ranks):
        """[gate, reason] of each rank, all of one moment."""
        pids = [rank.pid for rank in ranks]
        clients = [c for gpu in self.broker.status()["gpus"] for c in gpu["clients"] if c["pid"] in pids]
        self.assertEqual(len(clients), len(ranks))
        return [(c["gate"], c["reason"]) for c in clients]

    def watch_a_request(self, service, ranks):
        """Both are seen paused while it is answered, and never one without the other."""
        ask, both = Ask(service), 0
        while ask.is_alive():
            seen = self.states(ranks)
            if any(reason in ("maybe_request", "overdue") for _, reason in seen):
                continue  # one gate closes for a moment, or work did not end in time
            self.assertEqual(len({gate for gate, _ in seen}), 1, seen)
            both += seen[0][0] == "closed"
        self.assertTrue(ask.result()["ok"])
        return both

    def assert_undisturbed(self, service, ranks, options_of_each):
        saved = self.stop_and_save(ranks)
        service.kill()
        for number, (steps, options) in enumerate(zip(saved, options_of_each)):
            alone = self.stage.path(f"alone-{number}.state")
            run = self.stage.start("trainer", [*RANK, *options, "--steps", steps, "--out", alone])
            self.assertEqual(run.wait(120), 0, run.output())
            self.assert_same_bytes(self.stage.path(f"rank-{number}.state"), alone)


class OnOneCard(Ranks):
    def test_two_ranks_are_paused_and_go_on_together_and_compute_what_they_would_alone(self):
        self.start_broker()
        options = [["--bytes", "88M"], ["--bytes", "88M"]]
        ranks = self.start_ranks(*options)
        gangs = {self.broker.client(rank.pid)["gang"] for rank in ranks}
        self.assertEqual(len(gangs), 1)
        self.assertNotIn(None, gangs)
        service = self.start_service().wait_ready()
        paused = 0
        for _ in range(3):
            for rank in ranks:
                self.wait_for_steps(rank, 2)
            paused += self.watch_a_request(service, ranks)
        self.assertGreater(paused, 0)
        self.assert_undisturbed(service, ranks, options)


class OnTwoCards(Ranks):
    card = Card(memory=CARD_BYTES, link=4_000_000_000, devices=2)

    def test_the_rank_on_the_other_card_stands_still_while_this_card_serves_a_request(self):
        self.start_broker()
        options = [["--bytes", "176M", "--device", "0"], ["--bytes", "176M", "--device", "1"]]
        ranks = self.start_ranks(*options)
        service = self.start_service().wait_ready()
        paused = 0
        for _ in range(3):
            for rank in ranks:
                self.wait_for_steps(rank, 2)
            paused += self.watch_a_request(service, ranks)
        self.assertGreater(paused, 0)
        away = [gpu["evicted_bytes"] for gpu in self.broker.status()["gpus"]]
        self.assertGreater(max(away), 0)
        self.assertEqual(min(away), 0, "nobody wants the memory of the other card")
        self.assert_undisturbed(service, ranks, options)


PIPELINE = SMALL_CARD_CONFIG + "".join(f'\n[[service]]\ntenant = "{name}"\npipeline = "product"\n'
                                       for name in ("detector", "pose", "faces"))


class Pipeline(SystemTest):
    def test_three_models_used_one_after_another_take_memory_from_each_other_before_the_trainer(self):
        self.start_broker(PIPELINE)
        trainer = self.stage.start("trainer", ["--bytes", "88M", *RANK], klass="training")
        self.wait_for_steps(trainer, 3)
        stages = []
        for name in ("detector", "pose", "faces"):
            options = [*SERVICE[:2], "--bytes", "96M", *SERVICE[4:]]
            stages.append(self.stage.start("service", options, klass="inference", env={"LULL_TENANT": name}).wait_ready())
        self.assertEqual(len({self.broker.client(stage.pid)["pipeline"] for stage in stages}), 1)
        self.wait_for_steps(trainer, 3)
        before = self.broker.client(trainer.pid)["evicted_bytes"]
        for _ in range(3):
            for stage in stages:
                self.assertTrue(stage.request()["ok"])
        moved = self.broker.client(trainer.pid)["evicted_bytes"] - before
        self.assertEqual(moved, 0, "one stage fits beside it")
        self.wait_for_steps(trainer, 3)


if __name__ == "__main__":
    main()
