#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near loads come to the disk's own rate: `sgi-bench raw` and `sgi-bench load` taking turns on one file.

    bench/ratio.py [--rounds N] [--bytes N] [--file PATH] [--json] [--memory-as-is]

Every round runs each command once, in turn, on a cold file; a ratio is taken within its round, since disks drift by a
factor of two over minutes. Median, minimum and maximum of the ratios are what is reported. Between turns the memory
that the next one will take is held, so that a virtual machine's host has not taken it back; --memory-as-is does not.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile

from peers.loads import write_model
from peers.turns import Ballast, Worker

TREE = pathlib.Path(__file__).resolve().parent.parent
BENCH = TREE / "build/release/bench/sgi-bench"

# name: (command, arguments, reference)
COMMANDS = {
    "raw uring": ("raw", ["--engine", "uring", "--memory", "touched"], None),
    "raw uring memfd": ("raw", ["--engine", "uring", "--memory", "memfd"], "raw uring"),
    "raw threads": ("raw", ["--engine", "threads", "--memory", "touched"], None),
    "uring reused": ("load", ["--engine", "uring", "--memory", "reused"], "raw uring"),
    "uring fresh": ("load", ["--engine", "uring", "--memory", "fresh"], "raw uring"),
    "uring fresh memfd": ("load", ["--engine", "uring", "--memory", "fresh", "--fd"], "raw uring"),
    "threads reused": ("load", ["--engine", "threads", "--memory", "reused"], "raw threads"),
}


def measure(path, rounds, ballast):
    repeat = rounds + 2  # after its last it would be gone before it has been looked at
    workers = {name: Worker(name, [BENCH, command, path, *arguments, "--cold", "--stdin", "--repeat", repeat])
               for name, (command, arguments, _) in COMMANDS.items()}

    def turn(worker):
        ballast.hold(2 * os.path.getsize(path))
        ballast.release()
        return worker.turn()

    for worker in workers.values():
        turn(worker)  # the first pays for pages
    results = [{name: turn(worker) for name, worker in workers.items()} for _ in range(rounds)]
    for worker in workers.values():
        worker.close()
    return results


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--file", help="a model to use instead of a generated one")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-as-is", action="store_true", help="hold no memory between turns")
    options = parser.parse_args()
    if not BENCH.exists():
        sys.exit("ratio.py: build/release/bench/sgi-bench is missing; build the release preset first")

    with tempfile.TemporaryDirectory(dir=os.environ.get("SGI_BENCH_DIR", "/var/tmp")) as folder:
        path = options.file or os.path.join(folder, "model.safetensors")
        if not options.file:
            write_model(path, options.bytes)
        rounds = measure(path, options.rounds, Ballast(not options.memory_as_is))

    rows = {}
    for name, (_, _, reference) in COMMANDS.items():
        rows[name] = {"gib_s": summary([r[name]["gib_s"] for r in rounds]),
                      "cpu_core_s_per_gib": summary([r[name]["cpu_core_s_per_gib"] for r in rounds])}
        if reference:
            rows[name]["reference"] = reference
            rows[name]["ratio"] = summary([r[name]["gib_s"] / r[reference]["gib_s"] for r in rounds])
    if options.json:
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release}
        print(json.dumps({"rounds": options.rounds, "machine": machine, "rows": rows}))
        return
    print(f"{'':20} {'GiB/s':>22} {'core-s/GiB':>11}   ratio to its reference, median [min-max]")
    for name, row in rows.items():
        rate = row["gib_s"]
        cpu = row["cpu_core_s_per_gib"]["median"]
        line = f"{name:20} {rate['median']:7.2f} [{rate['min']:5.2f}-{rate['max']:5.2f}] {cpu:11.3f}"
        if "ratio" in row:
            ratio = row["ratio"]
            line += f"   {ratio['median']:.2f} [{ratio['min']:.2f}-{ratio['max']:.2f}] of {row['reference']}"
        print(line)


if __name__ == "__main__":
    main()
