"""A stage for whole-system runs: one card, one broker, programs under Lull, and nothing left behind afterwards.

    with Stage(Build(directory), Card(memory=256 << 20)) as stage:
        broker = start_broker(stage, SMALL_CARD_CONFIG)
        trainer = stage.start("trainer", ["--bytes", "200M"], klass="training")
        trainer.wait_for_output(r"step 10 ")

Everything a stage makes lies in its directory (and the simulated card's pool in /dev/shm); every process it starts
dies with it, also when the stage itself is killed.
"""
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class StageError(Exception):
    """Something did not come about; the text says what, and what was seen instead."""


def now_ns():
    """The clock that Lull, the workloads and the journal use."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def wait_until(question, timeout_s, what, every_s=0.01):
    """Asks until the answer is true and returns it."""
    end = time.monotonic() + timeout_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise StageError(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(every_s)


class Build:
    """Where the built programs are."""

    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.driver_directory = self.path("tests/driver")
        self.shim = self.path("shim/liblull.so")
        self.lulld = self.path("broker/lulld")
        self.lull = self.path("broker/lull")

    def path(self, relative):
        return os.path.join(self.directory, relative)

    def workload(self, name):
        return self.path(os.path.join("tests/workloads", name))


class Card:
    """The simulated card. `None` in a stage's place for it stands for the machine's real one."""

    def __init__(self, memory=256 << 20, link=4_000_000_000, context=4 << 20, module=1 << 20, devices=1):
        self.memory, self.link, self.context, self.module, self.devices = memory, link, context, module, devices

    def environment(self, pool, driver_directory):
        return {
            "LD_LIBRARY_PATH": driver_directory,
            "LULL_SIM_MEMORY": str(self.memory),
            "LULL_SIM_LINK": str(self.link),
            "LULL_SIM_CONTEXT": str(self.context),
            "LULL_SIM_MODULE": str(self.module),
            "LULL_SIM_DEVICES": str(self.devices),
            "LULL_SIM_POOL": pool,
        }


class Process:
    """A child with its output in a file."""

    ends_itself = False  # must be asked to end, because it has something to put away

    def __init__(self, name, argv, env, log_path):
        self.name, self.log_path = name, log_path
        parent = os.getpid()

        def in_child():
            # A group of its own: Ctrl-C reaches the stage alone, which ends the children in order.
            os.setpgid(0, 0)
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        with open(log_path, "wb") as log:
            self.popen = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                          preexec_fn=in_child)

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def running(self):
        return self.popen.poll() is None

    def wait_for_output(self, pattern, timeout_s=30):
        """The first match; fails at once when the process ends without it."""
        def look():
            ended = not self.running()  # asked before reading: what it wrote last is seen
            match = re.search(pattern, self.output())
            if not match and ended:
                raise StageError(f"{self.name} ended with {self.popen.returncode} before printing {pattern!r}:\n{self.output()}")
            return match
        return wait_until(look, timeout_s, lambda: f"{self.name} prints {pattern!r}; it printed:\n{self.output()}")

    def wait(self, timeout_s):
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise StageError(f"{self.name} did not end within {timeout_s:g} s:\n{self.output()}") from None

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait()

    def end(self, grace_s=5):
        """Asks it to end, then makes it."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            return self.popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            return self.kill()


class Service(Process):
    """The inference service; `port` once it listens."""

    port = None

    def wait_ready(self, timeout_s=60):
        self.port = int(self.wait_for_output(r"listening on \S+:(\d+)", timeout_s)[1])
        return self

    def request(self, path="/infer", body="a question", timeout_s=60):
        """The answer with `sent_ns` and `got_ns` added. Raises unless the service answers 200 and its sums agree."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.connect()
            sent = now_ns()
            connection.request("POST", path, body)
            response = connection.getresponse()
            text = response.read().decode()
            got = now_ns()
        finally:
            connection.close()
        if response.status != 200:
            raise StageError(f"{self.name} answered {response.status}: {text}")
        answer = json.loads(text)
        if not answer["ok"]:
            raise StageError(f"{self.name} computed {answer['checksum']}, right is {answer['expected']}")
        return answer | {"sent_ns": sent, "got_ns": got}

    def get(self, path, timeout_s=10):
        """The status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()


