#!/usr/bin/env python3
"""What the shim does with each function of the driver, and the test that proves it: docs/driver-coverage.md.

Functions, classes and treatments are those of shim/hooks.def. `pass`, `gated`, `split` and `retried` are proven row by row by tests that
read the same table; a handler of its own has named cases, whose files must call every function that it handles.

usage: coverage.py --table          print the page
       coverage.py --check FILE     compare it with this file
"""
import argparse
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROUTES, GATE, CORE, VARIANTS = ("tests/interpose/routes_test.cpp", "tests/interpose/gate_test.cpp", "tests/shim/shim_test.cpp",
                                "tests/shim/variants_test.cpp")
OWN, MEMORY = "tests/hazards/own_memory_test.cpp", "tests/hazards/memory_test.cpp"
POOLS = "tests/hazards/pool_test.cpp"
COPIES, FREES, NATIVE, MANAGED, IDENTITY = (f"tests/kinds/{kind}_test.cpp" for kind in
                                            ("copies", "stream_frees", "native", "managed", "identity"))
ROOM = "tests/kinds/room_test.cpp"
FLIGHT = "tests/shim/flight_test.cpp"

# Handler, as in hooks.def without its template argument: the cases (file, beginning of the case's name) that show what it does.
HANDLERS = {
    "lookup::get_proc_address": [(ROUTES, "cuGetProcAddress answers every row")],
    "memory::alloc": [(CORE, "memory moves to host and back"), (CORE, "growth beyond the quota")],
    "memory::alloc_pitch": [(VARIANTS, "pitched memory moves")],
    "memory::free": [(CORE, "memory freed while it is evicted"), (CORE, "memory freed while a capture is open")],
    "memory::free_async": [(FREES, "memory freed in a stream stays")],
    "memory::free_async_ptsz": [(FREES, "the stream of a thread")],
    "managed::alloc": [(MANAGED, "managed memory leaves the card")],
    "memory::ipc_get_handle": [(MEMORY, "hazard 13: legacy IPC")],
    "pools::alloc": [(POOLS, "hazard 9: what pools hold"), (ROOM, "room: calls that take native memory")],
    "pools::create": [(POOLS, "hazard 16: what pools keep")],
    "pools::destroy": [(POOLS, "hazard 16: pools are made and destroyed")],
    "graph_memory::add_alloc_node": [(NATIVE, "what graphs have allocated")],
    "graph_memory::add_node": [(NATIVE, "what graphs have allocated")],
    "arrays::create": [(NATIVE, "arrays are not free")],
    "arrays::create_3d": [(NATIVE, "arrays are not free"), (ROOM, "room: calls that take native memory")],
    "arrays::create_mipmapped": [(NATIVE, "arrays are not free")],
    "arrays::destroy": [(NATIVE, "arrays are not free")],
    "program::reserve": [(OWN, "hazard 12: memory is created, mapped, opened")],
    "program::unreserve": [(OWN, "hazard 12: memory is created, mapped, opened")],
    "program::create": [(OWN, "hazard 12: memory created, mapped and released")],
    "program::release": [(OWN, "hazard 12: memory created, mapped and released")],
    "program::map": [(OWN, "hazard 12: memory created, mapped and released")],
    "program::unmap": [(OWN, "hazard 12: one cuMemUnmap")],
    "program::set_access": [(OWN, "hazard 12: memory is created, mapped, opened")],
    "program::get_access": [(OWN, "hazard 12: memory is created, mapped, opened")],
    "program::retain_handle": [(OWN, "hazard 12: a retained handle")],
    "program::properties_of": [(OWN, "hazard 12: memory is created, mapped, opened")],
    "program::export_handle": [(OWN, "hazard 13: exported memory")],
    "program::handle_for_range": [(VARIANTS, "calls that tie memory")],
    "program::bind_multicast": [(VARIANTS, "calls that tie memory")],
    "program::bind_multicast_address": [(VARIANTS, "calls that tie memory")],
    "program::set_pointer_attribute": [(IDENTITY, "memory that is made ready")],
    "info::total_mem": [(MEMORY, "hazard 9:")],
    "info::get_info": [(MEMORY, "hazard 9:"), (CORE, "free memory depends on")],
    "info::address_range": [(CORE, "pointer queries answer")],
    "info::pointer_attribute": [(CORE, "pointer queries answer"), (IDENTITY, "base, size and attributes")],
    "info::pointer_attributes": [(VARIANTS, "pitched memory moves"), (IDENTITY, "base, size and attributes")],
    "context::create": [(VARIANTS, "memory in a context made by any"), (ROOM, "room: calls that take native memory")],
    "context::create_v3": [(VARIANTS, "memory in a context made by any")],
    "context::create_v4": [(VARIANTS, "memory in a context made by any")],
    "context::destroy": [(VARIANTS, "memory in a context made by any")],
    "context::primary_retain": [(VARIANTS, "a primary context that ends")],
    "context::primary_release": [(VARIANTS, "a primary context that ends")],
    "context::primary_reset": [(VARIANTS, "a primary context that ends")],
    "graphs::instantiate": [(FLIGHT, "a graph weighs"), (ROOM, "room: calls that take native memory")],
    "graphs::destroy": [(FLIGHT, "a graph weighs")],
    "capture::begin": [(VARIANTS, "a capture begun by any"), (CORE, "an open capture postpones")],
    "capture::end": [(VARIANTS, "a capture begun by any"), (CORE, "an end of capture that fails")],
    "stream::create": [(GATE, "a stream that does not wait")],
    "stream::create_with_priority": [(GATE, "a stream that does not wait")],
    "stream::green_create": [(GATE, "a stream that does not wait")],
    "stream::destroy": [(GATE, "a stream that does not wait"), (VARIANTS, "a capture begun by any")],
    "stream::query": [("tests/hazards/gate_test.cpp", "hazard 19:")],
    "timed::create": [(VARIANTS, "a timed event recorded by any")],
    "timed::destroy": [(VARIANTS, "a timed event recorded by any"), ("tests/hazards/gate_test.cpp", "hazard 18:")],
    "timed::record": [(VARIANTS, "a timed event recorded by any")],
}

