"""Who takes part in the tests of arrivals: an HTTP server, nginx in front of it, and the watcher of the sockets."""
import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
WAIT_S = 20


def wait_until(question, what, timeout_s=WAIT_S):
    end = time.monotonic() + timeout_s
    while not question():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what() if callable(what) else what}")
        time.sleep(0.005)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body=b"fine\n"):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            got = self.rfile.read(min(left, 65536))
            if not got:
                raise ConnectionError("the body ends early")
            left -= len(got)

    def do_GET(self):
        if self.path == "/events":
            return self.stream()
        return self.answer()

    do_HEAD = do_GET

    def do_POST(self):
        self.read_body()
        self.answer(b"x" * 1000)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for n in range(5):
            self.wfile.write(f"data: {n}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]

    def handle_error(self, *_):
        pass  # clients that go away in the middle are what the tests are about


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Nginx:
    """In front of a server: one port that collects a request before it hands it on, one that does not, one with TLS."""

    def __init__(self, backend_port):
        self.buffered, self.unbuffered, self.tls = free_ports(3)
        self.directory = tempfile.mkdtemp(prefix="lull-nginx-")
        config = self._write(backend_port)
        self.popen = subprocess.Popen([NGINX, "-p", self.directory, "-c", config, "-e", "error.log", "-g", "daemon off;"],
                                      stdin=subprocess.DEVNULL)
        for port in (self.buffered, self.unbuffered, self.tls):
            wait_until(lambda p=port: self._listens(p), f"nginx listens on port {port}")

    def _listens(self, port):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            return False

    def _write(self, backend):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", f"{self.directory}/key.pem", "-out", f"{self.directory}/cert.pem"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        path = os.path.join(self.directory, "nginx.conf")
        proxy = "proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off;"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""
user root;
worker_processes 1;
pid {self.directory}/pid;
error_log {self.directory}/error.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_max_body_size 100m;
  client_body_temp_path {self.directory}/body;
  proxy_temp_path {self.directory}/proxy;
  fastcgi_temp_path {self.directory}/f; uwsgi_temp_path {self.directory}/u; scgi_temp_path {self.directory}/s;
  keepalive_requests 100000;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 16; }}
  server {{ listen 127.0.0.1:{self.buffered}; location / {{ {proxy} }} }}
  server {{ listen 127.0.0.1:{self.unbuffered}; location / {{ {proxy} proxy_request_buffering off; }} }}
  server {{ listen 127.0.0.1:{self.tls} ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem;
            location / {{ {proxy} }} }}
}}
""")
        return path

    def close(self):
        self.popen.terminate()
        self.popen.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


class Watch:
    """The kernel's counters of some ports and processes, by name."""

    def __init__(self, program, **services):
        self.names = list(services)
        arguments = [word for how, number in services.values() for word in (how, str(number))]
        self.popen = subprocess.Popen([program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.popen.stdout.readline().strip()
        self.skipped = first[len("skipped: "):] if first.startswith("skipped") else None
        if not self.skipped and first != "ready":
            raise AssertionError(f"the watcher says {first!r}")

    def counters(self):
        self.popen.stdin.write("\n")
        self.popen.stdin.flush()
        return dict(zip(self.names, json.loads(self.popen.stdout.readline())["services"]))

    def close(self):
        self.popen.stdin.close()
        self.popen.wait(10)
        self.popen.stdout.close()
