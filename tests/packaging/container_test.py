"""A trainer in a real container (runc, podman), put under Lull by nothing but the mounts of the device specification."""
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


class Engine(SystemTest):
    def setUp(self):
        super().setUp()
        # The pool that all programs share must be open to the container's user.
        with open(self.stage.pool, "wb"):
            os.chmod(self.stage.pool, 0o666)

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

    def environment(self, **more):
        env = self.card.environment(self.stage.pool, "/sim")
        return env | more


@unittest.skipUnless(runc_works(), "needs root and runc")
class Container(Engine):
    def setUp(self):
        super().setUp()
        self.id = secrets.token_hex(32)
        self.state = self.stage.path("runc")
        self.addCleanup(self.remove)

    def runc(self, *arguments, **more):
        return subprocess.run(["runc", "--root", self.state, *arguments], capture_output=True, text=True, timeout=30, check=False, **more)

    def remove(self):
        self.runc("delete", "--force", self.id)

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


# Limits: podman's own are higher than a process without CAP_SYS_RESOURCE may set. crun runs under pure cgroup2 alone.
PODMAN_RUN = ["--rm", "--network", "none", "--pid", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--user", str(NOBODY)]
PODMAN_DIRECTORY = "/run/cdi"  # podman 4 reads specifications there and in /etc/cdi only


def podman(directory, *arguments):
    return ["podman", "--root", f"{directory}/store", "--runroot", f"{directory}/runroot", "--tmpdir", f"{directory}/tmp", "--storage-driver", "vfs",
            "--cgroup-manager", "cgroupfs", "--runtime", "runc", *arguments]


def podman_works():
    """Whether this machine lets podman make a container at all."""
    if not shutil.which("podman") or not runc_works():
        return False
    with tempfile.TemporaryDirectory(prefix="lull-podman-") as directory:
        make_root(os.path.join(directory, "rootfs"))
        argv = podman(directory, "run", *PODMAN_RUN, *system_volumes(), "--rootfs", f"{directory}/rootfs", "/bin/true")
        return subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0


def system_volumes():
    return [word for d in SYSTEM for word in ("-v", f"/{d}:/{d}:ro")]


@unittest.skipUnless(podman_works(), "needs root, podman and runc")
class Podman(Engine):
    """An engine that reads the specification itself."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.remove)
        # A vendor of this test's own: the installed specification, or another test's, may be there, too.
        self.kind = f"lull-test-{secrets.token_hex(4)}.dev/gpu"
        made = not os.path.isdir(PODMAN_DIRECTORY)
        os.makedirs(PODMAN_DIRECTORY, exist_ok=True)
        path = os.path.join(PODMAN_DIRECTORY, self.kind.split("/")[0] + ".json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.spec() | {"kind": self.kind}, file)
        if made:
            self.addCleanup(lambda: os.listdir(PODMAN_DIRECTORY) or os.rmdir(PODMAN_DIRECTORY))
        self.addCleanup(os.unlink, path)

    def remove(self):
        subprocess.run(podman(self.stage.directory, "rm", "--all", "--force", "--time", "0"), capture_output=True, timeout=60, check=False)

    def start_container(self, device):
        root = self.stage.path("rootfs")
        if not os.path.isdir(root):
            make_root(root, "sim", "workloads")
        volumes = {"/dev/shm": "/dev/shm:rw", self.stage.build.driver_directory: "/sim:ro",
                   os.path.dirname(self.stage.build.workload("trainer")): "/workloads:ro"}
        told = [word for host, there in volumes.items() for word in ("-v", f"{host}:{there}")]
        told += [word for name, value in self.environment().items() for word in ("-e", f"{name}={value}")]
        return self.stage.spawn("podman", podman(self.stage.directory, "run", *PODMAN_RUN, "--device", device, *system_volumes(), *told,
                                                 "--rootfs", root, "/workloads/trainer", *TRAINER))

    def test_a_device_of_the_specification_puts_the_container_under_lull(self):
        self.start_broker()
        container = self.start_container(f"{self.kind}=training")
        clients = wait_until(self.broker.clients, 30, lambda: f"the container's program is a client; it printed:\n{container.output()}")
        self.assertEqual([(c["class"], c["uid"]) for c in clients], [("training", NOBODY)])
        self.assertRegex(clients[0]["tenant"], r"^podman:[0-9a-f]{12}$")
        self.wait_for_steps(container, 2)

    def test_a_device_that_the_specification_lacks_is_refused(self):
        container = self.start_container(f"{self.kind}=nothing")
        self.assertNotEqual(container.wait(30), 0)
        self.assertIn("unresolvable CDI devices", container.output())


if __name__ == "__main__":
    main()
