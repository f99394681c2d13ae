"""The Debian package in a root of its own: install, upgrade in the middle of a switch, remove, purge.

usage: deb_test.py ROOT DEB NEWER_DEB BUILD

ROOT is a directory with Debian in it and the package's dependencies, which this process may change as it likes; run as root
in mount and process namespaces of its own (scripts/check-package). BUILD has the simulated card and the workloads. No systemd
runs in ROOT: `systemctl` there is the one beside this file, which starts lulld as its unit says.
"""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "system"))

from broker import SMALL_CARD_CONFIG  # noqa: E402
from case import SERVICE, TRAINER  # noqa: E402
from stage import Card, Process, Service, StageError, wait_until  # noqa: E402

ROOT, DEB, NEWER, BUILD = (os.path.abspath(a) for a in sys.argv[1:5])
MIB = 1 << 20
# Slow enough that an eviction is long beside what starts it.
CARD = Card(memory=256 * MIB, link=200_000_000)
LIBRARY = "/usr/lib/x86_64-linux-gnu/lull/liblull.so"
UNIT = "/etc/systemd/system/multi-user.target.wants/lulld.service"
# What Debian's own tools keep of a package that was there once.
KEPT = re.compile(r"/(var/log|var/lib/dpkg|var/cache|run/stand-in|opt/sim|proc|dev|sys|tmp)(/|$)|/etc/(group|gshadow|passwd|shadow|subgid|subuid)-$"
                  r"|/etc/\.pwd\.lock$")


def at(path):
    return ROOT + path


def environment():
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return env | CARD.environment("/opt/sim/card", "/opt/sim")


