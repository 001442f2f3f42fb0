# SPDX-License-Identifier: Apache-2.0
"""What the lint scripts share: finding the tree's files, and reading C without its comments and strings."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Folders that hold our own text. Anything else (build, .git, caches) is not looked at.
FOLDERS = ("include", "lib", "bindings", "examples", "bench", "tests", ".ci")


def files(*suffixes, under=FOLDERS):
    """Paths relative to the root, sorted, of files whose name ends in one of `suffixes`."""
    found = []
    for folder in under:
        for base, folders, names in os.walk(os.path.join(ROOT, folder)):
            folders[:] = [f for f in folders if f not in ("corpus", "__pycache__", "data")]
            found += [os.path.relpath(os.path.join(base, n), ROOT) for n in names if n.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/ | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE)


def blank(match):
    """The same text with everything but newlines blanked, so that line numbers stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def code(text, keep_strings=False):
    """C text without comments and, unless they are to be kept, without strings."""
    return TOKEN.sub(lambda m: m.group(0) if keep_strings and m.group(0)[0] in "\"'" else blank(m), text)


class Report:
    """Collects findings as file:line: text, and ends the script with how many there were."""

    def __init__(self):
        self.errors = 0
        self.warnings = 0

    def error(self, path, line, text):
        self.errors += 1
        print(f"{path}:{line}: {text}" if line else f"{path}: {text}")

    def warn(self, path, line, text):
        self.warnings += 1
        print(f"{path}:{line}: warning: {text}" if line else f"{path}: warning: {text}")

    def finish(self, checked):
        print(f"{checked} files, {self.errors} errors, {self.warnings} warnings")
        sys.exit(1 if self.errors else 0)


def run(command, **kw):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **kw)
