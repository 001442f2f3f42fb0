# SPDX-License-Identifier: Apache-2.0
"""Small model files with known bytes, good and bad, without any package: what the command is tested on."""

import json
import os
import random
import struct

DTYPE_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "U8": 1, "F8_E4M3": 1}


def content(seed, count):
    return random.Random(seed).randbytes(count)


def elements(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def header(tensors, metadata=None, pad_to=8):
    """What stands in front of the data, and the data. tensors: [(name, dtype, shape)]."""
    entries, at = {}, 0
    if metadata is not None:
        entries["__metadata__"] = metadata
    data = b""
    for i, (name, dtype, shape) in enumerate(tensors):
        size = elements(shape) * DTYPE_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        data += content(f"{name}{i}", size)
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % pad_to)
    return struct.pack("<Q", len(text)) + text, data


def write(path, *pieces):
    with open(path, "wb") as f:
        for piece in pieces:
            f.write(piece)
    return path


class Expected:
    """What the command has to say about a model: its files, and its tensors with where they are."""

    def __init__(self, path, kind):
        self.path = path
        self.kind = kind
        self.files = []
        self.tensors = []  # {name, dtype, shape, file, offset, bytes}
        self.metadata = {}

    def add_safetensors(self, path, tensors, metadata=None, pad_to=8):
        head, data = header(tensors, metadata, pad_to)
        write(path, head, data)
        self.files.append(path)
        at = len(head)
        for name, dtype, shape in tensors:
            size = elements(shape) * DTYPE_BYTES[dtype]
            self.tensors.append({"name": name, "dtype": dtype, "shape": shape, "file": os.path.basename(path),
                                 "offset": at, "bytes": size})
            at += size
        self.metadata.update(metadata or {})


LAYERS = [("embed.weight", "BF16", [1000, 64]), ("layer.0.weight", "F32", [3, 5, 7]), ("layer.0.bias", "F16", [11]),
          ("scalar", "I64", []), ("empty", "F32", [0, 4]), ("bytes", "U8", [4097]),
          ("head.weight", "F8_E4M3", [777, 33])]


def single(folder, name="single.safetensors", tensors=None, **kw):
    path = os.path.join(folder, name)
    model = Expected(path, "safetensors")
    model.add_safetensors(path, LAYERS if tensors is None else tensors, **kw)
    return model


def sharded(folder, name="sharded"):
    """A folder with an index and three shards."""
    root = os.path.join(folder, name)
    os.mkdir(root)
    model = Expected(root, "safetensors")
    weight_map = {}
    for i in range(3):
        shard = f"model-{i + 1:05}-of-00003.safetensors"
        tensors = [(f"block.{i}.{n}", dtype, shape) for n, dtype, shape in LAYERS]
        model.add_safetensors(os.path.join(root, shard), tensors)
        weight_map.update((t[0], shard) for t in tensors)
    with open(os.path.join(root, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": sum(t["bytes"] for t in model.tensors)}, "weight_map": weight_map}, f)
    return model


def spread(folder, name="spread"):
    """The index in one folder, the three shards in this and two others: [Expected, folders]."""
    model = sharded(folder, name)
    others = [os.path.join(folder, f"{name}-{i}") for i in (1, 2)]
    for i, other in enumerate(others):
        os.mkdir(other)
        moved = os.path.join(other, os.path.basename(model.files[i]))
        os.rename(model.files[i], moved)
        model.files[i] = moved
    return model, others


def gguf_text(text):
    return struct.pack("<Q", len(text)) + text.encode()


GGUF_TENSORS = [("token_embd.weight", "F32", 0, [16, 100]), ("blk.0.attn_q.weight", "I8", 24, [33, 3]),
                ("output_norm.weight", "F32", 0, [16])]
GGUF_VALUES = {"general.architecture": "llama", "general.name": "A small one", "llama.vocab_size": 2 ** 63 + 1}
GGUF_SCALARS = {"split.no": (2, "<H"), "split.count": (2, "<H"), "split.tensors.count": (5, "<i")}


def add_gguf(model, path, tensors, values, alignment):
    """One file; the model's metadata are those of its first."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, value in values.items():
        head += gguf_text(key)
        if isinstance(value, str):
            head += struct.pack("<I", 8) + gguf_text(value)
        else:
            number, form = GGUF_SCALARS.get(key, (10, "<Q"))
            head += struct.pack("<I", number) + struct.pack(form, value)
    data, sizes = b"", []
    for tensor, _, number, shape in tensors:
        size = elements(shape) * (4 if number == 0 else 1)
        head += gguf_text(tensor) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", number, len(data))
        sizes.append((len(data), size))
        data += content(tensor, size)
        data += bytes(-len(data) % alignment)
    head += bytes(-len(head) % alignment)
    write(path, head, data)
    if not model.files:
        model.metadata.update(values)
    model.files.append(path)
    for (tensor, dtype, _, shape), (at, size) in zip(tensors, sizes):
        model.tensors.append({"name": tensor, "dtype": dtype, "shape": shape, "file": os.path.basename(path),
                              "offset": len(head) + at, "bytes": size})


def gguf(folder, name="small.gguf", alignment=32):
    """Version 3, F32 and I8 tensors, every tensor padded to the alignment."""
    path = os.path.join(folder, name)
    model = Expected(path, "gguf")
    add_gguf(model, path, GGUF_TENSORS, GGUF_VALUES, alignment)
    return model


def gguf_split(folder, name="split"):
    """A folder with a model in three files."""
    root = os.path.join(folder, name)
    os.mkdir(root)
    model = Expected(root, "gguf")
    for i, tensor in enumerate(GGUF_TENSORS):
        values = {"split.no": i, "split.count": 3, "split.tensors.count": 3}
        add_gguf(model, os.path.join(root, f"small-{i + 1:05}-of-00003.gguf"), [tensor],
                 values if i else {**GGUF_VALUES, **values}, 32)
    return model


def gguf_folder(folder, name="folder"):
    root = os.path.join(folder, name)
    os.mkdir(root)
    model = gguf(root)
    model.path = root
    return model
