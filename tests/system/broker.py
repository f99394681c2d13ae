"""lulld as a test or the demo sees it: its process, its status and its events."""
import json
import os
import socket

from stage import Process, StageError, wait_until

# For cards of a few hundred MiB: small reserves, and a card that goes back as soon as a request is answered.
SMALL_CARD_CONFIG = """\
[policy]
keep_alive = "0s"
min_hold = "0s"
loading_linger = "100ms"
growth_headroom = "8MiB"

[gpu]
residue = "8MiB"
headroom = "8MiB"
slots = 3
"""

# Names of a switch's phases in its record, and in the demo's result.
PHASE_NAMES = {"seen": "packet_seen", "closed": "gate_closed", "drained": "drained", "evicted": "evicted",
               "restored": "restored", "opened": "opened", "first_kernel": "first_kernel"}



def phase_times(phases):
    """When each phase of a switch's record was reached, by the demo's names."""
    times = {PHASE_NAMES[k]: v for k, v in phases.items() if v and k in PHASE_NAMES}
    # The gate may open while memory still comes in: the client holds itself back until all is there.
    if "opened" in times and "restored" in times:
        times["opened"] = max(times["opened"], times["restored"])
    # The client tells of its last byte and of its first kernel; the broker may read of both at once.
    for name in ("restored", "opened"):
        if name in times and "first_kernel" in times:
            times[name] = min(times[name], times["first_kernel"])
    return times


class Broker(Process):
    ends_itself = True
    control_path = None  # set by whoever starts it

    def wait_ready(self, timeout_s=20):
        def answers():
            if not self.running():
                raise StageError(f"lulld ended with {self.popen.returncode}:\n{self.output()}")
            try:
                return self.status()
            except OSError:
                return None
        wait_until(answers, timeout_s, lambda: f"lulld answers; it wrote:\n{self.output()}")
        return self

    def _ask(self, command):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(10)
            control.connect(self.control_path)
            control.sendall(json.dumps({"cmd": command}).encode() + b"\n")
            return control.makefile("r", encoding="utf-8").readline()

    def status(self):
        return json.loads(self._ask("status"))

    def status_text(self):
        """For people who read why a test failed."""
        if not self.running():
            return f"lulld has ended:\n{self.output()}"
        return json.dumps(self.status()["gpus"], indent=1)

    def gpu(self):
        return self.status()["gpus"][0]

    def notes(self):
        return self.status()["notes"]

    def clients(self):
        return self.gpu()["clients"]

    def client(self, pid):
        for client in self.clients():
            if client["pid"] == pid:
                return client
        raise StageError(f"process {pid} is no client:\n{self.status_text()}")

    def wait_for_clients(self, pids, timeout_s=5):
        """Until exactly these processes are clients."""
        wait_until(lambda: {c["pid"] for c in self.clients()} == set(pids), timeout_s,
                   lambda: f"the clients are {sorted(pids)}; status:\n{self.status_text()}")

    def wait_for_client(self, pid, condition, what, timeout_s=10):
        wait_until(lambda: any(c["pid"] == pid and condition(c) for c in self.clients()), timeout_s,
                   lambda: f"client {pid} {what}; status:\n{self.status_text()}")

    def preemptions(self):
        return self.gpu()["preemptions"]

    def bytes_moved(self):
        """(out, in), of all clients together."""
        gpu = self.gpu()
        return gpu["evicted_bytes"], gpu["restored_bytes"]

    def paused_seconds(self, pid):
        return self.client(pid)["paused_ns"] / 1e9

    def events(self):
        """What has happened so far, as far back as the broker remembers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(10)
            control.connect(self.control_path)
            control.sendall(b'{"cmd": "events"}\n')
            return [json.loads(line) for line in control.makefile("r", encoding="utf-8")]

    def switch_to(self, pid, from_ns, to_ns, timeout_s=1):
        """When each phase of the hand-over to this process was reached, or None: it had the card already."""
        def look():
            for event in self.events():
                if event["event"] != "switch" or event["to"]["pid"] != pid or not event["preemption"]:
                    continue
                phases = event["phases"]
                if from_ns <= (phases["closed"] or 0) <= to_ns:
                    return phase_times(phases)
            return None
        try:  # the record is made when the broker next reads the client's page
            return wait_until(look, timeout_s, "a record of the switch")
        except StageError:
            return None


def start_broker(stage, config, *options):
    """A broker of the stage, ready; a second one takes the place of one that has ended."""
    config_path = stage.path("lull.toml")
    with open(config_path, "w", encoding="utf-8") as file:
        file.write(config)
    os.makedirs(stage.runtime_dir, exist_ok=True)
    argv = [stage.build.lulld, "--runtime-dir", stage.runtime_dir, "--config", config_path, *options]
    broker = stage.spawn("lulld", argv, kind=Broker)
    broker.control_path = os.path.join(stage.runtime_dir, "control")
    return broker.wait_ready()