GENERIC = {
    "pass": [(GATE, "a function that passes reaches the driver"), (ROUTES, "a linked call reaches the driver once"),
             (ROUTES, "dlopen and dlsym of single names"), (ROUTES, "cuGetProcAddress answers every row")],
    "gated": [(GATE, "every gated function waits"), (ROUTES, "a linked call reaches the driver once"),
              (ROUTES, "dlopen and dlsym of single names"), (ROUTES, "cuGetProcAddress answers every row")],
    "split": [(GATE, "every gated function waits"), (COPIES, "a long copy by any function"),
              (ROUTES, "cuGetProcAddress answers every row")],
    "retried": [(GATE, "every function that may take native memory"), (GATE, "a function that passes reaches the driver"),
                (ROOM, "room: calls that take native memory"), (ROUTES, "cuGetProcAddress answers every row")],
    "handler": [(ROUTES, "where nobody opted in"), (ROUTES, "dlopen and dlsym of single names"),
                (ROUTES, "cuGetProcAddress answers every row")],
}


@dataclass
class Row:
    symbol: str
    name: str
    handler: str  # pass, gated, split, retried, or a handler's name without template argument


@dataclass
class Section:
    title: str
    rows: list = field(default_factory=list)

    def functions(self):
        """Rows of one name, in the table's order."""
        found = {}
        for row in self.rows:
            found.setdefault(row.name, []).append(row)
        return found


def read_table():
    with open(os.path.join(ROOT, "shim/hooks.def"), encoding="utf-8") as file:
        text = file.read()
    sections = []
    for line in text[text.index("\n\n// start:"):].splitlines():
        if line.startswith("// "):
            sections.append(Section(line[3:]))
        elif row := re.match(r"HOOK\((\w+),\s*(\w+),\s*\d+,\s*\w*,\s*([\w:]+)", line):
            sections[-1].rows.append(Row(*row.groups()))
    return sections


SOURCES = {}


def source(file):
    if file not in SOURCES:
        with open(os.path.join(ROOT, file), encoding="utf-8") as opened:
            SOURCES[file] = opened.read()
    return SOURCES[file]


def case_name(file, beginning):
    names = re.findall(r'^TEST_CASE\(\s*"([^"]+)"', source(file), re.MULTILINE)
    found = [name for name in names if name.startswith(beginning)]
    if len(found) != 1:
        sys.exit(f"{file}: {len(found)} cases begin with {beginning!r}")
    return found[0]


