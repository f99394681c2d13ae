"""On the simulated card every question gets an answer, or a reason why not; what the answers say of a card is nothing."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "frameworks"))

import runner  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
PROGRAM = os.path.join(BUILD, "tests/gpu/facts/gpu-facts")
# What the simulated card does not have.
ABSENT = {"host_handles"}


def run(*options, driver=True):
    with tempfile.TemporaryDirectory() as directory:
        env = dict(os.environ) | {"LULL_SIM_POOL": os.path.join(directory, "card"), "LULL_SIM_MEMORY": "256MiB",
                                  "LULL_SIM_LINK": "8GB"}
        env["LD_LIBRARY_PATH"] = os.path.join(BUILD, "tests/driver") if driver else directory
        return subprocess.run([PROGRAM, *options], env=env, capture_output=True, text=True, timeout=200, check=False)


class Facts(unittest.TestCase):
    def test_every_question_is_answered(self):
        said = run("--quick", "--limit", "60")
        first, *answers = [json.loads(line) for line in said.stdout.splitlines()]
        self.assertEqual(said.returncode, 0, said.stdout)
        self.assertIn("simulated", first["card"]["name"])
        self.assertGreaterEqual(len(answers), 18)
        for answer in answers:
            expected = "skipped" if answer["fact"] in ABSENT else "measured"
            self.assertEqual(answer["state"], expected, answer)
            self.assertTrue(answer["sentence"], answer)

    def rows(self, script, *options):
        said = subprocess.run([sys.executable, os.path.join(HERE, script), "--dir", BUILD, "--gpu", "simulated", *options],
                              capture_output=True, text=True, timeout=200, check=False)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        return [json.loads(line) for line in said.stdout.splitlines()]

    def test_what_runs_frameworks_preempts_and_compares(self):
        [row] = self.rows("frameworks/runner.py", "--seconds", "0.5")
        self.assertEqual(row["state"], "identical", row)
        self.assertGreaterEqual(row["figures"]["preemptions"], 3)

    def test_what_differs_is_not_within_a_tolerance(self):
        one, other = ({"weight": {"sample": [1.0, x, 0.0]}} for x in (2.0, 2.001))
        self.assertEqual(runner.difference(one, one), 0)
        self.assertGreater(runner.difference(one, other), 1)
        self.assertGreater(runner.difference(one, {"weight": {"sample": [1.0, float("nan"), 0.0]}}), 1)

    def test_what_measures_whole_programs_measures(self):
        [row] = self.rows("bench.py", "--only", "switch")
        self.assertEqual(row["state"], "measured", row)
        for size in row["figures"]["sizes"]:
            self.assertGreater(size["moved_bytes"], 0)
            self.assertGreater(size["since_gate_closed_ms"]["first_kernel"], size["since_gate_closed_ms"]["drained"])

    def test_without_a_driver_it_says_so(self):
        said = run("--quick", "--only", "symbols", driver=False)
        answer = json.loads(said.stdout.splitlines()[1])
        self.assertEqual(answer["state"], "skipped")
        self.assertIn("libcuda.so.1", answer["sentence"])

    def test_an_unknown_fact_is_refused(self):
        self.assertEqual(run("--only", "nothing").returncode, 2)

    def test_the_document_is_what_has_been_answered(self):
        said = subprocess.run([sys.executable, os.path.join(HERE, "report.py"), PROGRAM, "--check"], capture_output=True, text=True,
                              check=False)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
