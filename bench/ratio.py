#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near loads come to the disk's own rate: `sgi-bench raw` and `sgi-bench load` taking turns on one cold file.

    bench/ratio.py [--rounds ROUNDS] [--bytes BYTES] [--file PATH] [--json] [--memory-as-is]

Every round runs each command once, next to what it is compared with and in an order that changes from round to round;
a ratio is taken within its round, since disks drift by a factor of two over minutes. Median, minimum and maximum of the
ratios are what is reported. Between turns the memory that the next one will take is held, so that a virtual machine's
host has not taken it back; --memory-as-is does not. Rows "given back" have it free for seconds first, so that the host
has; rows "alone" are the same command again and again after all rounds, nobody else in between.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

from peers.cli import BYTES_HELP, ends_in_order, memory, positive, size
from peers.loads import write_model
from peers.turns import Ballast, Failed, Worker

TREE = pathlib.Path(__file__).resolve().parent.parent
BENCH = TREE / "build/release/bench/sgi-bench"
COPIES = 8  # of the file in memory: bare loops and reused images of four rows, spare ones of two, what is held
GIVEN_BACK_SECONDS = 4  # hosts here take free memory after two


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    command: str
    arguments: str
    references: tuple = ()  # the first is what the row is about
    given_back: bool = False
    alone: bool = False


ROWS = (
    Row("raw uring", "raw", "--engine uring --memory touched"),
    Row("raw uring memfd", "raw", "--engine uring --memory memfd", ("raw uring",)),
    Row("raw uring fresh memfd", "raw", "--engine uring --memory fresh-memfd", ("raw uring",)),
    Row("uring reused", "load", "--engine uring --memory reused", ("raw uring",)),
    Row("uring fresh", "load", "--engine uring --memory fresh", ("raw uring",)),
    Row("uring fresh, given back", "load", "--engine uring --memory fresh", ("raw uring",), given_back=True),
    Row("uring fresh memfd", "load", "--engine uring --memory fresh --fd",
        ("raw uring", "raw uring fresh memfd")),
    Row("raw threads", "raw", "--engine threads --memory touched"),
    Row("raw threads memfd", "raw", "--engine threads --memory memfd", ("raw threads",)),
    Row("threads reused", "load", "--engine threads --memory reused", ("raw threads",)),
    Row("threads fresh", "load", "--engine threads --memory fresh", ("raw threads",)),
    Row("pages anonymous", "pages", "--memory anonymous"),
    Row("pages memfd", "pages", "--memory memfd"),
    Row("pages memfd, given back", "pages", "--memory memfd", given_back=True),
    Row("uring fresh memfd, alone", "load", "--engine uring --memory fresh --fd", alone=True),
    Row("pages memfd, alone", "pages", "--memory memfd", alone=True),
)


def start(row, path, repeat):
    what = ["--bytes", os.path.getsize(path)] if row.command == "pages" else [path, "--cold"]
    return Worker(row.name, [BENCH, row.command, *what, *row.arguments.split(), "--stdin", "--repeat", repeat])


def order(number):
    """Whoever is compared with the same one stays together; who comes first changes, among groups and within."""
    rng = random.Random(number)
    groups = {}
    for row in ROWS:
        if not row.alone:
            groups.setdefault(row.references[0] if row.references else row.name, []).append(row)
    groups = list(groups.values())
    rng.shuffle(groups)
    return [row for group in groups for row in rng.sample(group, len(group))]


class Measurement:
    def __init__(self, path, rounds, ballast):
        self.path, self.rounds, self.ballast = path, rounds, ballast
        self.repeat = rounds + 2  # after its last it would be gone before it has been looked at
        self.workers = {}

    def turn(self, row):
        self.ballast.hold(2 * os.path.getsize(self.path))
        self.ballast.release()
        if row.given_back:
            time.sleep(GIVEN_BACK_SECONDS)
        return self.workers[row.name].turn()

    def take_turns(self):
        """The first round pays for pages and is not counted."""
        self.workers = {row.name: start(row, self.path, self.repeat) for row in ROWS if not row.alone}
        return [{row.name: self.turn(row) for row in order(number)} for number in range(self.rounds + 1)][1:]

    def take_turns_alone(self, results):
        """Memory that a turn gives back is what the next one takes: nothing is held."""
        self.close()
        for row in ROWS:
            if row.alone:
                self.workers = {row.name: start(row, self.path, self.repeat)}
                self.workers[row.name].turn()
                for result in results:
                    result[row.name] = self.workers[row.name].turn()
                self.close()

    def close(self):
        self.ballast.release()
        for worker in self.workers.values():
            worker.close()
        self.workers = {}


