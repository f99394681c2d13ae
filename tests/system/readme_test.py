"""The commands that README shows under "How to use it", run as they stand there; the programs they name are the workloads."""
import os
import re
import shlex

from case import SERVICE, TRAINER, SystemTest, main
from stage import Service, wait_until

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "README.md")
# Root's, and what a service manager would do; scripts/check-package starts lulld as its unit says.
NOT_RUN = ["sudo systemctl enable --now lulld"]


def commands():
    """The section's first block, without the remarks."""
    with open(README, encoding="utf-8") as file:
        section = file.read().split("\n## How to use it\n")[1].split("\n## ")[0]
    block = re.search(r"(?:^    .+\n)+", section, re.MULTILINE)[0]
    return [line.split(" #")[0].strip() for line in block.splitlines()]


class Readme(SystemTest):
    def run_command(self, line):
        words = shlex.split(line)
        self.assertEqual(words[0], "lull", line)
        words[0] = self.stage.build.lull
        env = {"LULL_LIBRARY": self.stage.build.shim}
        if words[-2:] == ["python", "train.py"]:
            return self.stage.spawn("training", [*words[:-2], self.stage.build.workload("trainer"), *TRAINER], env=env)
        if "./server" in words:
            at = words.index("./server")
            return self.stage.spawn("server", [*words[:at], self.stage.build.workload("service"), *SERVICE], env=env, kind=Service)
        return self.stage.spawn(words[1], words, env=env)

    def test_every_command_does_what_it_says(self):
        self.start_broker()
        ran = []
        for line in commands():
            if line in NOT_RUN:
                continue
            ran.append(self.run_command(line))
            if ran[-1].name == "training":
                self.wait_for_steps(ran[-1], 1)
            elif ran[-1].name == "server":
                self.assertTrue(ran[-1].wait_ready().request()["ok"])
            else:
                wait_until(lambda: not ran[-1].running(), 30, f"{line} ends")
        names = [process.name for process in ran]
        self.assertEqual(names, ["training", "server", "status", "doctor"])
        training, server, status, doctor = ran
        self.assertEqual({c["pid"]: c["class"] for c in self.broker.clients()}, {training.pid: "training", server.pid: "inference"})
        self.assertEqual(status.wait(1), 0)
        for process in (training, server):
            self.assertIn(str(process.pid), status.output())
        # Whether all is as it should be depends on the machine; that it reaches the broker does not.
        self.assertIn(doctor.wait(1), (0, 1))
        self.assertRegex(doctor.output(), r"(?m)^ *ok +.*(broker|lulld)")


if __name__ == "__main__":
    main()
