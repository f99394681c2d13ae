"""A process of another user that does what it is told, one JSON line each way: the side of a test that lulld must not trust.

It becomes that user when Python has started, whose files, like this text, that user may not be able to read.

    user = Stranger(stage, "alice", uid=54321)
    user.do("connect", path=...)  # an answer, or the name of an error
"""
import array
import ctypes
import errno
import json
import mmap
import os
import select
import socket
import struct
import sys
import time

HELLO, WELCOME, REFUSED, ATTACH = 1, 2, 3, 4
MAJOR, MINOR = 1, 2
GATE, QUOTA = 0, 8  # words of the down page's record
SEEN_GATE, SEEN_QUOTA, PHASE, RESIDENT, NEEDED, NATIVE, WANTS, INTERRUPTED = range(0, 64, 8)  # of the up page's
RECORDS = 128  # where they begin


class Client:
    """What a shim says, and nothing that it does."""

    def __init__(self):
        self.socket = self.down = self.up = self.doorbell = None

    def connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(10)
        self.socket.connect(path)
        return "connected"

    def _send(self, kind, body):
        self.socket.send(struct.pack("<HHI", kind, 8 + len(body), 0) + body)

    def hello(self, tenant="", minor=MINOR, backing=0, flags=0):
        self._send(HELLO, struct.pack("<HHIQ64s32s", MAJOR, minor, flags, backing, tenant.encode(), b"stranger"))
        while True:
            packet, ancillary, _, _ = self.socket.recvmsg(512, socket.CMSG_SPACE(16))
            if not packet:
                return {"hung_up": True}
            kind = struct.unpack_from("<H", packet)[0]
            if kind == REFUSED:
                return {"refused": packet[16:].split(b"\0")[0].decode()}
            if kind == WELCOME:
                break
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data[:len(data) - len(data) % 4])
        self.down = mmap.mmap(descriptors[0], 4096, prot=mmap.PROT_READ)
        self.up = mmap.mmap(descriptors[1], 4096)
        self.doorbell = descriptors[2]
        major, minor, number = struct.unpack_from("<HHI", packet, 8)
        return {"client": number, "minor": minor, "major": major}

    def attach(self, uuid, needed=0, slot=0):
        self.put({NEEDED: needed})
        number = bytes.fromhex(uuid.removeprefix("GPU-").replace("-", ""))
        self._send(ATTACH, struct.pack("<II16sQ", slot, 0, number, 0))
        return "sent"

    def put(self, words):
        for at, value in words.items():
            struct.pack_into("<Q", self.up, RECORDS + int(at), value)
        os.write(self.doorbell, struct.pack("<Q", 1))
        return "rung"

    def asked(self):
        """The words of the down page: gate, quota + 1, admit + 1."""
        return list(struct.unpack_from("<QQQ", self.down, RECORDS))

    def hung_up(self):
        """Waits for it."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                if not self.socket.recv(512):
                    return True
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False
        return False

    @staticmethod
    def ask(path, line):
        """The first line of the answer at the control socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(10)
            control.connect(path)
            control.sendall(line.encode() + b"\n")
            return control.makefile("r", encoding="utf-8").readline()

    @staticmethod
    def send_to(path, text):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(path)
            sender.send(text.encode())
        return "sent"

    @staticmethod
    def read(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    @staticmethod
    def write(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        return "opened"

    @staticmethod
    def unlink(path):
        os.unlink(path)
        return "removed"

    @staticmethod
    def kill(pid, number):
        os.kill(pid, number)
        return "sent"

    @staticmethod
    def readable(directory):
        """All that one can read below a directory, by path."""
        found = {}
        for place, _, names in os.walk(directory):
            for name in names:
                path = os.path.join(place, name)
                try:
                    found[path] = Client.read(path)
                except OSError:
                    pass
        return found

    @staticmethod
    def identity():
        return {"uid": os.getuid(), "pid": os.getpid()}


PR_SET_DUMPABLE, CLONE_NEWUSER = 4, 0x10000000


def become(uid, gid, groups):
    """As a login does: also its files in /proc are that user's."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)


def make_user_namespace():
    """In which one is root. As this user; OSError: not allowed."""
    libc, uid = ctypes.CDLL(None, use_errno=True), os.getuid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with open("/proc/self/uid_map", "w", encoding="utf-8") as file:
        file.write(f"0 {uid} 1\n")


def serve(uid, gid, *groups):
    client = Client()
    client.make_user_namespace = make_user_namespace
    become(uid, gid, list(groups))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = getattr(client, order.pop("do"))(**order)
        except OSError as error:
            answer = errno.errorcode.get(error.errno, str(error))
        print(json.dumps(answer), flush=True)


class Stranger:
    """One such process. `prefix`: a command that ends by running what follows it."""

    def __init__(self, stage, name, uid=0, groups=(), prefix=()):
        import subprocess  # pylint: disable=import-outside-toplevel  # of the test's side alone
        with open(__file__, encoding="utf-8") as file:
            argv = [*prefix, sys.executable, "-c", file.read(), *map(str, (uid, uid, *groups))]
        self.name = name
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      cwd="/", env={"PATH": os.environ["PATH"]})
        stage.addCleanup(self.end)

    @property
    def pid(self):
        return self.popen.pid

    def do(self, what, **how):
        try:
            self.popen.stdin.write(json.dumps({"do": what, **how}) + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            pass
        ready, _, _ = select.select([self.popen.stdout], [], [], 20)
        line = self.popen.stdout.readline() if ready else ""
        if not line:
            self.popen.kill()
            raise AssertionError(f"{self.name} has no answer to {what}: {self.popen.communicate()[1]}")
        return json.loads(line)

    def end(self):
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if not pipe.closed:
                pipe.close()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:]))
