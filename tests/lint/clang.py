#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tree is built with one compiler; this asks the other one for its warnings, without making code.

    clang.py BUILD_DIR      takes the commands from BUILD_DIR/compile_commands.json
"""

import concurrent.futures
import json
import os
import shlex
import shutil
import sys

from source import ROOT, Report, run

# Options of the other compiler that say nothing about warnings, and that clang may not know.
DROP_WITH_NEXT = {"-o", "-MF", "-MT", "-MQ"}
DROP = {"-c", "-MD", "-MMD", "-Werror"}


def warnings(entry):
    """What clang says about one unit: nothing, or its output."""
    words = shlex.split(entry["command"])
    command, skip = ["clang"], False
    for word in words[1:]:
        if skip or word in DROP_WITH_NEXT:
            skip = not skip
        elif word not in DROP:
            command.append(word)
    done = run(command + ["-fsyntax-only", "-Werror", "-Wno-unknown-warning-option"])
    return done.stderr if done.returncode else ""


def main():
    if not shutil.which("clang"):
        print("clang is not here (Debian: clang)")
        sys.exit(77)
    with open(os.path.join(sys.argv[1], "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    # A file compiled three times differs only in a define or two; the last, with the most code in it, is enough.
    units = {}
    for entry in entries:
        path = os.path.relpath(entry["file"], ROOT)
        if not path.startswith("..") and not path.startswith("build"):
            units[path] = entry
    report = Report()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, text in zip(units, pool.map(warnings, units.values())):
            if text:
                report.error(path, 0, "clang:\n" + text)
    report.finish(len(units))


if __name__ == "__main__":
    main()
