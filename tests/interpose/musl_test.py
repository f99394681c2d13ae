"""Programs of musl, another C library than the shim's, run with the shim as they run without it.

usage: musl_test.py LIBRARY SOURCE
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY, SOURCE = sys.argv[1:3]
COMPILER = shutil.which("musl-gcc")


class Musl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.programs = []
        for name, options in ("dynamic", []), ("static", ["-static"]):
            cls.programs.append(os.path.join(cls.folder.name, name))
            subprocess.run([COMPILER, "-Wall", SOURCE, *options, "-o", cls.programs[-1]], check=True)

    def run_program(self, program, **env):
        base = {k: v for k, v in os.environ.items() if not k.startswith(("LULL", "LD_"))}
        return subprocess.run([program], env=base | env, capture_output=True, text=True, timeout=30, check=False)

    def test_a_program_does_the_same_with_and_without_the_library(self):
        for program in self.programs:
            alone = self.run_program(program)
            self.assertEqual(alone.returncode, 3)
            for env in ({}, {"LULL_CLASS": "training"}, {"LULL": "observe"}, {"LULL": "off"}):
                beside = self.run_program(program, LD_PRELOAD=LIBRARY, **env)
                self.assertEqual((beside.returncode, beside.stdout), (3, alone.stdout), beside.stderr)

    def test_the_library_says_why_it_does_nothing(self):
        beside = self.run_program(self.programs[0], LD_PRELOAD=LIBRARY, LULL_CLASS="training", LULL_LOG="1")
        self.assertIn("inert: the C library is not glibc\n", beside.stderr)
        self.assertIn("cuMemAlloc 500\n", beside.stderr)  # not found: there is no driver


if __name__ == "__main__":
    if not COMPILER:
        print("musl-gcc is not installed: run scripts/setup")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
