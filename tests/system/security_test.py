"""What docs/security.md says that others can see and do, tried by processes that really are others: other users, members of
the group, containers' user and process namespaces and control groups. A case for each row."""
import json
import os
import signal
import uuid

from broker import Broker
from case import SystemTest, main
from stage import wait_until
from stranger import NEEDED, PHASE, Stranger

CARD = "GPU-01234567-89ab-cdef-0123-456789abcdef"
ALICE, BOB, GROUP = 54321, 54322, 54300  # nobody's numbers; GROUP is that of "lull" on the stage
SECRET = "secret-of-root"  # a tenant's name
CONFIG = f"""\
[[gpu]]
uuid = "{CARD}"
memory = "1GiB"
residue = "8MiB"
headroom = "8MiB"
"""
CAPABILITIES = {"dac_override": 1, "kill": 5, "setgid": 6, "setuid": 7, "ipc_lock": 14, "sys_ptrace": 19,
                "sys_resource": 24, "bpf": 39}


def status_of(pid, thread=None):
    """/proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/task/{thread or pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def cgroup_directory():
    """Where a control group can be made whose path the kernel tells in the usual way; None: nowhere."""
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    for _, place, kind, options, *_ in mounts:
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            if os.access(place, os.W_OK):
                return place
    return None


class SecurityTest(SystemTest):
    card = None

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to become other users")
        super().setUp()
        os.chmod(self.stage.directory, 0o711)

    def start(self, more=""):
        """lulld on a machine that has the group lull, with a tenant of root's."""
        config, groups = self.stage.path("lull.toml"), self.stage.path("group")
        with open(config, "w", encoding="utf-8") as file:
            file.write(more + CONFIG)
        with open("/etc/group", encoding="utf-8") as file:
            others = [line for line in file if not line.startswith("lull:")]
        with open(groups, "w", encoding="utf-8") as file:
            file.writelines([*others, f"lull:x:{GROUP}:\n"])
        os.makedirs(self.stage.runtime_dir, exist_ok=True)
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"', groups,
                self.stage.build.lulld, "--runtime-dir", self.stage.runtime_dir, "--config", config]
        self.broker = self.stage.spawn("lulld", argv, kind=Broker)
        self.broker.control_path = self.run_path("control")
        try:
            self.broker.wait_ready()
        except Exception:
            if "unshare:" in self.broker.output() or "mount:" in self.broker.output():
                self.skipTest("no mount namespace can be made here: " + self.broker.output())
            raise
        self.owner = Stranger(self, "root")
        self.welcome(self.owner, SECRET)
        return self.broker

    def run_path(self, *parts):
        return os.path.join(self.stage.runtime_dir, *parts)

    def door(self, klass):
        return self.run_path(klass, "socket", "broker")

    def welcome(self, stranger, tenant="", klass="training", path=None, **hello):
        """Connected, welcomed and attached; what the broker says of it."""
        self.assertEqual(stranger.do("connect", path=path or self.door(klass)), "connected")
        answer = stranger.do("hello", tenant=tenant, **hello)
        self.assertIn("client", answer)
        self.assertEqual(stranger.do("attach", uuid=CARD), "sent")
        return self.client_of(answer["client"])

    def client_of(self, number):
        def look():
            return next((c for c in self.broker.clients() if c["client"] == number), None)
        return wait_until(look, 10, lambda: f"client {number} is seen:\n{self.broker.status_text()}")

    def assert_denied(self, stranger, what, **how):
        self.assertIn(stranger.do(what, **how), ("EACCES", "EPERM"), (what, how))