def shown(cases):
    return "<br>".join(f"{case_name(file, beginning)} ([{os.path.basename(file)}](../{file}))" for file, beginning in cases)


def check_handlers(sections):
    rows = [row for section in sections for row in section.rows if row.handler not in GENERIC]
    for unknown in {row.handler for row in rows} ^ set(HANDLERS):
        sys.exit(f"{unknown}: in only one of hooks.def and tests/interpose/coverage.py")
    for row in rows:
        # The look-up's own test goes through the table.
        if not any(re.search(rf"\b{row.symbol}\b", source(file)) for file, _ in HANDLERS[row.handler]):
            sys.exit(f"{row.symbol}: no file with a case of {row.handler} calls it")


def treatment(rows):
    """As one word if all revisions are alike, else by revision."""
    kinds = {row.handler for row in rows}
    if len(kinds) == 1:
        return text_of(rows[0].handler)
    return "; ".join(f"{', '.join(suffix(r) for r in rows if r.handler == kind)}: {text_of(kind)}" for kind in sorted(kinds, key=
                     lambda kind: [r.handler for r in rows].index(kind)))


def suffix(row):
    return f"`{row.symbol[len(row.name):]}`" if row.symbol != row.name else "first"


def anchor(kind):
    return kind if kind in GENERIC else kind.replace("::", "-")


def text_of(kind):
    return f"[{kind}](#{anchor(kind)})"


def exports(rows):
    return " ".join(suffix(row) for row in rows) if len(rows) > 1 or rows[0].symbol != rows[0].name else ""


def section_text(section):
    title = section.title[0].upper() + section.title[1:]
    lines = [f"\n### {title}\n", "| function | exports | treatment |", "|---|---|---|"]
    lines += [f"| {name} | {exports(rows)} | {treatment(rows)} |" for name, rows in section.functions().items()]
    return "\n".join(lines) + "\n"


def treatments_text(counts):
    words = {"pass": "straight to the driver: the exported symbol is one jump, a look-up answers the driver's own address",
             "gated": "submits work: the calling thread waits at a closed gate, counts one submission, then calls the driver",
             "split": "as gated; a copy of more than 64 MiB between host and device goes in pieces, each through the gate",
             "retried": "straight to the driver; if that has no memory left, again when the broker has made room"}
    lines = ["| treatment | exports | what it is | proven, for each of them, by |", "|---|---|---|---|"]
    lines += [f'| <a id="{kind}"></a>{kind} | {counts[kind]} | {words[kind]} | {shown(GENERIC[kind])} |' for kind in words]
    own = sum(counts.values()) - sum(counts[kind] for kind in words)
    lines.append(f"| handlers | {own} | a function of the shim's own | {shown(GENERIC['handler'])}<br>and the cases below |")
    lines += ["", "| handler | exports | cases |", "|---|---|---|"]
    lines += [f'| <a id="{anchor(kind)}"></a>{kind} | {counts[kind]} | {shown(cases)} |' for kind, cases in HANDLERS.items()]
    return "\n".join(lines) + "\n"


def page():
    sections = read_table()
    check_handlers(sections)
    rows = [row for section in sections for row in section.rows]
    counts = Counter(row.handler for row in rows)
    head = f"""# What the shim does with each function of the driver

{len({row.name for row in rows})} functions of the CUDA Driver API with their {len(rows)} exports, by class, as in
[shim/hooks.def](../shim/hooks.def). This page is printed by `tests/interpose/coverage.py --table`; a test compares the two.
Sequences of all classes, with and without the library, under random preemption: `tests/random`. Functions newer than the table
reach the driver by every look-up ({shown([(ROUTES, "a function newer than the table")])}).

## Treatments and their tests

"""
    return head + treatments_text(counts) + "\n## Functions\n\nA treatment leads to its tests. Where revisions are treated alike, \
their suffixes stand together; those of before CUDA 3.2 have 32-bit addresses, and pass unless they submit work.\n" + "".join(section_text(section) for section in sections)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--check")
    options = parser.parse_args()
    if options.table:
        print(page(), end="")
    elif options.check:
        with open(options.check, encoding="utf-8") as file:
            sys.exit(None if file.read() == page() else f"{options.check} is not what tests/interpose/coverage.py --table prints")
    else:
        parser.error("what?")


if __name__ == "__main__":
    main()
