"""What host memory has no room for goes to disk, comes back before it is needed, and survives whatever fails."""
import os
import signal
import subprocess
import sys
import threading
import time

from broker import SMALL_CARD_CONFIG, start_broker
from case import MIB, SystemTest, main
from stage import Ask, wait_until

SPILL = 'spill_path = "{path}"\nspill_bytes = "1GiB"\nmeasure = "never"\n'
SERVICE = ["--port", "0", "--bytes", "128M", "--samples", "8192"]


def helpers(broker, option):
    """Processes of the broker that copy to disk, or back."""
    found = []
    for tid in os.listdir(f"/proc/{broker.pid}/task"):
        try:
            with open(f"/proc/{broker.pid}/task/{tid}/children", encoding="ascii") as file:
                children = file.read().split()
            for child in children:
                with open(f"/proc/{child}/cmdline", "rb") as file:
                    if option.encode() in file.read().split(b"\0"):
                        found.append(int(child))
        except OSError:
            pass  # gone meanwhile
    return found


class Killer(threading.Thread):
    """Kills every helper of a kind while it lives."""

    def __init__(self, broker, option):
        super().__init__(daemon=True)
        self.broker, self.option, self.killed, self.stopped = broker, option, set(), False
        self.start()

    def run(self):
        while not self.stopped and self.broker.running():
            for pid in helpers(self.broker, self.option):
                try:
                    os.kill(pid, signal.SIGKILL)
                    self.killed.add(pid)
                except ProcessLookupError:
                    pass
            time.sleep(0.0005)

    def stop(self):
        self.stopped = True
        self.join()


