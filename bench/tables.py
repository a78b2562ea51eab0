"""Tables of what was measured: ratios to native, item by item and by class. Markdown that is readable as it is."""

import math
import statistics

import runner
import vmbench


class Results:
    """Outcomes of all rounds: begin() each, then ask for medians."""

    def __init__(self, fastest):
        self.which = 1 if fastest else 0
        self.outcomes = {}

    def begin(self, bits, name):
        """An outcome to be filled in. It counts from now on, so that nothing is lost if the round ends early."""
        outcome = runner.Outcome()
        self.outcomes.setdefault((bits, name), []).append(outcome)
        return outcome

    def of(self, bits, name):
        return self.outcomes.get((bits, name), [])

    def failed(self, bits, name):
        return {item: reason for outcome in self.of(bits, name) for item, reason in outcome.failed.items()}

    def time(self, bits, name, item):
        """Nanoseconds; None if the item failed once, or was never measured."""
        values = [outcome.items[item][self.which] for outcome in self.of(bits, name) if item in outcome.items]
        return statistics.median(values) if values and item not in self.failed(bits, name) else None

    def figure(self, bits, name, figure):
        values = [value for outcome in self.of(bits, name) if (value := getattr(outcome, figure)) is not None]
        return statistics.median(values) if values else None


class Column:
    """A column of the tables: the best of one or more runners."""

    def __init__(self, results, title, names):
        self.results = results
        self.title = title
        self.names = names

    def _best(self, values):
        return min((value for value in values if value is not None), default=None)

    def time(self, bits, item):
        return self._best(self.results.time(bits, name, item) for name in self.names)

    def figure(self, bits, figure):
        return self._best(self.results.figure(bits, name, figure) for name in self.names)


def number(value):
    return "-" if value is None else f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.2f}"


def grid(header, rows):
    widths = [max(len(row[n]) for row in [header, *rows]) for n in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(width) if not n else cell.rjust(width) for n, (cell, width) in enumerate(zip(row, widths))) + " |"
             for row in [header, *rows]]
    lines.insert(1, "|" + "|".join("-" * (width + 2) if not n else "-" * (width + 1) + ":" for n, width in enumerate(widths)) + "|")
    return lines


