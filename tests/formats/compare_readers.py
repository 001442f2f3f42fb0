#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `sgi inspect --json` with the Python packages safetensors and gguf, field by field.

usage: compare_readers.py SGI [MODEL ...]

MODEL is a real .safetensors or .gguf file. Generated files are always compared: every dtype, odd headers, shards with
an
index and without, every GGUF type and metadata type; and files that the Python readers refuse have to be refused.
Needs safetensors, gguf and numpy. Ends with one line that counts what was compared; exit 1 at the first difference.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import safetensors
import gguf
from safetensors.numpy import save_file

SGI = None
compared = {"files": 0, "tensors": 0, "metadata": 0, "refusals": 0}


def inspect(path):
    run = subprocess.run([SGI, "inspect", str(path), "--json"], capture_output=True, timeout=60)
    if run.returncode != 0:
        sys.exit(f"FAILED: sgi inspect {path}: exit {run.returncode}: {run.stderr.decode()}")
    return json.loads(run.stdout.decode("utf-8"))


def same(path, what, ours, theirs):
    if type(ours) is not type(theirs) or ours != theirs:
        sys.exit(f"FAILED: {path}: {what}: sgi says {ours!r}, Python {theirs!r}")


def compare_files(path, ours, files):
    same(path, "files", [f["name"] for f in ours["files"]], [os.path.basename(f) for f in files])
    for told, file in zip(ours["files"], files):
        same(path, "path", told["path"], os.path.realpath(file))
        same(path, "bytes of the file", told["bytes"], os.path.getsize(file))


# ------------------------------------------------------------------------------------------------------- safetensors

def compare_safetensors(path, files=None):
    """`files`: the shards, when `path` is an index or a folder."""
    ours = inspect(path)
    files = files or [path]
    same(path, "format", ours["format"], "safetensors")
    same(path, "members", sorted(ours), ["files", "format", "metadata", "tensors"])
    compare_files(path, ours, files)
    by_name = {t["name"]: t for t in ours["tensors"]}
    same(path, "number of names", len(by_name), len(ours["tensors"]))
    count, metadata = 0, {}
    for told, file in zip(ours["files"], files):
        with open(file, "rb") as f:
            content = f.read()
        start = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:start])
        same(file, "data_offset", told["data_offset"], start)
        with safetensors.safe_open(file, "np") as reader:
            metadata = {**(reader.metadata() or {}), **metadata}
            order = [t["name"] for t in ours["tensors"] if t["file"] == told["name"]]
            same(file, "names", sorted(order), sorted(reader.keys()))
            for name in reader.keys():
                t, view = by_name[name], reader.get_slice(name)
                same(file, f"members of {name}", sorted(t), ["bytes", "dtype", "file", "name", "offset", "shape"])
                same(file, f"dtype of {name}", t["dtype"], view.get_dtype())
                same(file, f"shape of {name}", t["shape"], list(view.get_shape()))
                same(file, f"file of {name}", t["file"], os.path.basename(file))
                begin, end = header[name]["data_offsets"]
                same(file, f"offset of {name}", t["offset"], start + begin)
                same(file, f"bytes of {name}", t["bytes"], end - begin)
                count += 1
        for name, view in safetensors.deserialize(content):  # the bytes themselves stand where we say
            t = by_name[name]
            same(file, f"data of {name}", content[t["offset"]:t["offset"] + t["bytes"]], bytes(view["data"]))
    same(path, "number of tensors", len(ours["tensors"]), count)
    same(path, "metadata", ours["metadata"], metadata)
    compared["files"] += 1
    compared["tensors"] += count
    compared["metadata"] += len(metadata)