class Reach(SecurityTest):
    """What an unprivileged user can reach."""

    def test_training_is_open_to_all_and_its_directory_is_nobody_else_s_to_change(self):
        self.start()
        alice = Stranger(self, "alice", ALICE)
        told = self.welcome(alice, "hers")
        self.assertEqual((told["class"], told["uid"], told["pid"], told["tenant"]), ("training", ALICE, alice.pid, "hers"))
        self.assertIn(CARD, alice.do("read", path=self.run_path("training", "socket", "gpus")))
        for name in ("gpus", "class", "other"):
            self.assert_denied(alice, "write", path=self.run_path("training", "socket", name))
        for path in (self.door("training"), self.run_path("control"), self.run_path("training", "socket", "gpus")):
            self.assert_denied(alice, "unlink", path=path)

    def test_the_higher_classes_are_for_the_group(self):
        self.start()
        alice, member = Stranger(self, "alice", ALICE), Stranger(self, "member", BOB, groups=[GROUP])
        for klass in ("interactive", "inference"):
            self.assert_denied(alice, "connect", path=self.door(klass))
            self.assert_denied(alice, "send_to", path=self.run_path(klass, "socket", "soon"), text=f"{SECRET} 30s")
        told = self.welcome(member, klass="inference")
        self.assertEqual((told["class"], told["uid"]), ("inference", BOB))
        self.assertEqual(member.do("send_to", path=self.run_path("inference", "socket", "soon"), text="30s"), "sent")

    def test_a_container_that_has_the_inner_directory_mounted_has_that_class_and_no_other(self):
        self.start()
        place = self.stage.path("mounted")
        os.mkdir(place)
        inside = Stranger(self, "contained", ALICE, prefix=[
            "unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"',
            self.run_path("inference", "socket"), place])
        told = self.welcome(inside, path=os.path.join(place, "broker"))
        self.assertEqual((told["class"], told["uid"]), ("inference", ALICE))
        self.assert_denied(inside, "write", path=os.path.join(place, "gpus"))
        self.assert_denied(inside, "connect", path=self.door("interactive"))

    def test_the_control_socket_is_for_the_group(self):
        self.start()
        alice, member = Stranger(self, "alice", ALICE), Stranger(self, "member", BOB, groups=[GROUP])
        self.welcome(alice)
        for request in ({"cmd": "status"}, {"cmd": "why", "whom": SECRET}, {"cmd": "events"}, {"cmd": "wake", "whom": SECRET},
                        {"cmd": "free", "gpu": 0, "bytes": 1 << 20, "for_ns": 10**9}, {"cmd": "ps"}):
            self.assert_denied(alice, "ask", path=self.run_path("control"), line=json.dumps(request))
        self.assertIn(SECRET, member.do("ask", path=self.run_path("control"), line='{"cmd": "status"}'))

    def test_signals_are_not_for_others(self):
        self.start()
        alice = Stranger(self, "alice", ALICE)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            self.assert_denied(alice, "kill", pid=self.broker.pid, number=int(number))

    def test_of_others_one_sees_the_sizes_of_the_cards(self):
        self.start()
        alice = Stranger(self, "alice", ALICE)
        self.welcome(alice)
        found = alice.do("readable", directory=self.stage.runtime_dir)
        self.assertEqual({os.path.relpath(path, self.stage.runtime_dir) for path in found},
                         {"training/socket/gpus", "training/socket/class"})
        self.assertNotIn(SECRET, json.dumps(found))


