#!/usr/bin/env python3
"""The twenty ranked hazards of a program whose GPU memory moves: what protects from each, and what proves it.

Every check runs twice: with the library that is installed, where it must hold, and with the tests' own library and one
protection taken away (shim/protection.h), where it must fail, and by the demand that is named here. A test that passes
without the protection proves nothing.

usage: hazards.py --build DIR NUMBER    run the checks of one hazard
       hazards.py --build DIR installed whether the installed library has the switch
       hazards.py --table               print docs/hazards.md
       hazards.py --check FILE          compare it with this file
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CARD = {"LULL_SIM_MEMORY": "512MiB", "LULL_SIM_LINK": "8GB"}


@dataclass
class Check:
    """Cases of one program, the protection they need, and the words in which they fail without it."""
    cases: str
    off: str
    fails: str
    program: str = "hazards"  # or life, routes, dormancy, gate-cycles
    env: dict = field(default_factory=dict)
    tries: int = 1  # where chance decides whether the absence shows
    table: str = ""  # of the library without the protection, where it is the table of hooks that protects


@dataclass
class Hazard:
    title: str
    protection: str
    checks: list
    elsewhere: str = ""  # what else shows it, or why only a GPU can


def routes(cases, off, fails, **more):
    return Check(cases, off, fails, program="routes", **more)


# Few kernels in a stream, so that threads wait inside the driver when the gate closes; and some are held up there for longer
# than a cycle takes. In which of its ways it fails then (a fault, the journal, lost counts, a standstill) is chance.
def cycles(off):
    return Check("64 20000 150", off, "", program="gate-cycles", tries=3,
                 env={"LULL_SIM_MEMORY": "64MiB", "LULL_SIM_QUEUE": "8",
                      "LULL_SIM_FAULTS": "; ".join(f"cuLaunchKernel:{n}=delay 200ms" for n in (2000, 6000, 10000, 14000))})


HAZARDS = {
    1: Hazard(
        "A launch between the gate's close and the unmapping",
        "Entry words and a membarrier: the drain waits for every thread that has passed the gate (`shim/gate.h`).",
        [Check("hazard 1: a launch that is inside*", "entry_words", "every launch finds its memory",
               env={"LULL_SIM_FAULTS": "cuMemsetD16Async:1=delay 2s"}),
         cycles("entry_words"), cycles("hold")],
        "`gate-cycles`: 64 threads launch while the gate closes and the memory leaves, and the journal shows no launch into memory "
        "that was away; whole, with 10^7 launches and 10^4 cycles, in `scripts/check --long` ([shim.md](shim.md))."),
    2: Hazard(
        "A drain that never ends",
        "A deadline; then the broker is told why (`overdue`), nothing is unmapped, and the program goes on (`shim/drain.h`). Before "
        "that, a bound of the work in flight (`shim/flight.h`), and long copies go in pieces (`shim/pieces.h`).",
        [Check("hazard 2:*", "drain_deadline", "the broker is told that a stream is busy"),
         Check("hazard 2: no more work*", "bounded_flight", "no more work is queued than the limit allows"),
         Check("hazard 2: a drain waits for a piece*", "split_copies", "a drain waits for a piece of a long copy")],
        "Kernels that wait for other GPUs' kernels: on a GPU."),
    3: Hazard(
        "Python's lock is held by a thread that waits at the gate",
        "The gate's slow path gives the lock up, if this thread holds it (`shim/gil.h`).",
        [Check("hazard 3:*", "gil_release", "the interpreter's heart beats while a call waits")],
        "The launcher of compiled PyTorch kernels itself: on a GPU."),
    4: Hazard(
        "The mover breaks a capture",
        "Nothing is drained, moved or freed while a capture is open, and the mover's thread is in RELAXED mode (`shim/drain.h`).",
        [Check("hazard 4: a capture puts*", "capture_count", "nothing is drained while a capture is open"),
         Check("hazard 4: what the mover*", "relaxed_mover", "succeeds")]),
    5: Hazard(
        "cuGetProcAddress answers the wrong revision",
        "The driver is asked first; its address tells the row (`shim/lookup.h`).",
        [routes("cuGetProcAddress answers every row*", "driver_first", "cuMemcpyBatchAsync")]),
    6: Hazard(
        "A route around the hooks",
        "`dlsym` and `dlvsym` are answered, RTLD_DEEPBIND is taken out, a driver in another namespace makes the process unmanaged "
        "(`shim/dl.cpp`).",
        [routes("the name without its version*", "dlsym_route", "cuLaunchKernel"),
         routes("a library opened with RTLD_DEEPBIND*", "shallow_bind", "ask("),
         routes("a driver in a namespace*", "namespace_watch", "unmanaged from now on")]),
    7: Hazard(
        "RTLD_NEXT or RUNPATH of another library is disturbed",
        "The loader's functions are reached by tail jumps (`shim/dl.S`).",
        [routes("RTLD_NEXT is answered*", "tail_jump", "lull_ask_next_twin")],
        "The same test program covers RUNPATH."),
    8: Hazard(
        "Private tables or the driver's identity are altered",
        "Their rows are `pass`: a look-up answers the driver's own function (`shim/hooks.def`).",
        [routes("private tables and the driver's identity*", "", "standin_address(symbol)", table="identity")],
        "That NVIDIA's runtime accepts the driver behind the shim: on a GPU. The simulated driver has no private tables."),
    9: Hazard(
        "Sizes that neighbours change",
        "Promised sizes, and the program's own use alone (`shim/sizes.h`, `shim/info.cpp`); pools are asked what they hold "
        "(`shim/pools.h`).",
        [Check("hazard 9:*", "promised_sizes", "a neighbour's memory does not change what is free"),
         Check("hazard 9: what pools*", "pool_count", "what pools hold is not free")],
        "Programs that size themselves by them: on a GPU."),
    10: Hazard(
        "Allocation or free waits while the program is paused",
        "Neither passes the gate; memory without room is absent until it has (`shim/ledger.h`).",
        [Check("hazard 10:*", "ungated_allocation", "allocation does not wait at a closed gate")]),
    11: Hazard(
        "Small allocations that waste a granule each",
        "Small ones share chunks (`shim/allocations.cpp`).",
        [Check("hazard 11:*", "slabs", "small allocations share their memory")]),
    12: Hazard(
        "The program's own virtual memory loses its handles",
        "Virtual handles (`shim/mappings.h`).",
        [Check("hazard 12:*", "virtual_handles", "the program's own virtual memory leaves the card"),
         Check("hazard 12:*", "retained_identity", "cuMemRetainAllocationHandle answers the handle that was mapped")],
        "NCCL, XLA and PyTorch's expandable segments themselves: on a GPU."),
    13: Hazard(
        "Memory that others share moves away from them",
        "What is exported is pinned and counted apart; legacy IPC of memory that moves is NOT_SUPPORTED (`shim/tied_memory.cpp`, "
        "`shim/memory.cpp`).",
        [Check("hazard 13: exported*", "export_pins", "an importer sees what the exporter writes"),
         Check("hazard 13: legacy*", "ipc_refusal", "cuIpcGetMemHandle answers NOT_SUPPORTED")],
        "`LULL_IPC=native`: `hazard 13: LULL_IPC ...`. RDMA, multicast and dma-buf take the same way; hardware that uses them: on a GPU."),
    14: Hazard(
        "Children hang or become clients",
        "The gate's private word is wiped in a fork; nothing starts before CUDA is used (`shim/gate.h`).",
        [Check("hazard 14:*", "fork_wipe", "a forked child does not wait at the gate")]),
    15: Hazard(
        "A program without CUDA notices the shim",
        "No thread, socket or handler before a context or an allocation (`shim/process.h`).",
        [Check("", "dormancy", "test_a_program_that_does_nothing_makes_the_same_calls", program="dormancy")]),
    16: Hazard(
        "Memory that cannot move leaves no room for a restore",
        "The hold: nothing is submitted before everything is there; the restore is tried again (`shim/residency.h`). What pools keep "
        "and nobody uses leaves with an eviction (`shim/pools.h`), managed memory by prefetches (`shim/managed.h`).",
        [Check("hazard 16:*", "hold", "a submission waits for memory that is missing"),
         Check("hazard 16: what pools*", "pool_trim", "what pools keep and nobody uses leaves the card"),
         Check("hazard 16: a program*", "pool_trim", "what pools keep and nobody uses leaves the card"),
         Check("hazard 16: managed*", "managed_prefetch", "managed memory leaves the card")],
        "How much memory contexts, modules and libraries really hold: on a GPU."),
    17: Hazard(
        "A destroyed or reset context leaves memory behind",
        "What `cuMemAlloc` gave goes with its context (`shim/context.cpp`).",
        [Check("hazard 17:*", "context_frees", "a reset leaves no handle behind")]),
    18: Hazard(
        "A pause falls into a measurement",
        "Between two timed events the gate closes 20 ms later at most (`shim/timed.h`).",
        [Check("hazard 18:*", "timed_pairs", "no pause falls between two timed events")],
        "That autotuners choose as they do alone: on a GPU."),
    19: Hazard(
        "Watchdogs of a paused program bite",
        "Queries and synchronisation are `pass` in the table of hooks (`shim/hooks.def`).",
        [Check("hazard 19:*", "", "queries do not wait at a closed gate", table="queries")],
        "Collectives' time-outs over a long pause: on a GPU."),
    20: Hazard(
        "Exit and crash in every phase",
        "Whoever destroys a context waits a second for the mover, not longer (`shim/mover.h`); what submits work while the program "
        "ends waits a second for the gate alone (`shim/leaving.h`); locks are held with signals blocked (`shim/lock.h`); no "
        "destructor of the shim calls CUDA.",
        [Check("hazard 20: exit in the middle*", "bounded_rest", "the program ends in time",
               env={"LULL_SIM_FAULTS": "cuEventSynchronize:1+=delay 10s"}),
         Check("an exit handler*", "brief_end", "the program ends in time", program="life"),
         Check("handlers that jump*", "quiet_locks", "jump", program="life", tries=5)],
        "Exit at the gate and frees after the driver's end: `hazard 20: ...`. Other ends: `tests/life`. SIGKILL while moving, and what the broker does then: "
        "`tests/system/killed_test.py`."),
}

# Cases that hold, and whose failure takes no single protection.
ALONE = {13: [("hazard 13: LULL_IPC*", {})],
         20: [("hazard 20: exit is not*", {}), ("hazard 20: frees*", {})]}


def text_of(hazard, number):
    shown = "; ".join(f"`{c.program if c.program == 'gate-cycles' else c.cases or c.program}` without `{c.off or 'its row'}`" for c in hazard.checks)
    return f"| {number} | {hazard.title} | {hazard.protection} | {shown} | {hazard.elsewhere} |\n"


def page():
    head = """# The twenty hazards

