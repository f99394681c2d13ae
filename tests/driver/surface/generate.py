#!/usr/bin/env python3
"""Writes the exported surface of the simulated driver from the toolkit's own headers.

    generate.py COMPILER INCLUDE_DIR OUTPUT_DIR EXTRAS CALLS...

cuda.h declares every export (all versions, both default-stream flavours) once __CUDA_API_VERSION_INTERNAL is defined,
and cudaTypedefs.h tells since which CUDA version each exists: of one name, the versions in rising order belong to the
symbols name, name_v2, name_v3 ... in rising order. The calls.def of each room tells what it implements; every other
function answers CUDA_ERROR_NOT_SUPPORTED. A line of it:

    NAME[=OTHER] [ADDRESS] [BYTES]

    NAME !ERROR [CHECK ...]

OTHER: a function of the same parameters that does the work. ADDRESS and BYTES are what the journal keeps: a parameter,
or *parameter for what the call stored there; - for nothing. + before a NAME: allowed before cuInit. The per-thread
flavours (_ptsz, _ptds) come with their functions. The second form is of what this driver has not: the error that the
header documents for it, after the arguments have been checked. A CHECK is a parameter that must not be 0, or context (a
current one is needed), device:PARAMETER, stream:PARAMETER.

    api.h        the implemented functions, declared in lull::sim::api
    entries.cpp  every exported symbol
    names.inc    NAME(symbol, base, since, suffix) for each of them, sorted; then for those of extras.def
    kinds.inc    KINDS(symbol, "kinds of its parameters") for each, see kind()
    errors.inc   ERROR(name, text) for each value of CUresult
"""
import collections
import os
import re
import subprocess
import sys

PROTOTYPE = re.compile(r"CUresult\s+(?:__\w+\s*\(\(.*?\)\)\s*)?(cu[A-Z]\w*)\s*\(([^;]*)\)\s*;", re.S)
TYPEDEF = re.compile(r"\(\s*(?:CUDAAPI\s*)?\*\s*PFN_(cu\w+?)_v(\d+)(?:_(ptsz|ptds))?\s*\)")
SYMBOL = re.compile(r"^(.*?)(?:_v(\d+))?(?:_(ptsz|ptds))?$")


Absent = collections.namedtuple("Absent", "error checks")


