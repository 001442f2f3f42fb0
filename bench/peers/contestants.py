# SPDX-License-Identifier: Apache-2.0
"""Who takes part in loading a safetensors file into CPU memory, and how each is started."""
import dataclasses
import pathlib

from peers.setup import PYTHON, RELEASE
from peers.turns import Worker

WORKER = pathlib.Path(__file__).resolve().parent / "load_worker.py"
TURNS_MAX = 1000000
# torch copies with a thread on each CPU, which else spin for each other: on a machine with other work ten times slower.
PEER_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    peer: str = ""  # of load_worker.py; none: libsgi
    environment: tuple = ()
    engine: str = "auto"
    memory: str = "fresh"
    packed: bool = False  # it loads what `sgi pack` has made of the file
    states: tuple = ("cold", "hot")
    delivers: str = "own memory"  # what its caller has afterwards

    @property
    def ours(self):
        return not self.peer

    @property
    def persistent(self):
        """Memory to use again is held only for as long as its own turn takes: two such loads fill a machine."""
        return self.memory != "reused"


PAGE_CACHE = "page cache"  # mapped: shared with the page cache, which may take it back under pressure
NOTHING = "nothing yet"  # bytes come when they are looked at

CONTESTANTS = (
    Contestant("libsgi, fresh"),  # reads as it chooses to: what a user gets
    Contestant("libsgi uring, fresh", engine="uring"),
    Contestant("libsgi threads, fresh", engine="threads"),
    Contestant("libsgi, reused", memory="reused"),
    Contestant("libsgi uring, reused", engine="uring", memory="reused"),
    Contestant("libsgi threads, reused", engine="threads", memory="reused"),
    Contestant("libsgi packed, fresh", packed=True),
    Contestant("libsgi packed, reused", memory="reused", packed=True),
    Contestant("safetensors mmap, as returned", "safetensors_mmap", delivers=NOTHING),
    Contestant("safetensors mmap, every page touched", "safetensors_touched", delivers=PAGE_CACHE),
    Contestant("safetensors mmap, copied", "safetensors_copied"),
    Contestant("safetensors pread", "safetensors_pread"),
    Contestant("runai-model-streamer", "runai"),
    Contestant("runai-model-streamer, buffered", "runai", (("RUNAI_STREAMER_FS_STRATEGY", "sync_buffered"),),
               states=("hot",)),
    Contestant("fastsafetensors", "fastsafetensors"),
    Contestant("fastsafetensors, buffered", "fastsafetensors", (("FASTSAFETENSORS_ODIRECT", "0"),), states=("hot",)),
)


def chosen(only):
    """Those whose name contains one of the words; all without any."""
    words = [word.lower() for word in only or [""]]
    return [c for c in CONTESTANTS if any(word in c.name.lower() for word in words)]


def load_command(path, engine, memory):
    """libsgi's own benchmark, which takes a turn for each line of input."""
    return [RELEASE / "bench/sgi-bench", "load", path, "--engine", engine, "--memory", memory, "--stdin",
            "--repeat", TURNS_MAX]


def start(contestant, path, log):
    if contestant.ours:
        return Worker(contestant.name, load_command(path, contestant.engine, contestant.memory), log=log)
    worker = Worker(contestant.name, [PYTHON, WORKER, contestant.peer, path],
                    {**PEER_ENVIRONMENT, **dict(contestant.environment)}, log)
    worker.read()  # ready: its imports are done
    return worker


def result_of(contestant, answer):
    """Both kinds of answer as one: seconds to every byte there, bytes, processor time; of libsgi what it read with."""
    gib = answer["bytes"] / (1 << 30)
    if contestant.ours:
        seconds, cpu = answer["total_seconds"], answer["cpu_core_s_per_gib"]
    else:
        seconds, cpu = answer["seconds"], answer["cpu_seconds"] / gib
    return {"seconds": seconds, "gib_s": gib / seconds, "cpu_core_s_per_gib": cpu,
            "peak_rss_bytes": answer["peak_rss_bytes"], **({"engine": answer["engine"]} if contestant.ours else {})}
