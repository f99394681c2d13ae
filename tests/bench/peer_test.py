"""usage: peer_test.py LAUNCH_BENCH PEER NOT_A_PEER: the bench measures a peer's library, or says why it cannot."""
import json
import os
import subprocess
import sys
import tempfile

BENCH, PEER, NOT_A_PEER = sys.argv[1:]


def bench(peer):
    return subprocess.run([BENCH, "--json", "-", "--peer", peer], capture_output=True, text=True, check=False, timeout=50)


def demand(holds, sentence, result):
    if not holds:
        sys.exit(f"DEMAND: {sentence}\n{result.stdout}{result.stderr}")


def main():
    measured = bench(PEER)
    demand(measured.returncode == 0, "a peer's library is measured", measured)
    values = {m["name"]: m["value"] for m in json.loads(measured.stdout)["metrics"]}
    demand(0 < values["launch.peer_added_instructions"] < 1000, "a peer's instructions are counted", measured)
    demand("launch.peer_added_ns" in values, "a peer's launch is timed", measured)

    other = bench(NOT_A_PEER)
    demand(other.returncode == 1 and "neither as a symbol nor to dlsym" in other.stderr,
           "a library that does not stand before launches is refused", other)
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(b"not a library")
        file.flush()
        broken = bench(os.path.realpath(file.name))
    demand(broken.returncode == 1 and f"cannot be loaded: {os.path.realpath(file.name)}: " in broken.stderr,
           "a file that cannot be loaded is named, with the loader's reason", broken)


if __name__ == "__main__":
    main()
