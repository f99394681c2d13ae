"""Services among each other and beside a trainer."""
from case import SystemTest, main
from stage import Ask, wait_until


class Services(SystemTest):
    def test_two_services_that_start_together_while_the_trainer_has_the_card_both_come_up(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        services = [self.start_service(), self.start_service()]
        for service in services:
            service.wait_ready(60)
        # Each more than half of the card: they cannot be in it together, and both must answer, again and again.
        for i in range(3):
            asked = [Ask(service, body=f"request {i}") for service in services]
            for ask in asked:
                self.assertTrue(ask.result()["ok"])
        self.wait_for_steps(trainer, 3)

    def test_a_service_that_grows_inside_a_request_is_given_the_memory(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        before = service.request()["bytes"]
        grown = service.request(path="/grow?bytes=48M", timeout_s=30)
        self.assertEqual(grown["bytes"], before + (48 << 20))
        self.wait_for_steps(trainer, 2)
        self.assertEqual(service.request()["bytes"], grown["bytes"])
        self.wait_for_steps(trainer, 2)

    def test_the_trainer_gets_the_card_back_when_a_service_dies_while_its_request_waits(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        self.wait_for_steps(trainer, 2)
        before = self.broker.preemptions()
        ask = Ask(service)
        wait_until(lambda: self.broker.preemptions() > before, 10, "the request takes the card")
        service.kill()
        ask.join(10)
        self.wait_for_steps(trainer, 3)
        self.broker.wait_for_clients({trainer.pid})

    def test_every_request_of_a_storm_is_answered_rightly_and_the_trainer_goes_on_after_it(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        load = self.stage.start("load", ["--port", service.port, "--requests", 60, "--threads", 6])
        self.assertEqual(load.wait(60), 0, load.output())
        self.assertEqual(load.output().count('"ok":true,"request"'), 60)
        self.wait_for_steps(trainer, 3)

    def test_a_health_check_does_not_take_the_card(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        self.wait_for_steps(trainer, 3)
        before = self.broker.preemptions()
        for _ in range(5):
            self.assertEqual(service.get("/health"), 200)
            self.wait_for_steps(trainer, 1)
        self.assertEqual(self.broker.preemptions(), before)


if __name__ == "__main__":
    main()
