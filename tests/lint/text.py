#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a file may look like and call: licence line, line length, size, banned calls.

A banned call that is right where it stands says so on its line: /* lint: allow usleep: the reason */
"""

import re

from source import Report, code, files, read

LINE_MAX = 120
LINES_WARN = 800
LICENCE = "SPDX-License-Identifier: Apache-2.0"

# where (a regular expression on the path) -> banned function -> why, or what instead
EVERYWHERE = {
    "strcpy": "no bound; snprintf or memcpy",
    "strcat": "no bound; snprintf",
    "sprintf": "no bound; snprintf",
    "vsprintf": "no bound; vsnprintf",
    "gets": "no bound",
    "strncpy": "may leave the end off; snprintf or memcpy",
    "strtok": "keeps state; strtok_r, or look for the separator",
    "atoi": "says nothing about bad input; strtol with its end checked",
    "atol": "says nothing about bad input; strtol with its end checked",
    "atoll": "says nothing about bad input; strtoll with its end checked",
    "atof": "says nothing about bad input; strtod with its end checked",
    "alloca": "no bound; an array with a maximum, or sgi__alloc",
    "rand": "hidden state; a generator that is passed in",
    "srand": "hidden state; a generator that is passed in",
    "random": "hidden state; a generator that is passed in",
    "drand48": "hidden state; a generator that is passed in",
}


def because(reason, names):
    return dict.fromkeys(names.split(), reason)


SLEEPS = because("wait for what happens, or advance the clock", "sleep usleep nanosleep clock_nanosleep")
LIBRARY = {
    **SLEEPS,
    **because("a library does not end its host; return a status", "exit _exit abort quick_exit"),
    **because("a library does not print; log or return an error", "printf puts putchar perror vprintf"),
    **because("changes the host's process", "system popen setenv putenv signal chdir umask"),
    **because("behaviour comes from the configuration", "getenv secure_getenv"),
}
ALLOCATIONS = because(
    "goes through base/alloc.h, so that a test can make it fail",
    "malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf aligned_alloc posix_memalign memalign")

RULES = (
    (r".", EVERYWHERE),
    (r"^lib/", LIBRARY),
    (r"^lib/(?!base/alloc\.c$)", ALLOCATIONS),
    (r"^tests/(unit|sim|faults|formats|fuzz)/", SLEEPS),
)

ALLOW = re.compile(r"lint: allow (\w+): \S")


def check_calls(report, path, text):
    banned = {}
    for where, names in RULES:
        if re.search(where, path):
            banned.update(names)
    call = re.compile(r"(?<![\w.>])(" + "|".join(map(re.escape, banned)) + r")\s*\(")
    lines = text.split("\n")
    for number, line in enumerate(code(text).split("\n"), 1):
        for m in call.finditer(line):
            allowed = ALLOW.search(lines[number - 1])
            if not allowed or allowed.group(1) != m.group(1):
                report.error(path, number, f"{m.group(1)}() is banned: {banned[m.group(1)]}")


def main():
    report = Report()
    sources = files(".c", ".h", ".hpp", ".cc", ".cpp")
    others = files(".py", ".sh", ".cmake", "CMakeLists.txt", ".map")
    for path in sources + others:
        text = read(path)
        lines = text.split("\n")
        if not any(LICENCE in line for line in lines[:3]):
            report.error(path, 1, f"the first lines do not say {LICENCE}")
        for number, line in enumerate(lines, 1):
            if len(line) > LINE_MAX:
                report.error(path, number, f"{len(line)} characters, the most is {LINE_MAX}")
            if line != line.rstrip():
                report.error(path, number, "blanks at the end of the line")
            if "\t" in line:
                report.error(path, number, "a tab")
        if not text.endswith("\n"):
            report.error(path, len(lines), "no newline at the end")
        if path in sources:
            if len(lines) > LINES_WARN:
                report.warn(path, 0, f"{len(lines)} lines; past {LINES_WARN}, look for the seam")
            check_calls(report, path, text)
    report.finish(len(sources) + len(others))


if __name__ == "__main__":
    main()
