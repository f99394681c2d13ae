"""What an owner says by hand: pause, release, resume, hold. And that another user may not."""
import json
import os
import socket

from broker import SMALL_CARD_CONFIG
from case import SystemTest, main


def ask_as(uid, path, request):
    """One question of a control socket, by a child process of that user; its answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(10)
                control.connect(path)
                control.sendall(json.dumps(request).encode() + b"\n")
                os.write(writer, control.makefile("rb").readline())
        finally:
            os._exit(0)  # whatever happens: the tests are its parent's
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


class Orders(SystemTest):
    def lull(self, *arguments):
        done = self.stage.run_lull(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def ask_as_nobody(self, request):
        """Of the control socket, as a user that its directory would not let in by itself."""
        for path, mode in ((self.stage.directory, 0o711), (self.stage.runtime_dir, 0o711), (self.control(), 0o666)):
            os.chmod(path, mode)
        return ask_as(65534, self.control(), request)

    def control(self):
        return os.path.join(self.stage.runtime_dir, "control")

    def running_trainer(self, **more):
        self.start_broker(SMALL_CARD_CONFIG)
        trainer = self.start_trainer("--save-on-term", self.stage.path("saved"), env={"LULL_TENANT": "nightly"}, **more)
        self.wait_for_steps(trainer, 2)
        return trainer

    def state(self, trainer):
        return self.broker.client(trainer.pid)["state"]

    def test_a_paused_program_stands_still_and_goes_on_and_computes_what_it_would_alone(self):
        trainer = self.running_trainer()
        self.assertIn("nightly is paused until `lull resume nightly`", self.lull("pause", "nightly"))
        self.assertEqual(self.state(trainer), "halted")
        before = self.steps(trainer)
        self.assertGreater(self.broker.client(trainer.pid)["resident"], 0)
        self.assertIn("its memory has left the card, until ", self.lull("release", "nightly", "--for", "1h"))
        client = self.broker.client(trainer.pid)
        self.assertEqual((client["state"], client["resident"], client["order"]), ("released", 0, "release"))
        self.assertLessEqual(self.steps(trainer), before + 1, "one that was printed late, at most")
        self.assertIn("released its memory (lull release), for another 59min", self.lull("status"))
        self.assertIn("undo      lull resume nightly", self.lull("why", "nightly"))
        self.assertRegex(self.lull("ps"), r"released +\S+ +nightly \(release, for another 59min\)")
        self.assertIn(f"{trainer.pid} may run", self.lull("resume", str(trainer.pid)))
        self.wait_for_steps(trainer, 2)
        steps = self.stop_and_save([trainer])[0]
        self.assert_same_bytes(self.stage.path("saved"), self.undisturbed(steps))

    def test_a_pause_ends_with_its_time_and_a_signal_is_answered_within_one(self):
        trainer = self.running_trainer()
        self.stage.run_lull("pause", "nightly", "--for", "2s")
        self.assertIn("order", [event["event"] for event in self.broker.events()])
        self.wait_for_steps(trainer, 2)
        self.lull("release", "nightly")
        # A signal that came before it waits would be one that nobody waits behind.
        self.broker.wait_for_client(trainer.pid, lambda c: c["wants"], "waits at the gate")
        self.stop_and_save([trainer])

    def test_training_does_not_come_back_between_requests_while_a_service_is_held(self):
        trainer = self.running_trainer()
        service = self.start_service(env={"LULL_TENANT": "faces"}).wait_ready()
        self.lull("hold", "faces", "--for", "10min")
        self.broker.wait_for_client(trainer.pid, lambda c: c["reason"] == "owner_hold", "stands aside")
        service.request()
        self.broker.wait_for_client(trainer.pid, lambda c: c["reason"] == "owner_hold", "stands aside again")
        self.assertIn("kept for a tenant (lull hold)", self.lull("why", "faces"))
        self.lull("hold", "--end", "faces")
        self.wait_for_steps(trainer, 2)
        self.assertEqual(self.stage.run_lull("hold", "faces", "--for", "2h").returncode, 1, "limits.hold")

    def test_names_that_nobody_has_and_processes_of_others(self):
        trainer = self.running_trainer()
        self.assertEqual(self.stage.run_lull("pause", "nobody").returncode, 4)
        self.assertEqual(self.stage.run_lull("pause", "nightly", "--for", "soon").returncode, 2)
        if os.geteuid() != 0:
            return
        answer = self.ask_as_nobody({"cmd": "pause", "whom": "nightly"})
        self.assertIn("only root and uid 0 may say so", answer["error"])
        self.assertEqual(self.state(trainer), "running")


if __name__ == "__main__":
    main()
