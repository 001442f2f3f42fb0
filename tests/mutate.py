#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks lines of the library one at a time and looks whether a test turns red: do the tests guard what they name?

    tests/mutate.py               all of tests/mutations.py; writes tests/mutations.md
    tests/mutate.py --only ID     this one (may be given several times); writes no table
    tests/mutate.py --list        the list
    tests/mutate.py --check       whether the list fits the tree and the table the list: the test lint_mutations

Works in build/mutate on a copy of the tree as it is, uncommitted changes included, with builds of its own that stay for
the next time. The first time they take minutes, a mutation takes seconds. Needs git, cmake, ninja; uses ccache.

The tests that guard a line run first, in their order, then all others that are quick, until one fails. What hangs is
caught too, and told as such. A failure counts only where the same test passes without the mutation.

Ends with 0 when at least 28 of every 30 were caught, and every one of those that must be (`NAMED` in the list).
"""

import argparse
import json
import os
import sys
import time

from mutate_tree import ROOT, Broken, Failed, Suite, Tree
from mutations import MUTATIONS, NAMED

TABLE = "tests/mutations.md"
CAUGHT_OF_30 = 28
WIDER = {"unit", "api", "conformance", "formats", "faults", "fuzz-replay"}
WIDER_TOO = ("sim_seeds",)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


# ---- the list ----


def place_of(mutation):
    """The number of its line, from 0; ValueError says why there is none."""
    try:
        lines = read(mutation.file).split("\n")
    except OSError as e:
        raise ValueError(e.strerror) from e
    at = [n for n, line in enumerate(lines) if line.strip() == mutation.line]
    if len(at) != 1:
        raise ValueError(f"its line stands there {len(at)} times: {mutation.line}")
    return at[0]


def guards(mutation):
    """(suite, test), in their order."""
    return [(g.rpartition(" ")[0] or "release", g.rpartition(" ")[2]) for g in mutation.guards]


def faults_of_list():
    faults, seen = [], set()
    for m in MUTATIONS:
        try:
            place_of(m)
        except ValueError as e:
            faults.append(f"{m.id}: {m.file}: {e}")
        if m.id in seen:
            faults.append(f"{m.id}: is there twice")
        if m.line == m.broken or not m.what or not m.guards:
            faults.append(f"{m.id}: breaks nothing, says nothing, or has no guard")
        if m.named not in ("",) + NAMED:
            faults.append(f"{m.id}: '{m.named}' is not one of {', '.join(NAMED)}")
        seen.add(m.id)
    for name in set(NAMED) - {m.named for m in MUTATIONS}:
        faults.append(f"nothing breaks '{name}'")
    return faults


def cells_before_result(mutation):
    return f"| {mutation.id} | {mutation.file} | {mutation.what}{' **named**' if mutation.named else ''} |"


def faults_of_table():
    try:
        rows = [line for line in read(TABLE).split("\n") if line.startswith("| ")]
    except OSError:
        return [f"{TABLE} is missing: run tests/mutate.py"]
    rows, wanted = rows[1:], [cells_before_result(m) for m in MUTATIONS]
    if len(rows) != len(wanted):
        return [f"{TABLE} has {len(rows)} rows for {len(wanted)} mutations: run tests/mutate.py"]
    return [f"{TABLE} lacks, or has elsewhere: {want}" for want, row in zip(wanted, rows) if not row.startswith(want)]


# ---- one mutation ----


class Run:
    """The suites, and what is tried on them."""

    def __init__(self, jobs):
        self.tree = Tree()
        self.tree.update()
        self.suites = {preset: Suite(preset, jobs) for preset in sorted({s for m in MUTATIONS for s, _ in guards(m)})}
        release = self.suites["release"]
        self.wider = release.names(WIDER) + [n for n in WIDER_TOO if n in release.tests]

    def check_unbroken(self, mutations):
        """The tests that guard these pass as things are."""
        wanted = sorted({g for m in mutations for g in guards(m)})
        for suite, name in wanted:
            if name not in self.suites[suite].tests:
                raise Failed(f"there is no test {name} in the suite {suite}")
        for preset, suite in self.suites.items():
            suite.build([name for s, name in wanted if s == preset])
        for suite, name in wanted:
            how = self.suites[suite].measure(name)
            if how:
                raise Failed(f"{suite}/{name} fails before anything is broken: {how}")

    def caught_by_guards(self, mutation):
        for preset, name in guards(mutation):
            self.suites[preset].build([name])
            how = self.suites[preset].run(name)
            if how:
                return preset, name, how
        return None

    def caught_by_others(self, mutation):
        """Of these nobody has looked whether they pass unbroken, so whoever fails is run once more without it."""
        release = self.suites["release"]
        names = [n for n in self.wider if ("release", n) not in guards(mutation)]
        release.build(names)
        failed = release.first_to_fail(names)
        if not failed:
            return None

        def unbroken():
            release.build([failed[0]])
            return release.measure(failed[0])
        how = self.tree.without_change(unbroken)
        if how:
            raise Failed(f"{failed[0]} fails before anything is broken: {how}")
        return ("release", *failed)

    def try_one(self, mutation):
        begun = time.monotonic()
        self.tree.change(mutation.file, place_of(mutation), mutation.broken)
        try:
            caught = self.caught_by_guards(mutation) or self.caught_by_others(mutation)
        except Broken as e:
            raise Failed(f"{mutation.id} does not compile, so it says nothing: {e}") from e
        finally:
            self.tree.restore()
        preset, name, how = caught or ("", "", "")
        return {"id": mutation.id, "caught": bool(caught), "suite": preset, "test": name, "how": how,
                "seconds": round(time.monotonic() - begun, 1)}


# ---- what came of it ----


def told(result):
    if not result["caught"]:
        return "**survived**"
    return f"{'tsan ' if result['suite'] == 'tsan' else ''}{result['test']}: {result['how']}"


def enough(results):
    """Whether it was, and a sentence of how many."""
    caught = {r["id"] for r in results if r["caught"]}
    named = [m.id for m in MUTATIONS if m.named and m.id in {r["id"] for r in results}]
    missed = [i for i in named if i not in caught]
    good = 30 * len(caught) >= CAUGHT_OF_30 * len(results) and not missed
    return good, f"{len(caught)} of {len(results)} caught; of the {len(named)} that must be, {len(named) - len(missed)}"


def write_table(results):
    by_id = {r["id"]: r for r in results}
    _, sentence = enough(results)
    lines = ["# Spot mutation", "", "Written by `tests/mutate.py`, which says what this is; the lines and what they "
             "become are in `mutations.py`.", f"{sentence} (**named**).", "",
             "| | file | what is broken | caught by |", "|---|---|---|---|"]
    lines += [f"{cells_before_result(m)} {told(by_id[m.id])} |" for m in MUTATIONS]
    with open(os.path.join(ROOT, TABLE), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def check():
    faults = faults_of_list() + faults_of_table()
    for fault in faults:
        print(fault)
    print(f"{len(MUTATIONS)} mutations, {len(faults)} faults")
    return not faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="ID", action="append", choices=[m.id for m in MUTATIONS])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", metavar="FILE", help="the results, with seconds, go there too")
    parser.add_argument("--jobs", metavar="N", type=int, default=os.cpu_count(), help="at once, of compilers and tests")
    args = parser.parse_args()

    if args.list:
        for m in MUTATIONS:
            print(f"{m.id:24} {m.file:26} {m.what}{f' [{m.named}]' if m.named else ''}")
        return 0
    if args.check:
        return 0 if check() else 1
    faults = faults_of_list()
    if faults:
        raise Failed("the list is stale:\n" + "\n".join(faults))

    mutations = [m for m in MUTATIONS if not args.only or m.id in args.only]
    run = Run(max(1, args.jobs))
    run.check_unbroken(mutations)
    results = []
    for m in mutations:
        results.append(run.try_one(m))
        print(f"{m.id:24} {results[-1]['seconds']:6.1f} s  {told(results[-1])}", flush=True)
        if args.json:  # after each, so that an end in the middle loses none
            with open(args.json, "w", encoding="utf-8") as f:
                json.dump(results, f, indent=1)
    if not args.only:
        write_table(results)
    good, sentence = enough(results)
    print(sentence)
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, Broken) as failure:
        print(f"mutate.py: {failure}", file=sys.stderr)
        sys.exit(2)
