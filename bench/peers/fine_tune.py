# SPDX-License-Identifier: Apache-2.0
"""A second model that has most tensors of a first one, and what it takes when it is packed with that as its base."""
import json
import os
import random
import shutil
import struct

from peers import loads
from peers.packing import pack_command, run_measured

CHANGED = 0.1  # of the bytes, in whole tensors


def tensors_of(path):
    """[(name, first byte in the file, bytes)] of a safetensors file, and where their data begins."""
    with open(path, "rb") as file:
        header_bytes, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(header_bytes))
    spans = {name: tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"}
    return [(name, 8 + header_bytes + begin, end - begin) for name, (begin, end) in spans.items()]


def chosen(tensors):
    """As many of them, here and there, as make up a tenth of all bytes."""
    left, found = CHANGED * sum(size for _, _, size in tensors), []
    for tensor in random.Random(0).sample(tensors, len(tensors)):
        if 0 < tensor[2] <= left:
            found.append(tensor)
            left -= tensor[2]
    return found


def write_fine_tune(path, source):
    """A copy of the source with other weights in a tenth of it; says how much that is."""
    tensors = tensors_of(source)
    changed = chosen(tensors)
    shutil.copyfile(source, path)
    with open(path, "r+b") as file:
        for _, at, size in changed:
            file.seek(at)
            for done in range(0, size, 1 << 24):
                count = min(size - done, 1 << 24)
                file.write(loads.normal_weights(count + count % 2)[:count])
        file.flush()
        os.fsync(file.fileno())
    return {"tensors": len(tensors), "tensors_changed": len(changed), "bytes": sum(size for _, _, size in tensors),
            "bytes_changed": sum(size for _, _, size in changed)}


def measure(source, base, log):
    """{what it takes by itself and with the base, and whether it is the same then}; leaves no file behind."""
    path, alone, based = (source.with_name(f"{source.stem}-tuned{end}") for end in
                          (".safetensors", "-alone.sgi", "-based.sgi"))
    try:
        result = write_fine_tune(path, source)
        result["alone_bytes"] = run_measured(pack_command(path, alone), log)["packed_bytes"]
        result["based_bytes"] = run_measured(pack_command(path, based, "--base", base), log)["packed_bytes"]
        result["same"] = loads.our_digest(based, "auto", log) == loads.our_digest(path, "auto", log)
    finally:
        for made in (path, alone, based):
            made.unlink(missing_ok=True)
    return result
