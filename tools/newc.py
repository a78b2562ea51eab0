"""Writes initramfs archives ("newc" cpio, Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

Everything in the archive is given by the caller: owners are root, times are 0, inode numbers count up. So the same input
gives the same bytes, and device nodes need no privilege to make.
"""

import stat


class Archive:
    def __init__(self):
        self.parts = []
        self.inode = 0

    def _entry(self, name, mode, data=b"", device=(0, 0)):
        self.inode += 1
        links = 2 if stat.S_ISDIR(mode) else 1
        raw = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, links, 0, len(data), 0, 0, device[0], device[1], len(raw), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + raw, data):
            self.parts.append(part + b"\0" * (-len(part) % 4))

    def directory(self, name, mode=0o755):
        self._entry(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def char_device(self, name, major, minor, mode=0o600):
        self._entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def finish(self):
        """The whole archive; nothing can be added afterwards."""
        self._entry("TRAILER!!!", 0)
        data = b"".join(self.parts)
        return data + b"\0" * (-len(data) % 512)