class Ask(threading.Thread):
    """A request in flight, sent from a thread."""

    def __init__(self, service, body="a question", path="/infer"):
        super().__init__(daemon=True)
        self.service, self.body, self.path = service, body, path
        self.answer = self.failure = None
        self.start()

    def run(self):
        try:
            self.answer = self.service.request(path=self.path, body=self.body, timeout_s=30)
        except (OSError, StageError) as error:
            self.failure = error

    def result(self, timeout_s=30):
        self.join(timeout_s)
        if self.is_alive():
            raise StageError("the request is still not answered")
        if self.failure:
            raise self.failure
        return self.answer


class Stage:
    def __init__(self, build, card=Card(), parent_directory=None):
        self.build, self.card = build, card
        self.directory = tempfile.mkdtemp(prefix="lull-", dir=parent_directory)
        self.runtime_dir = os.path.join(self.directory, "run")
        self.pool = self._pool_path() if card else None
        self.processes = []
        self._count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _pool_path(self):
        """In memory, where there is room for the whole card; else beside the rest."""
        name = os.path.basename(self.directory) + ".card"
        try:
            room = os.statvfs("/dev/shm")
            if room.f_bavail * room.f_frsize > self.card.memory * 5 // 4 and os.access("/dev/shm", os.W_OK):
                return os.path.join("/dev/shm", name)
        except OSError:
            pass
        return os.path.join(self.directory, name)

    def path(self, name):
        return os.path.join(self.directory, name)

    def environment(self, klass=None, more=None):
        """What a program gets: under Lull as `klass`, or a plain one."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("LULL") and k != "LD_PRELOAD"}
        # A test runner may have put the simulated driver there, which a stage without it is not to find.
        paths = [p for p in env.pop("LD_LIBRARY_PATH", "").split(":") if p and os.path.abspath(p) != self.build.driver_directory]
        if paths:
            env["LD_LIBRARY_PATH"] = ":".join(paths)
        if self.card:
            env |= self.card.environment(self.pool, self.build.driver_directory)
        env["LULL_RUNTIME_DIR"] = self.runtime_dir
        if klass:
            env |= {"LD_PRELOAD": self.build.shim, "LULL_CLASS": klass}
        return env | (more or {})

    def spawn(self, name, argv, klass=None, env=None, kind=Process):
        self._count += 1
        log_path = self.path(f"{self._count}-{name}.log")
        process = kind(name, argv, self.environment(klass, env), log_path)
        self.processes.append(process)
        return process

    def start(self, workload, options=(), klass=None, env=None):
        """One of tests/workloads."""
        kind = Service if workload == "service" else Process
        return self.spawn(workload, [self.build.workload(workload), *map(str, options)], klass, env, kind)

    def run_lull(self, *arguments, timeout_s=10, env=None):
        """One run of the command line; its result, whatever it is."""
        return subprocess.run([self.build.lull, "--runtime-dir", self.runtime_dir, *arguments],
                              env=self.environment(more=env),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False)

    def check_alive(self):
        """Says so when a process has failed that nobody was waiting for."""
        for process in self.processes:
            if process.popen.poll():
                raise StageError(f"{process.name} ended with {process.popen.returncode}:\n{process.output()}")

    def close(self):
        """The last started ends first, so the broker outlives its clients."""
        for process in reversed(self.processes):
            if process.ends_itself:
                process.end()
            else:
                process.kill()
        self.processes.clear()
        if self.pool:
            for path in (self.pool, *(f"{self.pool}.{n}" for n in range(1, 8))):
                if os.path.exists(path):
                    os.unlink(path)
        shutil.rmtree(self.directory, ignore_errors=True)
