#!/usr/bin/env python3
"""Reads meson's testlog.json and prints one closing line, "N passed, N failed" (", N skipped" if any).

Counted are test cases where a program says how many it ran (doctest, unittest); any other test program counts as
one. A program that failed without a failed case (a crash, a time-out) adds one failure. Exits 1 when anything
failed or nothing ran.
"""
import json
import re
import sys

DOCTEST = re.compile(r"\[doctest\] test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed")
UNITTEST = re.compile(r"^Ran (\d+) tests? in .*\n\n(OK|FAILED)(?: \((.*)\))?", re.MULTILINE)


def doctest_cases(output):
    found = DOCTEST.findall(output)
    if not found:
        return None
    return sum(int(p) for p, _ in found), sum(int(f) for _, f in found), 0


def unittest_cases(output):
    found = UNITTEST.findall(output)
    if not found:
        return None
    passed = failed = skipped = 0
    for ran, _, notes in found:
        note = dict(re.findall(r"([a-z ]+?)=(\d+)", notes.replace(", ", ",").replace(",", "\n")))
        bad = sum(int(note.get(k, 0)) for k in ("failures", "errors", "unexpected successes"))
        skip = int(note.get("skipped", 0))
        failed += bad
        skipped += skip
        passed += max(0, int(ran) - bad - skip)
    return passed, failed, skipped


def cases(test):
    """passed, failed, skipped of one line of the log."""
    output = (test.get("stdout") or "") + "\n" + (test.get("stderr") or "")
    result = test["result"]
    if result == "SKIP":
        return 0, 0, 1
    good = result in ("OK", "EXPECTEDFAIL")
    counted = doctest_cases(output) or unittest_cases(output)
    if counted is None:
        return (1, 0, 0) if good else (0, 1, 0)
    passed, failed, skipped = counted
    if not good and failed == 0:
        failed = 1
    return passed, failed, skipped


def main():
    path, verdict = sys.argv[1], int(sys.argv[2])
    try:
        with open(path, encoding="utf-8") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except OSError as error:
        print(f"cannot read the test log: {error}")
        tests = []
    counted = [(test, cases(test)) for test in tests]
    passed, failed, skipped = (sum(c[i] for _, c in counted) for i in range(3))
    if verdict != 0 and failed == 0:
        failed = 1  # meson saw a failure that the log does not show
    for test, (_, bad, skip) in counted:
        if bad:
            print(f"failed: {test['name']} ({test['result']})")
        elif skip:
            print(f"skipped: {test['name']}")
    if passed + failed == 0:
        print("no test ran")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
