"""usage: preloads_test.py SHIM OTHER PROGRAM JOURNAL_DUMP DRIVER_DIRECTORY: another preloaded library, before ours and after it.

Before ours it sees the program's calls and hands them on to us. After ours it sees none: Lull calls the driver itself, as
it has to, since the library behind it might be anything. Either way the program computes the same, and Lull manages it.
"""
import collections
import os
import subprocess
import sys
import tempfile

SHIM, OTHER, PROGRAM, DUMP, DRIVER = (os.path.abspath(a) for a in sys.argv[1:])
LAUNCHES, ALLOCATIONS = 3, 2


def run(preload, directory):
    journal = os.path.join(directory, "journal")
    env = {k: v for k, v in os.environ.items() if not k.startswith("LULL")}
    env |= {"LD_PRELOAD": preload, "LD_LIBRARY_PATH": DRIVER, "LULL_CLASS": "training", "LULL_SIM_MEMORY": "512MiB",
            "LULL_RUNTIME_DIR": os.path.join(directory, "nobody"), "LULL_SIM_JOURNAL": journal,
            "LULL_SIM_POOL": os.path.join(directory, "card")}
    done = subprocess.run([PROGRAM], env=env, capture_output=True, text=True, timeout=60, check=False)
    calls = collections.Counter()
    dumped = subprocess.run([DUMP, journal], env=os.environ | {"LD_PRELOAD": ""}, capture_output=True, text=True, check=True)
    for line in dumped.stdout.splitlines():
        for word in line.split():
            if word.startswith("cu"):
                calls[word.split("(")[0]] += 1
    return done, calls


def demand(holds, sentence, done):
    if not holds:
        sys.exit(f"DEMAND: {sentence}\n{done.stdout}{done.stderr}")


def main():
    wanted = f"sum {8 * sum(range(1, 257))}"
    for name, preload, passed in (("none", "", None), ("ours", SHIM, None), ("before ours", f"{OTHER} {SHIM}", True),
                                  ("after ours", f"{SHIM}:{OTHER}", False)):
        with tempfile.TemporaryDirectory() as directory:
            done, calls = run(preload, directory)
        demand(done.returncode == 0 and done.stdout.strip() == wanted, f"{name}: the program computes {wanted}", done)
        managed = SHIM in preload
        demand(("cuMemCreate" in calls) == managed, f"{name}: memory is {'ours' if managed else 'the driver’s'} to move: "
               f"{dict(calls)}", done)
        if passed is not None:
            told = f"other: {ALLOCATIONS if passed else 0} allocations, {LAUNCHES if passed else 0} launches"
            demand(told in done.stderr, f"{name}: the other library says \"{told}\"", done)


if __name__ == "__main__":
    main()
