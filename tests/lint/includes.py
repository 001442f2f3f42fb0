#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may include whom: DESIGN section 4 as a table. Fails for an include that is not in it."""

import re

from source import Report, code, files, read

# module (a folder of lib/) -> the modules whose headers it may include, beside its own. "top": the files right in lib/.
# base < model < {format, core, load}; base < {io, device, observe} < load < place; runtime and the top see all of them.
BELOW = {"base", "model", "format", "core", "codec", "io", "device", "observe", "load", "place", "pack"}
ALLOWED = {
    "base": set(),
    "model": {"base"},
    "format": {"base", "model"},
    "codec": {"base"},
    "core": {"base", "model"},
    "io": {"base"},
    "device": {"base"},
    "observe": {"base"},
    "load": {"base", "model", "codec", "io", "device", "observe"},
    "pack": {"base", "model", "format", "codec", "io", "load"},
    "place": {"base", "model", "io", "device", "observe", "load"},
    "runtime": BELOW,
    "top": BELOW | {"runtime"},
}

# A concrete backend is known to its own module and to the composition root. By header, and by the names of the tables
# themselves, which a header that is allowed may declare.
CONCRETE_HEADER = re.compile(r"^(io/(uring|threads)|device/(host|cuda)|place/(local|worker|test))[/_.]")
CONCRETE_NAME = re.compile(r"\bsgi__(io_(?:uring|threads)|device_(?:host|cuda)|place_(?:local|worker|test))\b(?!_)")
COMPOSITION_ROOT = re.compile(r"^lib/runtime(_\w+|/\w+)?\.[ch]$")

# System headers a module does without: the core has no threads, clock or I/O; the model no I/O.
IO_HEADERS = {"unistd.h", "fcntl.h", "poll.h", "dirent.h", "sys/stat.h", "sys/mman.h", "sys/uio.h", "sys/epoll.h",
              "sys/eventfd.h", "sys/syscall.h", "liburing.h"}
FORBIDDEN_SYSTEM = {
    "core": IO_HEADERS | {"pthread.h", "threads.h", "semaphore.h", "time.h", "sys/time.h", "stdio.h"},
    "model": IO_HEADERS | {"time.h", "sys/time.h"},
    "format": IO_HEADERS | {"pthread.h", "threads.h"},
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def module_of(path):
    """'core' for lib/core/state.c, 'top' for lib/api.c."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "top"


def check_own(report, path, line, module, header):
    target = header.split("/")[0] if "/" in header else "top"
    if target == module:
        return
    if target == "sgi":
        report.error(path, line, f'public headers are included as <{header}>')
    elif target not in ALLOWED:
        report.error(path, line, f'"{header}": no such module; headers are named from lib/, as in "base/error.h"')
    elif target not in ALLOWED[module]:
        report.error(path, line, f'{module} must not know {target} ("{header}"); see ALLOWED in tests/lint/includes.py')
    elif CONCRETE_HEADER.match(header) and not COMPOSITION_ROOT.match(path):
        report.error(path, line, f'"{header}" is a concrete backend: only the runtime may name it')


def main():
    report = Report()
    paths = files(".c", ".h", under=("lib",))
    for path in paths:
        module = module_of(path)
        if module not in ALLOWED:
            report.error(path, 0, f"lib/{module} is not in the table of tests/lint/includes.py")
            continue
        text = code(read(path), keep_strings=True)
        for m in INCLUDE.finditer(text):
            line = text.count("\n", 0, m.start()) + 1
            own, system = m.groups()
            if own:
                check_own(report, path, line, module, own)
            elif system.split("/")[0] in ALLOWED:
                report.error(path, line, f'our own headers are in quotes: "{system}"')
            elif system in FORBIDDEN_SYSTEM.get(module, ()):
                report.error(path, line, f"{module} must not include <{system}>")
        if COMPOSITION_ROOT.match(path):
            continue
        for m in CONCRETE_NAME.finditer(code(text)):
            owner = re.match(r"sgi__([a-z]+)_", m.group(0)).group(1)
            if module != owner:
                line = text.count("\n", 0, m.start()) + 1
                report.error(path, line, f"{m.group(0)} is a concrete backend: only the runtime may name it")
    report.finish(len(paths))


if __name__ == "__main__":
    main()
