"""lull doctor says what is as it should be, what is not, and what to do about it; and its exit status is the answer."""
import json
import os

from broker import SMALL_CARD_CONFIG
from case import MIB, SystemTest, main
from stage import Card, wait_until


class Doctor(SystemTest):
    card = Card(memory=256 * MIB, link=2_000_000_000)

    def examine(self):
        """The exit status, and the findings by the names of their checks."""
        run = self.stage.run_lull("doctor", "--json")
        answer = json.loads(run.stdout)
        self.assertEqual(run.stderr, "")
        self.assertEqual(answer["well"], run.returncode == 0)
        found = {}
        for finding in answer["findings"]:
            self.assertIn(finding["health"], ("ok", "warn", "fail"))
            self.assertEqual(finding["to_do"] is None, finding["health"] == "ok", finding)
            found.setdefault(finding["check"], []).append(finding)
        return run.returncode, found

    def start_measured_broker(self, config=SMALL_CARD_CONFIG):
        state = self.stage.path("state")
        os.makedirs(state, exist_ok=True)
        self.start_broker(config, "--state-dir", state)
        wait_until(lambda: self.broker.gpu()["speed"], 60, lambda: f"a speed; status:\n{self.broker.status_text()}")

    def test_without_a_broker_it_fails_and_says_how_to_start_one(self):
        code, found = self.examine()
        self.assertEqual(code, 1)
        self.assertEqual(found["broker"][0]["health"], "fail")
        self.assertIn("systemctl start lulld", found["broker"][0]["text"])
        self.assertEqual(found["driver"][0]["health"], "ok")
        self.assertNotIn("gpu 0", found)

    def test_a_machine_that_is_well(self):
        self.start_measured_broker()
        code, found = self.examine()
        self.assertEqual(code, 0, found)
        for check in ("driver", "library", "broker", "host memory", "spill", "gpu 0"):
            self.assertEqual(found[check][0]["health"], "ok", found[check])
        self.assertGreaterEqual(found["driver"][0]["figures"]["cuda"], 12000)
        speed = next(f["figures"] for f in found["gpu 0"] if f["figures"] and "to_host" in f["figures"])
        self.assertEqual(speed, self.broker.gpu()["speed"])
        text = self.stage.run_lull("doctor").stdout
        for words in ("link out", "page-locking 1 GiB", "map ", "nothing to compare with"):
            self.assertIn(words, text)

    def test_prediction_and_reality_are_compared(self):
        self.start_measured_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        self.start_service().wait_ready().request()
        self.wait_for_steps(trainer, 1)
        wait_until(lambda: self.broker.gpu()["prediction"]["switches"] > 0, 20, "a switch that was predicted")
        self.assertIn("of what was predicted", self.stage.run_lull("doctor").stdout)

    def test_what_is_wrong_is_named(self):
        spill = self.stage.path("spill")
        os.mkdir(spill)
        os.chmod(spill, 0o777)
        self.start_measured_broker(f'spill_path = "{spill}"\n' + SMALL_CARD_CONFIG)
        os.chmod(os.path.join(self.stage.runtime_dir, "training"), 0o700)
        code, found = self.examine()
        self.assertEqual(code, 1)
        self.assertEqual(found["spill"][0]["health"], "fail")
        self.assertIn("must not be writable", found["spill"][0]["text"])
        self.assertEqual(found["sockets"][0]["health"], "fail")
        self.assertIn("mode 0700, not 0755", found["sockets"][0]["text"])


if __name__ == "__main__":
    main()
