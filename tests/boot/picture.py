"""Reads text from screen dumps of a graphics mode: characters are pictures that were seen before, each in a known place."""

import struct
import zlib

CELL_WIDTH, CELL_HEIGHT = 8, 16  # of Linux's console on a frame buffer
PIXEL = 3
UNKNOWN = "\ufffd"


def unfilter(kind, line, above):
    """A row of a PNG of 24 bits a pixel from what is stored for it (PNG specification, 9.2)."""
    if kind == 0:
        return line
    if kind in (1, 2) and not any(line):
        return above if kind == 2 else line
    row = bytearray(line)
    for n, value in enumerate(line):
        left, up = row[n - PIXEL] if n >= PIXEL else 0, above[n]
        if kind == 4:
            corner = above[n - PIXEL] if n >= PIXEL else 0
            guess = left + up - corner
            near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
        else:
            near = (left, up, (left + up) // 2)[kind - 1]
        row[n] = (value + near) & 0xff
    return bytes(row)


class Picture:
    """A PNG file of 24 bits a pixel."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        at, packed = 8, b""
        while at < len(data):
            length, kind = struct.unpack_from(">I4s", data, at)
            if kind == b"IHDR":
                self.width, self.height = struct.unpack_from(">II", data, at + 8)
            elif kind == b"IDAT":
                packed += data[at + 8:at + 8 + length]
            at += length + 12
        flat, stride = zlib.decompress(packed), PIXEL * self.width + 1
        self.rows, above = [], bytes(stride - 1)
        for start in range(0, len(flat), stride):
            above = unfilter(flat[start], flat[start + 1:start + stride], above)
            self.rows.append(above)

    def cell(self, column, line):
        """What is in the place of a character."""
        first, size = column * CELL_WIDTH * PIXEL, CELL_WIDTH * PIXEL
        return b"".join(row[first:first + size] for row in self.rows[line * CELL_HEIGHT:(line + 1) * CELL_HEIGHT])


class Glyphs:
    """What characters look like."""

    def __init__(self):
        self.known = {}

    def learn(self, picture, text):
        """The first line is this text. False if it cannot be: it is not there yet."""
        cells = [picture.cell(n, 0) for n in range(len(text))]
        blank = picture.cell(len(text), 0)
        if len(set(cells) | {blank}) != len(set(text)) + 1:
            return False
        self.known = dict(zip(cells, text))
        self.known[blank] = " "
        return True

    def text(self, picture):
        """The lines of a picture, without the cursor and blanks at their ends."""
        columns = range(picture.width // CELL_WIDTH)
        lines = ("".join(self.known.get(picture.cell(n, line), UNKNOWN) for n in columns) for line in range(picture.height // CELL_HEIGHT))
        return "\n".join(line.rstrip(UNKNOWN + " ") for line in lines) + "\n"