def inside(*argv, check=True):
    """What a command in the root prints."""
    done = subprocess.run(["chroot", ROOT, *argv], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300, check=False)
    if check and done.returncode != 0:
        raise StageError(f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def files():
    """Everything in the root but what does not count."""
    found = set()
    for where, directories, names in os.walk(ROOT):
        below = where[len(ROOT):]
        directories[:] = [d for d in directories if not KEPT.match(f"{below}/{d}")]
        found |= {f"{below}/{name}" for name in (*directories, *names) if not KEPT.match(f"{below}/{name}")}
    return found


def asked():
    """What maintainer scripts asked of systemd since this was called last."""
    path = at("/run/stand-in/calls")
    with open(path, encoding="utf-8") as file:
        calls = file.read()
    with open(path, "w", encoding="utf-8"):
        pass
    return calls


def status():
    return json.loads(inside("lull", "status", "--json"))


def lulld_pid():
    with open(at("/run/stand-in/pid"), encoding="utf-8") as file:
        return int(file.read())


def mapped_library(pid):
    """The line of its memory that names the library."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return next(line for line in maps if "liblull.so" in line)


class Debian(unittest.TestCase):
    """The steps depend on each other, in the order of their names."""

    @classmethod
    def setUpClass(cls):
        for directory in ("/opt/sim", "/run/stand-in", "/run/systemd/system"):
            os.makedirs(at(directory), exist_ok=True)
        for name in ("tests/driver/libcuda.so.1", "tests/driver/libnvidia-ml.so.1", "tests/workloads/trainer", "tests/workloads/service"):
            shutil.copy(os.path.join(BUILD, name), at("/opt/sim"))
        shutil.copy(os.path.join(HERE, "systemctl"), at("/usr/local/sbin/systemctl"))
        # Libraries that the workloads need and the package does not.
        linked = subprocess.run(["ldd", os.path.join(BUILD, "tests/workloads/service")], capture_output=True, text=True, check=True).stdout
        for name, path in re.findall(r"(\S+) => (/(?:usr/)?lib\S+)", linked):
            if not os.path.exists(at(f"/usr/lib/x86_64-linux-gnu/{name}")):
                shutil.copy(path, at("/opt/sim"))
        for deb, name in ((DEB, "old.deb"), (NEWER, "new.deb")):
            shutil.copy(deb, at(f"/tmp/{name}"))
        cls.before = files()
        with open(at("/etc/group"), encoding="utf-8") as file:
            cls.groups = file.read()
        cls.processes = []
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        for process in cls.processes:
            process.kill()
        inside("systemctl", "stop", "lulld.service")

    def start(self, name, klass, options, kind=Process):
        """As a person would: by the package's own lull."""
        argv = ["chroot", ROOT, "lull", "run", "--class", klass, "--", f"/opt/sim/{name}", *options]
        process = kind(name, argv, environment(), at(f"/tmp/{name}-{len(self.processes)}.log"))
        type(self).processes.append(process)
        return process

    def wait_for_clients(self, *processes):
        def all_there():
            try:
                return {c["pid"] for c in status()["gpus"][0]["clients"]} == {p.pid for p in processes}
            except StageError:
                return False
        wait_until(all_there, 30, lambda: inside("lull", "status", "--json", check=False), every_s=0.1)

    def wait_for_steps(self, more):
        target = self.steps() + more
        wait_until(lambda: self.steps() >= target, 60, lambda: self.trainer.output()[-2000:])

    def steps(self):
        return self.trainer.output().count("\nstep ")

    def purged(self):
        self.assertEqual(files() - self.before, set())
        with open(at("/etc/group"), encoding="utf-8") as file:
            self.assertEqual(file.read(), self.groups)

    def test_1_it_installs_and_goes_without_a_trace_where_there_is_no_card(self):
        # A driver's management library is part of the simulation: without it, no card.
        os.rename(at("/opt/sim/libnvidia-ml.so.1"), at("/opt/sim/hidden"))
        inside("dpkg", "-i", "/tmp/old.deb")
        calls = asked()
        self.assertIn(" start lulld.service", calls)
        self.assertNotIn("daemon-reload", calls)
        self.assertTrue(os.path.islink(at(UNIT)))
        self.assertIn("Version: 0.1.0\n", inside("dpkg", "-s", "lull"))
        inside("dpkg", "--purge", "lull")
        self.purged()
        os.rename(at("/opt/sim/hidden"), at("/opt/sim/libnvidia-ml.so.1"))
        self.assertNotIn("daemon-reload", asked())

    def test_2_installing_starts_the_broker_and_makes_what_containers_mount(self):
        os.makedirs(at("/etc/lull"))
        with open(at("/etc/lull/lull.toml"), "w", encoding="utf-8") as file:
            file.write(SMALL_CARD_CONFIG)
        inside("dpkg", "-i", "/tmp/old.deb")
        self.assertEqual(len(status()["gpus"]), 1)
        with open(at("/etc/group"), encoding="utf-8") as file:
            group = int(re.search(r"^lull:[^:]*:(\d+):", file.read(), re.MULTILINE)[1])
        for klass, mode, owner in (("training", 0o755, 0), ("interactive", 0o750, group), ("inference", 0o750, group)):
            found = os.stat(at(f"/run/lull/{klass}"))
            self.assertEqual((stat.S_IMODE(found.st_mode), found.st_gid), (mode, owner), klass)
        self.assertEqual(os.readlink(at("/run/cdi/lull.json")), "/usr/share/lull/cdi/lull.json")
        with open(at("/usr/share/lull/cdi/lull.json"), encoding="utf-8") as file:
            for mount in json.load(file)["containerEdits"]["mounts"]:
                self.assertTrue(os.path.exists(at(mount["hostPath"])), mount)
        asked()

    def test_3_an_upgrade_in_the_middle_of_a_switch_loses_nothing(self):
        cls = type(self)
        cls.trainer = self.start("trainer", "training", [*TRAINER, "--save-on-term", "/opt/sim/saved"])
        self.wait_for_steps(2)
        cls.service = self.start("service", "inference", SERVICE, Service).wait_ready()
        self.assertTrue(self.service.request()["ok"])
        self.wait_for_steps(1)
        self.wait_for_clients(self.trainer, self.service)
        old = lulld_pid()
        answers = []
        with open(at("/run/stand-in/hold"), "w", encoding="utf-8"):
            pass
        upgrade = threading.Thread(target=lambda: answers.append(inside("dpkg", "-i", "/tmp/new.deb")), daemon=True)
        upgrade.start()
        wait_until(lambda: os.path.exists(at("/run/stand-in/held")), 120, lambda: f"the upgrade restarts the broker: {answers}")
        moved = status()["gpus"][0]["evicted_bytes"]
        asking = threading.Thread(target=lambda: answers.append(self.service.request()), daemon=True)
        asking.start()
        # Part of it is out, the rest is not: now the broker may be restarted.
        wait_until(lambda: status()["gpus"][0]["evicted_bytes"] > moved, 30, "the eviction begins")
        self.assertNotIn("ok", str(answers))
        os.unlink(at("/run/stand-in/hold"))
        for thread in (upgrade, asking):
            thread.join(120)
            self.assertFalse(thread.is_alive())
        self.assertEqual([a["ok"] for a in answers if isinstance(a, dict)], [True], answers)
        calls = asked()
        self.assertRegex(calls, r"kill --signal=USR1 --kill-whom=main lulld.service\n(.*\n)*.*restart lulld.service")
        self.assertNotIn("daemon-reload", calls)
        self.assertNotEqual(lulld_pid(), old)
        self.assertFalse(os.readlink(f"/proc/{lulld_pid()}/exe").endswith("(deleted)"))
        self.wait_for_clients(self.trainer, self.service)
        self.wait_for_steps(2)
        self.assertTrue(self.service.request()["ok"])
        self.wait_for_steps(1)

    def test_4_running_programs_keep_the_old_library_and_new_ones_get_the_new(self):
        for process in (self.trainer, self.service):
            self.assertIn("(deleted)", mapped_library(process.pid))
        newcomer = self.start("trainer", "training", ["--bytes", "16M", "--steps", "1000000", "--print-every", "1"])
        self.wait_for_clients(self.trainer, self.service, newcomer)
        self.assertNotIn("(deleted)", mapped_library(newcomer.pid))
        newcomer.kill()

    def test_5_removing_leaves_running_programs_unharmed(self):
        inside("dpkg", "--remove", "lull")
        calls = asked()
        self.assertIn("stop lull-metrics.timer lulld.service", calls)
        self.assertNotIn("daemon-reload", calls)
        self.assertFalse(os.path.exists(at(LIBRARY)))
        self.assertFalse(os.path.lexists(at("/run/cdi/lull.json")))
        self.assertTrue(os.path.exists(at("/etc/lull/lull.toml")))
        self.wait_for_steps(2)
        self.trainer.signal(signal.SIGTERM)
        self.assertEqual(self.trainer.wait(60), 0, self.trainer.output())
        # What the service had in the host's memory comes back by itself.
        self.assertTrue(self.service.request()["ok"])
        steps = re.search(r"saved step (\d+)", self.trainer.output())[1]
        self.service.kill()
        inside("/opt/sim/trainer", *TRAINER, "--steps", steps, "--out", "/opt/sim/undisturbed")
        with open(at("/opt/sim/saved"), "rb") as saved, open(at("/opt/sim/undisturbed"), "rb") as undisturbed:
            self.assertTrue(saved.read() == undisturbed.read(), "the trainer's result is not an undisturbed run's")

    def test_6_purging_leaves_nothing(self):
        self.assertNotEqual(files() - self.before, set())  # it would be seen
        inside("dpkg", "--purge", "lull")
        self.purged()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2, failfast=True)
