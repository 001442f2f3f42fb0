#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What lib/device, bench/gpu_probe and the fake driver declare of CUDA is what cuda.h declares. Skips without one.

    cuda_h.py --cc COMPILER [--include FOLDER]
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.join(HERE, "..", "..")
LIBRARY, PROBE, FAKE = "lib/device/cuda_abi.h", "bench/gpu_probe_cuda.h", "tests/fakecuda/calls.h"
HEADERS = (LIBRARY, PROBE, FAKE, "lib/device/nvml_abi.h")
TYPES, PROTOTYPES = "cuda_types.c", "cuda_prototypes.c"


def include_folder(given):
    folders = [given] if given else [
        os.path.join(os.environ[name], "include") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    folders += glob.glob(os.path.join(sys.prefix, "lib", "python*", "site-packages", "nvidia", "*", "include"))
    folders += ["/usr/local/cuda/include", "/usr/include", "/usr/local/include", *glob.glob("/opt/cuda*/include")]
    for folder in folders:
        if os.path.exists(os.path.join(folder, "cudaTypedefs.h")) and os.path.exists(os.path.join(folder, "cuda.h")):
            return folder
    print("no cuda.h and cudaTypedefs.h here (CUDA_HOME, or /usr/local/cuda)")
    sys.exit(77)


def compile_unit(cc, unit, include, tree=TREE):
    """What the compiler says, with our headers as they stand in `tree`."""
    command = [cc, "-std=gnu11", "-fsyntax-only", "-isystem", include, "-I", os.path.join(tree, "tests", "fakecuda"),
               os.path.join(HERE, unit)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def differs(cc, include, unit, header, old, new):
    """The check sees it when our header says `new` where it said `old`."""
    with tempfile.TemporaryDirectory() as tree:
        for name in HEADERS:
            with open(os.path.join(TREE, name), encoding="utf-8") as f:
                text = f.read()
            if name == header:
                assert re.search(old, text), old
                text = re.sub(old, new, text, count=1)
            os.makedirs(os.path.join(tree, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(tree, name), "w", encoding="utf-8") as f:
                f.write(text)
        done = compile_unit(cc, unit, include, tree)
        if done.returncode == 0:
            print(f"{unit} compiles with '{new}' for '{old}'")
        return done.returncode != 0


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cc", required=True)
    arguments.add_argument("--include")
    o = arguments.parse_args()
    include = include_folder(o.include)
    good = True
    for unit in (TYPES, PROTOTYPES):
        done = compile_unit(o.cc, unit, include)
        print(done.stderr, end="")
        good = good and done.returncode == 0
    for unit, header, old, new in (
            (TYPES, LIBRARY, "CU_ATTRIBUTE_VMM = 102", "CU_ATTRIBUTE_VMM = 103"),
            (TYPES, LIBRARY, r"int     id;", "long id;"),
            (PROTOTYPES, LIBRARY, r"cuMemMap, \(cu_ptr at, size_t bytes, size_t offset,",
             "cuMemMap, (cu_ptr at, size_t bytes, unsigned offset,"),
            (PROTOTYPES, PROBE, r"X\(cuMemAlloc_v2,", "X(cuMemAlloc_v9,"),
            (TYPES, FAKE, "CU_HOST_READ_ONLY = 0x8", "CU_HOST_READ_ONLY = 0x4"),
            (PROTOTYPES, FAKE, r"X\(cuStreamGetFlags, \(cu_stream stream, unsigned int \*flags",
             "X(cuStreamGetFlags, (cu_stream stream, int *flags")):
        good = differs(o.cc, include, unit, header, old, new) and good
    print(f"against {include}: {'the same' if good else 'NOT the same'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
