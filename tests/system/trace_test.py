"""lull trace: what Perfetto opens, and what a person looks at, of one preemption that has really happened."""
import json
import xml.etree.ElementTree as ElementTree

from case import CARD_BYTES, SystemTest, main
from stage import wait_until

SVG = "{http://www.w3.org/2000/svg}"


class Trace(SystemTest):
    def setUp(self):
        super().setUp()
        self.start_broker()

    def preempt(self):
        """A request that takes the card from a trainer, and the trainer back at work; the record of the switch."""
        trainer = self.start_trainer(env={"LULL_TENANT": "night <run> & more"})
        self.wait_for_steps(trainer, 3)
        service = self.start_service(env={"LULL_TENANT": "answers"}).wait_ready()
        self.wait_for_steps(trainer, 2)
        answer = service.request()
        self.wait_for_steps(trainer, 2)

        def preemption():
            found = [e for e in self.broker.events() if e["event"] == "switch" and e["preemption"]
                     and answer["sent_ns"] <= (e["phases"]["closed"] or 0) <= answer["got_ns"]]
            return found[-1] if found else None
        return trainer, service, wait_until(preemption, 10, "a record of the switch")

    def lull(self, *arguments):
        run = self.stage.run_lull("trace", *arguments)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return run.stdout

    def test_the_trace_has_tracks_that_nest_counters_and_an_arrow_from_packet_to_first_kernel(self):
        trainer, service, switch = self.preempt()
        path = self.stage.path("trace.json")
        self.assertEqual(self.lull("--out", path), "")
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        track = {name: tid for tid, name in names.items()}
        of = lambda process: next(tid for name, tid in track.items() if f"pid {process.pid}" in name)
        slices = [e for e in events if e["ph"] == "X"]
        for tid in names:
            self.assert_nested([e for e in slices if e["tid"] == tid])
        # The arrow: it leaves at the packet and arrives in the service's track while that runs or is being restored.
        ends = {e["ph"]: e for e in events if e.get("cat") == "request" and e["id"] == switch["id"]}
        self.assertEqual(ends["s"]["tid"], track["switches"])
        self.assertEqual(ends["f"]["tid"], of(service))
        self.assertAlmostEqual(ends["f"]["ts"], switch["phases"]["first_kernel"] / 1e3, places=2)
        for end in ends.values():
            self.assertTrue(any(s["tid"] == end["tid"] and s["ts"] <= end["ts"] <= s["ts"] + s["dur"] for s in slices), end)
        # Its phases lie within it, one after the other.
        whole = next(s for s in slices if s["name"] == "preemption: answers" and s["args"]["id"] == switch["id"])
        inside = [s for s in slices if s["tid"] == whole["tid"] and s is not whole
                  and whole["ts"] <= s["ts"] and s["ts"] + s["dur"] <= whole["ts"] + whole["dur"] + 0.01]
        self.assertIn("evict", [s["name"] for s in inside])
        self.assertAlmostEqual(sum(s["dur"] for s in inside), whole["dur"], delta=1)
        # While the service had the card the trainer did not run, and the most that was resident fits the card.
        kernel = switch["phases"]["first_kernel"] / 1e3
        at_kernel = [s["name"] for s in slices if s["tid"] == of(trainer) and s["ts"] <= kernel < s["ts"] + s["dur"]]
        self.assertNotIn("running", at_kernel)
        self.assert_memory([e for e in events if e["ph"] == "C"])

    def assert_nested(self, slices):
        """Slices of one track lie beside or within each other."""
        open_until = []
        for s in sorted(slices, key=lambda s: (s["ts"], -s["dur"])):
            end = s["ts"] + s["dur"]
            while open_until and open_until[-1] <= s["ts"] + 0.002:  # times are doubles of microseconds
                open_until.pop()
            self.assertTrue(not open_until or end <= open_until[-1] + 0.002, s)
            open_until.append(end)

    def assert_memory(self, counters):
        self.assertGreater(len(counters), 20)
        now, most = {}, 0
        for e in sorted(counters, key=lambda e: e["ts"]):
            now[e["name"]] = e["args"]["bytes"]
            most = max(most, sum(now.values()))
        self.assertLessEqual(most, CARD_BYTES)
        self.assertGreater(most, CARD_BYTES // 2)

    def test_the_picture_of_a_switch_shows_both_tenants_and_the_phases(self):
        _, _, switch = self.preempt()
        for which in (switch["id"], "last"):
            picture = self.lull("--picture", "-", "--switch", str(which))
            root = ElementTree.fromstring(picture)
            self.assertEqual(root.tag, SVG + "svg")
            words = [t.text for t in root.iter(SVG + "text")]
            self.assertIn("answers takes the card from night <run> & more", words)
            for word in ("request", "first kernel", "inference", "training", "ms", "memory on the card"):
                self.assertIn(word, words)
            for phase in ("drain ", "evict ", "restore ", "first kernel "):
                self.assertTrue(any(w.startswith(phase) for w in words), phase)
            self.assert_inside(root)

    def assert_inside(self, root):
        width, height = float(root.get("width")), float(root.get("height"))
        for shape in root.iter(SVG + "rect"):
            if shape.get("x"):
                self.assertGreaterEqual(float(shape.get("x")), 0)
                self.assertLessEqual(float(shape.get("x")) + float(shape.get("width")), width)
                self.assertLessEqual(float(shape.get("y")) + float(shape.get("height")), height)

    def test_the_whole_past_and_its_end_can_be_drawn_and_what_is_not_there_is_said(self):
        run = self.stage.run_lull("trace", "--picture", "-")
        self.assertEqual(run.returncode, 4)
        self.assertIn("lull run", run.stderr)
        self.preempt()
        for more in ([], ["--last", "2s"]):
            words = [t.text for t in ElementTree.fromstring(self.lull("--picture", "-", *more)).iter(SVG + "text")]
            self.assertTrue(any("who had the card" in w for w in words))
        for arguments, code in ((["--switch", "999"], 4), (["--gpu", "7"], 4), (["--last", "soon"], 2)):
            self.assertEqual(self.stage.run_lull("trace", "--picture", "-", *arguments).returncode, code, arguments)
        self.assertEqual(self.stage.run_lull("trace", "--out", self.stage.path("no/where")).returncode, 1)


if __name__ == "__main__":
    main()
