"""A setuid program is left alone: its environment, which somebody else has made, is not read.

usage: secure_test.py PROGRAM
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1]
NOBODY = 65534


class Secure(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can make a setuid program of another user's")
        self.folder = tempfile.mkdtemp(prefix="lull-secure-")
        self.addCleanup(shutil.rmtree, self.folder)
        os.chmod(self.folder, 0o777)
        os.makedirs(os.path.join(self.folder, "training", "socket"))

    def run_copy(self, mode, **env):
        """What a copy with this mode says as nobody, and whether it looked for the broker."""
        copy = os.path.join(self.folder, "program")
        shutil.copy(PROGRAM, copy)
        os.chmod(copy, mode)
        path = os.path.join(self.folder, "training", "socket", "broker")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            os.chmod(path, 0o777)
            listener.listen()
            listener.setblocking(False)
            base = {"LULL_CLASS": "training", "LULL_RUNTIME_DIR": self.folder, "LULL_SIM_MEMORY": "64MiB",
                    "LULL_SIM_POOL": os.path.join(self.folder, f"card-{mode:o}")}
            try:
                done = subprocess.run([copy], env=base | env, user=NOBODY, capture_output=True, text=True, timeout=30, check=False)
            except PermissionError:
                self.skipTest("another user may not reach the programs here")
            try:
                listener.accept()[0].close()
                met = True
            except BlockingIOError:
                met = False
        os.unlink(path)
        if "cannot open shared object" in done.stderr:
            self.skipTest("another user may not reach the libraries here")
        return done, met

    def test_a_plain_copy_looks_for_the_broker(self):
        done, met = self.run_copy(0o755)
        self.assertEqual((done.stdout, met), ("plain works\n", True), done.stderr)

    def test_a_setuid_copy_works_says_nothing_and_does_not_look_for_the_broker(self):
        done, met = self.run_copy(0o4755, LULL_LOG="1")
        if done.stdout.startswith("plain"):
            self.skipTest("this file system has no setuid programs")
        self.assertEqual((done.stdout, done.stderr, met), ("secure works\n", "", False))

    def test_a_setuid_copy_writes_no_report_where_its_caller_names_a_file(self):
        report = os.path.join(self.folder, "report")
        done, _ = self.run_copy(0o4755, LULL="observe", LULL_OBSERVE_REPORT=report)
        if done.stdout.startswith("plain"):
            self.skipTest("this file system has no setuid programs")
        self.assertEqual((done.stdout, done.stderr), ("secure works\n", ""))
        self.assertFalse(os.path.exists(report))
        plain, _ = self.run_copy(0o755, LULL="observe", LULL_OBSERVE_REPORT=report)
        self.assertEqual((plain.stdout, os.path.exists(report)), ("plain works\n", True))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
