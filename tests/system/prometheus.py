"""A strict reader of Prometheus' text format, stricter than Prometheus itself: it also holds us to its conventions.

    families = parse(text)          # raises FormatError, with the line
    families["lull_up"].samples     # {(name, ((label, value), ...)): number}
"""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"')
NUMBER = re.compile(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|\+?Inf|NaN)|\+Inf")
TYPES = ("counter", "gauge", "histogram")
UNITS_NOT_OF_BASE = re.compile(r"_(milliseconds|ms|ns|nanoseconds|us|minutes|hours|mib|gib|mb|gb|kilobytes|percent)(_|$)")


class FormatError(Exception):
    pass


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type, self.samples = name, help_text, None, {}

    def value(self, suffix="", **labels):
        return self.samples[(self.name + suffix, tuple(sorted(labels.items())))]

    def sum(self, suffix="", **labels):
        """Over all samples that have these labels."""
        return sum(v for (name, have), v in self.samples.items()
                   if name == self.name + suffix and set(labels.items()) <= set(have))


def _labels(text):
    found, at = [], 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            raise FormatError(f"label at {text[at:]!r}")
        found.append((match[1], re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[2])))
        at = match.end()
        if at < len(text):
            if text[at] != "," or at + 1 == len(text):
                raise FormatError(f"after a label: {text[at:]!r}")
            at += 1
    if len({name for name, _ in found}) != len(found):
        raise FormatError("a label twice")
    return tuple(sorted(found))


def _read(text):
    if not text.endswith("\n"):
        raise FormatError("no newline at the end")
    families, now = {}, None
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.startswith("# HELP "):
                name, _, help_text = line[7:].partition(" ")
                if name in families or not re.fullmatch(NAME, name) or not help_text:
                    raise FormatError("HELP of a family that was there, or of none, or empty")
                now = families[name] = Family(name, help_text)
            elif line.startswith("# TYPE "):
                name, _, kind = line[7:].partition(" ")
                if now is None or name != now.name or now.type or now.samples or kind not in TYPES:
                    raise FormatError("TYPE without its HELP before it, or after samples, or unknown")
                now.type = kind
            else:
                _sample(line, now)
        except FormatError as error:
            raise FormatError(f"line {number}: {error}: {line!r}") from None
    return families


def _sample(line, family):
    match = SAMPLE.fullmatch(line)
    if not match or not NUMBER.fullmatch(match[3]):
        raise FormatError("neither comment nor sample")
    suffixes = ("_bucket", "_sum", "_count") if family and family.type == "histogram" else ("",)
    if not family or not family.type or match[1] not in [family.name + s for s in suffixes]:
        raise FormatError("a sample outside its family")
    key = (match[1], _labels(match[2] or ""))
    if key in family.samples:
        raise FormatError("the same sample twice")
    family.samples[key] = float(match[3].replace("Inf", "inf"))


def _check_histogram(family):
    series = {}
    for (name, labels), value in family.samples.items():
        rest = tuple(l for l in labels if l[0] != "le")
        one = series.setdefault(rest, {"buckets": []})
        if name.endswith("_bucket"):
            one["buckets"].append((float(dict(labels)["le"].replace("Inf", "inf")), value))
        else:
            one[name.removeprefix(family.name)] = value
    for labels, one in series.items():
        bounds, counts = zip(*one["buckets"])
        if list(bounds) != sorted(set(bounds)) or bounds[-1] != math.inf:
            raise FormatError(f"{family.name}{labels}: bounds do not rise to +Inf")
        if list(counts) != sorted(counts):
            raise FormatError(f"{family.name}{labels}: a bucket holds less than the one below it")
        if counts[-1] != one["_count"] or one["_sum"] < 0 or (one["_count"] == 0 and one["_sum"] != 0):
            raise FormatError(f"{family.name}{labels}: sum, count and buckets do not agree")


def _check_conventions(family):
    name = family.name
    if family.type is None:
        raise FormatError(f"{name} has no TYPE")
    if (family.type == "counter") != name.endswith("_total"):
        raise FormatError(f"{name} is a {family.type}")
    if UNITS_NOT_OF_BASE.search(name) or ":" in name or name != name.lower():
        raise FormatError(f"{name}: neither seconds nor bytes, or no plain name")
    for (sample, labels), value in family.samples.items():
        if family.type != "gauge" and (value < 0 or math.isnan(value)):
            raise FormatError(f"{name}: {value}")
        if any(label == "le" for label, _ in labels) != sample.endswith("_bucket"):
            raise FormatError(f"{name}: le where it does not belong")


def parse(text):
    families = _read(text)
    for family in families.values():
        _check_conventions(family)
        if family.type == "histogram":
            _check_histogram(family)
    return families


def names_in(families):
    """What a query may name."""
    names = set()
    for family in families.values():
        names |= {family.name + s for s in ("_bucket", "_sum", "_count")} if family.type == "histogram" else {family.name}
    return names
