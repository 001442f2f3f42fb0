#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What gpu_probe declares of the CUDA driver is what cuda.h declares. Skips where there is no cuda.h.

    test_cuda_h.py --cc COMPILER [--include FOLDER] cuda_types.c cuda_prototypes.c
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(HERE, "..", "..", "bench", "gpu_probe_cuda.h")


def include_folder(given):
    folders = [given] if given else [
        os.path.join(os.environ[name], "include") for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    folders += ["/usr/local/cuda/include", "/usr/include", "/usr/local/include", *glob.glob("/opt/cuda*/include")]
    for folder in folders:
        if os.path.exists(os.path.join(folder, "cudaTypedefs.h")) and os.path.exists(os.path.join(folder, "cuda.h")):
            return folder
    print("no cuda.h and cudaTypedefs.h here (CUDA_HOME, or /usr/local/cuda)")
    sys.exit(77)


def compile_unit(cc, unit, include, header_folder=None):
    """What the compiler says; with `header_folder`, gpu_probe_cuda.h is the one in there."""
    source = os.path.join(HERE, unit)
    with tempfile.TemporaryDirectory() as folder:
        if header_folder:
            with open(source, encoding="utf-8") as f:
                text = f.read().replace("../../bench/gpu_probe_cuda.h", os.path.join(header_folder, "gpu_probe_cuda.h"))
            source = os.path.join(folder, unit)
            with open(source, "w", encoding="utf-8") as f:
                f.write(text)
        return subprocess.run([cc, "-std=gnu11", "-fsyntax-only", "-isystem", include, source], text=True,
                              capture_output=True, check=False)


def differs(cc, include, unit, old, new):
    """The check sees it when our header says `new` where it said `old`."""
    with open(HEADER, encoding="utf-8") as f:
        text = f.read()
    assert re.search(old, text), old
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "gpu_probe_cuda.h"), "w", encoding="utf-8") as f:
            f.write(re.sub(old, new, text, count=1))
        done = compile_unit(cc, unit, include, folder)
        if done.returncode == 0:
            print(f"{unit} compiles with '{new}' for '{old}'")
        return done.returncode != 0


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--cc", required=True)
    arguments.add_argument("--include")
    arguments.add_argument("types")
    arguments.add_argument("prototypes")
    o = arguments.parse_args()
    include = include_folder(o.include)
    good = True
    for unit in (o.types, o.prototypes):
        done = compile_unit(o.cc, unit, include)
        print(done.stderr, end="")
        good = good and done.returncode == 0
    good = differs(o.cc, include, o.types, "CU_ATTRIBUTE_VMM = 102", "CU_ATTRIBUTE_VMM = 103") and good
    good = differs(o.cc, include, o.types, r"int     id;", "long id;") and good
    good = differs(o.cc, include, o.prototypes, r"cuMemMap, \(cu_ptr at, size_t bytes, size_t offset,",
                   "cuMemMap, (cu_ptr at, size_t bytes, unsigned offset,") and good
    good = differs(o.cc, include, o.prototypes, r"X\(cuMemAlloc_v2,", "X(cuMemAlloc_v9,") and good
    print(f"against {include}: {'the same' if good else 'NOT the same'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
