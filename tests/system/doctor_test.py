"""lull doctor says what is as it should be, what is not, and what to do about it; and its exit status is the answer."""
import json
import os
import sys

from broker import SMALL_CARD_CONFIG
from case import MIB, SystemTest, main
from stage import Card, wait_until


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


class Doctor(SystemTest):
    card = Card(memory=256 * MIB, link=2_000_000_000)

    def examine(self, *options, env=None):
        """The exit status, and the findings by the names of their checks."""
        run = self.stage.run_lull("doctor", "--json", *options, env=env)
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


    def engine(self, name, **answers):
        """A stand-in for docker or podman that gives these answers to its first word; the environment to find it by."""
        programs = self.stage.path("programs")
        os.makedirs(programs, exist_ok=True)
        path = os.path.join(programs, name)
        cases = "".join(f"{word}) echo '{answer}';;\n" for word, answer in answers.items())
        write(path, f"#!/bin/sh\ncase $1 in\n{cases}*) exit 1;;\nesac\n")
        os.chmod(path, 0o755)
        return {"PATH": programs}

    def test_container_engines_and_what_they_can_do(self):
        for version, directories, health, words in (("20.10.24", "null", "warn", "docker-args"),
                                                    ("26.1.5", "[]", "warn", "daemon.json"),
                                                    ("28.3.0", '["/etc/cdi"]', "ok", "")):
            env = self.engine("docker", version=version, info=directories)
            env = self.engine("podman", version="4.3.1") | env
            found = self.examine(env=env)[1]
            self.assertEqual(found["docker"][0]["health"], health, found["docker"])
            self.assertIn(words, found["docker"][0]["to_do"] or "")
            self.assertIn(version, found["docker"][0]["text"])
            self.assertEqual(found["podman"][0]["health"], "ok")
            self.assertNotIn("containers", found)
        self.assertEqual(self.examine(env=self.engine("docker"))[1]["docker"][0]["health"], "warn")
        self.assertIn("neither", self.examine(env={"PATH": self.stage.directory})[1]["containers"][0]["text"])

    def test_a_container_as_it_runs(self):
        """Its first process stands for it: what is looked at is the same for one with a root of its own."""
        self.start_broker()
        service = self.start_service().wait_ready()
        self.broker.wait_for_clients([service.pid])
        code, found = self.examine("--container", "faces", env=self.engine("docker", inspect=service.pid))
        self.assertEqual(code, 0, found)
        for check in ("container", "C library", "preload", "class", "program"):
            self.assertEqual(found[check][0]["health"], "ok", found[check])
        self.assertIn("inference", found["class"][0]["text"])
        self.assertIn("known to lulld", found["program"][0]["text"])
        self.assertNotIn("broker", found)

    def test_a_container_whose_programs_are_not_under_lull(self):
        plain = self.stage.start("service", ["--port", "0", "--bytes", "8M"]).wait_ready()
        code, found = self.examine("--container", "faces", env=self.engine("podman", inspect=plain.pid))
        self.assertEqual(code, 1)
        for check in ("preload", "class", "program"):
            self.assertEqual(found[check][0]["health"], "fail", found[check])
        self.assertIn(f"pid {plain.pid}", found["program"][0]["text"])
        self.assertIn("--device lull.dev/gpu", found["preload"][0]["to_do"])
        code, found = self.examine("--container", "faces", env=self.engine("podman"))
        self.assertEqual((code, found["container"][0]["health"]), (1, "fail"))

    def test_a_root_of_its_own_is_looked_at_and_not_ours(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, for another root directory")
        root = self.stage.path("root")
        for name in ("etc", "lib", "usr/lib/lull", "run/lull"):
            os.makedirs(os.path.join(root, name))
        write(f"{root}/lib/ld-musl-x86_64.so.1", "")
        write(f"{root}/etc/ld.so.preload", "/usr/lib/lull/liblull.so\n")
        os.symlink("/etc/passwd", f"{root}/usr/lib/lull/liblull.so")  # ours is none of its
        sleeper = self.stage.spawn("sleeper", [sys.executable, "-c", "import os, sys, time\n"
                                               "os.chroot(sys.argv[1])\ntime.sleep(1000)", root],
                                   env={"LULL_RUNTIME_DIR": "/run/lull"})
        wait_until(lambda: os.readlink(f"/proc/{sleeper.pid}/root") == root, 10, "its own root")
        found = self.examine("--container", "faces", env=self.engine("docker", inspect=sleeper.pid))[1]
        self.assertIn("musl", found["C library"][0]["text"])
        self.assertEqual(found["preload"][0]["health"], "fail")
        self.assertIn("not there in the container", found["preload"][0]["text"])
        write(f"{root}/etc/passwd", "")
        write(f"{root}/run/lull/class", "training\n")
        found = self.examine("--container", "faces", env=self.engine("docker", inspect=sleeper.pid))[1]
        self.assertEqual(found["preload"][0]["health"], "ok")
        self.assertIn("training, but there is no lulld", found["class"][0]["text"])

    def test_a_program_is_observed_before_it_is_under_lull(self):
        trainer = self.stage.build.workload("trainer")
        run = self.stage.run_lull("doctor", "--", trainer, "--steps", "2", timeout_s=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("finished after step 2", run.stdout)
        self.assertIn("memory Lull would move", run.stdout)
        self.assertEqual(self.stage.run_lull("doctor", "--", "sh", "-c", f"{trainer} --steps 1; exit 7").returncode, 7)
        run = self.stage.run_lull("doctor", "--", "true")
        self.assertEqual(run.returncode, 1)
        self.assertIn("no process of it has used the GPU", run.stderr)
        self.assertEqual(self.stage.run_lull("doctor", "--", "no-program-of-this-name").returncode, 127)


if __name__ == "__main__":
    main()
