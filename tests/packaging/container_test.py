"""A trainer in a real container (runc), put under Lull by nothing but the mounts of the device specification."""
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "system"))

import cdi  # noqa: E402
from case import TRAINER, SystemTest, main  # noqa: E402
from stage import wait_until  # noqa: E402

NOBODY = 65534
PRELOAD = os.path.join(HERE, "..", "..", "packaging", "ld.so.preload")


SYSTEM = ("usr/bin", "usr/lib/x86_64-linux-gnu", "usr/lib64")
# Not process ids: by them the simulated card tells whether a program that holds memory still lives.
NAMESPACES = [{"type": t} for t in ("mount", "ipc", "uts", "network")]


def bind(source, at, *more):
    return {"source": source, "destination": at, "type": "bind", "options": ["rbind", *more]}


def make_root(path, *more):
    """A root file system of this machine's programs. Not /usr as a whole: the engine makes the place of a mount, and would
    make it on this machine."""
    for directory in (*SYSTEM, "etc", "proc", "dev", "run", "tmp", *more):
        os.makedirs(os.path.join(path, directory))
    for link in ("bin", "lib", "lib64"):
        os.symlink("usr/" + link, os.path.join(path, link))
    return [{"source": "proc", "destination": "/proc", "type": "proc"},
            {"source": "tmpfs", "destination": "/dev", "type": "tmpfs", "options": ["nosuid", "mode=755"]},
            *(bind("/" + d, "/" + d, "ro") for d in SYSTEM)]


def runc_works():
    """Whether this machine lets runc make a container at all."""
    if os.geteuid() != 0 or not shutil.which("runc") or not all(os.path.isdir("/" + d) for d in SYSTEM):
        return False
    with tempfile.TemporaryDirectory(prefix="lull-runc-") as directory:
        config = {"ociVersion": "1.0.0", "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "cwd": "/"},
                  "root": {"path": "rootfs"}, "mounts": make_root(os.path.join(directory, "rootfs")), "linux": {"namespaces": NAMESPACES}}
        with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        argv = ["runc", "--root", os.path.join(directory, "state"), "run", "--bundle", directory, secrets.token_hex(8)]
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False).returncode == 0


@unittest.skipUnless(runc_works(), "needs root and runc")
class Container(SystemTest):
    def setUp(self):
        super().setUp()
        # The pool that all programs share must be open to the container's user.
        with open(self.stage.pool, "wb"):
            os.chmod(self.stage.pool, 0o666)
        self.id = secrets.token_hex(32)
        self.state = self.stage.path("runc")
        self.addCleanup(self.remove)

    def runc(self, *arguments, **more):
        return subprocess.run(["runc", "--root", self.state, *arguments], capture_output=True, text=True, timeout=30, check=False, **more)

    def remove(self):
        self.runc("delete", "--force", self.id)

    def spec(self):
        """What an engine reads; only where the library lies is the build's instead of the installation's."""
        spec = json.loads(self.stage.run_lull("cdi").stdout)
        cdi.check(spec)
        library = self.stage.path("lull")
        os.makedirs(library, exist_ok=True)
        shutil.copy(self.stage.build.shim, library)
        for mount in spec["containerEdits"]["mounts"]:
            mount["hostPath"] = library if mount["containerPath"] == "/usr/lib/lull" else os.path.abspath(PRELOAD)
        return spec

    def bundle(self, klass, command, environment):
        path = self.stage.path("bundle")
        mounts = make_root(os.path.join(path, "rootfs"), "sim", "workloads")
        mounts += [bind("/dev/shm", "/dev/shm", "rw"), bind(self.stage.build.driver_directory, "/sim", "ro"),
                   bind(os.path.dirname(self.stage.build.workload("trainer")), "/workloads", "ro")]
        edits = [{"source": m["hostPath"], "destination": m["containerPath"], "type": "bind", "options": m["options"]}
                 for m in cdi.mounts(self.spec(), klass)]
        config = {
            "ociVersion": "1.0.0",
            "process": {"user": {"uid": NOBODY, "gid": NOBODY}, "args": command, "cwd": "/",
                        "env": ["PATH=/usr/bin:/bin", *(f"{k}={v}" for k, v in environment.items())]},
            "root": {"path": "rootfs", "readonly": True},
            "mounts": mounts + edits,
            "linux": {"namespaces": NAMESPACES,
                      "cgroupsPath": f"/docker/{self.id}"},
        }
        with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        return path

    def environment(self, **more):
        env = self.card.environment(self.stage.pool, "/sim")
        return env | more

    def run_container(self, klass="training", **environment):
        path = self.bundle(klass, ["/workloads/trainer", *TRAINER], self.environment(**environment))
        return self.stage.spawn("container", ["runc", "--root", self.state, "run", "--bundle", path, self.id])

    def client_of_container(self):
        def look():
            clients = [c for c in self.broker.clients() if c["tenant"] == f"docker:{self.id[:12]}"]
            return clients or None
        return wait_until(look, 20, lambda: f"the container's program is a client; it printed:\n{self.stage.processes[-1].output()}\n"
                                            f"status:\n{self.broker.status_text()}")

    def test_the_mounts_alone_put_it_under_lull_and_survive_exec_and_a_broker_that_is_killed(self):
        self.start_broker()
        container = self.run_container(LULL_CLASS="inference")  # what it says of itself does not count: the mount does
        client = self.client_of_container()[0]
        self.assertEqual((client["class"], client["uid"]), ("training", NOBODY))
        self.wait_for_steps(container, 3)
        service = self.start_service().wait_ready()
        self.wait_for_steps(container, 2)  # it has the card again
        before = self.broker.preemptions()
        self.assertTrue(service.request()["ok"])
        self.assertGreater(self.broker.preemptions(), before)
        self.wait_for_steps(container, 2)
        # A program started in it later, by exec, without anything in its environment.
        second = self.stage.spawn("exec", ["runc", "--root", self.state, "exec", self.id, "/usr/bin/env", "-i",
                                           *(f"{k}={v}" for k, v in self.environment().items()),
                                           "/workloads/trainer", "--bytes", "16M", "--steps", "100000"])
        wait_until(lambda: len(self.client_of_container()) == 2, 20, lambda: f"exec's program, too; it printed:\n{second.output()}")
        # The mounted directory goes on working when another broker serves it.
        self.broker.kill()
        self.stage.processes.remove(self.broker)
        self.start_broker()
        wait_until(lambda: len(self.client_of_container()) == 2, 20, "both are back")
        self.wait_for_steps(container, 2)


if __name__ == "__main__":
    main()
