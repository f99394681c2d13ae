"""A whole system on a simulated card: the memory is back before the body of a request is there; hints; filters.

LULL_TEST_UPLOADS: how many uploads (6).
"""
import math
import os
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))
sys.path.insert(0, os.path.join(HERE, "..", "..", "packaging", "soon"))

from broker import SMALL_CARD_CONFIG  # pylint: disable=wrong-import-position
from case import SERVICE, SystemTest, main  # pylint: disable=wrong-import-position
from stage import now_ns, wait_until  # pylint: disable=wrong-import-position

import lull_soon  # pylint: disable=wrong-import-position

UPLOADS = int(os.environ.get("LULL_TEST_UPLOADS", "6"))
SHARE_IN_TIME = 0.95
TENANT = {"LULL_TENANT": "faces"}


class Uploads(SystemTest):
    def early(self, config=None):
        self.start_broker(config)
        if not self.broker.status()["early_wake"]:
            self.skipTest("; ".join(self.broker.notes()))

    def evicted_service(self):
        """A trainer that works, and a service that has answered once and lost the card since."""
        trainer = self.start_trainer()
        self.wait_for_steps(trainer, 2)
        service = self.stage.start("service", SERVICE, klass="inference", env=TENANT).wait_ready()
        service.request()
        self.gone(service)
        self.wait_for_steps(trainer, 1)
        return trainer, service

    def whole(self, service):
        client = self.broker.client(service.pid)
        return client["resident"] >= client["needed"] > 0

    def gone(self, service):
        self.broker.wait_for_client(service.pid, lambda c: c["resident"] < c["needed"], "has lost the card")

    def kinds(self):
        return {k["kind"].split(" on ")[0]: k for k in self.broker.status()["requests"]["kinds"]}

    def slow_upload(self, service, at_least_s):
        """Sends a body in pieces until the time is over; whether the memory was there before the last byte."""
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as s:
            s.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n")
            began, sent = time.monotonic(), 0
            while time.monotonic() - began < at_least_s:
                if sent < 90000:
                    s.sendall(b"x" * 1000)
                    sent += 1000
                time.sleep(at_least_s / 100)  # the upload's own pace
            in_time = self.whole(service)
            s.sendall(b"x" * (100000 - sent))
            answer = b""
            while more := s.recv(65536):
                answer += more
        self.assertIn(b'"ok":true', answer)
        return in_time

    def test_with_an_upload_longer_than_the_switch_the_memory_is_there_before_the_last_byte(self):
        self.early()
        _, service = self.evicted_service()
        wait_until(lambda: self.kinds().get("POST /infer", {}).get("proven"), 10, lambda: f"learned: {self.kinds()}")
        began = now_ns()
        service.request()
        switch_s = (now_ns() - began) / 1e9
        in_time = 0
        for _ in range(UPLOADS):
            self.gone(service)
            in_time += self.slow_upload(service, max(1.0, 4 * switch_s))
        print(f"{in_time} of {UPLOADS} in time; a switch took at most {switch_s:.2f} s", file=sys.stderr)
        self.assertGreaterEqual(in_time, math.floor(SHARE_IN_TIME * UPLOADS))

    def test_probes_and_unknown_requests_move_nothing_and_a_word_does(self):
        self.early(SMALL_CARD_CONFIG + '[[service]]\ntenant = "faces"\nignore = ["GET /stats*"]\n')
        trainer, service = self.evicted_service()
        before = self.broker.preemptions()
        for path in ("/health", "/stats/today", "/unknown"):
            for _ in range(3):
                service.get(path)
        self.wait_for_steps(trainer, 1)
        self.assertEqual(self.broker.preemptions(), before)
        self.assertFalse(self.whole(service))
        mine = self.broker.status()["requests"]["services"][0]
        self.assertEqual((mine["ignored"], mine["waiting"]), (6, 0))
        said = self.stage.run_lull("wake", "faces", "--for", "1s")
        self.assertEqual(said.returncode, 0, said.stderr)
        wait_until(lambda: self.whole(service), 20, lambda: f"woken; status:\n{self.broker.status_text()}")
        self.gone(service)  # the word is over
        self.assertEqual(self.stage.run_lull("wake", "nobody").returncode, 4)
        os.environ["LULL_RUNTIME_DIR"] = self.stage.runtime_dir
        self.addCleanup(os.environ.pop, "LULL_RUNTIME_DIR")
        self.assertTrue(lull_soon.soon("faces", "1s"))
        wait_until(lambda: self.whole(service), 20, "woken by a datagram")
        self.gone(service)
        program = self.stage.path("soon")
        subprocess.run(["cc", "-Wall", "-Werror", "-I", os.path.join(HERE, "..", "..", "packaging", "soon"), "-x", "c", "-",
                        "-o", program], input='#include "lull_soon.h"\nint main(void) { return -lull_soon("faces", "1s"); }\n',
                       text=True, check=True)
        self.assertEqual(subprocess.run([program], check=False).returncode, 0)
        wait_until(lambda: self.whole(service), 20, "woken from C")

    def test_ports_that_the_configuration_names_are_followed_when_it_is_read_again(self):
        def configuration(ports):
            return SMALL_CARD_CONFIG + f'[[service]]\ntenant = "faces"\nports = {ports}\n'

        def read_again(ports):
            path, told = self.stage.path("lull.toml"), self.broker.output().count("reload")
            with open(path + ".new", "w", encoding="utf-8") as file:
                file.write(configuration(ports))
            os.rename(path + ".new", path)
            self.broker.signal(signal.SIGHUP)
            wait_until(lambda: self.broker.output().count("reload") > told, 10, "the configuration is read again")

        def arrivals_of_a_request():
            before = self.broker.status()["requests"]["services"][0]["arrivals"]
            service.request()
            return self.broker.status()["requests"]["services"][0]["arrivals"] - before

        self.early(configuration('["1"]'))
        service = self.stage.start("service", SERVICE, klass="inference", env=TENANT).wait_ready()
        self.broker.wait_for_clients([service.pid])
        self.assertEqual(arrivals_of_a_request(), 0)
        read_again(f'["{service.port}"]')
        self.assertEqual(arrivals_of_a_request(), 1)
        read_again('["1"]')
        self.assertEqual(arrivals_of_a_request(), 0)
        read_again("[]")
        self.assertEqual(arrivals_of_a_request(), 1)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: only root loads kernel programs")
        sys.exit(77)
    main()
