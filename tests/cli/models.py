# SPDX-License-Identifier: Apache-2.0
"""Small model files with known bytes, good and bad, without any package: what the command is tested on."""

import json
import os
import random
import struct

# {dtype of safetensors: (elements, bytes)}: all that the library knows. X9 stands for those that it does not.
DTYPES = {**dict.fromkeys(("F64", "I64", "U64", "C64"), (1, 8)), **dict.fromkeys(("F32", "I32", "U32"), (1, 4)),
          **dict.fromkeys(("F16", "BF16", "I16", "U16"), (1, 2)),
          **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), (1, 1)),
          "F4": (2, 1), "F6_E2M3": (4, 3), "F6_E3M2": (4, 3), "X9": (1, 9)}
# {number of ggml: (name, elements, bytes)}, likewise.
GGML_TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
              7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84),
              11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
              15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
              19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
              23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
              28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
              35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18)}


def content(seed, count):
    return random.Random(seed).randbytes(count)


def elements(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def tensor_bytes(dtype, shape):
    block_elements, block_bytes = DTYPES[dtype]
    assert elements(shape) % block_elements == 0, (dtype, shape)
    return elements(shape) // block_elements * block_bytes


def header(tensors, metadata=None, pad_to=8):
    """What stands in front of the data, and the data. tensors: [(name, dtype, shape)]."""
    entries, at = {}, 0
    if metadata is not None:
        entries["__metadata__"] = metadata
    data = b""
    for i, (name, dtype, shape) in enumerate(tensors):
        size = tensor_bytes(dtype, shape)
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
            size = tensor_bytes(dtype, shape)
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
        _, block_elements, block_bytes = GGML_TYPES[number]
        size = elements(shape) // block_elements * block_bytes
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


def gguf(folder, name="small.gguf", alignment=32, tensors=None):
    """Version 3, F32 and I8 tensors, every tensor padded to the alignment."""
    path = os.path.join(folder, name)
    model = Expected(path, "gguf")
    add_gguf(model, path, GGUF_TENSORS if tensors is None else tensors, GGUF_VALUES, alignment)
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
