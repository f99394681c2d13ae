"""The machine's GPU, as its driver tells."""
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass

# In a process of its own: a driver keeps files and memory open in whoever initialises it.
_PROBE = """
import ctypes, json
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    raise SystemExit("no CUDA driver is installed") from None
device, total, name, uuid = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(128), (ctypes.c_ubyte * 16)()
for call, *arguments in [(cuda.cuInit, 0), (cuda.cuDeviceGet, ctypes.byref(device), 0),
                         (cuda.cuDeviceGetName, name, 128, device), (cuda.cuDeviceTotalMem_v2, ctypes.byref(total), device),
                         (cuda.cuDeviceGetUuid_v2, uuid, device)]:
    result = call(*arguments)
    if result != 0:
        raise SystemExit("the CUDA driver answers error %d" % result)
print(json.dumps({"name": name.value.decode(), "bytes": total.value, "uuid": bytes(uuid).hex()}))
"""


class NoCard(Exception):
    """The text says why."""


@dataclass
class RealCard:
    name: str
    bytes: int
    uuid: str


def real_card():
    """Raises NoCard where the machine has none that can be used."""
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=60)
    if probe.returncode != 0:
        lines = probe.stderr.strip().splitlines()
        raise NoCard(lines[-1] if lines else "the CUDA driver cannot be used")
    found = json.loads(probe.stdout)
    return RealCard(found["name"], found["bytes"], f"GPU-{uuid.UUID(found['uuid'])}")
