#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every public function is called by the fuzz target of the API: a new one that is not is not fuzzed, and nobody
notices."""

import re

from source import Report, code, files, read

# Function -> why the fuzz target does not call it.
EXEMPT = {}

# The target, and the engine that it gives to its models.
ENGINE = "tests/support/engine.c"

DECLARED = re.compile(r"\bSGI_API\b[^;{]*?\b(sgi_\w+)\s*\(")
CALLED = re.compile(r"\b(sgi_\w+)\s*\(")


def main():
    report = Report()
    target = [p for p in files(".c", under=("tests/fuzz",)) if p.startswith("tests/fuzz/fuzz_api")]
    called = set().union(*(CALLED.findall(code(read(p))) for p in target + [ENGINE]))
    declared = {}
    for path in files(".h", under=("include",)):
        text = re.sub(r"^[ \t]*#.*$", "", code(read(path)), flags=re.M)
        for match in DECLARED.finditer(text):
            declared[match[1]] = (path, text.count("\n", 0, match.start(1)) + 1)
    if not target or not declared:
        report.error("tests/fuzz", 0, "there is no target, or there are no public functions")
    for name, (path, line) in sorted(declared.items()):
        if name not in called and name not in EXEMPT:
            report.error(path, line, f"{name}() is not called in {', '.join(target)}")
    for name in sorted(EXEMPT):
        if name not in declared or name in called:
            report.error("tests/lint/fuzzed.py", 0, f"{name}() is exempt, and need not be")
    print(f"{len(declared)} functions, {len(EXEMPT)} exempt")
    report.finish(len(target) + 1)


if __name__ == "__main__":
    main()
