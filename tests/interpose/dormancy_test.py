"""Programs that never use a GPU must not notice the shim: the system calls of a run with it and one without are compared.

usage: dormancy_test.py LIBRARY EMPTY_RUNTIME_DIRECTORY
"""
import collections
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY, RUNTIME = sys.argv[1], sys.argv[2]
WATCHED = [
    "socket", "connect", "clone", "clone3", "fork", "vfork", "memfd_create", "rt_sigaction", "rt_sigprocmask", "sigaltstack",
    "eventfd2", "epoll_create1", "timerfd_create", "signalfd4", "shmget", "ioctl", "prctl", "kill", "tgkill", "write",
]
PROGRAMS = {
    "true": ["/bin/true"],
    "python": [sys.executable, "-I", "-c", "pass"],
    "shell with children": ["/bin/sh", "-c", "/bin/true; /bin/true"],
}


def traced(command, preload):
    """Counts of the watched system calls of a command and its children."""
    with tempfile.NamedTemporaryFile("r") as log:
        settings = ["-E", f"LD_PRELOAD={LIBRARY}"] if preload else []
        settings += ["-E", "LULL_CLASS=training", "-E", f"LULL_RUNTIME_DIR={RUNTIME}"]
        strace = ["strace", "-f", "-qq", "-o", log.name, "-e", "trace=" + ",".join(WATCHED), "-e", "signal=none"]
        done = subprocess.run(strace + settings + command, capture_output=True, text=True, check=False)
        calls = (line.split(None, 1)[1].split("(")[0] for line in log if "(" in line)
        return done, collections.Counter(call for call in calls if call in WATCHED)


class Dormancy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("strace"):
            raise unittest.SkipTest("strace is not installed: run scripts/setup")
        if subprocess.run(["strace", "-o", os.devnull, "/bin/true"], capture_output=True, check=False).returncode != 0:
            raise unittest.SkipTest("strace may not trace here")

    def compare(self, program):
        alone, calls_alone = traced(PROGRAMS[program], preload=False)
        beside, calls_beside = traced(PROGRAMS[program], preload=True)
        self.assertEqual(beside.returncode, alone.returncode)
        self.assertEqual((beside.stdout, beside.stderr), (alone.stdout, alone.stderr))
        self.assertEqual(calls_beside, calls_alone)

    def test_a_program_that_does_nothing_makes_the_same_calls(self):
        self.compare("true")

    def test_python_makes_the_same_calls(self):
        self.compare("python")

    def test_a_shell_and_its_children_make_the_same_calls(self):
        self.compare("shell with children")

    def test_the_comparison_would_see_a_socket(self):
        source = "import socket; socket.socket().close()"
        _, calls = traced([sys.executable, "-I", "-c", source], preload=True)
        self.assertGreaterEqual(calls["socket"], 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
