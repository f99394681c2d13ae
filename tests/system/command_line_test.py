"""lull, the command line: its table of commands, what it says without a broker, and what shells complete."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

from case import SystemTest, main


class CommandLine(SystemTest):
    def commands(self):
        """As --help lists them."""
        text = self.stage.run_lull("--help").stdout
        found = re.findall(r"^  ([a-z-]+) ", text.split("Subcommands:")[1].split("Exit codes:")[0], re.MULTILINE)
        self.assertIn("status", found)
        return found

    def complete(self, *words):
        """What bash offers for the last of these words."""
        script = self.stage.run_lull("completion", "bash").stdout
        ask = f"""
PATH={os.path.dirname(self.stage.build.lull)}:$PATH
{script}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_lull
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        run = subprocess.run(["bash", "-c", ask, "bash", "lull", *words], env=self.stage.environment(), text=True,
                             capture_output=True, timeout=20, check=True)
        self.assertEqual(run.stderr, "")
        return run.stdout.split()

    def test_every_command_has_help_of_its_own(self):
        for command in self.commands():
            run = self.stage.run_lull(command, "--help")
            self.assertEqual(run.returncode, 0, command)
            self.assertIn(f"lull {command}", run.stdout)

    def test_without_a_broker_each_says_so_and_what_to_do(self):
        for line in (["status"], ["status", "--json"], ["top", "--once"], ["events"], ["why", "x"], ["wake", "x"], ["ps"],
                     ["free", "1GiB"], ["pause", "x"], ["release", "x"], ["resume", "x"], ["hold", "x"], ["config"],
                     ["run", "--class", "training", "true"]):
            run = self.stage.run_lull(*line)
            self.assertEqual(run.returncode, 3, line)
            self.assertEqual(run.stdout, "")
            self.assertRegex(run.stderr, r"^lull: cannot reach lulld at .*systemctl start lulld.*\n$")

    def test_a_demo_that_is_not_installed_says_what_to_do(self):
        run = self.stage.run_lull("demo")
        if run.returncode == 0:
            self.skipTest("it is installed here")
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertRegex(run.stderr, r"^lull: the demonstration is not installed: there is no /.*-Ddemo=true.*scripts/demo")

    def test_wrong_use_and_unknown_names(self):
        self.start_broker()
        for line in (["nonsense"], ["status", "--nonsense"], ["why"], ["wake", "x", "--for", "long"], ["free", "much"],
                     ["hold", "x", "--for", "long"], ["config", "dance"], ["config", "check"],
                     ["free", "1GiB", "--for", "long"], ["run", "true"],
                     ["completion", "tcsh"], ["run", "--class", "nonsense", "true"], ["top"],
                     ["top", "--once", "--every", "1ms"]):
            self.assertEqual(self.stage.run_lull(*line).returncode, 2, line)
        for line in (["why", "nobody"], ["why", "1", "--json"], ["wake", "nobody"],
                     ["pause", "nobody"], ["resume", "nobody"], ["hold", "nobody", "--end"]):
            run = self.stage.run_lull(*line)
            self.assertEqual((run.returncode, run.stdout), (4, ""), line)
            self.assertIn("lull status", run.stderr)

    def test_why_in_json(self):
        self.start_broker()
        trainer = self.start_trainer(env={"LULL_TENANT": "night run"})
        self.broker.wait_for_clients([trainer.pid])
        answer = json.loads(self.stage.run_lull("why", "--json", "night run").stdout)
        self.assertEqual([c["client"]["pid"] for c in answer["clients"]], [trainer.pid])
        self.assertIsNone(answer["switch"])

    def test_bash_completes_commands_options_and_names(self):
        self.start_broker()
        trainer = self.start_trainer(env={"LULL_TENANT": "nightly"})
        self.broker.wait_for_clients([trainer.pid])
        self.assertEqual(set(self.complete("")), set(self.commands()) | {"--runtime-dir", "--version", "--help"})
        self.assertEqual(self.complete("sta"), ["status"])
        self.assertEqual(self.complete("events", "--"), ["--json", "--follow", "--help"])
        self.assertEqual(self.complete("run", "--class", "in"), ["interactive", "inference"])
        self.assertEqual(self.complete("--runtime-dir", "/tmp", "why", "night"), ["nightly"])
        self.assertIn("true", self.complete("run", "--class", "training", "--", "tru"))

    def test_the_manual_names_every_command_and_is_good_roff(self):
        page = self.stage.run_lull("completion", "man").stdout
        for command in self.commands():
            self.assertIn(".SS lull " + command.replace("-", r"\-") + "\n", page)
        if not shutil.which("groff"):
            self.skipTest("groff is not here")
        run = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, timeout=20, check=True)
        self.assertEqual(run.stderr, "")
        self.assertIn("EXIT STATUS", re.sub(".\x08", "", run.stdout))

    def test_the_other_shells_accept_their_scripts(self):
        shells = [shell for shell in ("zsh", "fish") if shutil.which(shell)]
        if not shells:
            self.skipTest("neither zsh nor fish is here")
        for shell in shells:
            path = self.stage.path(shell)
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.stage.run_lull("completion", shell).stdout)
            run = subprocess.run([shell, "-n", path], capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual((run.returncode, run.stderr), (0, ""), shell)

    def run_program(self, *command, env=None, **more):
        """Under Lull, as training."""
        line = [self.stage.build.lull, "run", "--class", "training", "--", *command]
        return subprocess.run(line, env=self.stage.environment() | (env or {}), capture_output=True, text=True, timeout=30,
                              check=False, **more)

    def test_run_becomes_the_program(self):
        self.start_broker()
        for status in (0, 1, 3, 42, 255):
            self.assertEqual(self.run_program("sh", "-c", f"exit {status}").returncode, status)
        self.assertEqual(self.run_program("sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)
        self.assertEqual(self.run_program("/nonexistent/program").returncode, 127)
        self.assertEqual(self.run_program("/").returncode, 126)
        said = self.run_program("sh", "-c", "read line; echo $line $0 $@; echo err >&2", "--json", "a b", "--", "-x", input="in\n")
        self.assertEqual((said.stdout, said.stderr), ("in --json a b -- -x\n", "err\n"))
        with subprocess.Popen([self.stage.build.lull, "run", "--class", "training", "--", "sh", "-c", "echo $$; read x"],
                              env=self.stage.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            self.assertEqual(int(child.stdout.readline()), child.pid)  # no process between
            child.communicate("x\n", timeout=20)

    def test_run_leaves_signals_groups_and_the_terminal_alone(self):
        self.start_broker()
        show = "import os,signal; print(signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN or " \
               "'SigIgn:\\t0000000000000000' in open('/proc/self/status').read(), os.getpgrp() == os.getppid(), " \
               "sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), sorted(int(f) for f in os.listdir('/proc/self/fd'))[:3])"
        bare = subprocess.run(["python3", "-c", show], env=self.stage.environment(), capture_output=True, text=True, timeout=20, check=True)
        self.assertEqual(self.run_program("python3", "-c", show).stdout, bare.stdout)
        pid, master = pty.fork()
        if pid == 0:
            os.execve(self.stage.build.lull, ["lull", "run", "--class", "training", "sh", "-c",
                                             "test -t 0 && test -t 1 && stty size && echo ready; read x"], self.stage.environment())
        self.addCleanup(os.close, master)
        self.read_until(master, b"ready")
        os.write(master, b"\x03")  # Ctrl-C reaches it
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), -signal.SIGINT)

    def test_run_keeps_an_own_preload_and_adds_the_library_once(self):
        self.start_broker()
        other = self.stage.build.path("tests/driver/libnvidia-ml.so.1")
        say = ["sh", "-c", "echo $LD_PRELOAD; echo $LULL_CLASS"]
        library = self.run_program(*say).stdout.split()[0]
        self.assertEqual(self.run_program(*say, env={"LD_PRELOAD": other}).stdout.split(), [f"{library}:{other}", "training"])
        twice = self.run_program(self.stage.build.lull, "run", "--class", "training", "--", *say, env={"LD_PRELOAD": other})
        self.assertEqual(twice.stdout.split(), [f"{library}:{other}", "training"])

    def test_status_in_one_line(self):
        off = self.stage.run_lull("status", "--short")
        self.assertEqual((off.returncode, off.stdout, off.stderr), (3, "lull off\n", ""))
        self.start_broker()
        self.assertRegex(self.stage.run_lull("status", "--short").stdout, r"^idle \S+/256M\n$")

    def test_top_once_shows_who_is_there(self):
        self.start_broker()
        trainer = self.start_trainer(env={"LULL_TENANT": "nightly"})
        self.broker.wait_for_clients([trainer.pid])
        self.wait_for_steps(trainer, 1)
        answer = json.loads(self.stage.run_lull("top", "--json").stdout)
        row = answer["gpus"][0]["tenants"][0]
        self.assertEqual((row["tenant"], row["pids"], row["lease"]), ("nightly", [trainer.pid], True))
        self.assertEqual(answer["gpus"][0]["lease"]["tenant"], "nightly")
        page = self.stage.run_lull("top", "--once").stdout
        self.assertRegex(page, r"gpu 0 nightly since")
        self.assertRegex(page, r"nightly +training +running")

    def test_top_leaves_the_terminal_as_it_was(self):
        self.start_broker()
        for end in (lambda master, _: os.write(master, b"q"), lambda _, pid: os.kill(pid, signal.SIGTERM),
                    lambda _, pid: os.kill(pid, signal.SIGSEGV)):
            go, wait = os.pipe()
            pid, master = pty.fork()
            if pid == 0:
                os.read(go, 1)
                os.execve(self.stage.build.lull, ["lull", "top"], self.stage.environment() | {"TERM": "xterm"})
            before = termios.tcgetattr(master)
            os.write(wait, b"x")
            os.close(go)
            os.close(wait)
            self.addCleanup(os.close, master)
            page = self.read_until(master, b"quit")
            self.assertIn(b"\x1b[?1049h", page)
            self.assertNotEqual(termios.tcgetattr(master)[3], before[3])
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
            self.assertIn(b"gpu 0", self.read_until(master, b"quit"))  # drawn again at once
            end(master, pid)
            self.assertIn(b"\x1b[?1049l", self.read_until(master, b"\x1b[?1049l"))
            os.waitpid(pid, 0)
            self.assertEqual(termios.tcgetattr(master)[3], before[3])

    def read_until(self, descriptor, what):
        """What a program writes to its terminal, up to these words."""
        text = b""
        end = time.monotonic() + 10
        while what not in text:
            self.assertTrue(select.select([descriptor], [], [], end - time.monotonic())[0], text)
            text += os.read(descriptor, 65536)
        return text


if __name__ == "__main__":
    main()