class Report:
    """`base`, `tcg`: columns or None; `others`: columns of Pogo, the marked ones; `items`: names by width."""

    def __init__(self, base, tcg, others, items):
        self.base = base
        self.tcg = tcg
        self.others = others
        self.items = items
        self.columns = [column for column in (base, tcg, *others) if column]
        self.reference = self.columns[0]
        self.compared = self.columns[1:]

    def text(self):
        parts = [self._classes()] if self.compared else []
        for bits in self.items:
            parts += [self._items(bits), self._machine(bits)]
        if self.compared:
            parts.append([f"Ratios are to {self.reference.title}; less is better. `>`: over the target. `!`: slower than TCG."])
        parts.append(self._summary())
        return "\n\n".join("\n".join(part) for part in parts if part)

    def _ratio(self, bits, column, item):
        value, base = column.time(bits, item), self.reference.time(bits, item)
        return value / base if value and base else None

    def _mean(self, bits, column, kind):
        """(geometric mean, how many items are in it, how many there should be)"""
        names = [item for item in kind.items if item in self.items[bits]]
        ratios = [ratio for item in names if (ratio := self._ratio(bits, column, item))]
        return (math.exp(statistics.fmean(map(math.log, ratios))) if ratios else None), len(ratios), len(names)

    def _marked(self, column, value, target, tcg):
        if column not in self.others or not value:
            return number(value)
        return f"{'!' if tcg and value > tcg else ''}{'>' if target and value > target else ''}{number(value)}"

    def _classes(self):
        """Geometric means, one row a class; columns by width."""
        header, rows = ["geometric mean"], [[kind.title] for kind in vmbench.CLASSES]
        for bits in self.items:
            for column in self.compared:
                header.append(f"{column.title}, {bits}-bit")
                for row, kind in zip(rows, vmbench.CLASSES):
                    mean, have, all_of_them = self._mean(bits, column, kind)
                    tcg = self._mean(bits, self.tcg, kind)[0] if self.tcg else None
                    cell = self._marked(column, mean, kind.target if self.base else None, tcg)
                    row.append(cell + (f" ({have} of {all_of_them})" if have < all_of_them else ""))
        header.append("target")
        for row, kind in zip(rows, vmbench.CLASSES):
            row.append(number(kind.target))
        return grid(header, [row for row in rows if any(cell != "-" for cell in row[1:-1])])

    def _items(self, bits):
        header = [f"{bits}-bit guest", f"{self.reference.title}, ns", *(column.title for column in self.compared), "target"]
        rows = []
        for kind in vmbench.CLASSES:
            for item in kind.items:
                if item not in self.items[bits]:
                    continue
                target = vmbench.ITEM_TARGETS.get(item) if self.base else None
                tcg = self._ratio(bits, self.tcg, item) if self.tcg else None
                rows.append([item, number(self.reference.time(bits, item)),
                             *(self._marked(column, self._ratio(bits, column, item), target, tcg) for column in self.compared), number(target)])
        return grid(header, rows)

    def _machine(self, bits):
        guests = [column for column in self.columns if column.figure(bits, "boot")]
        if not guests:
            return []
        boot = self.tcg.figure(bits, "boot") if self.tcg else None
        aim = boot * vmbench.BOOT_TARGET if boot else None
        rows = [["start to init, s", *(self._marked(column, column.figure(bits, "boot"), aim, boot) for column in guests), number(aim)]]
        limit = vmbench.MEMORY_TARGET
        for figure, title in (("memory_booted", "MiB beside guest RAM, booted"), ("memory_end", "MiB beside guest RAM, at the end")):
            values = [(column, (column.figure(bits, figure) or 0) / (1 << 20) or None) for column in guests]
            rows.append([title, *(self._marked(column, value, limit, None) for column, value in values), number(limit)])
        return grid([f"{bits}-bit machine", *(column.title for column in guests), "target"], rows)

    def _summary(self):
        lines = []
        for column in self.others if self.tcg else []:
            for bits in self.items:
                both = [(item, mine, other) for item in self.items[bits]
                        if (mine := column.time(bits, item)) and (other := self.tcg.time(bits, item))]
                slower = [item for item, mine, other in both if mine > other]
                lines.append(f"- {column.title}, {bits}-bit: slower than TCG on {len(slower)} of {len(both)} items"
                             + (": " + ", ".join(slower) if slower else "") + ".")
        return lines


def remarks(results):
    """What has to be said of each runner: items without a time, and figures not to be trusted."""
    lines = []
    for bits, name in results.outcomes:
        outcomes = results.of(bits, name)
        by_reason = {}
        for item, reason in results.failed(bits, name).items():
            by_reason.setdefault(reason, []).append(item)
        lines += [f"{name}, {bits}-bit: no result of {', '.join(items)}: {reason}" for reason, items in by_reason.items()]
        lines += [f"{name}, {bits}-bit: {reason}" for reason in dict.fromkeys(reason for outcome in outcomes for reason in outcome.trouble)]
        guest = sum(outcome.guest_seconds for outcome in outcomes)
        drift = sum(outcome.host_seconds for outcome in outcomes) / guest if guest else 1
        # Lines come late where the reader waits for a processor: of short runs this says nothing.
        if guest > 3 and abs(drift - 1) > 0.1:
            lines.append(f"{name}, {bits}-bit: its clock is wrong: {drift:.2f} host seconds to a second of the guest")
        wall = sum(outcome.wall_seconds for outcome in outcomes)
        share = sum(outcome.cpu_seconds for outcome in outcomes) / wall if wall else 1
        if share < 0.8:
            lines.append(f"{name}, {bits}-bit: had {share:.0%} of a processor: the host was busy (--ahead?), or the machine slept")
    return lines