def write_safetensors(path, header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, ensure_ascii=False).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64,
        "F64": 64,
        "I64": 64, "U64": 64}


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def generated_safetensors(folder):
    path = os.path.join(folder, "dtypes.safetensors")
    header, at = {"__metadata__": {"ключ": "значение \"\\\n\u0001", "": ""}}, 0
    for dtype, bits in BITS.items():
        for name, shape in ((f"{dtype} plane", [2, 8]), (f"{dtype} empty", [3, 0, 2]), (f"{dtype} vector", [40])):
            size = math.prod(shape) * bits // 8
            header[name] = entry(dtype, shape, at, at + size)
            at += size
    write_safetensors(path, header, os.urandom(at))
    compare_safetensors(path)

    path = os.path.join(folder, "odd.safetensors")
    text = json.dumps({"scalar": entry("F32", [], 0, 4), "имя/\t😀": entry("U8", [1, 1], 4, 5),
                       "": entry("I8", [2], 5, 7)})
    write_safetensors(path, text.encode() + b" " * (1 - len(text) % 2), os.urandom(7))
    compare_safetensors(path)

    path = os.path.join(folder, "none.safetensors")
    write_safetensors(path, {}, b"")
    compare_safetensors(path)

    path = os.path.join(folder, "numpy.safetensors")
    save_file({"b": np.zeros((3, 5), np.float16), "a": np.arange(7, dtype=np.int64), "c": np.array(True)}, path,
              {"format": "np"})
    compare_safetensors(path)

    link = os.path.join(folder, "link.safetensors")
    os.symlink(path, link)
    with safetensors.safe_open(link, "np") as reader:
        same(link, "names by the link", sorted(t["name"] for t in inspect(link)["tensors"]), sorted(reader.keys()))


def generated_shards(folder):
    for with_index in (True, False):
        shards, weight_map = os.path.join(folder, f"shards-{with_index}"), {}
        os.mkdir(shards)
        files = [os.path.join(shards, f"model-{i + 1:05}-of-00003.safetensors") for i in range(3)]
        for i, file in enumerate(files):
            tensors = {f"layer.{i}.{j}": np.random.rand(i + 1, j) for j in range(5)}
            save_file(tensors, file, {"format": "np", f"shard{i}": str(i), "same": str(i)})
            weight_map.update({name: os.path.basename(file) for name in tensors})
        if with_index:
            index = os.path.join(shards, "model.safetensors.index.json")
            with open(index, "w", encoding="utf-8") as f:
                json.dump({"metadata": {"total_size": 1}, "weight_map": weight_map}, f, indent=2)
            compare_safetensors(index, files)
            same(index, "files by name", {t["name"]: t["file"] for t in inspect(index)["tensors"]}, weight_map)
        compare_safetensors(shards, files)


# -------------------------------------------------------------------------------------------------------------- gguf

def as_json(value):
    """What sgi promises for a value the Python reader gives."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def compare_gguf(path, files=None):
    """`files`: all of them, when `path` is a split model's first or its folder."""
    files = files or [path]
    ours, readers = inspect(path), [gguf.GGUFReader(file) for file in files]
    same(path, "format", ours["format"], "gguf")
    same(path, "version", ours["format_version"], int(readers[0].fields["GGUF.version"].contents()))
    same(path, "members", sorted(ours), ["files", "format", "format_version", "metadata", "tensors"])
    compare_files(path, ours, files)
    by_name = {t["name"]: t for t in ours["tensors"]}
    same(path, "number of names", len(by_name), len(ours["tensors"]))
    same(path, "names", sorted(by_name), sorted(t.name for reader in readers for t in reader.tensors))
    for told, file, reader in zip(ours["files"], files, readers):
        same(file, "data_offset", told["data_offset"], int(reader.data_offset))
        for tensor in reader.tensors:
            t = by_name[tensor.name]
            same(file, f"members of {tensor.name}", sorted(t), ["bytes", "dtype", "file", "name", "offset", "shape"])
            same(file, f"dtype of {tensor.name}", t["dtype"], tensor.tensor_type.name)
            same(file, f"shape of {tensor.name}", t["shape"], tensor.shape.tolist())
            same(file, f"file of {tensor.name}", t["file"], os.path.basename(file))
            same(file, f"offset of {tensor.name}", t["offset"], int(tensor.data_offset))
            same(file, f"bytes of {tensor.name}", t["bytes"], int(tensor.n_bytes))
    fields = {key: field for key, field in readers[0].fields.items() if not key.startswith("GGUF.")}
    same(path, "keys, in order", list(ours["metadata"]), list(fields))
    for key, field in fields.items():
        same(path, f"metadata {key}", ours["metadata"][key], as_json(field.contents()))
    compared["files"] += 1
    compared["tensors"] += len(by_name)
    compared["metadata"] += len(fields)


