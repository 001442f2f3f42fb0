# SPDX-License-Identifier: Apache-2.0
"""Programs that may use only some of the processor's cores: the library takes as many threads as it may use cores."""
import os


def counts():
    """1, 2, 4, ... and all of them."""
    most = len(os.sched_getaffinity(0))
    return sorted({*(1 << n for n in range(most.bit_length()) if 1 << n <= most), most})


def named(count):
    return f"{count} core{'s' if count > 1 else ''}"


def on(cores, command):
    """The command on so many of them, always the same ones."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    return ["taskset", "--cpu-list", ",".join(map(str, chosen)), *command]
