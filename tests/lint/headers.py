#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each public header compiled alone, as C11 and as C++17, pedantic; each header of lib/ alone as C11.

What is not there (clang, a C++ compiler) is left out by name. One compiler for C and one for C++ must be there.
"""

import argparse
import os
import shutil
import sys
import tempfile

from source import ROOT, Report, files, run

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror", "-fsyntax-only"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cc", default="cc")
    cc = arguments.parse_args().cc

    c_compilers = [c for c in dict.fromkeys((cc, "clang")) if shutil.which(c)]
    cxx_compilers = [c for c in ("g++", "clang++") if shutil.which(c)]
    if not c_compilers or not cxx_compilers:
        print("needs a C and a C++ compiler (Debian: gcc, g++)")
        sys.exit(77)
    public = [[c, "-std=c11", "-pedantic", "-Wstrict-prototypes", "-x", "c"] for c in c_compilers]
    public += [[c, "-std=c++17", "-pedantic", "-x", "c++"] for c in cxx_compilers]
    internal = [[c_compilers[0], "-std=gnu11", "-D_GNU_SOURCE", "-DSGI_FAULT_POINTS", "-Ilib", "-x", "c"]]

    report = Report()
    checked = 0
    with tempfile.TemporaryDirectory() as folder:
        unit = os.path.join(folder, "unit")
        for path in files(".h", under=("include", "lib")):
            is_public = path.startswith("include/")
            name = os.path.relpath(path, "include" if is_public else "lib")
            # Twice: the guard must hold. A use after it: a header that ends in the middle of something shows.
            with open(unit, "w", encoding="utf-8") as f:
                f.write(f"#include <{name}>\n#include <{name}>\nint sgi_lint_unit(void);\n")
            for compiler in public if is_public else internal:
                checked += 1
                done = run(compiler[:-2] + WARNINGS + ["-I", os.path.join(ROOT, "include")] + compiler[-2:] + [unit])
                if done.returncode:
                    report.error(path, 0, f"does not compile alone with {' '.join(compiler)}:\n{done.stderr}")
    print("compilers: " + ", ".join(c_compilers + cxx_compilers))
    report.finish(checked)


if __name__ == "__main__":
    main()
