"""What --json prints is what docs/json.md says: no key more, no key less, each of its type."""
import json
import os
import re

from case import SystemTest, main
from stage import wait_until

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/json.md")
CLASSES = {"training", "interactive", "inference"}


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_document():
    """Shapes by name, commands among them; and the keys of each event."""
    shapes, events, name = {}, {}, None
    with open(DOCUMENT, encoding="utf-8") as file:
        for line in file:
            if heading := re.match(r"##+ (.*)", line):
                name = heading[1]
            elif row := re.match(r"\| ([a-z_]+) \| ([^|]+) \| [^|]* ?\|$", line):
                if row[1] != "key":
                    shapes.setdefault(name, {})[row[1]] = row[2].strip()
            elif row := re.match(r"\| ([a-z_]+) \| ([^|]+) \|$", line):
                if row[1] != "event":
                    events[row[1]] = row[2].strip().split(", ")
    return shapes, events


class Shapes:
    def __init__(self):
        self.shapes, self.events = read_document()

    def problems(self, value, kind, where):
        """What of a value is not as documented, in words."""
        if kind.endswith(" or null"):
            return [] if value is None else self.problems(value, kind[:-8], where)
        if kind.startswith("list of "):
            if not isinstance(value, list):
                return [f"{where} is no list"]
            return [p for i, one in enumerate(value) for p in self.problems(one, kind[8:], f"{where}[{i}]")]
        simple = {"any": lambda v: True, "text": lambda v: isinstance(v, str), "count": is_count,
                  "flag": lambda v: isinstance(v, bool),
                  "by class": lambda v: isinstance(v, dict) and set(v) == CLASSES and all(map(is_count, v.values())),
                  "counts by name": lambda v: isinstance(v, dict) and all(map(is_count, v.values()))}
        if kind in simple:
            return [] if simple[kind](value) else [f"{where} is {value!r}, not {kind}"]
        return self.object_problems(value, self.shapes[kind], where)

    def object_problems(self, value, keys, where):
        if not isinstance(value, dict):
            return [f"{where} is no object"]
        found = [f"{where}.{key} is not documented" for key in value.keys() - keys.keys()]
        found += [f"{where}.{key} is missing" for key in keys.keys() - value.keys()]
        for key in value.keys() & keys.keys():
            found += self.problems(value[key], keys[key], f"{where}.{key}")
        return found

    def event_problems(self, event):
        kinds = self.shapes["switch"] | {"gpu": "text", "client": "who", "why": "text", "speed": "any", "bytes": "count",
                                         "level": "text", "available": "count", "pid": "count", "comm": "text",
                                         "tenant": "text", "shim": "flag", "blocked_by": "text or null",
                                         "for_ns": "count", "uid": "count", "order": "text",
                                         "lasts_ns": "count or null"}
        if event["event"] not in self.events:
            return [f"event {event['event']} is not documented"]
        keys = {"event": "text", "seq": "count", "t_ns": "count"}
        keys |= {key: kinds[key] for key in self.events[event["event"]]}
        return self.object_problems(event, keys, event["event"])


class Json(SystemTest):
    def setUp(self):
        super().setUp()
        self.shapes = Shapes()

    def printed(self, *command):
        return json.loads(self.stage.run_lull(*command, "--json").stdout)

    def events(self):
        return [json.loads(line) for line in self.stage.run_lull("events", "--json").stdout.splitlines()]

    def check(self, value, shape):
        self.assertEqual(self.shapes.problems(value, shape, shape), [])

    def play(self):
        """A preemption, so that there is something to tell."""
        self.start_broker()
        trainer = self.start_trainer(env={"LULL_TENANT": "nightly"})
        self.wait_for_steps(trainer, 1)
        service = self.start_service(env={"LULL_TENANT": "faces"}).wait_ready()
        service.request()
        self.wait_for_steps(trainer, 1)

    def test_what_is_printed_is_what_is_documented(self):
        self.play()
        status = self.printed("status")
        self.check(status, "lull status --json")
        self.assertEqual(len(status["gpus"][0]["clients"]), 2)  # else little has been compared
        self.assertIsNotNone(status["gpus"][0]["last_switch"])
        top = self.printed("top")
        self.check(top, "lull top --json")
        self.assertTrue(top["switches"][0]["phases"])
        self.check(self.printed("why", "nightly"), "lull why --json")
        self.check(self.printed("wake", "faces", "--for", "100ms"), "lull wake --json")
        self.check(self.printed("free", "1MiB", "--for", "1min"), "lull free --json")
        self.assertEqual(self.shapes.problems(self.printed("status")["gpus"][0]["wish"], "wish", "wish"), [])
        self.assertEqual(self.stage.run_lull("free", "1MiB", "--for", "1ms").returncode, 0)
        for order in (["pause", "--for", "1h"], ["release"], ["resume"], ["hold", "--for", "1h"], ["hold", "--end"],
                      ["hold", "--for", "1ms"]):
            self.check(self.printed(order[0], "nightly", *order[1:]), "lull pause --json")
        self.check(self.printed("ps"), "lull ps --json")
        self.check_config()
        self.check(self.printed("doctor"), "lull doctor --json")
        wanted = {"connect", "switch", "free", "free_over", "order", "order_over"}
        wait_until(lambda: wanted <= {event["event"] for event in self.events()}, 10, f"events {wanted}")
        for event in self.events():
            self.assertEqual(self.shapes.event_problems(event), [])

    def check_config(self):
        """What lulld says is what its file says: each key's value, and which of them stand there."""
        running = self.printed("config")
        self.check(running, "lull config --json")
        self.assertEqual(running, self.printed("config", "--file", running["file"]))
        rows = {row["name"]: (row["value"], row["from"]) for row in running["values"]}
        self.assertEqual({source for _, source in rows.values()}, {"file", "default"})
        self.assertEqual(rows["policy.max_slice"], ("5s", "default"))
        self.assertEqual(self.stage.run_lull("config", "check", running["file"]).returncode, 0)
        wrong = self.stage.path("wrong.toml")
        with open(wrong, "w", encoding="ascii") as file:
            file.write("[policy]\nlinger_mim = 3\n")
        said = self.stage.run_lull("config", "check", wrong)
        self.assertEqual(said.returncode, 1)
        self.assertIn(f"{wrong}:2: unknown key", said.stderr)

    def test_the_comparison_finds_what_is_wrong(self):
        """A negative control."""
        right = {"tenant": "a", "kind": "b", "proven": True, "worked": 1, "idle": 0}
        for change in ({"worked": -1}, {"worked": True}, {"proven": 1}, {"tenant": None}, {"more": 1}):
            self.assertEqual(len(self.shapes.problems(right | change, "kind", "it")), 1, change)
        self.assertEqual(self.shapes.problems({}, "kind", "it")[0].split()[-1], "missing")
        self.assertEqual(self.shapes.problems(right, "kind", "it"), [])
        self.assertEqual(self.shapes.event_problems({"event": "nonsense"}), ["event nonsense is not documented"])


if __name__ == "__main__":
    main()
