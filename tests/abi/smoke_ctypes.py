#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A model's whole life through the shared library from a language that has only integers and memory.

    smoke_ctypes.py LIBSGI.SO
"""

import json
import os
import struct
import sys
import tempfile
from ctypes import CDLL, Structure, byref, c_char, c_char_p, c_int32, c_uint32, c_uint64, c_void_p, sizeof, string_at

u32, u64 = c_uint32, c_uint64


class Error(Structure):
    _fields_ = [("struct_size", u32), ("code", c_int32), ("os_errno", c_int32), ("driver_code", c_int32), ("step", u32),
                ("retry_after_ms", u32), ("message", c_char * 256)]


class ModelConfig(Structure):  # a caller of an older header: fields after these are not there and mean their defaults
    _fields_ = [("struct_size", u32), ("flags", u32), ("name", c_char_p), ("path", c_char_p)]


class View(Structure):
    _fields_ = [("struct_size", u32), ("reserved0", u32), ("data", c_void_p), ("bytes", u64)]


sgi = CDLL(sys.argv[1])
error, runtime, model, lease = Error(sizeof(Error)), c_void_p(), u64(), u64()


def call(name, *arguments, expect=0):
    status = getattr(sgi, name)(*arguments)
    assert status == expect, f"{name}: {status}, expected {expect}: {error.message.decode()}"


with tempfile.TemporaryDirectory() as folder:
    path, values = os.path.join(folder, "tiny.safetensors"), struct.pack("<4f", 1.0, 2.0, -3.5, 0.25)
    head = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + values)

    config, view = ModelConfig(), View(sizeof(View))
    call("sgi_runtime_open", None, byref(runtime), byref(error))
    call("sgi_model_config_init", byref(config), u64(sizeof(config)))
    config.name, config.path = b"tiny", path.encode()
    call("sgi_model_register", runtime, byref(config), byref(model), byref(error))
    call("sgi_model_acquire_wait", runtime, model, None, byref(lease), byref(error))
    call("sgi_lease_tensor", runtime, lease, u64(0), byref(view), byref(error))
    assert string_at(view.data, view.bytes) == values, "the tensor's bytes are not the file's"
    call("sgi_lease_release", runtime, lease)
    call("sgi_lease_release", runtime, lease, expect=-2)  # SGI_E_STALE: an id is never used again
    call("sgi_runtime_close", runtime, u32(10000), byref(error))
print("opened, registered, acquired, read, released, closed")