def generated_gguf(folder):
    path = os.path.join(folder, "values.gguf")
    w = gguf.GGUFWriter(path, "test")
    scalars = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767),
               "uint32": (0, 2**32 - 1),
               "int32": (-2**31, 2**31 - 1), "uint64": (0, 2**64 - 1), "int64": (-2**63, 2**63 - 1),
               "bool": (False, True),
               "float32": (0.0, -0.1, 1e-5, 3.4028235e38, 1e-45, 16777216.0, math.nan, math.inf, -math.inf),
               "float64": (0.1, 1e300, 5e-324, -1.7976931348623157e308, 1 / 3, math.nan, -math.inf),
               "string": ("plain", "ünï\"\\\n\t\u0001\0😀", "x" * 5000)}
    for kind, values in scalars.items():
        for i, value in enumerate(values):
            getattr(w, f"add_{kind}")(f"{kind}.{i}", value)
    w.add_string("ключ", "значение")
    w.add_array("array.int", [1, -2, 3])
    w.add_array("array.float", [0.1, 1.5, -2.0])
    w.add_array("array.bool", [True, False])
    w.add_array("array.string", ["", "a", "ü\n\"", "word " * 500])
    for kind in ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64",
                 "FLOAT32", "FLOAT64", "BOOL"):
        values = [True, False] if kind == "BOOL" else [0.1, 2.5] if kind.startswith("FLOAT") else [7, 8, 9]
        w.add_key_value(f"array.{kind}", values, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType[kind])
    w.add_tensor("t", np.arange(6, dtype=np.float32).reshape(2, 3))
    finish_gguf(w)
    compare_gguf(path)

    for alignment in (8, 32, 128, 4096):
        path = os.path.join(folder, f"types-{alignment}.gguf")
        w = gguf.GGUFWriter(path, "test")
        w.add_custom_alignment(alignment)
        for kind in gguf.GGMLQuantizationType:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            for shape in ((block,), (3, 2 * block), (2, 1, 3, block)):
                data = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
                w.add_tensor(f"{kind.name}.{len(shape)}", data, raw_dtype=kind)
        finish_gguf(w)
        compare_gguf(path)

    path = os.path.join(folder, "vocab-only.gguf")
    w = gguf.GGUFWriter(path, "test")
    w.add_token_list([f"token{i}" for i in range(20000)])
    finish_gguf(w)
    compare_gguf(path)

    with open(os.path.join(folder, "types-32.gguf"), "rb") as f:
        content = f.read()
    path = os.path.join(folder, "version2.gguf")
    with open(path, "wb") as f:
        f.write(content[:4] + struct.pack("<I", 2) + content[8:])
    compare_gguf(path)


def generated_split_gguf(folder):
    for small_first in (False, True):
        split = os.path.join(folder, f"split-{small_first}")
        os.mkdir(split)
        w = gguf.GGUFWriter(os.path.join(split, "m.gguf"), "test", split_max_tensors=3, small_first_shard=small_first)
        w.add_string("key", "value")
        w.add_token_list([f"token{i}" for i in range(1000)])
        for i in range(8):
            w.add_tensor(f"blk.{i}", np.random.rand(i + 1, 32).astype(np.float16 if i % 2 else np.float32))
        finish_gguf(w)
        files = sorted(os.path.join(split, name) for name in os.listdir(split))
        same(split, "number of files", len(files), 4 if small_first else 3)
        compare_gguf(files[0], files)
        compare_gguf(split, files)
        refused(files[1], os.path.basename(files[0]))
        os.rename(files[2], files[2] + ".away")
        refused(files[0], os.path.basename(files[2]), names_path=False)


