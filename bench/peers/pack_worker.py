#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that packs a file and loads it again, a turn for each line of input.

    pack_worker.py PEER FILE PACKED THREADS

A line is `pack` (FILE into PACKED, on the disk when it is done), `load` (PACKED into memory, as FILE was) or `check`
(the same, and `same` says whether it is FILE). The answer is one JSON object on a line: `seconds` and `cpu_seconds` of
that alone, `bytes` of FILE, `stored_bytes` of PACKED. Runs in build/compare/venv.
"""
import json
import os
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore", FutureWarning)  # torch's, of itself


class Zipnn:
    def __init__(self, threads):
        from zipnn import ZipNN
        self.of = lambda: ZipNN(bytearray_dtype="bfloat16", threads=threads)  # one has the state of one file

    def pack(self, data):
        return self.of().compress(data)

    def unpack(self, data, _size):
        return self.of().decompress(data)


class Zstd:
    """Level 1, as libsgi has it: with these files level 3 takes longer and makes nothing smaller."""

    def __init__(self, threads):
        import zstandard
        self.packer, self.unpacker = zstandard.ZstdCompressor(level=1, threads=threads), zstandard.ZstdDecompressor()

    def pack(self, data):
        return self.packer.compress(data)

    def unpack(self, data, size):
        return self.unpacker.decompress(data, max_output_size=size)


PEERS = {"zipnn": Zipnn, "zstd": Zstd}


def read(path):
    data = bytearray(os.path.getsize(path))
    with open(path, "rb", buffering=0) as file:
        at = 0
        while at < len(data):
            at += file.readinto(memoryview(data)[at:])
    return data


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def take_turn(peer, what, path, packed):
    size = os.path.getsize(path)
    cpu, start = cpu_seconds(), time.perf_counter()
    if what == "pack":
        write(packed, peer.pack(read(path)))
    else:
        data = peer.unpack(read(packed), size)
    result = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu, "bytes": size,
              "stored_bytes": os.path.getsize(packed)}
    if what == "check":
        result["same"] = data == read(path)
    return result


def main():
    name, path, packed, threads = sys.argv[1:]
    peer = PEERS[name](int(threads))
    print(json.dumps({"ready": name}), flush=True)
    for line in sys.stdin:
        print(json.dumps(take_turn(peer, line.strip(), path, packed)), flush=True)


if __name__ == "__main__":
    main()
