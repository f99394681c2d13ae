#!/usr/bin/env python3
"""usage: generate.py [DIRECTORY]: writes the sample traces, the same ones each time (each has a seed of its own).

  sparse      a whole-card service, one request in ten minutes, a day
  bursty      the same service: bursts of some twenty requests, hours apart
  diurnal     many requests by day, few by night, three days
  pipeline    three whole-card models, one after another in each request, 2 s in all; the product Lull was made for
  probes      sparse, and a health probe every 10 s that nobody has told the broker to ignore
  notebook    a notebook left open, with a cell now and then, beside training and rare requests
  calls       services that call one another and wait for the answer
  trainers    two trainers that do not fit together, and rare requests
"""
import math
import os
import random
import sys

DAY = 86400
CARD = "card memory=24GiB headroom=256MiB native=600MB link=12GB both=0.7 hash=400GB"
TRAINER = "tenant trainer training 20GiB kernel=30ms"


def poisson(random_, rate_of, until):
    """Times of a process whose rate (a second) changes with time, by thinning."""
    most = max(rate_of(t) for t in range(0, until, 60))
    at = 0.0
    while True:
        at += random_.expovariate(most)
        if at >= until:
            return
        if random_.random() * most < rate_of(at):
            yield at


def work(random_, mean):
    return max(0.05, random_.lognormvariate(math.log(mean), 0.4))


def request(at, *stages):
    return at, f"{at:.3f}s " + " ".join(f"{name}:{seconds:.3f}s" for name, seconds in stages)


def sparse(random_):
    tenants = [TRAINER, "tenant detector inference 18GiB"]
    return tenants, DAY, [request(t, ("detector", work(random_, 0.6))) for t in poisson(random_, lambda _: 1 / 600, DAY)]


def bursty(random_):
    tenants = [TRAINER, "tenant detector inference 18GiB"]
    lines = []
    for start in poisson(random_, lambda _: 1 / 7200, DAY):
        at = start
        for _ in range(random_.randint(10, 30)):
            lines.append(request(at, ("detector", work(random_, 0.5))))
            at += random_.expovariate(1 / 3)
    return tenants, DAY, [line for line in lines if line[0] < DAY]


def diurnal(random_):
    tenants = [TRAINER, "tenant detector inference 18GiB"]

    def rate(t):
        return (1 + 14 * max(0.0, math.sin(math.pi * ((t % DAY) / 3600 - 7) / 14))) / 1800
    return tenants, 3 * DAY, [request(t, ("detector", work(random_, 0.6))) for t in poisson(random_, rate, 3 * DAY)]


def pipeline(random_):
    tenants = [TRAINER, *(f"tenant {name} inference {gib}GiB" for name, gib in
                          (("detector", 20), ("pose", 18), ("faces", 21))), "pipeline detector pose faces"]
    return tenants, DAY, [request(t, ("detector", 0.7), ("pose", 0.6), ("faces", 0.7))
                          for t in poisson(random_, lambda _: 1 / 900, DAY)]


def probes(random_):
    tenants, until, lines = sparse(random_)
    return tenants, until, lines + [(t, f"{t}s probe detector") for t in range(5, until, 10)]


def notebook(random_):
    tenants = [TRAINER, "tenant notebook interactive 12GiB", "tenant detector inference 18GiB"]
    lines = [request(t, ("detector", work(random_, 0.6))) for t in poisson(random_, lambda _: 1 / 1800, DAY)]
    for start in poisson(random_, lambda t: 1 / 3600 if 9 <= t / 3600 < 19 else 1e-9, DAY):
        at = start
        for _ in range(random_.randint(3, 12)):
            lines.append(request(at, ("notebook", work(random_, 2))))
            at += random_.expovariate(1 / 40)
    return tenants, DAY, [line for line in lines if line[0] < DAY]


def calls(random_):
    tenants = [TRAINER, "tenant front inference 16GiB", "tenant search inference 14GiB"]
    lines = []
    for t in poisson(random_, lambda _: 1 / 900, DAY):
        at, text = request(t, ("front", 0.2), ("search", 0.3), ("front", 0.1))
        lines.append((at, text.replace("s ", "s nested ", 1)))
    return tenants, DAY, lines


def trainers(random_):
    tenants = [TRAINER, "tenant other training 19GiB kernel=80ms", "tenant detector inference 18GiB"]
    return tenants, DAY, [request(t, ("detector", work(random_, 0.6))) for t in poisson(random_, lambda _: 1 / 1200, DAY)]


TRACES = [sparse, bursty, diurnal, pipeline, probes, notebook, calls, trainers]


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "traces")
    for seed, make in enumerate(TRACES, 1):
        tenants, until, lines = make(random.Random(seed))
        with open(os.path.join(directory, make.__name__ + ".trace"), "w", encoding="ascii") as file:
            file.write(f"# made by tests/replay/generate.py with seed {seed}\n{CARD}\n" + "\n".join(tenants) +
                       f"\nuntil {until}s\n" + "".join(text + "\n" for _, text in sorted(lines)))


if __name__ == "__main__":
    main()