class Names(SecurityTest):
    """Who one is, is the kernel's word."""

    def test_root_of_a_user_namespace_is_the_user_who_made_it(self):
        self.start()
        inside = Stranger(self, "mapped", ALICE)
        refused = inside.do("make_user_namespace")
        if refused:
            self.skipTest(f"users may not make user namespaces here: {refused}")
        self.assertEqual(inside.do("identity")["uid"], 0)
        self.assertEqual(self.welcome(inside)["uid"], ALICE)
        self.assert_denied(inside, "connect", path=self.door("inference"))
        self.assert_denied(inside, "ask", path=self.run_path("control"), line='{"cmd": "status"}')

    def test_a_process_in_a_pid_namespace_has_the_host_s_number_and_its_end_is_seen(self):
        self.start()
        inside = Stranger(self, "namespaced", ALICE, prefix=["unshare", "--pid", "--fork", "--kill-child"])
        told = self.welcome(inside)
        self.assertEqual((inside.do("identity")["pid"], told["uid"]), (1, ALICE))
        self.assertEqual(int(status_of(told["pid"])["NSpid"].split()[-1]), 1)
        os.kill(told["pid"], signal.SIGKILL)
        wait_until(lambda: all(c["client"] != told["client"] for c in self.broker.clients()), 10, "it is gone")

    def test_a_control_group_names_a_tenant_that_has_chosen_no_name(self):
        root = cgroup_directory()
        if not root:
            self.skipTest("no control group can be made here")
        self.start()
        number = uuid.uuid4().hex * 2
        place = os.path.join(root, f"docker-{number}.scope")
        os.mkdir(place)
        inside = Stranger(self, "grouped", ALICE)
        self.addCleanup(lambda: (inside.end(), wait_until(lambda: remove_directory(place), 10, "the group is empty")))
        with open(os.path.join(place, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(inside.pid))
        self.assertEqual(self.welcome(inside)["tenant"], f"docker:{number[:12]}")
        outside = Stranger(self, "outside", BOB)
        self.assert_denied(outside, "write", path=os.path.join(place, "cgroup.procs"))

    def test_a_name_is_no_more_than_a_name(self):
        self.start()
        liar = Stranger(self, "liar", ALICE)
        told = self.welcome(liar, f'{SECRET}" uid=0 class="inference')
        self.assertEqual((told["uid"], told["class"]), (ALICE, "training"))
        self.assertNotIn('"', told["tenant"])
        same = Stranger(self, "same name", BOB)
        self.assertEqual(self.welcome(same, SECRET)["uid"], BOB)


class Bounds(SecurityTest):
    """What a hostile program can do: the bounds are each user's own."""

    def test_connections_are_counted_for_each_user(self):
        self.start("[limits]\nclients_per_uid = 2\n")
        for _ in range(2):
            self.welcome(Stranger(self, "alice", ALICE))
        third = Stranger(self, "alice", ALICE)
        third.do("connect", path=self.door("training"))
        self.assertIn("limits.clients_per_uid", third.do("hello").get("refused", ""))
        self.welcome(Stranger(self, "bob", BOB))

    def test_a_page_that_cannot_be_true_costs_its_writer_the_connection_and_nobody_else_anything(self):
        self.start()
        liar, honest = Stranger(self, "liar", ALICE), Stranger(self, "honest", ALICE)
        told, other = self.welcome(liar), self.welcome(honest)
        liar.do("put", words={NEEDED: 1 << 60, PHASE: 0})
        self.assertTrue(liar.do("hung_up"))
        self.assertEqual(self.broker.status()["dropped"], 1)
        left = {c["client"] for c in self.broker.clients()}
        self.assertNotIn(told["client"], left)
        self.assertIn(other["client"], left)


def remove_directory(path):
    try:
        os.rmdir(path)
        return True
    except OSError:
        return False


class Rights(SecurityTest):
    """What lulld keeps of root's rights."""

    def assert_has_given_up(self, pid, thread, most):
        status = status_of(pid, thread)
        for name in ("CapEff", "CapPrm", "CapBnd"):
            self.assertEqual(int(status[name], 16) & ~most, 0, (name, status["Name"]))
        self.assertEqual(int(status["CapInh"], 16) | int(status["CapAmb"], 16), 0)
        self.assertEqual(status["NoNewPrivs"], "1", status["Name"])
        return int(status["CapEff"], 16)

    def test_each_thread_has_kept_what_is_told_and_no_more(self):
        self.start()
        most = sum(1 << number for number in CAPABILITIES.values())
        mine = int(status_of(os.getpid())["CapEff"], 16)
        threads = os.listdir(f"/proc/{self.broker.pid}/task")
        self.assertGreater(len(threads), 3)
        for thread in threads:
            self.assertEqual(self.assert_has_given_up(self.broker.pid, thread, most), mine & most)
        kept = self.broker.status()["rights"]
        self.assertEqual(set(kept), {name for name, number in CAPABILITIES.items() if mine >> number & 1})
        self.assertIn('rights kept="' + " ".join(kept) + '"', self.broker.output())
        self.assertIn("of root's rights has kept " + ", ".join(kept), self.stage.run_lull("doctor").stdout)

    def test_a_helper_has_none(self):
        """One that measures a card, held while it looks for the driver."""
        os.mkfifo(self.stage.path("libcuda.so.1"))
        helper = self.stage.spawn("helper", [self.stage.build.lulld, "--measure-card", CARD, "1"],
                                  env={"LD_LIBRARY_PATH": self.stage.directory})
        wait_until(lambda: int(status_of(helper.pid)["CapEff"], 16) == 0, 10, "it has given up its rights")
        self.assert_has_given_up(helper.pid, helper.pid, 0)
        self.assertTrue(helper.running(), helper.output())


if __name__ == "__main__":
    main()
