"""lull metrics: what Prometheus reads, what node_exporter reads, and that the dashboard and the alerts ask for nothing else."""
import json
import os
import re
import shutil
import stat
import subprocess
import unittest

from case import CARD_BYTES, SystemTest, main
from prometheus import FormatError, names_in, parse
from stage import wait_until

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DASHBOARD = os.path.join(ROOT, "packaging", "grafana", "lull.json")
RULES = os.path.join(ROOT, "packaging", "prometheus", "lull.rules.yml")
NOT_OURS = {"node_textfile_mtime_seconds"}

GOOD = """\
# HELP a_seconds Times.
# TYPE a_seconds histogram
a_seconds_bucket{le="1"} 1
a_seconds_bucket{le="+Inf"} 2
a_seconds_sum 4.5
a_seconds_count 2
"""


class Reader(unittest.TestCase):
    """A reader that took anything would prove nothing."""

    def test_it_takes_what_is_right(self):
        self.assertEqual(parse(GOOD)["a_seconds"].value("_count"), 2)

    def test_it_refuses_what_is_wrong(self):
        wrong = {
            "no newline": GOOD[:-1],
            "no type": GOOD.replace("# TYPE a_seconds histogram\n", ""),
            "type first": "# TYPE b gauge\n# HELP b B.\nb 1\n",
            "a sample twice": GOOD + "a_seconds_count 2\n",
            "a family twice": GOOD + GOOD,
            "buckets that fall": GOOD.replace('le="1"} 1', 'le="1"} 3'),
            "no last bucket": GOOD.replace('a_seconds_bucket{le="+Inf"} 2\n', ""),
            "a count that is another": GOOD.replace("count 2", "count 3"),
            "a foreign sample": GOOD + "c 1\n",
            "an unquoted label": GOOD.replace('le="1"', "le=1"),
            "a counter without _total": "# HELP b B.\n# TYPE b counter\nb 1\n",
            "milliseconds": "# HELP b_milliseconds B.\n# TYPE b_milliseconds gauge\nb_milliseconds 1\n",
            "no number": "# HELP b B.\n# TYPE b gauge\nb one\n",
        }
        for what, text in wrong.items():
            with self.subTest(what), self.assertRaises(FormatError):
                parse(text)


class Metrics(SystemTest):
    def read(self):
        run = self.stage.run_lull("metrics")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return parse(run.stdout), run.stdout

    def test_a_preemption_is_counted_timed_and_shown_whole(self):
        self.start_broker()
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 3)
        service = self.start_service().wait_ready()
        self.wait_for_steps(trainer, 2)
        before, _ = self.read()
        service.request()
        self.wait_for_steps(trainer, 2)
        wait_until(lambda: self.read()[0]["lull_switch_seconds"].sum("_count", kind="preemption") >
                   before["lull_switch_seconds"].sum("_count", kind="preemption"), 10, "the switch is counted")
        after, text = self.read()
        gained = lambda name, suffix="", **labels: after[name].sum(suffix, **labels) - before[name].sum(suffix, **labels)
        self.assertEqual(gained("lull_preemptions_total"), 1)
        self.assertEqual(gained("lull_switch_seconds", "_count", kind="preemption"), 1)
        self.assertGreater(gained("lull_evicted_bytes_total"), 0)
        self.assertGreater(gained("lull_held_seconds_total", **{"class": "inference"}), 0)
        self.assertGreater(gained("lull_ran_seconds_total", **{"class": "training"}), 0)
        self.assertGreater(gained("lull_recovered_seconds_total"), 0)
        self.assertGreater(gained("lull_paused_seconds_total", **{"class": "training"}), 0)
        whole = after["lull_switch_seconds"].sum("_sum", kind="preemption")
        parts = after["lull_switch_phase_seconds"].sum("_sum", kind="preemption")
        self.assertAlmostEqual(whole, parts, places=6)
        self.assertEqual(after["lull_gpu_memory_bytes"].value(gpu="0"), CARD_BYTES)
        self.assertEqual(after["lull_tenant_clients"].sum(**{"class": "training"}), 1)
        self.check_with_promtool("metrics", text)

    def check_with_promtool(self, what, text):
        if shutil.which("promtool"):
            run = subprocess.run(["promtool", "check", what], input=text, capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_a_file_for_node_exporter_is_always_whole(self):
        self.start_broker()
        path = self.stage.path("lull.prom")
        previous = None
        for _ in range(3):
            self.assertEqual(self.stage.run_lull("metrics", "--textfile", path).returncode, 0)
            with open(path, encoding="utf-8") as file:
                self.assertEqual(parse(file.read())["lull_up"].value(), 1)
                now = os.fstat(file.fileno())
                self.assertEqual(stat.S_IMODE(now.st_mode), 0o644)
                # Replaced, not written over: who has the old one open reads it to its end.
                self.assertNotEqual(previous, now.st_ino)
                if previous is not None:
                    self.assertEqual(os.fstat(held.fileno()).st_nlink, 0)
                    held.close()
                previous, held = now.st_ino, open(path, encoding="utf-8")  # noqa: SIM115
        held.close()
        self.assertEqual([name for name in os.listdir(self.stage.directory) if name.startswith("lull.prom")], ["lull.prom"])
        self.broker.end()
        run = self.stage.run_lull("metrics", "--textfile", path)
        self.assertEqual(run.returncode, 3)
        self.assertIn("systemctl start lulld", run.stderr)
        with open(path, encoding="utf-8") as file:
            self.assertEqual({f.name: f.value() for f in parse(file.read()).values()}, {"lull_up": 0})

    def test_a_file_that_cannot_be_written_is_said(self):
        self.start_broker()
        run = self.stage.run_lull("metrics", "--textfile", self.stage.path("nowhere/lull.prom"))
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertIn("No such file or directory", run.stderr)

    def test_the_dashboard_and_the_alerts_ask_for_what_there_is(self):
        self.start_broker()
        there = names_in(self.read()[0])
        with open(DASHBOARD, encoding="utf-8") as file:
            dashboard = json.load(file)
        panels = dashboard["panels"]
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            self.assertTrue(panel["targets"] and panel["description"], panel["title"])
        queries = [t["expr"] for p in panels for t in p["targets"]]
        queries += [v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
        with open(RULES, encoding="utf-8") as file:
            rules = re.sub(r"annotations:.*?(?=- alert:|\Z)", "", file.read(), flags=re.DOTALL)
        self.assertGreaterEqual(rules.count("- alert: "), 8)
        queries += re.findall(r"expr: (?:>-\n)?(.*?)(?=\n +(?:for|labels):)", rules, re.DOTALL)
        for query in queries:
            asked = set(re.findall(r"\b(?:lull|node)_[a-z0-9_]+", query))
            self.assertTrue(asked, query)
            self.assertLessEqual(asked - there, NOT_OURS, query)

    @unittest.skipUnless(shutil.which("promtool"), "no promtool here")
    def test_promtool_takes_the_alerts(self):
        run = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)


if __name__ == "__main__":
    main()
