#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The list of the 24 failure modes in tests/faults/README.md is whole and true: each number has its row, each row names
tests that exist and run, or says why there is none, and every such test is in the list."""

import re

from source import Report, code, files, read

LIST = "tests/faults/README.md"
MODES = 24

ROW = re.compile(r"^\|\s*(\d+)\s*\|([^|]*)\|([^|]*)\|([^|]*)\|\s*$")
NAME = re.compile(r"\bmode_(\d\d)_\w+")
DEFINED = re.compile(r"^static void (mode_\w+)\(void \*\*state\)\n\{", re.M)
RUN = re.compile(r"\b(?:MODE|cmocka_unit_test\w*)\((mode_\w+)\b")


def tests_that_run(report):
    """Name -> file, of all tests named after a mode."""
    found = {}
    for path in files(".c", under=("tests/faults", "tests/cuda")):
        text = code(read(path))
        defined, run = set(DEFINED.findall(text)), set(RUN.findall(text))
        for name in sorted(defined - run):
            report.error(path, 0, f"{name} is in no list of tests")
        for name in defined & run:
            found[name] = path
    return found


def check_row(report, number, line, title, named, rest, tests):
    """The names in one row's third cell are good; returns them."""
    if not title:
        report.error(LIST, line, f"mode {number} has no name")
    names = [m.group(0) for m in NAME.finditer(named)]
    for name in names:
        if name not in tests:
            report.error(LIST, line, f"there is no test {name}, or it is not run")
        elif f"{number:02}" != name[5:7]:
            report.error(LIST, line, f"{name} is in the row of mode {number}")
    if not names and not rest:
        report.error(LIST, line, f"mode {number} has no test, and nothing says why")
    return names


def main():
    report = Report()
    tests = tests_that_run(report)
    seen, listed = [], set()
    for line, text in enumerate(read(LIST).split("\n"), 1):
        row = ROW.match(text)
        if row:
            number, title, named, rest = int(row[1]), row[2].strip(), row[3], row[4].strip()
            seen.append(number)
            listed.update(check_row(report, number, line, title, named, rest, tests))
    if seen != list(range(1, MODES + 1)):
        report.error(LIST, 0, f"has rows for {seen}; there are modes 1 to {MODES}, each once, in order")
    for name, path in sorted(tests.items()):
        if name not in listed:
            report.error(path, 0, f"{name} is not in {LIST}")
    report.finish(len(set(tests.values())))


if __name__ == "__main__":
    main()
