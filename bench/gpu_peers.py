#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Other loaders of safetensors onto a GPU, in turn with libsgi, each in a process of its own.

    gpu_peers.py SGI_BENCH [--bytes N] [--rounds N]

Takes part who is installed here; who is not is named in one line, and so is who fails. Standard library only. The file
is made here, of random bytes, and taken away. Before a cold turn it leaves the page cache; a first round of each kind
pays for contexts and pins and is not counted. Lines of JSON: one a turn, and a row for each figure, as `sgi-bench gpu`
has them. Exit: 0, or 77 when there is nobody.
"""
import argparse
import importlib.util
import json
import os
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
FAST_BLOCK_BYTES = 16 << 20  # the peer's own default is 16 GiB, which leaves a file to one thread
TENSORS = 64
TURN_S = 60


def safetensors(path):
    from safetensors.torch import load_file
    return load_file(path, device="cuda:0")


def runai(path):
    from runai_model_streamer import SafetensorsStreamer
    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path)
        return {name: tensor.to("cuda:0") for name, tensor in streamer.get_tensors()}


def fastsafetensors(path):
    from fastsafetensors import SafeTensorsFileLoader
    loader = SafeTensorsFileLoader(None, "cuda:0", nogds=True)
    loader.add_filenames({0: [path]})
    buffers = loader.copy_files_to_device(max_copy_block_size=FAST_BLOCK_BYTES)
    tensors = {name: buffers.get_tensor(name) for name in loader.get_keys()}
    buffers.close()  # tensors stay valid: they share the memory
    loader.close()
    return tensors


def instanttensor(path):
    from instanttensor import safe_open
    with safe_open(path, framework="pt", device=0) as file:
        return {name: tensor.clone() for name, tensor in file.tensors()}


PEERS = {"safetensors": (safetensors, "safetensors"), "runai": (runai, "runai_model_streamer"),
         "fastsafetensors": (fastsafetensors, "fastsafetensors"), "instanttensor": (instanttensor, "instanttensor")}


def worker(name, path):
    """A turn for each line of input."""
    import torch
    load = PEERS[name][0]
    torch.cuda.init()
    for _ in sys.stdin:
        start = time.perf_counter()
        tensors = load(path)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "bytes": sum(tensor.nbytes for tensor in tensors.values())}
        del tensors
        torch.cuda.empty_cache()
        print(json.dumps(answer), flush=True)


class Contestant:
    """A process that answers a line with a line."""

    def __init__(self, name, command):
        self.name, self.times = name, {"cold": [], "hot": []}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], TURN_S)[0]:
            self.process.kill()
            raise OSError(f"no answer in {TURN_S} s")
        line = self.process.stdout.readline()
        if not line:
            raise OSError("it has ended")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def drop(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def warm(path):
    with open(path, "rb") as file:
        while file.read(16 << 20):
            pass


def take_turn(contestant, kind, counted, path):
    """False: it is out."""
    (drop if kind == "cold" else warm)(path)
    try:
        answer = contestant.turn()
    except (OSError, ValueError) as error:
        print(f"gpu_peers: {contestant.name} is left out: {error}", file=sys.stderr)
        return False
    seconds = answer.get("total_seconds", answer["seconds"])
    if counted:
        contestant.times[kind].append(seconds)
    print(json.dumps({"what": "peer", "who": contestant.name, "kind": kind, "counted": counted, "seconds": seconds,
                      "bytes": answer["bytes"]}), flush=True)
    return True


def row(name, text, unit, values):
    median = statistics.median(values)
    print(json.dumps({"what": "row", "name": name, "text": text, "unit": unit, "median": median, "min": min(values),
                      "max": max(values), "spread": (max(values) - min(values)) / median, "count": len(values)},
                     separators=(",", ":")), flush=True)


def rows(contestants, size):
    ours, *peers = contestants
    for kind in ("cold", "hot"):
        for c in contestants:
            row(f"peer_{c.name}_{kind}_gib_s", f"{c.name}, {kind}", "GiB/s", [size / GIB / s for s in c.times[kind]])
        best = min(peers, key=lambda c: statistics.median(c.times[kind]))
        row(f"peers_{kind}_times_sooner", f"{kind}: libsgi than {best.name}, the best of them", "times sooner",
            [theirs / mine for mine, theirs in zip(ours.times[kind], best.times[kind])])


def installed():
    for name, (_, module) in PEERS.items():
        if importlib.util.find_spec("torch") and importlib.util.find_spec(module):
            yield name
        else:
            print(f"gpu_peers: {name} is not installed here (it takes {module} and torch)", file=sys.stderr)


def make_file(path, size):
    """Equal tensors of bf16, each of random bytes."""
    each = size // TENSORS // 2048 * 2048
    header = {f"layer.{n}.weight": {"dtype": "BF16", "shape": [each // 2048, 1024],
                                    "data_offsets": [n * each, (n + 1) * each]} for n in range(TENSORS)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(TENSORS):
            file.write(os.urandom(each))
        file.flush()
        os.fsync(file.fileno())


def measure(bench, names, path, rounds):
    turns = str(2 * (rounds + 1))
    contestants = [Contestant("libsgi", [bench, "load", path, "--device", "cuda:0", "--stdin", "--repeat", turns])]
    contestants += [Contestant(n, [sys.executable, os.path.abspath(__file__), "--worker", n, path]) for n in names]
    for number in range(rounds + 1):
        shift = number % len(contestants)
        for kind in ("cold", "hot"):
            for c in contestants[shift:] + contestants[:shift]:
                if not take_turn(c, kind, number > 0, path):
                    if c.name == "libsgi":
                        return 1
                    contestants.remove(c)
    for c in contestants:
        c.end()
    if len(contestants) < 2:
        return 77
    rows(contestants, os.path.getsize(path))
    return 0


def main():
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
        return
    a = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    a.add_argument("bench", metavar="SGI_BENCH")
    a.add_argument("--bytes", type=int, default=GIB)
    a.add_argument("--rounds", type=int, default=5)
    o = a.parse_args()
    names = list(installed())
    if not names:
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "peers.safetensors")
        make_file(path, o.bytes)
        sys.exit(measure(o.bench, names, path, o.rounds))


if __name__ == "__main__":
    main()
