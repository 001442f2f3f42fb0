#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One peer that loads a safetensors file into CPU memory, a turn for each line of input.

    load_worker.py PEER FILE

A line is `load` or `digest`, the answer one JSON object on a line: `seconds` and `cpu_seconds` of the load alone, and
for `digest` what the bytes are. What was loaded is given back before the answer. Runs in build/compare/venv; what its
environment has to say to a peer is set by whoever starts it.
"""
import hashlib
import json
import resource
import sys
import time

import torch
import xxhash

PAGE_BYTES = 4096
FAST_BLOCK_BYTES = 16 << 20  # the peer's own default is 16 GiB, which leaves a file to one thread


def safetensors_mmap(path):
    """What load_file does when nobody says otherwise: a private map of the page cache, no byte read yet."""
    from safetensors.torch import load_file
    return load_file(path)


def safetensors_touched(path):
    """The same, with a byte of every page read: all of it is in the page cache and mapped."""
    tensors = safetensors_mmap(path)
    for tensor in tensors.values():
        tensor.flatten().view(torch.uint8)[::PAGE_BYTES].sum()
    return tensors


def safetensors_copied(path):
    """The same, copied into memory of its own, which no pressure on the page cache takes away."""
    return {name: tensor.clone() for name, tensor in safetensors_mmap(path).items()}


def safetensors_pread(path):
    from safetensors.torch import load_file
    return load_file(path, backend="pread")


def runai(path):
    """Tensors that are the caller's to keep (owned=True, the default)."""
    from runai_model_streamer import SafetensorsStreamer
    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path)
        return dict(streamer.get_tensors())


def fastsafetensors(path):
    from fastsafetensors import SafeTensorsFileLoader
    loader = SafeTensorsFileLoader(None, "cpu", nogds=True)
    loader.add_filenames({0: [path]})
    buffers = loader.copy_files_to_device(max_copy_block_size=FAST_BLOCK_BYTES)
    tensors = {name: buffers.get_tensor(name) for name in loader.get_keys()}
    buffers.close()  # tensors stay valid: they share the memory
    loader.close()
    return tensors


PEERS = {f.__name__: f for f in (safetensors_mmap, safetensors_touched, safetensors_copied, safetensors_pread, runai,
                                 fastsafetensors)}


def digest(tensors):
    """One value for names and bytes of all tensors; bench/compare.py makes the same from `sgi load --digest`."""
    lines = []
    for name, tensor in tensors.items():
        data = tensor.contiguous().flatten().view(torch.uint8).numpy()
        lines.append(f"{name} {xxhash.xxh3_64_hexdigest(data)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def turn(load, path, with_digest):
    cpu, start = cpu_seconds(), time.perf_counter()
    tensors = load(path)
    result = {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_seconds() - cpu}
    result["bytes"] = sum(tensor.nbytes for tensor in tensors.values())
    if with_digest:
        result["digest"] = digest(tensors)
    return result


def main():
    peer, path = sys.argv[1:]
    print(json.dumps({"ready": peer}), flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(PEERS[peer], path, line.strip() == "digest")), flush=True)


if __name__ == "__main__":
    main()
