"""What the demo shows: progress of long steps, the table of requests, their timelines, and the whole run at a glance."""
WIDTH = 79

# Phases of a request in the order in which they happen, with the two lines of each column's head.
PHASES = [
    ("packet_seen", "packet", "seen"),
    ("gate_closed", "gate", "closed"),
    ("drained", "drained", ""),
    ("evicted", "evicted", ""),
    ("restored", "restored", ""),
    ("opened", "gate", "opened"),
    ("first_kernel", "first", "kernel"),
    ("answered", "answered", ""),
]

# What a stretch of a request's timeline that ends with a phase is drawn as.
MARKS = {"packet_seen": ".", "gate_closed": ".", "drained": "d", "evicted": "<", "restored": ">", "opened": ">",
         "first_kernel": "=", "answered": "#"}


class Say:
    """Lines to a stream. What is going on now is overwritten on a terminal; elsewhere each new step is a line."""

    def __init__(self, stream):
        self.stream, self.live = stream, stream.isatty()
        self.shown = False

    def line(self, text=""):
        self._wipe()
        print(text, file=self.stream, flush=True)

    def step(self, text):
        if not self.live:
            print(text, file=self.stream, flush=True)
            return
        self.progress(text)

    def progress(self, text):
        """How far the present step is; only a terminal shows it."""
        if not self.live:
            return
        self._wipe()
        self.stream.write(text[:WIDTH])
        self.stream.flush()
        self.shown = True

    def _wipe(self):
        if self.shown:
            self.stream.write("\r\x1b[K")
            self.shown = False


def milliseconds(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def table(idle, requests):
    """`idle` and each of `requests`: {"request": name, phase: ms or None}."""
    yield "Milliseconds after the request was sent:"
    yield ""
    for line in (1, 2):
        yield (("request" if line == 1 else "").rjust(7) + "".join(p[line].rjust(9) for p in PHASES)).rstrip()
    for row in [idle, *requests]:
        yield str(row["request"]).rjust(7) + "".join(milliseconds(row.get(p[0])).rjust(9) for p in PHASES)


def bar(row, longest_ms, width):
    """One character for each longest_ms / width; a phase too short to fill one is seen by its number in the table."""
    cells, at = "", 0
    for name, *_ in PHASES:
        end = row.get(name)
        if end is None:
            continue
        upto = round(end / longest_ms * width)
        cells += MARKS[name] * (upto - at)
        at = max(at, upto)
    return cells[:-1] + "#"  # what is shorter than a cell still shows that it was answered


def timelines(idle, requests):
    rows = [idle, *requests]
    longest = max(r["answered"] for r in rows)
    width = WIDTH - 8
    scale = f"{longest:.0f} ms"
    yield " " * 8 + "0" + scale.rjust(width - 1)
    for row in rows:
        yield str(row["request"]).rjust(7) + " " + bar(row, longest, width)
    yield ""
    yield "        . until the trainer's gate closes    d its work in flight ends"
    yield "        < memory leaves, the service's follows behind    > the rest comes in"
    yield "        = gate open, until the first kernel    # computing the answer"


def glance(steps, loading, requests, begin_ns, end_ns):
    """Spans (from, to) of the trainer's steps, of the service's start and of the requests."""
    width = WIDTH - 9
    span = max(1, end_ns - begin_ns)

    def paint(spans, mark, at_least):
        busy = [0.0] * width
        for start, end in spans:
            first, last = (start - begin_ns) * width / span, (end - begin_ns) * width / span
            for cell in range(max(0, int(first)), min(width, int(last) + 1)):
                busy[cell] += max(0.0, min(last, cell + 1) - max(first, cell))
        return [mark if share > at_least else "." for share in busy]

    service = paint([loading], "L", 0.0)
    for cell, mark in enumerate(paint(requests, "#", 0.0)):
        if mark != ".":
            service[cell] = mark
    yield " " * 9 + "0" + f"{span / 1e9:.0f} s".rjust(width - 1)
    yield " trainer " + "".join(paint(steps, "=", 0.5))
    yield " service " + "".join(service)
    yield ""
    yield "        = training    L the service starts    # a request, from sent to answered"
