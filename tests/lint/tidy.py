#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy with the checks of .clang-tidy and no finding: the static analyser of this tree.

    tidy.py BUILD_DIR [FILE...]     takes the commands from BUILD_DIR/compile_commands.json

The library is followed through every path the analyser has room for; programs less deep, and tests not at all: they
are most of the code, and a slip there shows when they run.
"""

import concurrent.futures
import json
import os
import re
import shutil
import sys

from source import ROOT, Report, run


def analyser(setting):
    return [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", setting)]


# Half of the paths that it would follow through one function, in half of the time.
DEEP, SHALLOW = analyser("max-nodes=100000"), analyser("mode=shallow")
FINDING = re.compile(r"^(.+?):(\d+):\d+: (?:warning|error): (.*)$", re.MULTILINE)


def units(build, chosen):
    """What is compiled and ours: the library first and the longest first, so that none is left over at the end."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        paths = {os.path.relpath(entry["file"], ROOT) for entry in json.load(f)}
    paths = {p for p in paths if not p.startswith(("..", "build")) and p.endswith(".c")}
    paths = paths & set(chosen) if chosen else paths
    return sorted(paths, key=lambda p: (not p.startswith("lib/"), -os.path.getsize(os.path.join(ROOT, p))))


def findings(build, path):
    command = ["clang-tidy", "--quiet", "-p", build, "--extra-arg=-Wno-unknown-warning-option"]
    done = run(command + (DEEP if path.startswith("lib/") else SHALLOW) + [path])
    found = {(os.path.relpath(m[1], ROOT), int(m[2]), m[3]) for m in FINDING.finditer(done.stdout)}
    if done.returncode and not found:
        found = {(path, 0, "clang-tidy ended with " + str(done.returncode) + ":\n" + done.stdout + done.stderr)}
    return found


def main():
    if not shutil.which("clang-tidy"):
        print("clang-tidy is not here (Debian: clang-tidy)")
        sys.exit(77)
    build = os.path.abspath(sys.argv[1])
    paths = units(build, sys.argv[2:])
    report = Report()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = set().union(*pool.map(lambda path: findings(build, path), paths))
    for path, line, text in sorted(found):  # a header's once, however many include it
        report.error(path, line, text)
    report.finish(len(paths))


if __name__ == "__main__":
    main()
