"""Runs vmbench natively or in a monitor's guest, and reads what it prints.

Nothing that is measured is trusted to end, or to say anything sensible: each process has a limit for its silence and one for its whole
time. What was measured until then is kept; an item that did not come to its end is failed, and what follows it gets another run.
"""

import os
import re
import resource
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field

import host
import vmbench

RAM = 512 << 20
# How often the rest is tried again after an item that fails.
ATTEMPTS = 8
# Seconds that a guest gets to power off.
POWEROFF = 15
LOG_LIMIT = 16 << 20
LINE_LIMIT = 4096

# The private /tmp is a tmpfs as the guest's is, and the program runs from it as the guest's does. The program is opened before the mount,
# which may well hide it.
NATIVE = 'exec 3<"$0" && mount -t tmpfs tmpfs /tmp && cat <&3 >/tmp/vmbench && exec 3<&- && chmod 755 /tmp/vmbench && exec /tmp/vmbench "$@"'


class Native:
    """vmbench on the host itself."""
    name = "native"
    guest = False

    def __init__(self):
        self.isolate = next((command for command in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
                             if subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], stdin=subprocess.DEVNULL,
                                               capture_output=True).returncode == 0), None)

    def about(self):
        if self.isolate:
            return "native: on a private tmpfs as /tmp"
        kind = subprocess.run(["stat", "-f", "-c", "%T", "/tmp"], capture_output=True, text=True).stdout.strip()
        return f"native: on this host's /tmp ({kind}), as no private tmpfs can be mounted"

    def batches(self, items):
        """What is run by one process. pipe_pingpong sets and then clears the set of processors that all later items run on."""
        alone = [item for item in items if item == "pipe_pingpong"]
        return [batch for batch in ([item for item in items if item not in alone], alone) if batch]

    def command(self, bits, words):
        program = vmbench.program(bits)
        return [*self.isolate, "sh", "-c", NATIVE, program, *words] if self.isolate else [program, *words]


class Monitor:
    """vmbench as what the guest does after its boot."""
    guest = True

    def batches(self, items):
        return [items]

    def command(self, bits, words):
        kernel = os.path.join(vmbench.GUESTS, vmbench.KERNEL[bits], "vmlinuz")
        initrd = os.path.join(vmbench.OUTPUT, f"initrd{bits}")
        return self.start(kernel, initrd, "console=ttyS0 quiet panic=-1 vmb=" + ",".join(words))


class Qemu(Monitor):
    def __init__(self, model):
        self.name = "tcg-" + model
        self.model = model

    def about(self):
        version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
        return f"{self.name}: {version}, -accel tcg -cpu {self.model}"

    def start(self, kernel, initrd, append):
        return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", self.model, "-m", str(RAM >> 20), "-nographic", "-nodefaults", "-serial", "stdio",
                "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", append]


class Pogo(Monitor):
    def __init__(self, label, path, engine, options):
        self.name = f"{label}-{engine}" if label else engine
        self.path = path
        self.engine = engine
        self.options = options

    def about(self):
        version = subprocess.run([self.path, "--version"], capture_output=True, text=True).stdout.strip()
        return f"{self.name}: {version}, --engine {self.engine}{''.join(' ' + option for option in self.options)}"

    def start(self, kernel, initrd, append):
        return [self.path, "run", "--engine", self.engine, "--memory", f"{RAM >> 20}M", "--cpus", "1", "--no-reboot", *self.options,
                "--kernel", kernel, "--initrd", initrd, "--append", append]


@dataclass
class Limits:
    """What a process may take. Seconds: of silence, and of one runner's whole round. `cpus`: the host's processors to use, or None.
    `ahead`: of everything else that runs on the host."""
    silence: float
    total: float
    cpus: set | None
    ahead: bool

    def apply(self):
        """In the new process, which leads a session of its own."""
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)
        if self.ahead:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
            # Where sessions are scheduled as groups, the above counts inside the session alone.
            if os.path.exists("/proc/self/autogroup"):
                with open("/proc/self/autogroup", "w") as file:
                    file.write("-20")


@dataclass
class Outcome:
    """What one runner did in one round: times in nanoseconds, (median, fastest) of vmbench's repetitions."""
    items: dict = field(default_factory=dict)
    failed: dict = field(default_factory=dict)
    skipped: set = field(default_factory=set)
    trouble: list = field(default_factory=list)
    boot: float | None = None
    memory_booted: int | None = None
    memory_end: int | None = None
    # Host seconds and guest seconds of the items, of which both are known.
    host_seconds: float = 0
    guest_seconds: float = 0
    cpu_seconds: float = 0
    wall_seconds: float = 0


