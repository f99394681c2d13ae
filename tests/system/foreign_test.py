"""Programs without Lull on the card: seen, named, waited for, and given room when somebody asks."""
import json
import os

from broker import SMALL_CARD_CONFIG
from case import MIB, SystemTest, main
from stage import wait_until

IMPATIENT = SMALL_CARD_CONFIG.replace("[policy]", '[policy]\nmax_wait = "1s"')


class Foreign(SystemTest):
    def start_plain(self, size="60M", **more):
        """A program that knows no Lull, on the card."""
        plain = self.stage.start("trainer", ["--bytes", size, "--window", "8192", "--print-every", "1"], **more)
        plain.wait_for_output(r"step 1 ")
        return plain

    def hook(self):
        """A command for on_stuck that leaves its environment and its user, and where."""
        os.chmod(self.stage.directory, 0o711)
        place = self.stage.path("hook")
        os.mkdir(place)
        os.chmod(place, 0o777)
        program = self.stage.path("hook.sh")
        with open(program, "w", encoding="ascii") as file:
            file.write(f'#!/bin/sh\n{{ env; echo "uid=$(id -u)"; }} > {place}/$LULL_EVENT.new\n'
                       f'mv {place}/$LULL_EVENT.new {place}/$LULL_EVENT\n')
        os.chmod(program, 0o755)
        return f'on_stuck = ["{program}"]\n', place

    def read_hook(self, place, event):
        path = os.path.join(place, event)
        wait_until(lambda: os.path.exists(path), 20, f"the hook of {event}")
        with open(path, encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)

    def test_a_program_that_does_not_fit_beside_another_one_waits_for_it_by_name_and_then_runs(self):
        line, place = self.hook()
        self.start_broker(line + IMPATIENT)
        plain = self.start_plain()
        wait_until(lambda: any(s["pid"] == plain.pid for s in self.broker.gpu()["strangers"]), 10, "it is listed")
        trainer = self.start_trainer()
        self.broker.wait_for_client(trainer.pid, lambda c: c["reason"] == "blocked_by_foreign", "waits for it", 20)
        self.broker.wait_for_client(trainer.pid, lambda c: (c["blocked_by"] or {}).get("pid") == plain.pid, "names it")
        self.broker.wait_for_client(trainer.pid, lambda c: c["stuck"] == "blocked_by_foreign", "says so", 20)

        why = self.stage.run_lull("why", str(trainer.pid)).stdout
        self.assertIn(f"blocked   by trainer (pid {plain.pid})", why)
        self.assertIn("stuck     blocked_by_foreign", why)
        listed = self.stage.run_lull("ps").stdout
        self.assertRegex(listed, rf"\s{plain.pid} -\s+not managed\s+\d+MiB\s+trainer")
        self.assertRegex(listed, rf"\s{trainer.pid} training ")
        told = self.read_hook(place, "stuck")
        self.assertEqual(told["LULL_STATE"], "blocked_by_foreign")
        self.assertEqual(told["LULL_PID"], str(trainer.pid))
        self.assertEqual(told["LULL_BLOCKED_BY"], f"trainer (pid {plain.pid})")
        self.assertNotIn("LD_LIBRARY_PATH", told, "nothing of lulld's own environment")
        if os.geteuid() == 0:
            self.assertNotEqual(told["uid"], "0")

        plain.kill()
        self.wait_for_steps(trainer, 3)
        self.assertEqual(self.read_hook(place, "unstuck")["LULL_PID"], str(trainer.pid))
        self.broker.wait_for_client(trainer.pid, lambda c: c["stuck"] is None, "is stuck no more")

    def test_a_desktop_that_grows_while_a_trainer_is_away_delays_its_return_and_fails_nothing(self):
        self.start_broker()
        saved = self.stage.path("trainer.state")
        trainer = self.start_trainer("--save-on-term", saved)
        self.wait_for_steps(trainer, 3)
        asked = self.stage.run_lull("free", "100MiB", "--for", "60s")
        self.assertEqual(asked.returncode, 0, asked.stderr)
        plain = self.start_plain("90M")
        again = self.stage.run_lull("free", "0", "--for", "1s")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.broker.wait_for_client(trainer.pid, lambda c: c["reason"] == "blocked_by_foreign", "waits for it", 20)
        plain.kill()
        self.wait_for_steps(trainer, 2, 60)
        [steps] = self.stop_and_save([trainer])
        self.assert_same_bytes(saved, self.undisturbed(steps))

    def test_lull_free_makes_room_that_a_plain_program_takes_and_time_gives_it_back(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        refused = self.stage.run_lull("free", "10GiB", "--for", "1min")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("can be made free", refused.stderr)

        made = self.stage.run_lull("free", "100MiB", "--for", "6s")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertIn("100MiB are free", made.stdout)
        gpu = self.broker.gpu()
        self.assertEqual(gpu["clients"][0]["reason"], "kept_free")
        self.assertEqual(gpu["wish"]["bytes"], 100 * MIB)
        self.assertIn("kept free for programs without Lull", self.stage.run_lull("status").stdout)
        plain = self.start_plain("60M")
        wait_until(lambda: self.broker.gpu()["kept_free"] < 60 * MIB, 10, "what it took is counted once")
        plain.kill()
        self.wait_for_steps(trainer, 3, 60)  # when the time is over
        self.assertIsNone(self.broker.gpu()["wish"])
        self.assertIn("free_over", [event["event"] for event in self.broker.events()])
        json.loads(self.stage.run_lull("ps", "--json").stdout)


if __name__ == "__main__":
    main()
