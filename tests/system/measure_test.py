"""What is measured of a card: by a helper, once, and never in anybody's way."""
import json
import os

from broker import SMALL_CARD_CONFIG
from case import MIB, SystemTest, main
from stage import Card, wait_until

LINK = 2_000_000_000


class Measure(SystemTest):
    card = Card(memory=256 * MIB, link=LINK)

    def start_measuring_broker(self, config=SMALL_CARD_CONFIG):
        state = self.stage.path("state")
        os.makedirs(state, exist_ok=True)
        return self.start_broker(config, "--state-dir", state)

    def wait_until_measured(self):
        return wait_until(lambda: self.broker.gpu()["speed"], 60, lambda: f"a speed; status:\n{self.broker.status_text()}")

    def helpers(self):
        """Processes that measure, children of this broker."""
        with open(f"/proc/{self.broker.pid}/task/{self.broker.pid}/children", encoding="ascii") as file:
            found = set(file.read().split())
        for thread in os.listdir(f"/proc/{self.broker.pid}/task"):
            try:
                with open(f"/proc/{self.broker.pid}/task/{thread}/children", encoding="ascii") as file:
                    found |= set(file.read().split())
            except OSError:
                pass
        return found

    def test_an_idle_card_is_measured_once_and_the_figures_are_its_link_s(self):
        self.start_measuring_broker()
        speed = self.wait_until_measured()
        for rate in ("to_host", "to_device", "to_host_both", "to_device_both"):
            self.assertGreater(speed[rate], 0.9 * LINK, rate)
            self.assertLess(speed[rate], 1.1 * LINK, rate)
        self.assertLessEqual(speed["knee"], 8 * MIB)
        self.assertGreaterEqual(len(speed["calls"]), 2)
        wait_until(lambda: not self.helpers(), 10, "the helper has ended")
        uuid = self.broker.gpu()["uuid"]
        with open(os.path.join(self.stage.path("state"), f"card-{uuid}.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["speed"], speed)
        self.assertIn("link out", self.stage.run_lull("status").stdout)
        self.assertEqual([event["event"] for event in self.broker.events()].count("measured"), 1)
        self.broker.end()
        self.start_measuring_broker()
        self.assertEqual(self.broker.gpu()["speed"], speed)
        self.assertEqual(self.broker.gpu()["measured"], "measured earlier")

    def test_a_switch_is_predicted_and_compared_with_what_it_took(self):
        self.start_measuring_broker()
        self.wait_until_measured()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        service.request()
        self.wait_for_steps(trainer, 3)
        switches = [e for e in self.broker.events() if e["event"] == "switch" and e["restored_bytes"] > 0 and e["predicted_ns"]]
        self.assertTrue(switches, self.broker.status_text())
        self.assertGreaterEqual(self.broker.gpu()["prediction"]["switches"], 1)
        for s in switches:  # what is predicted is the time of that many bytes on this link, or longer
            self.assertLess(s["predicted_ns"], 5e9)
            self.assertGreater(s["predicted_ns"], 0)

    def test_without_a_place_to_keep_it_or_when_told_so_nothing_is_measured(self):
        self.start_broker()
        self.assertIn("no state directory", self.broker.gpu()["measured"])
        self.assertIsNone(self.broker.gpu()["speed"])
        self.broker.end()
        self.start_measuring_broker('measure = "never"\n' + SMALL_CARD_CONFIG)
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 2)
        self.assertIsNone(self.broker.gpu()["speed"])


if __name__ == "__main__":
    main()
