# SPDX-License-Identifier: Apache-2.0
"""Loads of a packed file beside those of the plain one: by what may be read in a second, and by cores.

Whoever is compared takes turns in one group, next to each other; the order of groups, and within them, changes.
"""
import dataclasses
import os
import pathlib
import random

from peers import cores, turns
from peers.contestants import TURNS_MAX
from peers.setup import RELEASE

BENCH = RELEASE / "bench/sgi-bench"
RATES = (1 << 29, 1 << 30, 2 << 30, None)  # bytes a second; None: as fast as it goes
TURN_BYTES = 512 << 20  # several loads of a small file are one turn: one alone takes milliseconds


@dataclasses.dataclass(frozen=True)
class Side:
    what: str  # "plain", "packed", "checked" (plain, with checks beside it), "raw" (the bare loop over the plain file)
    path: pathlib.Path
    cores: int
    rate: int = None

    @property
    def command(self):
        how = ["raw", self.path, "--memory", "touched"] if self.what == "raw" else \
            ["load", self.path, "--memory", "reused"]
        limit = ["--rate", self.rate] if self.rate else []
        return cores.on(self.cores, [BENCH, *how, *limit, "--cold", "--stdin", "--repeat", TURNS_MAX])


@dataclasses.dataclass(frozen=True)
class Files:
    """What is loaded; those without a path are not there."""

    plain: pathlib.Path
    packed: pathlib.Path
    checked: pathlib.Path = None
    gguf: pathlib.Path = None
    gguf_packed: pathlib.Path = None


def group_name(model, count, rate):
    limit = f"{rate / (1 << 30):g} GiB/s" if rate else "unlimited"
    return f"{model}, {cores.named(count)}, {limit}"


def groups_of(files):
    """{name: its sides}"""
    groups = {}
    most = cores.counts()[-1]
    for count in cores.counts():
        for rate in RATES:
            sides = [Side("plain", files.plain, count, rate), Side("packed", files.packed, count, rate)]
            if rate is None:
                sides.append(Side("raw", files.plain, count))
            if rate is None and count == most and files.checked:
                sides.append(Side("checked", files.checked, count))
            groups[group_name("bf16", count, rate)] = sides
    if files.gguf_packed:
        groups[group_name("gguf", most, None)] = [Side("plain", files.gguf, most),
                                                  Side("packed", files.gguf_packed, most)]
    return groups


def result_of(answers, count):
    """Of the loads of one turn. `busy` is what part of its cores' time went into checking and decoding."""
    seconds, size = (sum(answer[key] for answer in answers) for key in ("seconds", "bytes"))
    phases = [answer.get("phases_ms", {}) for answer in answers]
    decoding = sum(p.get("decode", 0) + p.get("verify", 0) for p in phases) / 1e3
    return {"seconds": seconds, "bytes": size, "gib_s": size / (1 << 30) / seconds,
            "read_bytes": sum(answer.get("read_bytes", answer["bytes"]) for answer in answers),
            "cpu_core_s_per_gib": sum(a["cpu_core_s_per_gib"] * a["bytes"] for a in answers) / size,
            "busy": decoding / seconds / count, "peak_rss_bytes": max(answer["peak_rss_bytes"] for answer in answers)}


class PackedLoads:
    def __init__(self, files, options, log, tell):
        self.options, self.log, self.tell = options, log, tell
        self.groups = groups_of(files)
        self.size = files.plain.stat().st_size
        self.ballast = turns.Ballast(not options.memory_as_is)
        # One core, and the same file: what decoding comes to in a load is measured by it.
        self.codec = turns.Worker("codec", cores.on(1, [RELEASE / "bench/codec", files.plain]), log=log)

    def take_turn(self, side):
        """A process of its own: memory that is used again stays with it, and that of all sides would fill a machine."""
        size = os.path.getsize(side.path)
        self.ballast.release()
        worker = turns.Worker(side.what, side.command, log=self.log)
        try:
            worker.turn()  # pays for the memory that the next ones use again
            wrong, answers = 0, []
            for _ in range(max(1, TURN_BYTES // size)):
                wrong += turns.make_cold(side.path)
                answers.append(worker.turn())
        finally:
            worker.close()
            turns.drop_pages(side.path)
            self.ballast.hold(2 * self.size)
        return {**result_of(answers, side.cores), "page_cache_wrong_bytes": wrong}

    def round(self, number):
        """{group: {side: turn}}, and of the codec its own turn."""
        results = {}
        rng = random.Random(number)
        for name in rng.sample(list(self.groups), len(self.groups)):
            for side in rng.sample(self.groups[name], len(self.groups[name])):
                results.setdefault(name, {})[side.what] = turns.settled(self.take_turn, side)
        results["codec"] = self.codec.turn()
        return results

    def run(self):
        """Each turn has its own first load, but not the machine: a first round is not counted."""
        rounds = []
        for number in range(self.options.rounds + 1):
            self.tell(f"packed loads, round {number} of {self.options.rounds}")
            rounds.append(self.round(number))
        return rounds[1:]

    def close(self):
        self.ballast.release()
        self.codec.close()