def measure(path, rounds, ballast):
    measurement = Measurement(path, rounds, ballast)
    try:
        results = measurement.take_turns()
        measurement.take_turns_alone(results)
    finally:
        measurement.close()
    return results


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def rows_of(rounds):
    rows = {}
    for row in ROWS:
        taken = [r[row.name] for r in rounds]
        rows[row.name] = {key: summary([t[key] for t in taken]) for key in ("gib_s", "cpu_core_s_per_gib")}
        rows[row.name]["ratios"] = {other: summary([r[row.name]["gib_s"] / r[other]["gib_s"] for r in rounds])
                                    for other in row.references}
    return rows


def table(rows):
    yield f"{'':26} {'GiB/s':>22} {'core-s/GiB':>22}   ratio to its references, median [min-max]"
    for name, row in rows.items():
        rate, cpu = row["gib_s"], row["cpu_core_s_per_gib"]
        line = (f"{name:26} {rate['median']:8.2f} [{rate['min']:5.2f}-{rate['max']:5.2f}] "
                f"{cpu['median']:8.3f} [{cpu['min']:.3f}-{cpu['max']:.3f}]")
        for other, ratio in row["ratios"].items():
            line += f"   {ratio['median']:.2f} [{ratio['min']:.2f}-{ratio['max']:.2f}] of {other}"
        yield line


def parse(arguments=None):
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
                                     epilog=BYTES_HELP)
    parser.add_argument("--rounds", type=positive, default=7, metavar="ROUNDS",
                        help="that count, of a turn for each row (default 7)")
    parser.add_argument("--bytes", type=size, default=1 << 30, metavar="BYTES",
                        help="of the generated file, in SGI_BENCH_DIR or /var/tmp (default 1G)")
    parser.add_argument("--file", metavar="PATH", help="a model to use instead of a generated one")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--memory-as-is", action="store_true", help="hold no memory between turns")
    return parser.parse_args(arguments)


def refuse(text):
    sys.exit(f"ratio.py: {text}")


def refuse_what_does_not_fit(file_bytes):
    needed, available = COPIES * file_bytes, memory("MemAvailable")
    if available < needed:
        refuse(f"needs {COPIES} times the file in memory, {needed / 1e9:.1f} GB, and {available / 1e9:.1f} are "
               f"available; --bytes makes the file smaller")


def check_model(path):
    """That both commands take it, before anybody has a turn; no turn is asked of them."""
    if not os.path.isfile(path):
        refuse(f"--file {path}: " + ("is a folder" if os.path.isdir(path) else "there is no such file"))
    for command in ("raw", "load"):
        done = subprocess.run([BENCH, command, path, "--stdin", "--memory", "fresh"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            refuse(done.stderr.strip() or f"sgi-bench {command} {path} ended with {done.returncode}")


def measure_file(options):
    check_model(options.file)
    refuse_what_does_not_fit(os.path.getsize(options.file))
    return measure(options.file, options.rounds, Ballast(not options.memory_as_is))


def measure_generated(options):
    refuse_what_does_not_fit(options.bytes)
    with tempfile.TemporaryDirectory(prefix="ratio-", dir=os.environ.get("SGI_BENCH_DIR") or "/var/tmp") as folder:
        path = os.path.join(folder, "model.safetensors")
        write_model(path, options.bytes)
        return measure(path, options.rounds, Ballast(not options.memory_as_is))


def main(arguments=None):
    options = parse(arguments)
    if not BENCH.exists():
        refuse("build/release/bench/sgi-bench is missing; build the release preset first")
    with ends_in_order(Worker.end_all):
        try:
            rounds = measure_file(options) if options.file is not None else measure_generated(options)
        except (Failed, OSError) as error:
            refuse(error if isinstance(error, Failed) else
                   f"{error.filename or options.file or 'the file'}: {error.strerror} (SGI_BENCH_DIR names a folder)")

    rows = rows_of(rounds)
    if options.json:
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release, "load_average": os.getloadavg()[0]}
        print(json.dumps({"rounds": options.rounds, "machine": machine, "rows": rows}))
        return
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
