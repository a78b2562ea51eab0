"""The program vmbench: its items, what is hoped for, where it is found, and how it becomes a guest.

vmbench is not part of this tree. It is looked for in $VMBENCH, or else in ../shared/bench beside the tree; its own build.sh compiles it
(static, for 64 and for 32 bits), its own init starts it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

import host

sys.path.insert(0, os.path.join(host.ROOT, "tools"))
import newc  # noqa: E402

OUTPUT = os.path.join(host.ROOT, "build/bench")
GUESTS = os.path.join(host.ROOT, "build/guests")
# Guest of each width: kernel, and whose busybox.
KERNEL = {64: "cloud-amd64", 32: "686"}
BUSYBOX = {64: "amd64", 32: "i386"}
APPLETS = "sh mount cat sleep insmod ifconfig route poweroff reboot".split()


class Failure(Exception):
    pass


class Class(NamedTuple):
    """Items that are summed up by a geometric mean. `target`: that mean's ratio to native."""
    name: str
    title: str
    group: str
    target: float
    items: list


CLASSES = [
    Class("integer", "integer", "user", 2.0, "alu branchy coremini qsort_cb callret indirect bytecode sha256 div64 byteloop".split()),
    Class("memory", "memory", "user", 2.4, "chase_16k chase_1m chase_64m chase_pages memcpy_1m rep_movsb store_4m atomic".split()),
    Class("simd", "FP/SIMD", "user", 1.5, "fp_nbody fp_matmul fp_x87 sse2_int sse2_saxpy avx2_int avx2_fma aesni".split()),
    Class("code", "code modification", "user", 20, "smc_patch jit_page code_data_page".split()),
    Class("syscall", "system call and file", "kernel", 5,
          "getppid getppid_int80 getppid_vsys read1_zero clock_gettime stat open_close tmpfs_write4k tmpfs_read4k".split()),
    Class("process", "process and VM", "kernel", 5, "fork_wait fork_exec vfork_exec page_touch fork_cow_8m mprotect_pair".split()),
    Class("switch", "switch and exception", "kernel", 8, "pipe_pingpong signal_self segv_handler divzero_handler".split()),
]
ITEM_TARGETS = {"callret": 2.0, "bytecode": 2.5, "rep_movsb": 1.2, "avx2_fma": 1.3, "getppid": 3.0}
ONLY_32 = ("getppid_int80", "getppid_vsys")
# From start to init, as a part of TCG's time.
BOOT_TARGET = 0.5
# Of the monitor beside guest RAM, MiB.
MEMORY_TARGET = 48


def select(bits, items, groups):
    """Names of the items to run: those named, or those in the groups or classes named."""
    chosen = [item for kind in CLASSES for item in kind.items if kind.group in groups or kind.name in groups or item in items]
    return [item for item in chosen if bits == 32 or item not in ONLY_32]


def _roots():
    """This tree, and if it is a worktree of git, the tree it belongs to."""
    yield host.ROOT
    done = subprocess.run(["git", "-C", host.ROOT, "rev-parse", "--path-format=absolute", "--git-common-dir"],
                          capture_output=True, text=True) if shutil.which("git") else None
    if done and done.returncode == 0:
        yield os.path.dirname(done.stdout.strip())


def locate():
    given = os.environ.get("VMBENCH")
    places = [given] if given else [os.path.normpath(os.path.join(root, "../shared/bench")) for root in _roots()]
    for place in places:
        if all(os.path.exists(os.path.join(place, name)) for name in ("vmbench.c", "build.sh", "init")):
            return place
    raise Failure(f"no vmbench (vmbench.c, build.sh, init) in {' or '.join(dict.fromkeys(places))}; VMBENCH=DIRECTORY says where it is")


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def program(bits):
    return os.path.join(OUTPUT, f"vmbench{bits}")


def build(source, widths):
    """Compiles vmbench in build/bench, if what is there is not of this source."""
    key = hashlib.sha256(_read(os.path.join(source, "vmbench.c")) + b"\0" + _read(os.path.join(source, "build.sh"))).hexdigest()
    key_file = os.path.join(OUTPUT, "vmbench.key")
    if all(os.path.exists(program(bits)) for bits in widths) and os.path.exists(key_file) and _read(key_file).decode() == key:
        return
    for bits in KERNEL:
        if os.path.exists(program(bits)):
            os.remove(program(bits))
    for name in ("vmbench.c", "build.sh"):
        shutil.copyfile(os.path.join(source, name), os.path.join(OUTPUT, name))
    done = subprocess.run(["sh", os.path.join(OUTPUT, "build.sh")], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    for bits in widths:
        if not os.path.exists(program(bits)):
            raise Failure(f"{source}/build.sh makes no vmbench{bits} (does `tools/setup bench` find all it needs?)\n{done.stderr[-1500:]}")
    with open(key_file, "w") as file:
        file.write(key)


def image(source, bits):
    """Writes the initramfs of a width; its path. Not compressed: that would measure the guest's gunzip."""
    try:
        busybox = _read(os.path.join(GUESTS, "busybox-" + BUSYBOX[bits]))
    except FileNotFoundError:
        raise Failure("no guests in build/guests; tools/guests fetches them") from None
    archive = newc.Archive()
    for name in ("bin", "dev", "mod", "proc", "sys", "tmp"):
        archive.directory(name)
    for name, device in (("console", (5, 1)), ("null", (1, 3)), ("ttyS0", (4, 64))):
        archive.char_device("dev/" + name, *device)
    archive.file("init", _read(os.path.join(source, "init")), 0o755)
    archive.file("bin/busybox", busybox, 0o755)
    for applet in APPLETS:
        archive.symlink("bin/" + applet, "busybox")
    archive.file("bin/vmbench", _read(program(bits)), 0o755)
    path = os.path.join(OUTPUT, f"initrd{bits}")
    with open(path + ".new", "wb") as file:
        file.write(archive.finish())
    os.replace(path + ".new", path)
    return path