class Session:
    """One process from its start to its end; fills in an Outcome. `wanted`: of how many items, those of earlier sessions among them."""

    def __init__(self, command, guest, wanted, limits, deadline, log, outcome):
        self.command = command
        self.guest = guest
        self.wanted = wanted
        self.limits = limits
        self.deadline = deadline
        self.log = log
        self.outcome = outcome
        self.begun = None
        self.begun_at = 0
        self.marks = {}
        self.done = False
        self.end = ""

    def run(self):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.start = time.monotonic()
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True, preexec_fn=self.limits.apply)
        try:
            self._read()
        except BaseException:
            self.end = "interrupted"
            raise
        finally:
            self._stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.outcome.cpu_seconds += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.outcome.wall_seconds += time.monotonic() - self.start
        code = self.child.returncode
        if not self.end:
            self.end = f"exit code {code}" if code > 0 else f"signal {-code}" if code else "the machine went off" if self.guest else "it ended"

    def _read(self):
        pipe = self.child.stdout.fileno()
        heard, text, logged = self.start, b"", 0
        while True:
            now = time.monotonic()
            silence = POWEROFF if "OFF" in self.marks else self.limits.silence
            left = min(heard + silence, self.deadline) - now
            if left <= 0:
                self.end = f"silent for {silence:.0f} s" if heard + silence <= now else "no time left"
                return
            if not select.select([pipe], [], [], left)[0]:
                continue
            chunk = os.read(pipe, 65536)
            if not chunk:
                return
            now = time.monotonic()
            text += chunk
            *lines, text = text.split(b"\n")
            if lines:
                heard = now
            for line in lines:
                line = line[:LINE_LIMIT].decode("latin1").strip("\r")
                if logged < LOG_LIMIT:
                    logged += self.log.write(f"{now - self.start:.4f} {line}\n")
                self._line(line, now)
            text = text[:LINE_LIMIT]

    def _stop(self):
        """Ends the process and what it has started; waits for it."""
        try:
            if self.end:
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait(timeout=POWEROFF)
        except subprocess.TimeoutExpired:
            self.end = "standard output closed, but it did not end"
        except ProcessLookupError:
            pass
        finally:
            if self.child.poll() is None:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
            self.child.stdout.close()

    def _line(self, line, now):
        out = self.outcome
        if match := re.search(r"@@(\w+)", line):
            self.marks.setdefault(match[1], now - self.start)
            if match[1] == "INIT" and out.boot is None:
                out.boot = now - self.start
            elif match[1] == "BENCH" and out.memory_booted is None:
                out.memory_booted = self._memory()
        elif match := re.match(r"#begin (\S+)", line):
            self.begun, self.begun_at = match[1], now
            # Not after the last item: the guest powers off then.
            if len(out.items) + len(out.failed) + len(out.skipped) >= self.wanted - 1:
                out.memory_end = self._memory()
        elif match := re.match(r"#skip (\S+)", line):
            out.skipped.add(match[1])
        elif line.startswith("#done"):
            self.done = True
        elif match := re.match(r"#end (\S+) guest_ns=(\d+) min=([0-9.e+-]+) ", line):
            self._item_end(match, now)
        elif (match := re.match(r"([a-z]\w*) ([0-9.e+-]+) ns/\S+$", line)) and match[1] == self.begun:
            value = float(match[2])
            out.items[self.begun] = (value, value)

    def _item_end(self, match, now):
        out = self.outcome
        name = match[1]
        if name != self.begun or name not in out.items:
            return
        value, fastest = out.items[name][0], float(match[3])
        if value > 0 and fastest > 0:
            out.items[name] = (value, fastest)
        else:
            del out.items[name]
            out.failed[name] = f"took {value:g} ns by the guest's clock"
        out.host_seconds += now - self.begun_at
        out.guest_seconds += int(match[2]) / 1e9
        self.begun = None

    def _memory(self):
        if not self.guest:
            return None
        try:
            return host.memory_beside_ram(self.child.pid, RAM)
        except OSError:
            return None


def run(runner, bits, wanted, words, limits, log_path, outcome):
    """One round of one runner: as many sessions as it takes for each of the items `wanted` to have a time or a reason why it has none.

    `words`: vmbench's options."""
    deadline = time.monotonic() + limits.total
    with open(log_path, "w") as log:
        for batch in runner.batches(wanted):
            left = batch
            for _ in range(ATTEMPTS):
                command = runner.command(bits, [*words, *left])
                log.write(f"$ {command}\n")
                session = Session(command, runner.guest, len(wanted), limits, deadline, log, outcome)
                session.run()
                log.write(f"= {session.end}\n")
                left = _left(session, left)
                if not left:
                    break
            outcome.failed.update(dict.fromkeys(left, f"not reached in {ATTEMPTS} runs"))
            if session.child.returncode or "OFF" in session.marks and session.end != "the machine went off":
                outcome.trouble.append(session.end)


def _left(session, items):
    """Those of the session's items that deserve another one; the others have a time or, now, a reason."""
    outcome = session.outcome
    left = [name for name in items if name not in outcome.items and name not in outcome.failed and name not in outcome.skipped]
    if session.begun in left:
        outcome.failed[session.begun] = "vmbench gave up" if "OFF" in session.marks else session.end
        left.remove(session.begun)
    elif left:
        outcome.failed.update(dict.fromkeys(left, "not an item of this vmbench" if session.done else session.end))
        left = []
    return left