Ranked by harm. Each is a test in [tests/hazards](../tests/hazards) that holds with the installed library and fails, in the way
described there, when the protection is taken away. This page is printed by `tests/hazards/hazards.py --table`.

| | hazard | protection | tests, and the protection whose absence they notice | also |
|---|---|---|---|---|
"""
    return head + "".join(text_of(h, n) for n, h in HAZARDS.items())


class Build:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.installed = self.path("shim", "liblull.so")

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def library_without(self, check):
        return self.path("tests", "hazards", *([check.table] if check.table else []), "liblull.so")

    def command(self, check, library):
        """The program of a check and what it needs around it."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LULL", "LD_"))} | check.env
        if check.program == "dormancy":
            script = os.path.join(ROOT, "tests/interpose/dormancy_test.py")
            return [sys.executable, script, library, self.path("tests/interpose/no-broker-here")], env
        env["LD_PRELOAD"] = library
        if check.program == "routes":
            env |= {"LD_LIBRARY_PATH": self.path("tests/interpose/standin"), "LULL_CLASS": "training", "LULL_LOG": "1",
                    "LULL_RUNTIME_DIR": self.path("tests/interpose/no-broker-here"),
                    "LULL_TEST_LIBRARIES": self.path("tests/interpose/libraries")}
            return [self.path("tests/interpose/routes_test"), f"--test-case={check.cases}"], env
        env |= CARD | {"LD_LIBRARY_PATH": self.path("tests/driver")} | check.env
        if check.program == "gate-cycles":
            return [self.path("tests/gate_cycles/gate-cycles"), *check.cases.split()], env
        return [self.path(f"tests/{check.program}/{check.program}"), f"--test-case={check.cases}"], env


