#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The binary interface, held still.

    check.py symbols --library FILE   the headers' SGI_API functions == lib/sgi.map == what the library exports
    check.py layout [--cc COMPILER]   sizes, offsets and constants of the headers == tests/abi/layout.txt, and no
                                      unnamed padding
    check.py layout --update          write layout.txt anew: after a change that is meant
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
INCLUDE = os.path.join(ROOT, "include")
HEADERS = ("status.h", "sgi.h", "ext.h", "pack.h")
LAYOUT = os.path.join(HERE, "layout.txt")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def header(name):
    """A public header without its comments."""
    return re.sub(r"/\*.*?\*/", " ", read(os.path.join(INCLUDE, "sgi", name)), flags=re.S)


# ---------------------------------------------------------------------------------------------------------- symbols


def declared():
    text = "".join(re.sub(r"^[ \t]*#.*$", "", header(h), flags=re.M) for h in HEADERS)
    return set(re.findall(r"\bSGI_API\b[^;{]*?\b(sgi_\w+)\s*\(", text))


def mapped():
    text = re.sub(r"/\*.*?\*/", " ", read(os.path.join(ROOT, "lib", "sgi.map")), flags=re.S)
    return set(re.findall(r"\b(sgi_\w+);", text))


def exported(library):
    """Every symbol the library gives out, ours or not: one that is not ours should not be there."""
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = (line.split()[-1] for line in out.splitlines() if line.split()[-2] != "A")  # A: the version itself
    return {re.sub(r"@.*", "", name) for name in names}


def check_symbols(library):
    sets = {"the headers": declared(), "lib/sgi.map": mapped(), os.path.basename(library): exported(library)}
    wrong = 0
    for name in sorted(set().union(*sets.values())):
        missing = [where for where, names in sets.items() if name not in names]
        if missing:
            wrong += 1
            print(f"{name}: not in {' and not in '.join(missing)}")
    print(f"{len(sets['the headers'])} functions declared, {wrong} differ")
    return wrong == 0


# ----------------------------------------------------------------------------------------------------------- layout

STRUCT = re.compile(r"(?:typedef\s+)?struct\s+(sgi_\w+)\s*\{(.*?)\n\}", re.S)
DECLARATOR = re.compile(r"\(\s*\*\s*(\w+)\s*\)\s*\(|(\w+)\s*(?:\[[^\]]*\]\s*)*$")


def structs(text):
    """(name, fields) of each public struct. One field a declaration."""
    for name, body in STRUCT.findall(text):
        fields = []
        for declaration in filter(None, (d.strip() for d in body.split(";"))):
            plain = re.sub(r"\([^()]*\)$", "(", declaration) if "(*" in declaration else declaration
            found = DECLARATOR.search(plain)
            if not found or ("," in declaration and "(" not in declaration):
                sys.exit(f"check.py does not understand '{declaration}' in struct {name}: one field a declaration")
            fields.append(found.group(1) or found.group(2))
        yield name, fields


def constants(text):
    """Names of enum members and of macros that are plain numbers."""
    for body in re.findall(r"\benum\s*\w*\s*\{(.*?)\}", text, re.S):
        if "_LIST(" not in body:
            yield from re.findall(r"(?:^|,)\s*(SGI_\w+)", body)
    for name, value in re.findall(r"^#define\s+(SGI_\w+)[ \t]+(\S.*)$", text, re.M):
        if re.match(r"^\(?-?(\d|UINT64_MAX)", value):
            yield name


def program():
    lines = ["#include <inttypes.h>", "#include <stdio.h>", "#include <sgi/ext.h>", "#include <sgi/pack.h>",
             "#define CONSTANT(name, number, text) printf(\"%s = %\" PRId64 \"\\n\", #name, (int64_t)(name));",
             "int main(void)", "{"]
    for name in HEADERS:
        text = header(name)
        for struct, fields in structs(text):
            type_name = struct if re.search(rf"\btypedef\s+struct\s+{struct}\b", "".join(map(header, HEADERS))) else \
                f"struct {struct}"
            lines.append(f'printf("{struct} %zu\\n", sizeof({type_name}));')
            for field in fields:
                lines.append(f'printf("{struct}.{field} at %zu, %zu\\n", offsetof({type_name}, {field}), '
                             f"sizeof((({type_name} *)0)->{field}));")
        for constant in constants(text):
            lines.append(f"CONSTANT({constant}, 0, 0)")
    lines += ["SGI_STATUS_LIST(CONSTANT)", "SGI_STEP_LIST(CONSTANT)", "return 0;", "}"]
    return "\n".join(lines) + "\n"


def layout(cc):
    with tempfile.TemporaryDirectory() as folder:
        source, binary = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
        with open(source, "w", encoding="utf-8") as f:
            f.write(program())
        subprocess.run([cc, "-std=c11", "-I", INCLUDE, source, "-o", binary], check=True)
        return subprocess.run([binary], check=True, capture_output=True, text=True).stdout


def holes(text):
    """Padding that no field names: it would be undefined bytes in the caller's struct, and no room to grow into."""
    sizes = {n: int(b) for n, b in re.findall(r"^(sgi_\w+) (\d+)$", text, re.M)}
    for struct, size in sizes.items():
        end, last = 0, "its start"
        fields = re.findall(rf"^{struct}\.(\w+) at (\d+), (\d+)$", text, re.M)
        for field, at, width in fields + [("its end", size, 0)]:
            if int(at) != end:
                yield f"{struct}: {int(at) - end} unnamed bytes between {last} and {field}"
            end, last = int(at) + int(width), field


def check_layout(cc, update):
    now = layout(cc)
    unnamed = list(holes(now))
    print("".join(line + "\n" for line in unnamed), end="")
    if update:
        with open(LAYOUT, "w", encoding="utf-8") as f:
            f.write(now)
        print(f"{now.count(chr(10))} lines written to tests/abi/layout.txt")
        return not unnamed
    difference = list(difflib.unified_diff(
        read(LAYOUT).splitlines(), now.splitlines(), "tests/abi/layout.txt", "the headers", lineterm="", n=0))
    print("\n".join(difference) or f"{now.count(chr(10))} sizes, offsets and constants as recorded")
    if difference:
        print("If this is meant: tests/abi/check.py layout --update. A struct may grow at its end only.")
    return not difference and not unnamed


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("what", choices=("symbols", "layout"))
    arguments.add_argument("--library", default=os.path.join(ROOT, "build/release/lib/libsgi.so"))
    arguments.add_argument("--cc", default="cc")
    arguments.add_argument("--update", action="store_true")
    given = arguments.parse_args()
    good = check_symbols(given.library) if given.what == "symbols" else check_layout(given.cc, given.update)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
