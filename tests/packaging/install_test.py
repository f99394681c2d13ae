"""meson install and uninstall, the units, and what containers are given: everything named in one file is in another."""
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import cdi

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUILD = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and os.path.isdir(sys.argv[1]) else os.path.abspath("build")
ANALYZE = shutil.which("systemd-analyze")
MOST_EXPOSURE = 3.0


def run(*argv, **more):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120, check=False, **more)


class Installed(unittest.TestCase):
    """All tests look at one installation."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="lull-install-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.root = os.path.join(cls.directory, "root")
        done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", cls.root)
        assert done.returncode == 0, done.stdout + done.stderr
        options = json.loads(run("meson", "introspect", BUILD, "--buildoptions").stdout)
        cls.prefix = next(o["value"] for o in options if o["name"] == "prefix")
        cls.files = sorted(os.path.relpath(os.path.join(at, name), cls.root + cls.prefix)
                           for at, _, names in os.walk(cls.root) for name in names)

    def path(self, name):
        """The one installed file of that name, below the root."""
        found = [f for f in self.files if f.endswith(name)]
        self.assertEqual(len(found), 1, f"{name} in {self.files}")
        return os.path.join(self.root + self.prefix, found[0])

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def on_target(self, name):
        return self.path(name)[len(self.root):]

    def test_everything_is_there_and_nothing_for_developers_alone(self):
        for name in ("sbin/lulld", "bin/lull", "/lull/liblull.so", "systemd/system/lulld.service", "tmpfiles.d/lull.conf",
                     "sysusers.d/lull.conf", "lull/cdi/lull.json", "lull/ld.so.preload", "lull/grafana/lull.json",
                     "lull/prometheus/lull.rules.yml", "include/lull_soon.h", "doc/lull/operation.md", "compose/compose.yaml"):
            self.path(name)
        for name in self.files:
            self.assertNotRegex(name, r"\.a$|libcuda|libnvidia|test", name)
        self.assertTrue(os.access(self.path("bin/lull"), os.X_OK))

    def test_uninstall_leaves_nothing(self):
        # From the log of an installation of its own: it names the files of the last one only.
        other = os.path.join(self.directory, "other")
        log = os.path.join(BUILD, "meson-logs", "install-log.txt")
        self.assertEqual(run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", other).returncode, 0)
        with open(log, encoding="utf-8") as file:
            named = [line.strip() for line in file if not line.startswith("#")]
        there = {os.path.join(at, name) for at, _, names in os.walk(other) for name in names}
        self.assertEqual({f for f in named if os.path.isfile(f)}, there)
        script = run("meson", "--internal", "uninstall", cwd=BUILD)
        self.assertEqual(script.returncode, 0, script.stdout + script.stderr)
        self.assertEqual([os.path.join(at, name) for at, _, names in os.walk(other) for name in names], [])

    def test_what_the_units_start_is_installed(self):
        for unit in ("lulld.service", "lull-metrics.service"):
            for program in re.findall(r"^Exec\w+=(\S+)", self.read(unit), re.MULTILINE):
                if program != "/bin/kill":
                    self.assertTrue(os.access(self.root + program, os.X_OK), program)
        for name in ("lulld.service", "lull-metrics.service", "tmpfiles.d/lull.conf"):
            self.assertNotRegex(self.read(name), r"@[a-z]+@", name)
        self.assertIn("Type=notify", self.read("lulld.service"))
        self.assertIn("WatchdogSec=", self.read("lulld.service"))

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_systemd_takes_the_units(self):
        for unit in ("lulld.service", "lull-metrics.service", "lull-metrics.timer"):
            text = self.read(unit).replace(f"ExecStart={self.prefix}", f"ExecStart={self.root}{self.prefix}")
            with open(os.path.join(self.directory, unit), "w", encoding="utf-8") as file:
                file.write(text)
        for unit in ("lulld.service", "lull-metrics.timer"):
            done = run(ANALYZE, "verify", "--man=no", os.path.join(self.directory, unit))
            complaints = [l for l in (done.stdout + done.stderr).splitlines() if "lull" in l]
            self.assertEqual(complaints, [])
        with open(os.path.join(self.directory, "lulld.service"), "a", encoding="utf-8") as file:
            file.write("[Service]\nWatchdogSecond=10s\n")
        done = run(ANALYZE, "verify", "--man=no", os.path.join(self.directory, "lulld.service"))
        self.assertIn("WatchdogSecond", done.stdout + done.stderr)  # it would have been said

    @unittest.skipUnless(ANALYZE, "no systemd-analyze here")
    def test_the_service_is_confined(self):
        for unit in ("lulld.service", "lull-metrics.service"):
            done = run(ANALYZE, "security", "--offline=yes", self.path(unit))
            exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
            self.assertTrue(exposure, done.stdout + done.stderr)
            self.assertLessEqual(float(exposure[1]), MOST_EXPOSURE, unit)

    def test_the_specification_is_valid_and_every_path_in_it_is_made_or_installed(self):
        spec = json.loads(self.read("lull/cdi/lull.json"))
        cdi.check(spec)
        self.assertEqual({d["name"] for d in spec["devices"]}, {"training", "interactive", "inference"})
        made = dict(re.findall(r"^d (\S+) (\d+)", self.read("tmpfiles.d/lull.conf"), re.MULTILINE))
        for device in spec["devices"]:
            for mount in cdi.mounts(spec, device["name"]):
                host = mount["hostPath"]
                self.assertTrue(host in made or os.path.exists(self.root + host), host)
        self.assertEqual(self.read("lull/ld.so.preload"), "/usr/lib/lull/liblull.so\n")
        library = next(m for m in spec["containerEdits"]["mounts"] if m["containerPath"] == "/usr/lib/lull")
        self.assertEqual(library["hostPath"], os.path.dirname(self.on_target("/lull/liblull.so")))
        link = re.search(r"^L\+ /run/cdi/lull.json - - - - (\S+)$", self.read("tmpfiles.d/lull.conf"), re.MULTILINE)
        self.assertEqual(link[1], self.on_target("lull/cdi/lull.json"))

    def test_a_specification_with_a_mistake_is_refused(self):
        good = json.loads(self.read("lull/cdi/lull.json"))
        device = lambda s: s["devices"][0]
        mount = lambda s: device(s)["containerEdits"]["mounts"][0]
        mistakes = {
            "no version": lambda s: s.pop("cdiVersion"),
            "an unknown version": lambda s: s.update(cdiVersion="0.2.9"),
            "a kind without a vendor": lambda s: s.update(kind="gpu"),
            "annotations of a later version": lambda s: s.update(annotations={"a": "b"}),
            "no devices": lambda s: s.update(devices=[]),
            "a name with a slash": lambda s: device(s).update(name="a/b"),
            "two of one name": lambda s: s["devices"].append(device(s)),
            "a relative path": lambda s: mount(s).update(containerPath="run/lull"),
            "no host path": lambda s: mount(s).pop("hostPath"),
            "a misspelt key": lambda s: mount(s).update(option=[]),
            "an unknown option": lambda s: mount(s).update(options=["exec"]),
            "ro and rw": lambda s: mount(s).update(options=["ro", "rw"]),
            "two mounts at one place": lambda s: device(s)["containerEdits"]["mounts"].append(mount(s)),
        }
        for what, spoil in mistakes.items():
            bad = copy.deepcopy(good)
            spoil(bad)
            with self.subTest(what), self.assertRaises(cdi.SpecError):
                cdi.check(bad)

    def test_directories_are_as_lulld_wants_them(self):
        made = re.findall(r"^d (/run/lull\S*) (\d+) root (\S+)", self.read("tmpfiles.d/lull.conf"), re.MULTILINE)
        want = {"/run/lull": ("0755", "root")}
        for klass, mode, group in (("training", "0755", "root"), ("interactive", "0750", "lull"), ("inference", "0750", "lull")):
            want |= {f"/run/lull/{klass}": (mode, group), f"/run/lull/{klass}/socket": ("0755", "root")}
        self.assertEqual({path: (mode, group) for path, mode, group in made}, want)

    def test_docker_arguments_and_the_specification_mount_the_same(self):
        spec = json.loads(self.read("lull/cdi/lull.json"))
        for device in spec["devices"]:
            words = run(self.path("bin/lull"), "--runtime-dir", "/run/lull", "docker-args", device["name"]).stdout.split()
            told = {tuple(w.split(":")[:2]) for w in words if w != "-v"}
            self.assertEqual(told, {(m["hostPath"], m["containerPath"]) for m in cdi.mounts(spec, device["name"])})


if __name__ == "__main__":
    unittest.main(verbosity=2)