class Spill(SystemTest):
    def setUp(self):
        super().setUp()
        self.spill_path = self.stage.path("spill")
        os.mkdir(self.spill_path, 0o700)
        self.state_dir = self.stage.path("state")
        os.mkdir(self.state_dir)

    def start(self, text):
        self.broker = start_broker(self.stage, SPILL.format(path=self.spill_path) + text + SMALL_CARD_CONFIG,
                                   "--state-dir", self.state_dir)
        return self.broker

    def reload(self, text):
        """The configuration the broker was started with, with this in its place."""
        path = self.stage.path("lull.toml")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(SPILL.format(path=self.spill_path) + text + SMALL_CARD_CONFIG)
        os.rename(path + ".new", path)
        self.broker.signal(signal.SIGHUP)

    def spill(self):
        return self.broker.status()["host"]["spill"]

    def wait(self, what, question, timeout_s=30):
        return wait_until(question, timeout_s, lambda: f"{what}; host: {self.broker.status()['host']}; lulld:\n"
                                                       f"{self.broker.output()[-3000:]}")

    # Two services that do not fit together; the machine is short of memory after both have been evicted twice.

    SHORT = 'host_memory_keep_free = "60TiB"\nbacking_linger = "0s"\n'
    LONG = 'host_memory = "2GiB"\nhost_memory_keep_free = "0"\nbacking_linger = "0s"\n'

    def start_two(self):
        self.start(self.LONG)
        self.one, self.two = (self.stage.start("service", SERVICE, klass="inference").wait_ready() for _ in range(2))
        for _ in range(3):
            self.one.request()
            self.two.request()

    def evicted(self):
        """The service that has no memory on the card, as a process."""
        return next(s for s in (self.one, self.two) if self.broker.client(s.pid)["evicted"] > 0)

    def park(self):
        before = self.spill()["saves"]
        self.reload(self.SHORT)
        self.wait("something is on disk", lambda: self.spill()["away"] > 0)
        return before

    def files(self):
        """Descriptors, of our own, of the files that the broker keeps on the disk."""
        found = {}
        for name in os.listdir(f"/proc/{self.broker.pid}/fd"):
            path = f"/proc/{self.broker.pid}/fd/{name}"
            try:
                if not os.readlink(path).startswith(self.spill_path + "/"):
                    continue
                mine = os.open(path, os.O_RDWR)
            except OSError:
                continue  # closed meanwhile, or open for reading only
            inode = os.fstat(mine).st_ino
            if inode in found:
                os.close(mine)
            else:
                found[inode] = mine
                self.addCleanup(os.close, mine)
        self.assertTrue(found)
        return found.values()

    def test_more_than_host_memory_holds_goes_on_and_comes_out_right(self):
        self.start('host_memory = "112MiB"\nhost_memory_keep_free = "0"\nspill_daily_write_bytes = "64GiB"\n')
        service = self.start_service().wait_ready()
        path = self.stage.path("shared.state")
        trainer = self.start_trainer("--save-on-term", path)
        self.wait_for_steps(trainer, 3)
        for _ in range(3):
            service.request()
            self.wait_for_steps(trainer, 2)
        [steps] = self.stop_and_save([trainer])
        spill = self.spill()
        self.assertGreaterEqual(spill["saves"], 1, spill)
        self.assertGreaterEqual(spill["fills"], 1, spill)
        self.assertGreater(spill["written_today"], 0, spill)
        service.kill()
        self.broker.end()
        self.assert_same_bytes(path, self.undisturbed(steps))

    def test_what_has_not_changed_is_written_once(self):
        self.start_two()
        held = self.broker.status()["host"]["held"]
        self.park()
        service = self.evicted()
        self.wait("its memory is free", lambda: self.broker.status()["host"]["held"] + self.spill()["away"] <= held)
        self.assertEqual(os.listdir(self.spill_path), [])
        for file in self.files():
            self.assertEqual(os.fstat(file).st_mode & 0o777, 0o600)
        self.reload(self.LONG)
        service.request()
        self.assertGreaterEqual(self.spill()["fills"], 1)
        written = self.spill()["written_today"]
        other = self.two if service is self.one else self.one
        other.request()
        self.park()
        self.wait("it is saved again", lambda: self.spill()["saves"] >= 2)
        self.assertLess(self.spill()["written_today"] - written, 32 * MIB)
        self.reload(self.LONG)
        service.request()

    def test_a_killed_helper_loses_nothing(self):
        self.start_two()
        killer = Killer(self.broker, "--spill-save")
        self.reload(self.SHORT)
        self.wait("a save is killed", lambda: killer.killed and self.spill()["failures"] > 0)
        killer.stop()
        self.wait("the next one is not", lambda: self.spill()["away"] > 0)
        service = self.evicted()
        killer = Killer(self.broker, "--spill-fill")
        self.reload(self.LONG)
        answer = Ask(service)
        self.wait("fills are killed", lambda: len(killer.killed) >= 2)
        killer.stop()
        answer.result()

    def test_a_truncated_file_is_told_and_never_believed(self):
        self.start_two()
        self.park()
        service = self.evicted()
        self.wait("nothing is under way", lambda: not helpers(self.broker, "--spill-save"))
        contents = {}
        for file in self.files():
            contents[file] = os.pread(file, os.fstat(file).st_size, 0)
            os.truncate(file, len(contents[file]) // 2)
        self.reload(self.LONG)
        answer = Ask(service)
        self.wait("it says so", lambda: self.broker.client(service.pid)["overdue"] == "spill-lost")
        self.assertGreaterEqual(self.spill()["lost"], 1)
        self.assertTrue(answer.is_alive())
        for _ in range(200):  # also while it is tried again
            self.assertEqual(self.broker.client(service.pid)["overdue"], "spill-lost")
        self.assertIn("spill-lost", self.stage.run_lull("why", str(service.pid)).stdout)
        for file, content in contents.items():
            self.assertEqual(os.pwrite(file, content, 0), len(content))
        answer.result()

    def test_a_disk_that_is_full_leaves_the_data_where_it_is(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to mount")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "lull-test", self.spill_path], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.spill_path], check=False)
        self.start_two()
        self.reload(self.SHORT)
        self.wait("the disk is full", lambda: "No space left" in (self.spill()["error"] or ""))
        self.assertEqual(self.spill()["away"], 0)
        self.reload(self.LONG)
        self.evicted().request()

    def test_on_a_disk_of_its_own_and_after_the_broker_was_killed(self):
        """O_DIRECT on ext4, where loop devices can be had; the program reads what its broker left behind."""
        if os.geteuid() == 0:
            image = self.stage.path("disk")
            with open(image, "wb") as file:
                file.truncate(600 * MIB)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
            mounted = subprocess.run(["mount", "-o", "loop", image, self.spill_path], check=False).returncode == 0
            if mounted:
                self.addCleanup(subprocess.run, ["umount", "-l", self.spill_path], check=False)
                os.chmod(self.spill_path, 0o700)
            print("on ext4 of a loop device" if mounted else "no loop device here", file=sys.stderr)
        self.start_two()
        self.park()
        service = self.evicted()
        self.broker.kill()
        self.start(self.LONG)
        self.broker.wait_for_clients([self.one.pid, self.two.pid], 20)
        service.request()
        self.one.request()
        self.two.request()

    def test_a_directory_that_others_may_write_to_is_refused(self):
        os.chmod(self.spill_path, 0o777)
        self.start(self.LONG)
        self.assertFalse(self.spill()["on"])
        self.assertIn("must not be writable", self.spill()["error"])


if __name__ == "__main__":
    main()
