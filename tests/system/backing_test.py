"""Host memory for evicted data goes back when it is not needed any more, and when nobody is left to need it."""
import os
import sys

from broker import SMALL_CARD_CONFIG
from case import MIB, SystemTest, main
from stage import wait_until

LINGER = 'backing_linger = "300ms"\nhost_memory = "1GiB"\nhost_memory_keep_free = "0"\n'
BYTES = 128 * MIB
# Allocates, waits for a file, frees, and stays.
PROGRAM = f"""
import ctypes, os, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
def must(result):
    if result != 0:
        sys.exit(f"CUDA error {{result}}")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
must(cuda.cuInit(0))
must(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
must(cuda.cuCtxSetCurrent(context))
must(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t({BYTES})))
must(cuda.cuMemsetD8_v2(memory, ctypes.c_ubyte(7), ctypes.c_size_t({BYTES})))
must(cuda.cuCtxSynchronize())
print("allocated", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
must(cuda.cuMemFree_v2(memory))
print("freed", flush=True)
while True:
    time.sleep(1)
"""


def arenas_mapped(pid):
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as file:
        return sum("lull-arena" in line for line in file)


def arenas_open(pid):
    """Bytes of memory behind the descriptors that a process has of arenas."""
    held = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            if "lull-arena" in os.readlink(path):
                held += os.stat(path).st_blocks * 512
        except OSError:
            pass  # closed meanwhile
    return held


class Backing(SystemTest):
    def start_program(self):
        self.start_broker(LINGER + SMALL_CARD_CONFIG)
        self.may_free = self.stage.path("may-free")
        program = self.stage.spawn("program", [sys.executable, "-c", PROGRAM, self.may_free], klass="training")
        program.wait_for_output("allocated")
        self.wait("the program has a place for all of it", lambda: arenas_mapped(program.pid) and
                  self.held() >= BYTES and arenas_open(self.broker.pid) == self.held())
        return program

    def held(self):
        return self.broker.status()["host"]["held"]

    def wait(self, what, question):
        wait_until(question, 20, lambda: f"{what}; held {self.held()}; status:\n{self.broker.status_text()}")

    def test_freed_memory_of_the_card_frees_the_host_s_while_the_program_lives_on(self):
        program = self.start_program()
        with open(self.may_free, "w", encoding="ascii"):
            pass
        program.wait_for_output("freed")
        self.wait("the arenas are back", lambda: self.held() == 0)
        self.wait("they are not mapped", lambda: arenas_mapped(program.pid) == 0)
        self.wait("their memory is free", lambda: arenas_open(self.broker.pid) == 0)
        self.assertTrue(program.running())

    def test_a_killed_program_s_host_memory_is_free(self):
        program = self.start_program()
        program.kill()
        self.wait("nothing is held", lambda: self.held() == 0)
        self.wait("its memory is free", lambda: arenas_open(self.broker.pid) == 0)

    def test_memory_in_use_stays(self):
        program = self.start_program()
        service = self.start_service().wait_ready()
        for _ in range(3):
            service.request()
        self.wait("both are served", lambda: self.held() >= BYTES)
        with open(self.may_free, "w", encoding="ascii"):
            pass
        program.wait_for_output("freed")
        self.wait("what the service needs is left", lambda: self.broker.client(program.pid)["backing"] == 0)
        service.request()


if __name__ == "__main__":
    main()
