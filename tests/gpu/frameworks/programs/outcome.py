"""What the programs of a framework share: their options, the steps they tell of, and what they leave to be compared.

    PROGRAM [--mode MODE] --bytes N (--steps N | --seconds S) --out FILE

They know nothing of Lull. They print "ready" when their memory is filled, "step N" after each step, "missing: WHY" and end
with 77 where the framework is not installed. FILE says of each array its digest, and a sample of it for tolerances.
"""
import argparse
import hashlib
import json
import sys
import time

SAMPLES = 2048


def missing(why):
    print(f"missing: {why}", flush=True)
    sys.exit(77)


def options(*modes):
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=modes or ["plain"], default=(modes or ["plain"])[0])
    parser.add_argument("--bytes", type=int, default=1 << 30, help="device memory to fill, about")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0, help="as many steps as begin in that time")
    parser.add_argument("--out", required=True)
    chosen = parser.parse_args()
    if bool(chosen.steps) == bool(chosen.seconds):
        parser.error("one of --steps and --seconds")
    return chosen


def steps(chosen):
    """Numbers of the steps to do; tells of each when it is done, so do not leave its work in flight."""
    print("ready", flush=True)
    end = time.monotonic() + chosen.seconds
    number = 0
    while number < chosen.steps or (chosen.seconds and time.monotonic() < end):
        number += 1
        yield number
        print(f"step {number}", flush=True)


def described(array):
    """Of a NumPy array, in whatever type of number: the digest of its bytes, and numbers spread over it."""
    flat = array.reshape(-1)
    stride = max(1, flat.size // SAMPLES)
    return {"sha256": hashlib.sha256(flat.tobytes()).hexdigest(), "size": int(flat.size),
            "sample": [float(x) for x in flat[::stride][:SAMPLES]]}


def save(chosen, arrays):
    with open(chosen.out, "w", encoding="utf-8") as file:
        json.dump({name: described(array) for name, array in arrays.items()}, file)
