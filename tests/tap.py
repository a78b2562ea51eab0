"""Reads the Test Anything Protocol, distrustfully: what a program must have said to count as passed."""

import re

PLAN = re.compile(r"1\.\.(\d+)\s*(?:#\s*(?:skip\w*)?\s*(.*))?$", re.IGNORECASE)
POINT = re.compile(r"(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(skip|todo)\b\S*\s*(.*)$", re.IGNORECASE)


class Report:
    """What one program's output says: names of tests that passed and failed, (name, reason) of skipped ones, and problems: sentences
    about what is wrong with the report itself, each of which counts as a failure."""

    def __init__(self):
        self.passed, self.failed, self.skipped, self.problems = [], [], [], []

    def __len__(self):
        return len(self.passed) + len(self.failed) + len(self.skipped)


def parse(text):
    """A Report. Several plans, each with its tests, may follow each other, as cmocka prints them for several groups."""
    report = Report()
    planned, seen, plans = None, 0, 0

    def close():
        if planned is not None and planned != seen:
            report.problems.append(f"{planned} tests were planned, {seen} reported")

    for line in text.replace("\r", "").split("\n"):
        plan = PLAN.match(line)
        point = POINT.match(line)
        if plan:
            if planned is not None:
                close()
                seen = 0
            planned = int(plan.group(1))
            plans += 1
            if planned == 0:
                report.skipped.append(("everything", plan.group(2) or "no reason given"))
        elif point:
            failed, number, rest = point.groups()
            seen += 1
            if number and int(number) != seen:
                report.problems.append(f"test {number} came where {seen} was due")
                seen = int(number)
            directive = DIRECTIVE.search(rest)
            name = DIRECTIVE.sub("", rest).strip() or f"test {seen}"
            if directive and directive.group(1).lower() == "skip":
                report.skipped.append((name, directive.group(2) or "no reason given"))
            elif directive and failed:
                report.skipped.append((name, "known to fail: " + directive.group(2)))
            elif failed:
                report.failed.append(name)
            else:
                report.passed.append(name)
        elif line.startswith("Bail out!"):
            report.problems.append(line.strip())
    close()
    if not plans:
        report.problems.append("no plan")
    return report


def judge(text, status, expected=0):
    """A Report of a program that ended with this status (negative: by that signal). A status other than the expected one is a
    problem, unless failed tests explain it; no test at all is one too."""
    report = parse(text)
    if status < 0:
        report.problems.append(f"killed by signal {-status}")
    elif status != expected and not report.failed:
        report.problems.append(f"exit status {status} without a failed test")
    elif status == expected and report.failed:
        report.problems.append(f"exit status {status} in spite of failed tests")
    if not len(report) and not report.problems:
        report.problems.append("no tests")
    return report
