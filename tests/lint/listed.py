#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every .c file is in a list of the build: one that is in none is neither compiled nor tested, and nobody notices."""

import os
import re

from source import FOLDERS, Report, files, read

# Compiled by a script of its own, or included by another file.
EXEMPT = re.compile(r"^tests/(install|abi)/|_impl\.c$")


def unroll(text):
    """A list with the names that its foreach(x IN ITEMS ...) loops make."""
    for variable, items, body in re.findall(r"foreach\((\w+) IN ITEMS ([^)]*)\)(.*?)endforeach", text, re.S):
        text += "".join(body.replace("${" + variable + "}", item) for item in items.split())
    return text


def main():
    report = Report()
    lists = {os.path.dirname(p): re.sub(r"#[^\n]*", "", read(p)) for p in files("CMakeLists.txt", under=FOLDERS)}
    lists = {folder: unroll(text) for folder, text in lists.items()}
    sources = files(".c", ".cc", ".cpp")
    for path in sources:
        if EXEMPT.search(path):
            continue
        folder = os.path.dirname(path)
        while folder and folder not in lists:
            folder = os.path.dirname(folder)
        if folder not in lists:
            report.error(path, 0, "no CMakeLists.txt above it")
        else:
            name = re.escape(os.path.relpath(path, folder))
            if not re.search(r"(?:(?<![\w/.-])|(?<=\}/))" + name + r"(?![\w.])", lists[folder]):
                report.error(path, 0, f"is not listed in {folder}/CMakeLists.txt")
    report.finish(len(sources))


if __name__ == "__main__":
    main()
