"""What liblull.so shows and needs: exactly the table's symbols, glibc of 2018, libc and its old parts only.

usage: symbols_test.py LIBRARY HOOKS_DEF
"""
import re
import subprocess
import sys
import unittest

LIBRARY, TABLE = sys.argv[1], sys.argv[2]
GLIBC_CEILING = (2, 28)
LOADER_FUNCTIONS = {"dlsym", "dlvsym", "dlopen", "dlmopen"}
NEEDED_AT_MOST = {"libc.so.6", "libdl.so.2", "libpthread.so.0", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(*options):
    return [line.split() for line in output("nm", "-D", *options, LIBRARY).splitlines()]


class Symbols(unittest.TestCase):
    def test_exports_are_exactly_the_rows_and_the_loader_functions(self):
        with open(TABLE, encoding="utf-8") as table:
            rows = re.findall(r"^HOOK\((\w+),", table.read(), re.MULTILINE)
        self.assertEqual(len(rows), len(set(rows)), "a row twice")
        exported = {line[-1] for line in symbols("--defined-only")}
        self.assertEqual(exported, set(rows) | LOADER_FUNCTIONS)

    def test_exports_have_no_version_so_that_they_answer_every_one(self):
        self.assertEqual([line[-1] for line in symbols("--defined-only") if "@" in line[-1]], [])

    def test_glibc_of_the_oldest_supported_system_suffices(self):
        for line in symbols("--undefined-only"):
            version = re.search(r"@GLIBC_([\d.]+)$", line[-1])
            if version:
                number = tuple(int(part) for part in version.group(1).split("."))
                self.assertLessEqual(number, GLIBC_CEILING, line[-1])

    def test_every_undefined_symbol_is_libcs_or_optional(self):
        strangers = [line[-1] for line in symbols("--undefined-only") if line[0] == "U" and "@GLIBC_" not in line[-1]]
        self.assertEqual(strangers, [])

    def test_needs_libc_only(self):
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", output("readelf", "-d", LIBRARY)))
        self.assertIn("libc.so.6", needed)
        self.assertEqual(needed - NEEDED_AT_MOST, set())

    def test_code_is_shared_and_the_library_stays(self):
        dynamic = output("readelf", "-d", LIBRARY)
        self.assertNotIn("TEXTREL", dynamic)
        self.assertIn("NODELETE", dynamic)

    def test_the_stack_is_not_executable(self):
        stack = re.search(r"GNU_STACK(?:\s+\S+){5}\s+(\w+)", output("readelf", "-lW", LIBRARY))
        self.assertEqual(stack.group(1), "RW")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
