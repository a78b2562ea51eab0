"""What the boot tests have in common: machines whose console is read as it grows, cases with a scratch directory, TAP."""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# No test waits for it.
TIMEOUT_S = 600
POWERED_OFF, TIMED_OUT, CRASHED = 0, 124, 3


class Wrong(Exception):
    """What a machine did otherwise than it should have."""


class Process:
    """A running pogo; its console is a growing text."""

    def __init__(self, command, patience_s, interactive=False, env=None):
        self.command, self.patience_s = command, patience_s + 60
        self.console, self.changed = "", threading.Condition()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while data := os.read(self.process.stdout.fileno(), 65536):
            with self.changed:
                self.console += data.decode(errors="replace").replace("\r", "")
                self.changed.notify_all()
        with self.changed:
            self.reader = None
            self.changed.notify_all()

    def wait_for(self, pattern, start=0):
        """The first match on the console from index start on; the machine must not end before."""
        with self.changed:
            while True:
                match = re.compile(pattern, re.MULTILINE).search(self.console, start)
                if match:
                    return match
                if not self.reader:
                    raise Wrong(f"the machine ended without '{pattern}' on its console")
                if not self.changed.wait(self.patience_s):
                    raise Wrong(f"waited in vain for '{pattern}'")

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def end(self, expected):
        """Waits until pogo exits, with this status."""
        reader = self.reader
        if reader:
            reader.join(self.patience_s)
        if self.reader:
            raise Wrong("pogo outlives its own --timeout")
        status = self.process.wait()
        if status != expected:
            raise Wrong(f"exit status {status}, not {expected}")

    def evidence(self):
        """What there is to see when a case has failed."""
        return "$ " + " ".join(self.command) + "\n" + self.console

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Case:
    """What a case may use: a scratch directory, and machines, which do not outlive it."""

    def __init__(self, settings, directory, kind):
        self.settings, self.directory, self.kind, self.machines = settings, directory, kind, []

    def machine(self, *arguments, **options):
        machine = self.kind(self, *arguments, **options)
        self.machines.append(machine)
        return machine


def host(*command):
    """Output of one of the host's programs, which must succeed."""
    path = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    done = subprocess.run(command, env=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
    if done.returncode:
        raise Wrong(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def check_ext4(image, offset=0):
    """The file system in an image is clean."""
    host("e2fsck", "-fn", f"{image}?offset={offset}" if offset else image)


def run(settings, function, kind):
    """None, or why the case failed, with the consoles."""
    with tempfile.TemporaryDirectory(prefix="pogo-boot-") as directory:
        case = Case(settings, directory, kind)
        try:
            function(case)
        except (Wrong, OSError) as wrong:
            for machine in case.machines:
                machine.kill()
            return "\n".join([str(wrong)] + [machine.evidence() for machine in case.machines])
        finally:
            for machine in case.machines:
                machine.kill()
    return None


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(usage, options, table, kind):
    """Runs the cases of a table, name to function of a Case; machines are of a kind. options: names and defaults of what may be set."""
    parser = argparse.ArgumentParser(usage=usage.split("\n", 2)[2])
    parser.add_argument("--pogo", default=os.path.join(ROOT, "build/pogo"))
    parser.add_argument("--engine", default="bt")
    parser.add_argument("--timeout", type=int, default=TIMEOUT_S, help="seconds that a machine may run: a net for what hangs")
    for name, default in options.items():
        parser.add_argument("--" + name, default=default)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("case", nargs="*")
    settings = parser.parse_args()
    if settings.list:
        print("\n".join(table))
        return 0
    names = settings.case or list(table)
    for name in names:
        if name not in table:
            sys.exit(f"{os.path.relpath(sys.argv[0], ROOT)}: no case '{name}', see --list")
    print(f"1..{len(names)}", flush=True)
    failed = 0
    for number, name in enumerate(names, 1):
        start, used = time.monotonic(), cpu_s()
        trouble = run(settings, table[name], kind)
        print(f"{'not ok' if trouble else 'ok'} {number} - {name}")
        print(f"# {time.monotonic() - start:.1f} s, {cpu_s() - used:.1f} s of a CPU")
        if trouble:
            failed += 1
            print("\n".join("# " + line for line in trouble.split("\n")))
        sys.stdout.flush()
    return 1 if failed else 0
