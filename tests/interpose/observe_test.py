"""LULL=observe: the program runs as without Lull, and what it did that Lull would not move or not see is told.

usage: observe_test.py LIBRARY PROGRAM EVERY_ROW HOOKS_DEF DRIVER_DIRECTORY STANDIN_DIRECTORY
"""
import glob
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

LIBRARY, PROGRAM, EVERY_ROW, TABLE, DRIVER, STANDIN = sys.argv[1:7]


class Observe(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def run_program(self, *command, observe=True, driver=DRIVER, **env):
        base = {k: v for k, v in os.environ.items() if not k.startswith(("LULL", "LD_"))}
        base |= {"LD_LIBRARY_PATH": driver, "LULL_SIM_MEMORY": "512MiB", "LULL_SIM_POOL": os.path.join(self.folder.name, "card")}
        if observe:
            base |= {"LD_PRELOAD": LIBRARY, "LULL": "observe", "LULL_CLASS": "training"}
        return subprocess.run(command, env=base | env, capture_output=True, text=True, timeout=60, check=False)

    def reports(self):
        return {path: pathlib.Path(path).read_text("utf-8") for path in glob.glob(os.path.join(self.folder.name, "report*"))}

    def test_every_kind_of_memory_is_told_with_its_number_and_its_peak(self):
        done = self.run_program(PROGRAM, "kinds")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in ("cuMemAlloc, cuMemAllocPitch  3 made, at most 12 MiB at once",
                     "cuMemCreate, while mapped    3 made, at most 8 MiB at once",
                     "pools, in stream order       2 made, at most 6 MiB at once",
                     "managed                      1 made, at most 7 MiB at once",
                     "arrays                       2 made, at most 8 MiB at once",
                     "graphs' allocation nodes     1 made, at most 3 MiB at once",
                     "exported                     1 made, at most 4 MiB at once",
                     "legacy IPC handles           1 made:",
                     "imported                     1 made\n",
                     "contexts                     1, and 0 modules",
                     "allocated                    1 made, at most 64 KiB at once",
                     "registered                   1 made, at most 8 KiB at once"):
            self.assertIn(line, done.stderr)

    def test_every_route_is_counted_and_the_card_is_the_drivers(self):
        alone = self.run_program(PROGRAM, "ways", observe=False)
        done = self.run_program(PROGRAM, "ways")
        self.assertEqual((done.returncode, done.stdout), (alone.returncode, alone.stdout))
        self.assertEqual(alone.stderr, "")
        self.assertRegex(done.stderr, r"cuMemsetD8_v2 +3\n")
        self.assertIn("linked with the driver: the program itself", done.stderr)
        self.assertIn("dlsym: 1 look-ups", done.stderr)
        self.assertIn("cuGetProcAddress: 1 look-ups", done.stderr)
        self.assertIn("functions Lull does not know: none", done.stderr)

    def test_every_function_reaches_the_driver_with_its_arguments_and_gated_ones_are_counted(self):
        done = self.run_program(EVERY_ROW, driver=STANDIN)
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(TABLE, encoding="utf-8") as table:
            gated = re.findall(r"^HOOK\((\w+),.*, +(?:gated|split)\)", table.read(), re.MULTILINE)
        self.assertGreater(len(gated), 100)
        for symbol in gated:
            self.assertRegex(done.stderr, rf"    {symbol} +1\n")
        self.assertIn("functions Lull does not know: cuUnheardOf", done.stderr)
        self.assertIn("dlmopen: 1 times in a namespace of its own: Lull would not manage this program", done.stderr)

    def test_no_broker_hears_of_it(self):
        directory = os.path.join(self.folder.name, "training", "socket")
        os.makedirs(directory)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(os.path.join(directory, "broker"))
            listener.listen()
            listener.setblocking(False)
            self.assertEqual(self.run_program(PROGRAM, "ways", LULL_RUNTIME_DIR=self.folder.name).returncode, 0)
            with self.assertRaises(BlockingIOError):
                listener.accept()

    def test_a_program_that_does_not_use_the_driver_says_nothing(self):
        self.assertEqual(self.run_program(PROGRAM, "nothing").stderr, "")

    def test_exit_in_another_thread_is_an_end_like_another(self):
        for how in ("return", "exit-elsewhere"):
            done = self.run_program(PROGRAM, "end", how)
            self.assertEqual(done.returncode, 5)
            self.assertIn("1 made, at most 3 MiB at once", done.stderr)

    def test_a_file_has_the_account_also_where_the_end_cannot_be_seen(self):
        for how, status in (("_exit", 5), ("abort", -signal.SIGABRT), ("exec", 0), ("return", 5)):
            done = self.run_program(PROGRAM, "end", how, LULL_OBSERVE_REPORT=os.path.join(self.folder.name, "report-" + how))
            self.assertEqual((done.returncode, done.stderr), (status, ""))
        for path, text in self.reports().items():
            self.assertIn("1 made, at most 3 MiB at once", text)
            self.assertEqual("before its end, which was not seen" in text, not path.endswith("return"))
        self.assertEqual(len(self.reports()), 4)

    def test_each_process_that_uses_the_driver_writes_its_own(self):
        done = self.run_program(PROGRAM, "fork", LULL_OBSERVE_REPORT=os.path.join(self.folder.name, "report-%p"))
        self.assertEqual(done.returncode, 0, done.stderr)
        peaks = sorted(re.search(r"cuMemAllocPitch +1 made, at most (\d) MiB", text).group(1) for text in self.reports().values())
        self.assertEqual(peaks, ["1", "2"])

    def test_nobody_who_reads_standard_error_changes_how_the_program_ends(self):
        read, write = os.pipe()
        os.close(read)
        env = {"LD_LIBRARY_PATH": DRIVER, "LD_PRELOAD": LIBRARY, "LULL": "observe", "LULL_SIM_MEMORY": "512MiB",
               "LULL_SIM_POOL": os.path.join(self.folder.name, "card")}
        # Not inherited from Python, which ignores the signal.
        done = subprocess.run([PROGRAM, "end", "return"], env=env, stderr=write, restore_signals=True, timeout=60, check=False)
        os.close(write)
        self.assertEqual(done.returncode, 5)

    def test_what_would_keep_lull_away_is_said(self):
        done = self.run_program(PROGRAM, "ways", CUDA_LAUNCH_BLOCKING="1")
        self.assertIn("Lull would leave it alone: CUDA_LAUNCH_BLOCKING", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
