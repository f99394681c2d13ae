"""usage: matrix_test.py LIBRARY: what the loader makes of the preloaded library in programs of all kinds, as one table.

Setuid programs: tests/life/secure_test.py. /etc/ld.so.preload, which `env -i` does not escape: tests/packaging/container_test.py.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

LIBRARY = os.path.abspath(sys.argv[1])
# Says whether the library is mapped, and ends with 3.
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
int main(void) {
  char line[4096];
  int mapped = 0;
  FILE* maps = fopen("/proc/self/maps", "r");
  while (maps && fgets(line, sizeof line, maps)) mapped |= strstr(line, "liblull.so") != NULL;
  puts(mapped ? "mapped" : "not mapped");
  return 3;
}
"""
TOO_NEW = {"libc.c": "void of_the_future(void) {}", "libc.map": "GLIBC_2.99 { of_the_future; };",
           "new.c": "void of_the_future(void); void use(void) { of_the_future(); }"}


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="lull-matrix-")
        cls.addClassCleanup(directory.cleanup)
        cls.at = staticmethod(lambda name: os.path.join(directory.name, name))
        for name, text in ({"program.c": PROGRAM} | TOO_NEW).items():
            with open(cls.at(name), "w", encoding="utf-8") as file:
                file.write(text)
        os.mkdir(cls.at("future"))
        for compiler, *words in (("gcc", "program.c", "-o", "glibc"), ("gcc", "program.c", "-static", "-o", "glibc-static"),
                                 ("musl-gcc", "program.c", "-o", "musl"), ("musl-gcc", "program.c", "-static", "-o", "musl-static"),
                                 ("gcc", "-nostdlib", "-shared", "-fPIC", "libc.c", "-Wl,--version-script=libc.map", "-Wl,-soname,libc.so.6", "-o", "future/libc.so.6"),
                                 ("gcc", "-nostdlib", "-shared", "-fPIC", "new.c", "future/libc.so.6", "-o", "too-new.so")):
            if shutil.which(compiler):
                subprocess.run([compiler, *words], cwd=directory.name, check=True)

    def outcome(self, program, preload, *before):
        """(exit status, is it mapped, what the loader says)"""
        env = {"PATH": os.environ["PATH"], "LD_PRELOAD": preload, "LULL_CLASS": "training"}
        done = subprocess.run([*before, self.at(program)], env=env, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout.strip() == "mapped", done.stderr

    def test_a_program_ends_as_it_would_alone(self):
        missing = self.at("liblull.so")
        for kind, program, preload, before, mapped, said in (
                ("glibc", "glibc", LIBRARY, [], True, ""),
                ("static glibc", "glibc-static", LIBRARY, [], False, ""),
                ("musl", "musl", LIBRARY, [], True, ""),  # and inert: musl_test.py
                ("static musl", "musl-static", LIBRARY, [], False, ""),
                ("an emptied environment", "glibc", LIBRARY, ["env", "-i"], False, ""),
                ("no such file, glibc", "glibc", missing, [], False, "cannot be preloaded"),
                ("no such file, musl", "musl", missing, [], False, ""),
                ("a token that musl does not know", "musl", "/usr/$LIB/lull-matrix/liblull.so", [], False, "")):
            if not os.path.exists(self.at(program)):
                continue  # no musl-gcc here
            with self.subTest(kind):
                status, is_mapped, words = self.outcome(program, preload, *before)
                self.assertEqual((status, is_mapped), (3, mapped), words)
                self.assertIn(said, words)
                self.assertEqual(bool(words), bool(said), words)

    def test_a_library_of_a_newer_glibc_would_end_every_program(self):
        """Why liblull.so asks for nothing newer than 2.28: this is what the table above would see."""
        status, _, words = self.outcome("glibc", self.at("too-new.so"))
        self.assertEqual(status, 1)
        self.assertIn("GLIBC_2.99", words)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
