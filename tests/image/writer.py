"""What the guest `writer` (tests/guest/lm/writer.c) may have left on its disk: a model of its writes, fed with what it said."""

import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.path.join(ROOT, "build/guest/lm-writer.elf")

SECTOR = 512
SLOTS, SLOT_STRIDE, SLOT_SECTORS, BATCH = 2048, 128, 32, 8
DISK_SIZE = SLOTS * SLOT_STRIDE * SECTOR
M64 = (1 << 64) - 1
GUEST_ENDED = 1  # what isa-debug-exit makes of 0
LEAKS = 3  # `pogo disk check`: space is lost, nothing else


class Wrong(Exception):
    pass


def mix(z):
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & M64
    z = (z ^ z >> 27) * 0x94d049bb133111eb & M64
    return z ^ z >> 31


def record_of(seed, n):
    """(first sector, sectors, whether zeros are written)"""
    h = mix((seed * 0x9e3779b97f4a7c15 + n) & M64)
    slot = (h >> 8) % (SLOTS // BATCH) * BATCH + n % BATCH
    return slot * SLOT_STRIDE + slot % 4 * SLOT_SECTORS + (h >> 32) % 8, 1 + (h >> 40) % 24, (h >> 56) % 8 == 0


def sector_contents(sector, n):
    if n == 0:
        return bytes(SECTOR)
    slot = sector // SLOT_STRIDE
    place = slot << 32 | (sector % SLOT_STRIDE - slot % 4 * SLOT_SECTORS)
    return struct.pack("<QQ", n, place) + struct.pack("<Q", mix((n ^ place << 20) & M64)) * 62


class Model:
    """Each sector holds what the last flushed write left there, or what any later one did: `certain` and `maybe` have these by sector,
    as numbers of writes (0: zeros)."""

    def __init__(self, seed):
        self.seed = seed
        self.next = BATCH  # number of the next write
        self.certain, self.maybe = {}, {}
        self.flushed = self.writes = 0  # in all

    def copy(self):
        other = Model(self.seed)
        other.next, other.certain, other.maybe = self.next, dict(self.certain), {s: set(v) for s, v in self.maybe.items()}
        return other

    def __apply(self, n, certain):
        first, count, zero = record_of(self.seed, n)
        value = 0 if zero else n
        for sector in range(first, first + count):
            if certain:
                self.certain[sector] = value
                self.maybe.pop(sector, None)
            else:
                self.maybe.setdefault(sector, set()).add(value)

    def hear(self, text):
        """Takes in what one run of the guest said, which may end anywhere. Returns what it said of failures, by kind."""
        pending, failed = [], set()
        failures = {"write": [], "read": [], "flush": [], "wrong": []}
        first = self.next
        for line in text.replace("\r", "").split("\n")[:-1]:
            word = re.fullmatch(r"(wrote|flushed|wrong|failed write|failed read|failed flush) (\d+)", line)
            if not word:
                continue
            what, n = word[1], int(word[2])
            if what == "failed write":
                failed.add(n)
            if what == "wrote":
                pending += range(n - BATCH, n)
                self.next = n
            elif what == "flushed":
                for k in pending:
                    self.__apply(k, k not in failed)
                self.flushed += 1
                pending = []
            else:
                failures[what.split()[-1]].append(n)
        self.writes += self.next - first
        # The batch that was under way, too.
        for k in pending + list(range(self.next, self.next + BATCH)):
            self.__apply(k, False)
        self.next += BATCH
        if failures["wrong"]:
            raise Wrong(f"the guest read something else than it had written as number {failures['wrong'][0]}")
        return failures

    def verify(self, path):
        """Compares with a raw image; what is there is certain from now on."""
        with open(path, "rb") as f:
            if os.fstat(f.fileno()).st_size != DISK_SIZE:
                raise Wrong(f"the disk has {os.fstat(f.fileno()).st_size} bytes")
            for sector in sorted(self.certain.keys() | self.maybe.keys()):
                data = os.pread(f.fileno(), SECTOR, sector * SECTOR)
                n = struct.unpack_from("<Q", data)[0]
                good = {self.certain.get(sector, 0)} | self.maybe.get(sector, set())
                if n not in good:
                    raise Wrong(f"sector {sector} has write {n}, not one of {sorted(good)}")
                if data != sector_contents(sector, n):
                    raise Wrong(f"sector {sector} is not as write {n} left it")
                self.certain[sector] = n
            self.__untouched(f)
        self.maybe = {}

    def __untouched(self, f):
        """Nothing is where the guest never wrote."""
        at, end, step = 0, DISK_SIZE, SLOT_STRIDE * SECTOR
        while at < end:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA) // step * step
            except OSError:
                return
            data, first = os.pread(f.fileno(), step, at), at // SECTOR
            if any(data):
                for k in range(SLOT_STRIDE):
                    if first + k not in self.certain and any(data[k * SECTOR:(k + 1) * SECTOR]):
                        raise Wrong(f"sector {first + k}, which was never written, is not zero")
            at += step


