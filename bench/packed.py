#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packed models beside plain ones, and packing beside zipnn and zstd, in turns. bench/README.md has the method.

    bench/packed.py [--rounds N] [--bytes BYTES | --file PATH] [--gguf PATH] [--only PART]... [--skip-setup]

Sets up everything under build/, as bench/compare.py does: the first run gets 5.5 GB of packages. A model is generated,
bf16 with weights of a normal distribution (deviation 0.02), where --file names none; it is copied where it does. The
quantised one is SmolLM2-135M, which examples/llama/setup.sh gets, where --gguf names no other.
With 1 GiB it takes 8 GiB of disk, 7 of memory, and about a quarter of an hour.
Writes build/compare/packed.json, packed.md and packed.svg; prints the tables.
--only takes a part: packing (size, rates and cores of each packer), loads (by what may be read in a second and by
cores, checks, the quantised one), base (a fine-tune on its base), memory (at the peak of a load).
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

from peers import cores, fine_tune, setup
from peers import packed_summary as summary
from peers.cli import BYTES_HELP, ends_in_order, memory, positive, size
from peers.loads import normal_weights, our_digest, pack, sgi, write_model
from peers.packed_loads import Files, PackedLoads
from peers.packing import Packing
from peers.program import draw, has_matplotlib, load_average, machine, try_outputs
from peers.turns import Failed, Worker

PARTS = ("packing", "loads", "base", "memory")
SETUP_BYTES = 6 << 30
DISK_COPIES = 8  # of the model: itself, packed by each packer on one core and on all, the fine-tune
MEMORY_COPIES = 4  # what is held, what the page cache has, what is packed and what comes of it
WORKERS_BYTES = 3 << 30
MIB = 1 << 20


def parse(arguments):
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
                                     epilog=BYTES_HELP)
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="that count (default 5)")
    parser.add_argument("--bytes", type=size, default=1 << 30, metavar="BYTES", help="of the generated model (1G)")
    parser.add_argument("--file", type=pathlib.Path, metavar="PATH", help="a model in bf16, one safetensors file")
    parser.add_argument("--gguf", type=pathlib.Path, metavar="PATH", help="a quantised model")
    parser.add_argument("--only", action="append", default=[], choices=PARTS, metavar="PART")
    parser.add_argument("--dir", type=pathlib.Path, default=setup.HOME, help="where files go (build/compare)")
    parser.add_argument("--json", type=pathlib.Path, default=setup.HOME / "packed.json", metavar="PATH")
    parser.add_argument("--plot", type=pathlib.Path, default=setup.HOME / "packed.svg", metavar="PATH")
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--skip-setup", action="store_true", help="everything is built already")
    parser.add_argument("--memory-as-is", action="store_true",
                        help="hold no memory between turns: see bench/README.md")
    options = parser.parse_args(arguments)
    if not options.json.name:
        parser.error(f"--json {options.json} is a folder")
    options.markdown = options.json.with_suffix(".md")
    options.outputs = [options.json, options.markdown] + ([] if options.no_plot else [options.plot])
    if len({path.absolute() for path in options.outputs}) < len(options.outputs):
        parser.error(f"two of the outputs are the same file: {', '.join(map(str, options.outputs))}")
    options.parts = [part for part in PARTS if part in options.only] if options.only else list(PARTS)
    return options


# ----------------------------------------------------------------------------------------------------- before the work


def refuse(text):
    sys.exit(f"packed.py: {text}")


def refuse_what_is_not_there(options):
    for option, path in (("--file", options.file), ("--gguf", options.gguf)):
        if path and not path.is_file():
            refuse(f"{option} {path}: " + ("is a folder" if path.is_dir() else "there is no such file"))
    for command in ("fincore", "taskset"):
        if shutil.which(command) is None:
            refuse(f"needs the command {command} (Debian: util-linux)")


def refuse_what_is_not_built(options):
    for program in ("bench/sgi-bench", "bench/codec", "bin/sgi"):
        if not (setup.RELEASE / program).exists():
            refuse(f"build/release/{program} is missing" + ("; without --skip-setup it is built"
                                                             if options.skip_setup else ""))
    if options.skip_setup and not options.no_plot and not has_matplotlib():
        refuse("build/compare/venv has no matplotlib for the plot; without --skip-setup it is installed, and with "
               "--no-plot not needed")


def refuse_what_does_not_fit(options):
    model_bytes = options.file.stat().st_size if options.file else options.bytes
    needed = DISK_COPIES * model_bytes + (0 if options.skip_setup or setup.PYTHON.exists() else SETUP_BYTES)
    free = shutil.disk_usage(options.dir).free
    if free < needed:
        refuse(f"needs {needed / 1e9:.1f} GB in {options.dir}, where {free / 1e9:.1f} are free")
    needed, available = MEMORY_COPIES * model_bytes + WORKERS_BYTES, memory("MemAvailable")
    if available < needed:
        refuse(f"needs {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} are available; "
               f"--bytes makes the model smaller")


# --------------------------------------------------------------------------------------------------------------- files


def own_copy(source, path):
    """Somebody else may have the file mapped, and what is mapped is not dropped from the page cache."""
    shutil.copyfile(source, path)
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def make_checked(plain, log):
    """The same file by another name, with checks beside that one."""
    checked = plain.with_name(f"{plain.stem}-checked{plain.suffix}")
    checked.unlink(missing_ok=True)
    os.link(plain, checked)
    sgi("digest", checked, log=log)
    return checked