def preprocessed(compiler, include):
    source = "#define __CUDA_API_VERSION_INTERNAL\n#include <cuda.h>\n#include <cudaProfiler.h>\n"
    source += "#include <cudaTypedefs.h>\n#include <cudaProfilerTypedefs.h>\n"
    command = compiler + ["-E", "-P", "-x", "c", "-I", include, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def parameters(text):
    """[(declaration, name)] of a parameter list; none of cuda.h's has a function type in it."""
    text = " ".join(text.split())
    if text in ("", "void"):
        return []
    return [(p.strip(), re.search(r"(\w+)\s*$", p).group(1)) for p in text.split(",")]


def prototypes(text):
    found = {}
    for name, arguments in PROTOTYPE.findall(text):
        found.setdefault(name, parameters(arguments))
    return found


def versions(text, symbols):
    """symbol -> (base, since, suffix)."""
    since = collections.defaultdict(set)
    for base, version, suffix in TYPEDEF.findall(text):
        since[base, suffix].add(int(version))
    groups = collections.defaultdict(list)
    for symbol in symbols:
        base, number, suffix = SYMBOL.match(symbol).groups()
        groups[base, suffix or ""].append((int(number or 1), symbol))
    rows = {}
    for key, members in groups.items():
        known = sorted(since[key])
        members = sorted(members)[-len(known):]
        rows.update({symbol: (key[0], version, key[1]) for version, (_, symbol) in zip(known[-len(members):], members)})
    return rows


def calls(paths):
    """symbol -> (implementation, early, pointer expression, bytes expression)."""
    found = {}
    for path in paths:
        for line in open(path, encoding="utf-8"):
            fields = line.split("#")[0].split()
            if not fields:
                continue
            early = fields[0].startswith("+")
            symbol, _, other = fields[0].lstrip("+").partition("=")
            if symbol in found:
                sys.exit(f"{path}: {symbol} is there already; a function is one room's")
            if len(fields) > 1 and fields[1].startswith("!"):
                found[symbol] = Absent(fields[1][1:], fields[2:])
                continue
            fields += ["-", "-"]
            found[symbol] = (other or symbol, early, fields[1], fields[2])
    return found


def extras(path):
    """[(symbol, since)] of extras.def."""
    lines = (line.split("#")[0].split() for line in open(path, encoding="utf-8"))
    return sorted((symbol, int(since)) for symbol, since in filter(None, lines))


def kind(declaration, handles):
    """What a test may pass for a parameter: p address of memory, f function, h handle, d device address, i number."""
    words = declaration.replace("*", " * ").replace("const ", "").split()
    if "*" in words:
        return "p"
    if words[0] in ("CUhostFn", "CUstreamCallback", "CUoccupancyB2DSize", "CUlogsCallback", "CUasyncCallback"):
        return "f"
    if words[0].startswith("CUdeviceptr"):
        return "d"
    return "h" if words[0] in handles else "i"


def named(call, parameter):
    """Whether the body uses a parameter: a call all of them, an absent feature those that it checks."""
    if isinstance(call, Absent):
        return any(c.rpartition(":")[2] == parameter for c in call.checks)
    return bool(call)


def checked(check):
    kind, _, parameter = check.rpartition(":")
    if check == "context":
        return "context_error()"
    return {"": f"required({parameter})", "device": f"device_error({parameter})", "stream": f"stream_error({parameter})"}[kind]


def absent_entry(head, symbol, call):
    scope = "  PerThreadDefault scope;\n" if symbol.endswith(("_ptsz", "_ptds")) else ""
    answers = ", ".join([checked(c) for c in call.checks] + [call.error])
    return head + "  if (call.refused()) return call.refusal();\n" + scope \
        + f"  return call.end(run_guarded([&] {{ return first_error({{{answers}}}); }}), 0, 0);\n}}\n"


def journalled(expression):
    if expression == "-":
        return "0"
    if expression.startswith("*"):
        return f"journal_word_at({expression[1:]})"
    return f"journal_word({expression})"


def entry(index, symbol, arguments, call):
    declaration = ", ".join(d if named(call, n) else d.removesuffix(n) for d, n in arguments) or "void"
    head = f'extern "C" CUresult {symbol}({declaration}) {{\n  Call call({index});\n'
    if not call:
        return head.replace(f"Call call({index})", f"Call call({index}, When::initialised)") \
            + "  return call.refused() ? call.refusal() : call.end(CUDA_ERROR_NOT_SUPPORTED, 0, 0);\n}\n"
    if isinstance(call, Absent):
        return absent_entry(head, symbol, call)
    implementation, early, pointer, size = call
    when = "When::any_time" if early else "When::initialised"
    head = head.replace(f"Call call({index})", f"Call call({index}, {when})")
    scope = "  PerThreadDefault scope;\n" if symbol.endswith(("_ptsz", "_ptds")) else ""
    names = ", ".join(n for _, n in arguments)
    return head + "  if (call.refused()) return call.refusal();\n" + scope \
        + f"  const CUresult answer = run_guarded([&] {{ return api::{implementation}({names}); }});\n" \
        + f"  return call.end(answer, answer == CUDA_SUCCESS ? {journalled(pointer)} : 0, {journalled(size)});\n}}\n"


def main():
    compiler, include, output, tables = sys.argv[1].split(), sys.argv[2], sys.argv[3], sys.argv[5:]
    others = extras(sys.argv[4])
    text = preprocessed(compiler, include)
    found = prototypes(text)
    rows = versions(text, found)
    implemented = calls(tables)
    unknown = sorted(set(implemented) - set(found))
    if unknown:
        sys.exit(f"calls.def: not in this toolkit's cuda.h: {' '.join(unknown)}")
    symbols = sorted(rows)

    declared = sorted({c[0] for c in implemented.values() if not isinstance(c, Absent)})
    with open(os.path.join(output, "api.h"), "w", encoding="utf-8") as out:
        out.write("// Generated by generate.py.\n#pragma once\n#include \"tests/driver/surface/cuda_all.h\"\n\nnamespace lull::sim::api {\n")
        for name in declared:
            arguments = ", ".join(d for d, _ in found[name]) or "void"
            out.write(f"CUresult {name}({arguments});\n")
        out.write("}  // namespace lull::sim::api\n\n")
        for name, _ in others:
            out.write(f'extern "C" CUresult {name}();  // whatever it is given\n')

    with open(os.path.join(output, "names.inc"), "w", encoding="utf-8") as out:
        for symbol in symbols:
            base, since, suffix = rows[symbol]
            out.write(f'NAME({symbol}, "{base}", {since}, "{suffix}")\n')
        for symbol, since in others:
            base, _, suffix = SYMBOL.match(symbol).groups()
            out.write(f'NAME({symbol}, "{base}", {since}, "{suffix or ""}")\n')

    handles = set(re.findall(r"typedef struct \w+ \*(CU\w+);", text)) | {"CUmemGenericAllocationHandle"}
    with open(os.path.join(output, "kinds.inc"), "w", encoding="utf-8") as out:
        for symbol in symbols:
            kinds = "".join(kind(d, handles) for d, _ in found[symbol])
            out.write(f'KINDS({symbol}, "{kinds}")\n')
        for symbol, _ in others:
            out.write(f'KINDS({symbol}, "pppppp")\n')

    with open(os.path.join(output, "errors.inc"), "w", encoding="utf-8") as out:
        for name in sorted(set(re.findall(r"\b(CUDA_SUCCESS|CUDA_ERROR_\w+)\s*=\s*\d+", text))):
            words = name.removeprefix("CUDA_ERROR_").removeprefix("CUDA_").replace("_", " ").lower()
            out.write(f'ERROR({name}, "{words}")\n')

    with open(os.path.join(output, "entries.cpp"), "w", encoding="utf-8") as out:
        out.write("// Generated by generate.py.\n#include \"tests/driver/surface/api.h\"\n#include \"tests/driver/surface/entry.h\"\n\n")
        out.write("using namespace lull::sim;  // the exported functions themselves have C names\n\n")
        for index, symbol in enumerate(symbols):
            root = re.sub(r"_(ptsz|ptds)$", "", symbol)
            call = implemented.get(symbol) or (implemented.get(root) if root != symbol else None)
            # A twin's parameters are its function's; in the header only their names differ here and there.
            out.write(entry(index, symbol, found[root] if call else found[symbol], call))
        for index, (symbol, _) in enumerate(others, len(symbols)):
            out.write(entry(index, symbol, [], None))


main()
