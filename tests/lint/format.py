#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""C laid out as .clang-format has it. The public headers are laid out by hand: their tables are read as text."""

import re
import shutil
import sys

from source import FOLDERS, Report, files, run

# The layout changes a little from one major version to the next.
VERSION = "14"


def main():
    found = shutil.which("clang-format-" + VERSION) or shutil.which("clang-format")
    if not found:
        print("clang-format is not here (Debian: clang-format)")
        sys.exit(77)
    version = re.search(r"version (\d+)", run([found, "--version"]).stdout)[1]
    if version != VERSION:
        print(f"clang-format is version {version}, and the layout is that of {VERSION}")
        sys.exit(77)
    report = Report()
    paths = files(".c", ".h", under=[folder for folder in FOLDERS if folder != "include"])
    done = run([found, "--dry-run"] + paths)
    for path, line in re.findall(r"^(.+?):(\d+):\d+: warning: ", done.stderr, re.MULTILINE):
        report.error(path, int(line), "clang-format would lay this out otherwise")
    if done.returncode:
        report.error(".clang-format", 0, done.stderr)
    report.finish(len(paths))


if __name__ == "__main__":
    main()
