"""What cannot be done is said: what, where, and what to do."""
import os
import subprocess

from broker import SMALL_CARD_CONFIG
from case import SystemTest, main


class Refusals(SystemTest):
    def lulld(self, config=SMALL_CARD_CONFIG, user=None):
        """Runs lulld until it ends by itself; its exit status and what it said."""
        path = self.stage.path("tried.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        argv = [self.stage.build.lulld, "--runtime-dir", self.stage.runtime_dir, "--config", path]
        run = subprocess.run(argv, env=self.stage.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=20, check=False, user=user)
        return run.returncode, run.stdout + run.stderr

    def assert_refused(self, result, *words):
        code, said = result
        self.assertEqual(code, 1, said)
        for word in words:
            self.assertIn(word, said)

    def test_an_unknown_key_is_named_with_its_line_and_the_likely_one(self):
        self.assert_refused(self.lulld(config='[policy]\nlinger_mim = "1s"\n'), "tried.toml:2", "linger_mim", "linger_min")

    def test_sizes_that_leave_nothing_of_the_card_are_refused(self):
        self.assert_refused(self.lulld(config='[gpu]\nresidue = "200MiB"\nslots = 3\n'), "256MiB", "slots")

    def test_sizes_that_are_none_are_refused(self):
        self.assert_refused(self.lulld(config='host_memory = "plenty"\n'), "tried.toml:1", "host_memory", "20GiB")

    def test_a_second_broker_is_refused_and_the_first_goes_on(self):
        self.start_broker()
        self.assert_refused(self.lulld(), self.stage.runtime_dir, "another")
        self.assertEqual(self.broker.status()["schema"], 1)

    def test_a_runtime_directory_that_is_a_file_is_refused(self):
        with open(self.stage.runtime_dir, "w", encoding="utf-8"):
            pass
        self.assert_refused(self.lulld(), self.stage.runtime_dir)

    def test_a_socket_path_taken_by_something_else_is_refused_and_left_alone(self):
        path = os.path.join(self.stage.runtime_dir, "training", "socket", "broker")
        os.makedirs(path)
        self.assert_refused(self.lulld(), "training/socket/broker")
        self.assertTrue(os.path.isdir(path))

    def test_a_directory_without_permission_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become a user without permission")
        os.chmod(self.stage.directory, 0o755)
        os.makedirs(self.stage.runtime_dir, mode=0o755)
        self.assert_refused(self.lulld(user=65534), self.stage.runtime_dir, "run as root", "--runtime-dir")

    def test_a_trainer_that_never_reaches_the_driver_says_so_itself_and_costs_nothing(self):
        self.start_broker()
        trainer = self.start_trainer(env={"LD_LIBRARY_PATH": ""})
        self.assertEqual(trainer.wait(10), 1)
        self.assertIn("no CUDA driver", trainer.output())
        idle = self.stage.spawn("idle", ["/bin/sleep", "60"], klass="training")
        self.assertEqual(self.broker.clients(), [])
        self.assertNotIn("connect", [event["event"] for event in self.broker.events()])
        idle.end()

    def test_memory_without_a_place_to_evict_it_to_is_refused_at_allocation(self):
        self.start_broker('host_memory = "64MiB"\n' + SMALL_CARD_CONFIG)
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service()
        self.assertEqual(service.wait(20), 1)
        self.assertIn("CUDA_ERROR_OUT_OF_MEMORY", service.output())
        self.assertIn("raise host_memory", self.broker.output())
        refused = [event for event in self.broker.events() if event["event"] == "refused"]
        self.assertEqual([event["client"]["pid"] for event in refused], [service.pid])
        self.wait_for_steps(trainer, 3)

    def test_lull_status_and_run_without_a_broker_say_what_to_do(self):
        status = self.stage.run_lull("status", "--json")
        self.assertEqual(status.returncode, 3)
        self.assertIn("start it", status.stderr)
        run = self.stage.run_lull("run", "--", "true")
        self.assertEqual(run.returncode, 2)
        self.assertIn("--class", run.stderr)


if __name__ == "__main__":
    main()
