# SPDX-License-Identifier: Apache-2.0
"""Packing a file and loading what came of it: libsgi, zipnn and plain zstd in turn, on one core and on all of them."""
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time

from peers import cores, loads, turns
from peers.cli import Held
from peers.contestants import PEER_ENVIRONMENT, TURNS_MAX
from peers.setup import PYTHON, RELEASE

WORKER = pathlib.Path(__file__).resolve().parent / "pack_worker.py"
POLL_SECONDS = 0.002


@dataclasses.dataclass(frozen=True)
class Packer:
    name: str
    peer: str = ""  # of pack_worker.py; none: libsgi

    @property
    def ours(self):
        return not self.peer


PACKERS = (Packer("libsgi"), Packer("zipnn", "zipnn"), Packer("zstd 1", "zstd"))


def wait_measured(process):
    """(processor time, the most memory). wait4() has a peak too, that of whoever forked it: the kernel says so."""
    peak = 0
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, peak
        with contextlib.suppress(OSError, StopIteration):  # it has just ended
            peak = max(peak, turns.peak_rss(process.pid))
        time.sleep(POLL_SECONDS)


def run_measured(command, log=None):
    """A program from its beginning to its end: seconds, processor time, the most memory, and its last line as JSON."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        start = time.perf_counter()
        with Held():
            process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=said)
        try:
            cpu, peak = wait_measured(process)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        out.seek(0)
        said.seek(0)
        words, lines = said.read().splitlines(), out.read().splitlines()
    if log and words:
        turns.note(log, os.path.basename(str(command[0])), words)
    if process.returncode or not lines:
        raise turns.Failed(f"{' '.join(map(str, command))} ended with {process.returncode}"
                           + (f": {words[-1]}" if words else ""))
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_rss_bytes": peak, **json.loads(lines[-1])}


def pack_command(path, packed, *more):
    return [RELEASE / "bin/sgi", "pack", path, "-o", packed, "--json", *more]


def result_of(answer, stored_bytes):
    """Both kinds of answer as one; `cores` is how many were busy."""
    cpu = answer["cpu_seconds"] if "cpu_seconds" in answer else \
        answer["cpu_core_s_per_gib"] * answer["bytes"] / (1 << 30)
    return {"seconds": answer["seconds"], "gib_s": answer["bytes"] / (1 << 30) / answer["seconds"],
            "cpu_seconds": cpu, "cores": cpu / answer["seconds"],
            "gb_s_per_core": answer["bytes"] / 1e9 / cpu if cpu else 0,  # a clock of ticks may have seen nothing
            "bytes": answer["bytes"], "stored_bytes": stored_bytes, "peak_rss_bytes": answer["peak_rss_bytes"]}


def everybody():
    """Each packer on one core and on all of them: (packer, cores)."""
    return list(itertools.product(PACKERS, sorted({1, cores.counts()[-1]})))


def name_of(who):
    packer, count = who
    return f"{packer.name}, {cores.named(count)}"


class Packing:

    def __init__(self, path, options, log, tell):
        self.path, self.options, self.log, self.tell = path, options, log, tell
        self.who = everybody()
        self.ballast = turns.Ballast(not options.memory_as_is)
        self.workers, self.failed, self.disagree = {}, {}, []

    def packed(self, who):
        packer, count = who
        return self.path.with_name(f"{self.path.stem}-{packer.peer or 'libsgi'}-{count}.sgi")

    def start(self, who):
        packer, count = who
        if packer.ours:
            command = [RELEASE / "bench/sgi-bench", "load", self.packed(who), "--memory", "fresh", "--stdin",
                       "--repeat", TURNS_MAX]
            return turns.Worker(name_of(who), cores.on(count, command), log=self.log)
        command = [PYTHON, WORKER, packer.peer, self.path, self.packed(who), count]
        worker = turns.Worker(name_of(who), cores.on(count, command), PEER_ENVIRONMENT, self.log)
        worker.read()  # ready: its imports are done
        return worker

    def pack(self, who):
        """From the page cache onto the disk. A model that is registered may not become another one: libsgi's is new."""
        packer, count = who
        again = self.packed(who).with_suffix(".again") if who in self.workers and packer.ours else self.packed(who)
        turns.make_hot(self.path)
        again.unlink(missing_ok=True)
        self.ballast.release()
        if packer.ours:
            answer = run_measured(cores.on(count, pack_command(self.path, again)), self.log)
            answer["bytes"] = answer["source_bytes"]
        else:
            answer = self.workers[who].turn("pack")
        self.hold()
        result = result_of(answer, again.stat().st_size)
        if again != self.packed(who):
            again.unlink()
        return result

    def load(self, who):
        wrong = turns.make_cold(self.packed(who))
        self.ballast.release()
        answer = self.workers[who].turn("load")
        turns.drop_pages(self.packed(who))
        self.hold()
        if who[0].ours:  # from the request to the grant, and the bytes that all others deliver: those of the file
            answer["seconds"], answer["bytes"] = answer["total_seconds"], self.path.stat().st_size
        return {**result_of(answer, self.packed(who).stat().st_size), "page_cache_wrong_bytes": wrong}

    def hold(self):
        """Of the machine's memory what the next turn may take: its file, what it makes of it, and the page cache's."""
        self.ballast.hold(2 * self.path.stat().st_size)

    def warm_up(self, who):
        """The first of each, which nobody counts; it says whether the bytes are the same again."""
        packer, _ = who
        if not packer.ours:
            self.workers[who] = self.start(who)
        self.pack(who)
        if packer.ours:
            self.workers[who] = self.start(who)
            self.workers[who].turn()
            same = loads.our_digest(self.packed(who), "auto", self.log) == loads.our_digest(self.path, "auto", self.log)
        else:
            same = self.workers[who].turn("check")["same"]
        if not same:
            self.disagree.append(name_of(who))

    def attempt(self, who, action, results=None, key=None):
        """Somebody who fails is out, by name, and the others go on."""
        name = name_of(who)
        if name in self.failed:
            return
        try:
            result = turns.settled(action, who) if key == "load" else action(who)
        except (turns.Failed, OSError, KeyError, ValueError, subprocess.CalledProcessError) as error:
            self.failed[name] = f"{type(error).__name__}: {error}"
            self.tell(f"without {name}: {self.failed[name]}")
            return
        if results is not None:
            results.setdefault(name, {})[key] = result

    def round(self, number):
        results = {}
        for key, action in (("pack", self.pack), ("load", self.load)):
            for who in random.Random(f"{number} {key}").sample(self.who, len(self.who)):
                self.attempt(who, action, results, key)
        return results

    def run(self):
        for who in self.who:
            self.attempt(who, self.warm_up)
        rounds = []
        for number in range(self.options.rounds):
            self.tell(f"packing, round {number + 1} of {self.options.rounds}")
            rounds.append(self.round(number))
        return rounds

    def close(self):
        self.ballast.release()
        for worker in self.workers.values():
            worker.close()
        for who in self.who:
            for path in (self.packed(who), self.packed(who).with_suffix(".again")):
                path.unlink(missing_ok=True)
