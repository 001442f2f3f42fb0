#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Line coverage of lib/ by the tests that ran in a build of the preset `coverage`, from gcov.

usage: coverage.py BUILD [--missed FOLDER] FOLDER:PERCENT...

Prints one line for each module and fails where a folder has less than its percentage. A line counts once, reached in
the shared library or in the archive that white-box tests link. --missed lists the lines of a folder that no test
reached.
"""

import argparse
import collections
import json
import os
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def notes(build):
    """What the compiler wrote beside each object of the library, whether a test ran it or not."""
    for folder, _, names in os.walk(os.path.join(build, "lib")):
        yield from (os.path.join(folder, name) for name in names if name.endswith(".gcno"))


def count(paths):
    """{path in the tree: {line: times}}, every object that holds a line added up."""
    lines = collections.defaultdict(collections.Counter)
    for first in range(0, len(paths), 50):
        command = ["gcov", "--json-format", "--stdout", *paths[first:first + 50]]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for report in filter(None, output.split(b"\n")):
            for file in json.loads(report)["files"]:
                path = os.path.relpath(os.path.join(TREE, file["file"]), TREE)
                if path.startswith("lib/"):
                    for line in file["lines"]:
                        lines[path][line["line_number"]] += line["count"]
    return lines


def under(lines, folder):
    return {path: found for path, found in lines.items() if path.startswith(folder.rstrip("/") + "/")}


def covered(lines):
    """(lines reached, lines)"""
    reached = sum(times > 0 for found in lines.values() for times in found.values())
    return reached, sum(map(len, lines.values()))


def show(name, lines, note=""):
    reached, total = covered(lines)
    print(f"{name:16} {100 * reached / total:6.2f} %  {reached:6} of {total:6} lines{note}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("wanted", nargs="*", metavar="FOLDER:PERCENT")
    parser.add_argument("--missed", metavar="FOLDER", action="append", default=[])
    args = parser.parse_intermixed_args()

    lines = count(sorted(notes(args.build)))
    if not lines:
        sys.exit(f"{args.build}: no build of the preset 'coverage'")
    for folder in sorted({os.path.dirname(path) for path in lines} - {"lib"}):
        show(folder, under(lines, folder))
    for folder in args.missed:
        for path, found in sorted(under(lines, folder).items()):
            with open(os.path.join(TREE, path), encoding="utf-8") as f:
                text = f.read().split("\n")
            for number in sorted(n for n, times in found.items() if times == 0):
                print(f"{path}:{number}: {text[number - 1]}")
    short = False
    for folder, percent in (word.split(":") for word in args.wanted):
        reached, total = covered(under(lines, folder))
        enough = total > 0 and 100 * reached >= float(percent) * total
        show(folder, under(lines, folder), "" if enough else f": less than the {percent} % wanted")
        short |= not enough
    sys.exit(short)


if __name__ == "__main__":
    main()