# --- Images and machines


def pogo_path(build):
    return os.path.join(os.path.abspath(build), "pogo")


class Image:
    """An image of one kind in a directory of its own, with the model of what is in it."""
    KINDS = ["raw", "vhd", "vhd-diff", "qcow2", "qcow2-backing"]

    def __init__(self, pogo, kind, directory, seed):
        self.pogo, self.kind, self.directory = pogo, kind, directory
        self.model = Model(seed)
        self.format = {"raw": "raw", "vhd": "vhd", "vhd-diff": "vhd"}.get(kind, "qcow2")
        self.path = os.path.join(directory, "top." + self.format)
        base = os.path.join(directory, "base." + self.format)
        self.parent = ",parent=*" if kind in ("vhd-diff", "qcow2-backing") else ""
        if self.parent:
            self.tool("create", f"{base}:{DISK_SIZE >> 20}M")
            self.model.hear(self.run_guest(40, base))
            self.tool("create", self.path, "--parent", base)
        else:
            self.tool("create", f"{self.path}:{DISK_SIZE >> 20}M")

    def tool(self, *words, good=(0,), env=None):
        done = subprocess.run([self.pogo, "disk", *words], capture_output=True, text=True, timeout=120, env=env)
        if done.returncode not in good:
            raise Wrong(f"pogo disk {' '.join(words)}: status {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def command(self, batches, path=None, bus="virtio", more=""):
        words = f"{'ide ' if bus == 'ide' else ''}{self.model.seed} {self.model.next} {batches}"
        disk = f"{path or self.path},format={self.format},bus={bus}{'' if path else self.parent}{more}"
        return [self.pogo, "run", "--kernel", GUEST, "--append", words, "--memory", "64M", "--debug-exit", "--no-reboot", "--disk", disk]

    def run_guest(self, batches, path=None, bus="virtio"):
        done = subprocess.run(self.command(batches, path, bus), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if done.returncode != GUEST_ENDED or "done" not in done.stdout:
            raise Wrong(f"the guest ended with {done.returncode}: {done.stderr}{done.stdout[-1000:]}")
        return done.stdout

    def check(self):
        """True if it is clean, False if it has leaks."""
        return self.tool("check", "--format", self.format, self.path, good=(0, LEAKS)).returncode == 0

    def verify(self):
        with tempfile.TemporaryDirectory(prefix="pogo-copy.", dir=directories()[-1]) as place:
            copy = os.path.join(place, "copy.raw")
            self.tool("convert", "--source-format", self.format, self.path, copy)
            self.model.verify(copy)

    def others_agree(self):
        """qemu-img reads the same, where there is one and it knows the kind."""
        if not shutil.which("qemu-img") or self.kind == "vhd-diff":
            return
        other = {"vhd": "vpc"}.get(self.format, self.format)
        if self.format == "qcow2":
            done = subprocess.run(["qemu-img", "check", "-f", other, self.path], capture_output=True, text=True, timeout=120)
            if done.returncode not in (0, 3):
                raise Wrong(f"qemu-img check: {done.stdout}{done.stderr}")
        with tempfile.TemporaryDirectory(prefix="pogo-copy.", dir=directories()[-1]) as place:
            copy = os.path.join(place, "copy.raw")
            subprocess.run(["qemu-img", "convert", "-f", other, "-O", "raw", self.path, copy], check=True, timeout=120)
            os.truncate(copy, DISK_SIZE)
            self.model.verify(copy)


def directories():
    """Where images lie in turn: on a disk, and in the host's memory, where Pogo serves requests in other ways."""
    found = [tempfile.gettempdir()]
    if os.access("/dev/shm", os.W_OK):
        found.append("/dev/shm")
    return found


def seeded():
    """Random choices that a failure can repeat: SEED=N."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"# SEED={seed}", flush=True)
    return random.Random(seed)


class Tap:
    def __init__(self):
        self.count = self.failures = 0

    def point(self, good, name, note=""):
        self.count += 1
        self.failures += not good
        for line in note.splitlines():
            print(f"# {line}")
        print(f"{'' if good else 'not '}ok {self.count} - {name}", flush=True)

    def skip(self, name, why):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {why}", flush=True)

    def end(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failures else 0)
