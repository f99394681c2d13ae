"""Clients that ask in many ways, and count what they really asked for."""
import collections
import http.client
import random
import socket
import ssl
import struct

TIMEOUT_S = 30


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """One keep-alive connection to a port; `asked` requests and `probed` probes so far."""

    def __init__(self, port, tls=False, seed=0):
        self.port, self.tls = port, tls
        self.random = random.Random(seed)
        self.asked = self.probed = 0
        self.kinds = collections.Counter()
        self.kept = self._connection()

    def _connection(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT_S, context=insecure())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def _socket(self):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return insecure().wrap_socket(plain) if self.tls else plain

    def one(self):
        """A request of a kind chosen by chance."""
        kinds = [self.get, self.post, self.upload, self.fresh, self.events, self.abort_upload, self.abort_wait]
        if not self.tls:  # inside TLS no probe can be told from a request, no 100 Continue from an answer
            kinds += [self.expect, self.probe, self.head_probe, self.half_close, self.pipelined]
        kind = self.random.choice(kinds)
        self.kinds[kind.__name__] += 1
        kind()

    def _ask(self, connection, method, path, body=None, headers=None):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise AssertionError(f"{method} {path}: {response.status}")

    def get(self):
        self.asked += 1
        self._ask(self.kept, "GET", "/infer?q=1")

    def post(self):
        self.asked += 1
        self._ask(self.kept, "POST", "/infer", b"a" * self.random.randrange(1, 20_000))

    def upload(self):
        self.asked += 1
        self._ask(self.kept, "POST", "/upload", b"A" * self.random.randrange(100_000, 400_000))

    def fresh(self):
        self.asked += 1
        connection = self._connection()
        self._ask(connection, "POST", "/infer", b"a question")
        connection.close()

    def events(self):
        self.asked += 1
        connection = self._connection()
        self._ask(connection, "GET", "/events")
        connection.close()

    def probe(self):
        self.probed += 1
        self._ask(self.kept, "GET", self.random.choice(["/health", "/healthz?full=1", "/ping", "/metrics", "/livez"]))

    def head_probe(self):
        self.probed += 1
        self._ask(self.kept, "HEAD", "/ready")

    def expect(self):
        """Waits to be told to go on before it sends the body."""
        self.asked += 1
        s = self._socket()
        s.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n")
        got = s.recv(1000)
        if not got.startswith(b"HTTP/1.1 100"):
            raise AssertionError(f"no 100 Continue: {got!r}")
        s.sendall(b"a" * 5000)
        self._read_all(s)

    def half_close(self):
        self.asked += 1
        s = self._socket()
        s.sendall(b"GET /infer HTTP/1.0\r\nHost: x\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        self._read_all(s)

    def pipelined(self):
        """Two in one segment are one arrival; the second waits in the service, which is awake by then."""
        self.asked += 1
        s = self._socket()
        s.sendall(b"GET /infer/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /infer/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self._read_all(s)

    def abort_upload(self):
        self.asked += 1
        s = self._socket()
        s.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 3000)
        self._reset(s)

    def abort_wait(self):
        self.asked += 1
        s = self._socket()
        s.sendall(b"GET /infer HTTP/1.1\r\nHost: x\r\n\r\n")
        self._reset(s)

    def _read_all(self, s):
        s.settimeout(TIMEOUT_S)
        while s.recv(65536):
            pass
        s.close()

    def _reset(self, s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