def make_gguf(options, result, log):
    """(the quantised model, packed), each None where there is none."""
    source = options.gguf or pathlib.Path(setup.llama_env().get("SGI_DEMO_MODEL", "") or "/nonexistent")
    if not source.is_file():
        result["failed"]["the quantised model"] = "there is none: build/llama.env names it, or --gguf"
        return None, None
    path = options.dir / "packed-quantised.gguf"
    own_copy(source, path)
    packed = path.with_suffix(".sgi")
    report = pack(path, packed, log)
    if our_digest(packed, "auto", log) != our_digest(path, "auto", log):
        result["disagree"].append("sgi pack, the quantised model")
    result["gguf"] = {"name": source.name, "bytes": report["source_bytes"], "packed_bytes": report["packed_bytes"]}
    return path, packed


def make_files(options, result, log):
    plain = options.dir / "packed-model.safetensors"
    if options.file:
        setup.tell(f"copying {options.file}")
        own_copy(options.file, plain)
    else:
        setup.tell(f"writing {options.bytes / 1e9:.2f} GB to {plain} (about half a minute a GB)")
        write_model(plain, options.bytes, normal_weights)
    packed = plain.with_suffix(".sgi")
    report = pack(plain, packed, log)
    result["file_bytes"], result["packed_bytes"] = report["source_bytes"], report["packed_bytes"]
    if our_digest(packed, "auto", log) != our_digest(plain, "auto", log):
        result["disagree"].append("sgi pack")
    if "loads" not in options.parts:
        return Files(plain, packed)
    return Files(plain, packed, make_checked(plain, log), *make_gguf(options, result, log))


def remove_files(options):
    for path in options.dir.glob("packed-*"):
        if path.suffix in (".safetensors", ".sgi", ".again", ".gguf", ".sgisum", ".partial"):
            path.unlink()


# --------------------------------------------------------------------------------------------------------------- parts


def measure_packing(files, options, result, log):
    packing = Packing(files.plain, options, log, setup.tell)
    try:
        result["packing"] = packing.run()
    finally:
        packing.close()
    result["failed"].update(packing.failed)
    result["disagree"] += packing.disagree


def measure_loads(files, options, result, log):
    loads = PackedLoads(files, options, log, setup.tell)
    try:
        result["loads"] = loads.run()
    finally:
        loads.close()


def measure_base(files, _options, result, log):
    setup.tell("a fine-tune on its base")
    result["base"] = fine_tune.measure(files.plain, files.packed, log)
    if not result["base"]["same"]:
        result["disagree"].append("the fine-tune on its base")


def memory_of(path, rounds, log):
    command = [setup.RELEASE / "bench/sgi-bench", "memory", path, "--cold", "--repeat", rounds]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=log, text=True, check=True)
    *_, last = [json.loads(line) for line in done.stdout.splitlines()]
    return {kind: {"peak_over_model": last[kind]["peak_over_model"]["max"],
                   "over_mib": last[kind]["peak_bytes"]["max"] * (1 - 1 / last[kind]["peak_over_model"]["max"]) / MIB,
                   "residue_mib": last[kind]["residue_bytes"]["max"] / MIB} for kind in ("anonymous", "memfd")}


def measure_memory(files, options, result, log):
    setup.tell("memory at the peak")
    result["memory"] = {what: memory_of(path, options.rounds, log)
                        for what, path in (("plain", files.plain), ("packed", files.packed))}


MEASURES = {"packing": measure_packing, "loads": measure_loads, "base": measure_base, "memory": measure_memory}


def measure(options, result):
    with open(setup.HOME / "packed.log", "w", encoding="utf-8") as log:
        try:
            files = make_files(options, result, log)
            for part in options.parts:
                try:
                    MEASURES[part](files, options, result, log)
                except (Failed, OSError, subprocess.CalledProcessError) as error:
                    result["failed"][part] = str(error)
                    setup.tell(f"without {part}: {error}")
        except Failed as error:
            refuse(error)
        finally:
            remove_files(options)


def exit_status(options, result):
    missing = [part for part in options.parts if not any(result.get(part) or [])]
    if result["failed"]:
        setup.tell(f"{len(result['failed'])} left out; what they said is in build/compare/packed.log")
    if missing:
        setup.tell(f"nothing could be measured of {', '.join(missing)}; build/compare/packed.log says more")
    return 1 if result["disagree"] or missing else 0


def run(options):
    refuse_what_is_not_there(options)
    try_outputs(options, refuse)
    refuse_what_does_not_fit(options)
    missing = {} if options.skip_setup else setup.set_up(setup.FOR_PACKED)
    if "libsgi" in missing:
        refuse(missing["libsgi"])
    refuse_what_is_not_built(options)
    file = options.file.name if options.file else "generated bf16, normal weights of deviation 0.02"
    result = {"machine": machine(options.dir), "missing": missing, "failed": {}, "disagree": [], "file": file,
              "cores": cores.counts(), "options": {"rounds": options.rounds, "parts": options.parts,
                                                   "memory_as_is": options.memory_as_is}}
    before = load_average()
    measure(options, result)
    result["load_average"] = [before, load_average()]
    result["ratios"] = summary.all_ratios(result)
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = summary.markdown(result)
    options.markdown.write_text(text)
    print(text, end="")
    draw(options, "packed_plot.py")
    return exit_status(options, result)


def main(arguments=None):
    options = parse(arguments)
    with ends_in_order(Worker.end_all):
        return run(options)


if __name__ == "__main__":
    sys.exit(main())
