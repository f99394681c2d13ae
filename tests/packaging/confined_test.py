"""lulld with exactly the capabilities that its unit leaves it, in a network namespace of its own, does all it does without."""
import os
import re
import shutil
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))

from case import SystemTest, main  # noqa: E402
from stage import wait_until  # noqa: E402

UNIT = os.path.join(HERE, "..", "..", "packaging", "systemd", "lulld.service.in")
CONFIG = """\
[[gpu]]
uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef"
memory = "1GiB"
residue = "8MiB"
headroom = "8MiB"
"""


def capabilities():
    with open(UNIT, encoding="utf-8") as file:
        names = re.search(r"^CapabilityBoundingSet=(.+)$", file.read(), re.MULTILINE)[1].split()
    return [name.removeprefix("CAP_").lower() for name in names]


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv") and shutil.which("unshare"), "needs root, setpriv and unshare")
class Confined(SystemTest):
    card = None

    def start(self, prefix, name):
        """Status and log of a lulld started behind these words."""
        config = self.stage.path("lull.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG)
        directory = self.stage.path(name)
        os.makedirs(directory)
        lulld = self.stage.spawn(name, [*prefix, self.stage.build.lulld, "--runtime-dir", directory, "--config", config])
        lulld.wait_for_output(r"start version=", 20)
        self.stage.runtime_dir = directory
        metrics = wait_until(lambda: self.stage.run_lull("metrics").stdout, 10, "lulld answers")
        with open(f"/proc/{lulld.pid}/status", encoding="utf-8") as file:
            has = int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.MULTILINE)[1], 16)
        early = "\nlull_early_wake 1\n" in metrics
        log = lulld.output()
        lulld.end()
        return early, has, log

    def confined(self, names):
        keep = ",".join(["-all", *(f"+{name}" for name in names)])
        return ["unshare", "--net", "setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={keep}"]

    def test_it_lacks_nothing(self):
        free_early, all_has, free_log = self.start([], "free")
        early, has, log = self.start(self.confined(capabilities()), "confined")
        self.assertEqual(has, all_has)  # what it keeps when it has started
        self.assertEqual(early, free_early)
        for words in ('priority="real-time"', "memory_locked=true"):
            self.assertEqual(words in log, words in free_log, log)

    def test_what_it_keeps_is_needed(self):
        without = [name for name in capabilities() if name not in ("bpf", "sys_nice", "ipc_lock")]
        early, _, log = self.start(self.confined(without), "less")
        self.assertFalse(early)
        self.assertNotIn("real-time\"", log)
        self.assertIn("CAP_SYS_NICE", log)


if __name__ == "__main__":
    main()