def finish_gguf(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ----------------------------------------------------------------------------------------------------------- refusals

def refused(path, name, names_path=True):
    run = subprocess.run([SGI, "inspect", str(path)], capture_output=True, timeout=10)
    lines = run.stderr.decode("utf-8").splitlines()
    told = len(lines) == 1 and name in lines[0] and (os.path.basename(path) in lines[0] or not names_path)
    if run.returncode != 1 or not told:
        sys.exit(f"FAILED: {path}: expected exit 1 and one line with {name!r}, got {run.returncode} and {lines}")
    compared["refusals"] += 1


def refused_safetensors(folder, name, header, data):
    """Both have to refuse it."""
    path = os.path.join(folder, "bad.safetensors")
    write_safetensors(path, header, data)
    try:
        safetensors.safe_open(path, "np")
    except safetensors.SafetensorError:
        refused(path, name)
    else:
        sys.exit(f"FAILED: the Python reader accepts {header}")


def refusals(folder):
    bad = lambda name, header, data=b"": refused_safetensors(folder, name, header, data)
    bad("hole", {"hole": entry("U8", [1], 1, 2)}, b"12")
    bad("inner", {"outer": entry("U8", [4], 0, 4), "inner": entry("U8", [2], 1, 3)}, b"1234")
    bad("inner", {"outer": entry("U8", [4], 0, 4), "inner": entry("U8", [0], 2, 2)}, b"1234")
    bad("past", {"past": entry("U8", [4], 0, 4)}, b"123")
    bad("last", {"last": entry("U8", [4], 0, 4)}, b"12345")
    bad("backwards", {"backwards": entry("U8", [1], 1, 0)}, b"1")
    bad("size", {"size": entry("F32", [2], 0, 7)}, b"1234567")
    bad("nibble", {"nibble": entry("F4", [3], 0, 2)}, b"12")
    bad("large", {"large": entry("U8", [2**40, 2**40, 0], 0, 0)})
    bad("real", b'{"real":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}', b"1")
    bad("three", b'{"three":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}', b"1")
    bad("key", b'{"__metadata__":{"key":1}}')
    bad("header", b"[]")
    bad("header", b"{}\0\0")
    bad("header", b"")
    bad("1 bytes", {}, b"1")
    with open(os.path.join(folder, "types-32.gguf"), "rb") as f:
        content = f.read()
    path = os.path.join(folder, "bad.gguf")
    for size in (3, 4, 20, 100, len(content) // 2):
        with open(path, "wb") as f:
            f.write(content[:size])
        refused(path, "")
    fifo = os.path.join(folder, "fifo")
    os.mkfifo(fifo)
    refused(fifo, "")
    dangling = os.path.join(folder, "dangling")
    os.symlink("nowhere", dangling)
    refused(dangling, "")
    empty = os.path.join(folder, "empty")
    os.mkdir(empty)
    refused(empty, "")


def main():
    global SGI
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SGI = os.path.abspath(sys.argv[1])
    for path in sys.argv[2:]:
        with open(path, "rb") as f:
            (compare_gguf if f.read(4) == b"GGUF" else compare_safetensors)(path)
    with tempfile.TemporaryDirectory() as folder:
        generated_safetensors(folder)
        generated_shards(folder)
        generated_gguf(folder)
        generated_split_gguf(folder)
        refusals(folder)
    print("compared with the Python readers: " + ", ".join(f"{count} {what}" for what, count in compared.items()))


if __name__ == "__main__":
    main()
