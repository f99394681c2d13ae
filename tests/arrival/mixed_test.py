"""Requests of every kind through a real nginx: what the kernel counts against what the clients know.

LULL_TEST_REQUESTS: how many (400).
"""
import os
import sys
import threading
import unittest

from cast import NGINX, Nginx, Server, Watch, wait_until
from clients import Client

REQUESTS = int(os.environ.get("LULL_TEST_REQUESTS", "400"))
THREADS_EACH = 2


class Mixed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.nginx = Nginx(cls.server.port)
        cls.watch = Watch(os.environ["LULL_ARRIVAL_WATCH"], buffered=("--port", cls.nginx.buffered),
                          unbuffered=("--port", cls.nginx.unbuffered), tls=("--port", cls.nginx.tls),
                          backend=("--pid", os.getpid()))
        cls.addClassCleanup(cls._close)
        if cls.watch.skipped:
            print(f"skipped: {cls.watch.skipped}")
            raise unittest.SkipTest(cls.watch.skipped)

    @classmethod
    def _close(cls):
        cls.watch.close()
        cls.nginx.close()
        cls.server.shutdown()
        cls.server.server_close()

    def idle(self):
        wait_until(lambda: all(c["waiting"] == 0 for c in self.watch.counters().values()),
                   lambda: f"nobody waits: {self.watch.counters()}")

    def grown(self, before, name, key):
        return self.watch.counters()[name][key] - before[name][key]

    def test_what_comes_in_pieces_is_seen_at_the_front_with_its_first_piece(self):
        """And behind nginx only when nginx passes it on: at once, or when all of it is there."""
        for name, port, passed_on in (("unbuffered", self.nginx.unbuffered, 1), ("buffered", self.nginx.buffered, 0)):
            before = self.watch.counters()
            s = Client(port)._socket()
            s.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\nConnection: close\r\n\r\n" + b"a" * 10000)
            wait_until(lambda n=name, b=before: self.grown(b, n, "arrivals") == 1, f"an arrival at the {name} port")
            self.assertEqual(self.watch.counters()[name]["waiting"], 1)
            if passed_on:
                wait_until(lambda b=before: self.grown(b, "backend", "arrivals") == 1, "an arrival behind nginx")
            else:
                self.assertEqual(self.grown(before, "backend", "arrivals"), 0)
            s.sendall(b"a" * 10000)
            while s.recv(65536):
                pass
            s.close()
            self.assertEqual(self.grown(before, "backend", "arrivals"), 1)
            self.idle()

    def test_mixed_requests_are_all_seen_probes_are_ignored_and_nobody_is_left_waiting(self):
        before = self.watch.counters()
        clients = {"buffered": [], "unbuffered": [], "tls": []}
        failures = []
        for name, ours in clients.items():
            for n in range(THREADS_EACH):
                ours.append(Client(getattr(self.nginx, name), name == "tls", seed=len(name) * 10 + n))
        everybody = [c for ours in clients.values() for c in ours]

        def work(client):
            try:
                for _ in range(REQUESTS // len(everybody)):
                    client.one()
            except Exception as error:  # pylint: disable=broad-except  # told to the main thread
                failures.append((client.port, dict(client.kinds), repr(error)))

        threads = [threading.Thread(target=work, args=(c,)) for c in everybody]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.idle()  # though every client still has its connection open
        for name, ours in clients.items():
            asked, probed = sum(c.asked for c in ours), sum(c.probed for c in ours)
            seen, ignored = self.grown(before, name, "arrivals"), self.grown(before, name, "ignored")
            print(f"{name}: {asked} requests, {seen} arrivals; {probed} probes, {ignored} ignored", file=sys.stderr)
            self.assertGreaterEqual(seen, asked, f"{name}: one was missed")
            self.assertLess(seen - asked, max(2, 0.01 * asked), f"{name}: false arrivals")
            self.assertEqual(ignored, probed, f"{name}: probes")
        for client in everybody:
            client.kept.close()
        self.idle()


if __name__ == "__main__":
    if not os.path.exists(NGINX):
        print("skipped: no nginx (scripts/setup installs it)")
        sys.exit(77)
    if os.geteuid() != 0:
        print("skipped: only root loads kernel programs")
        sys.exit(77)
    os.environ["LULL_ARRIVAL_WATCH"] = sys.argv.pop(1)
    result = unittest.main(verbosity=2, exit=False).result
    sys.exit(77 if result.skipped else 0 if result.wasSuccessful() else 1)
