"""A wrong row of hooks.def must not compile: each case compiles shim/hooks.cpp with a table of one row.

usage: table_test.py SOURCE_ROOT COMPILER [FLAG...]
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT, COMPILER = sys.argv[1], sys.argv[2:]
TRUTH = "HOOK(cuMemAlloc_v2, cuMemAlloc, 3020, , memory::alloc)"
# Rows that hooks.cpp names itself.
OTHERS = """HOOK(cuInit, cuInit, 2000, , pass)
HOOK(cuGraphLaunch, cuGraphLaunch, 10000, , gated)
HOOK(cuGraphLaunch_ptsz, cuGraphLaunch, 10000, _ptsz, gated)
"""


def compile_with(row):
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder, "shim", "hooks.def")
        table.parent.mkdir()
        table.write_text(f"{row}\n{OTHERS}", encoding="utf-8")
        flags = ["-std=c++20", "-fsyntax-only", "-D__CUDA_API_VERSION_INTERNAL", "-I", folder, "-I", ROOT]
        command = COMPILER + flags + [f"{ROOT}/shim/hooks.cpp"]
        return subprocess.run(command, capture_output=True, text=True, check=False)


class Table(unittest.TestCase):
    def refuse(self, row, message):
        done = compile_with(row)
        self.assertNotEqual(done.returncode, 0, row)
        self.assertRegex(done.stderr, message)

    def test_the_right_row_compiles(self):
        done = compile_with(TRUTH)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_version_of_another_type_is_refused(self):
        self.refuse(TRUTH.replace("3020", "2000"), "cuMemAlloc_v2: wrong row")

    def test_a_version_that_never_was_is_refused(self):
        self.refuse(TRUTH.replace("3020", "3021"), "PFN_cuMemAlloc_v3021")

    def test_a_flavour_that_does_not_exist_is_refused(self):
        self.refuse(TRUTH.replace("3020, ,", "3020, _ptsz,"), "PFN_cuMemAlloc_v3020_ptsz")

    def test_a_handler_of_another_type_is_refused(self):
        self.refuse(TRUTH.replace("memory::alloc", "memory::free"), "memory::free|invalid conversion|no matching function")

    def test_a_function_that_no_header_has_is_refused(self):
        self.refuse(TRUTH.replace("cuMemAlloc_v2", "cuMemAlloc_v9"), "cuMemAlloc_v9")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