def run(command, env):
    """Its status and all it wrote. A program that hangs is ended, and has failed."""
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=60, check=False)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace") + "\n(ended after 60 s)"


def hold(build, check):
    command, env = build.command(check, build.installed)
    status, text = run(command, env)
    if "traced here" in text or "skipped=" in text:
        print(text)
        sys.exit(77)
    counts_cases = check.program in ("hazards", "life", "routes")
    if status != 0 or counts_cases and not re.search(r"test cases: +(\d+) \| +[1-9]\d* passed", text):
        sys.exit(f"does not hold with the protection: {check.cases or check.program}\n{text[-4000:]}")


def miss(build, check):
    command, env = build.command(check, build.library_without(check))
    if check.off:
        env["LULL_TEST_OFF"] = check.off
    for _ in range(check.tries):
        status, text = run(command, env)
        if status != 0:
            break
    if status == 0:
        sys.exit(f"nobody misses {check.off or check.table}: {check.cases}\n{text[-2000:]}")
    if check.fails not in text:
        sys.exit(f"fails without {check.off or check.table}, but not as expected ({check.fails!r}):\n{text[-4000:]}")


def run_hazard(build, number):
    for check in HAZARDS[number].checks:
        hold(build, check)
        miss(build, check)
    for cases, env in ALONE.get(number, []):
        hold(build, Check(cases, "", "", env=env))


def check_installed(build):
    """The switch is in what the loader maps of the tests' library, and not in the installed one."""
    strings = shutil.which("strings")
    if not strings:
        print("strings (binutils) is not installed: run scripts/setup")
        sys.exit(77)
    for library, expected in ((build.installed, False), (build.path("tests/hazards/liblull.so"), True)):
        text = subprocess.run([strings, "-d", library], capture_output=True, text=True, check=True).stdout
        for word in ("LULL_TEST_OFF", "entry_words"):
            if (word in text.split()) != expected:
                sys.exit(f"{library}: {word} is {'missing' if expected else 'there'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?")
    parser.add_argument("--build", default="build")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--check")
    options = parser.parse_args()
    if options.table:
        print(page(), end="")
    elif options.check:
        with open(options.check, encoding="utf-8") as file:
            sys.exit(None if file.read() == page() else f"{options.check} is not what tests/hazards/hazards.py --table prints")
    elif options.what == "installed":
        check_installed(Build(options.build))
    elif options.what:
        run_hazard(Build(options.build), int(options.what))
    else:
        parser.error("what?")


if __name__ == "__main__":
    main()
