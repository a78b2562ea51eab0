"""What a measurement says about the host it was made on, the memory of a process, and the sections of docs/performance.md."""

import os
import platform
import re
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join(ROOT, "docs/performance.md")


def describe():
    """One line: processors, kernel, date."""
    with open("/proc/cpuinfo") as file:
        info = file.read()
    model = re.search(r"^model name\s*: (.*)", info, re.M)
    virtual = ", itself a virtual machine" if re.search(r"^flags\s*:.* hypervisor\b", info, re.M) else ""
    return (f"{os.cpu_count()} x {model[1].strip() if model else platform.machine()}{virtual}, Linux {platform.release().split('-')[0]}, "
            f"{time.strftime('%Y-%m-%d')}")


def mappings(pid):
    """(bytes of address space, bytes of memory, file or None) of each mapping of a process.

    A page that is mapped twice counts half in each (PSS), so that the sum is the memory there is."""
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ (\S+ \d+)", line):
                found.append([int(match[2], 16) - int(match[1], 16), 0, None if match[3].endswith(" 0") else match[3]])
            elif line.startswith("Pss:"):
                found[-1][1] = int(line.split()[1]) << 10
    return found


def memory_beside_ram(pid, ram):
    """Bytes of memory that a monitor takes beside its guest's RAM of `ram` bytes.

    RAM is known by its size, as a translator may well reserve more address space than that for its code. None if there is no RAM."""
    found = mappings(pid)
    files = {file for size, _, file in found if size == ram and file}
    return None if all(size != ram for size, _, _ in found) else sum(memory for size, memory, file in found if not (size == ram or file in files))


def write_section(name, text):
    """Puts `text` between the lines "<!-- NAME -->" and "<!-- end NAME -->" of docs/performance.md."""
    first, last = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    with open(RESULTS) as file:
        head, rest = file.read().split(first)
    tail = rest.split(last)[1]
    with open(RESULTS, "w") as file:
        file.write(head + first + text + last + tail)
