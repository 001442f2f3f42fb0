# SPDX-License-Identifier: Apache-2.0
"""What bench/compare.py and packed.py have in common as programs: where they run, and what they leave."""
import os
import pathlib
import subprocess

from peers import setup
from peers.cli import memory, try_file, try_folder


def machine(folder):
    with open("/proc/cpuinfo", encoding="ascii") as file:
        cpu = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), os.uname().machine)
    output = subprocess.run(["df", "--output=fstype", folder], check=True, capture_output=True, text=True).stdout
    return {"cpu": cpu, "cpus": os.cpu_count(), "memory_gib": memory("MemTotal") / (1 << 30),
            "kernel": os.uname().release, "filesystem": output.split()[-1]}


def load_average():
    return round(os.getloadavg()[0], 2)


def try_outputs(options, refuse):
    """Before the set-up and the measuring, not after them. refuse(sentence) does not return."""
    for what, folder in (("--dir", options.dir), ("build/compare", setup.HOME)):
        try:
            try_folder(folder)
        except OSError as error:
            refuse(f"{what} {folder}: {error.strerror}")
    for path in options.outputs:
        try:
            try_file(path)
        except OSError as error:
            refuse(f"{path} cannot be written: {error.strerror}")


def has_matplotlib():
    return setup.PYTHON.exists() and subprocess.run([setup.PYTHON, "-c", "import matplotlib"], capture_output=True,
                                                    check=False).returncode == 0


def draw(options, program):
    """The plot, by a program beside this one that takes the result and where to."""
    if options.no_plot:
        return
    if not has_matplotlib():
        setup.tell("without the plot: build/compare/venv has no matplotlib")
        return
    subprocess.run([setup.PYTHON, pathlib.Path(__file__).parent / program, options.json, options.plot], check=False)
