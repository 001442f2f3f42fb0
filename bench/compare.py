#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libsgi beside what else loads weights, in one run, in turns on the same file. bench/README.md has the method.

    bench/compare.py [--rounds N] [--bytes BYTES] [--only NAME]... [--skip-setup] [--dir FOLDER]

Sets up everything under build/: the first run gets 5.5 GB of packages and builds llama-server. With the file of 4 GB
it takes 14 GB of disk, 11 GB of memory, and about twenty minutes of measuring after the set-up.
Writes build/compare/result.json, result.md and compare.svg; prints the tables.
--only takes a part (loads, residence, first-token) or any piece of the name of one that loads ("runai").
"""
import argparse
import json
import os
import pathlib
import shutil
import sys

from peers import contestants, setup, summary
from peers.cli import BYTES_HELP, ends_in_order, memory, positive, size
from peers.first_tokens import FirstTokens
from peers.loads import Loads, check_digests, normal_weights, pack, random_bytes, residence_rounds, write_model
from peers.program import draw, has_matplotlib, load_average, machine, try_outputs
from peers.turns import Failed, Worker

PARTS = ("loads", "residence", "first-token")
SETUP_BYTES = 7 << 30  # what build/compare takes without the file
WORKERS_BYTES = 3 << 30  # peers with their libraries, at rest


def parse(arguments):
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
                                     epilog=BYTES_HELP)
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="that count (default 5)")
    parser.add_argument("--bytes", type=size, default=4 * 1000**3, metavar="BYTES",
                        help="of the generated file (default 4000000000, 4 GB)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--threads", type=positive, default=os.cpu_count() or 1,
                        help="that compute tokens, on all sides (one for each CPU)")
    parser.add_argument("--dir", type=pathlib.Path, default=setup.HOME, help="where the file goes (build/compare)")
    parser.add_argument("--json", type=pathlib.Path, default=setup.HOME / "result.json", metavar="PATH")
    parser.add_argument("--plot", type=pathlib.Path, default=setup.HOME / "compare.svg", metavar="PATH")
    parser.add_argument("--no-plot", action="store_true")
    parser.add_argument("--skip-setup", action="store_true", help="everything is built already")
    parser.add_argument("--memory-as-is", action="store_true",
                        help="hold no memory between turns: see bench/README.md")
    options = parser.parse_args(arguments)
    if not options.json.name:
        parser.error(f"--json {options.json} is a folder")
    options.markdown = options.json.with_suffix(".md")
    outputs = [options.json, options.markdown] + ([] if options.no_plot else [options.plot])
    if len({path.absolute() for path in outputs}) < len(outputs):
        parser.error(f"two of the outputs are the same file: {', '.join(map(str, outputs))}")
    options.outputs = outputs
    options.parts = [part for part in PARTS if part in options.only] if options.only else list(PARTS)
    options.names = [word for word in options.only if word not in PARTS]
    if options.names and "loads" not in options.parts:
        options.parts.insert(0, "loads")
    options.chosen = contestants.chosen(options.names)
    for word in options.names:
        if not contestants.chosen([word]):
            parser.error(f"--only {word}: nobody's name has that, and it is no part ({', '.join(PARTS)})")
    return options


# ----------------------------------------------------------------------------------------------------- before the work


def refuse(text):
    sys.exit(f"compare.py: {text}")


def refuse_what_is_not_set_up(options):
    if not (setup.RELEASE / "bench/sgi-bench").exists():
        refuse("build/release/bench/sgi-bench is missing; without --skip-setup it is built")
    if not options.no_plot and not has_matplotlib():
        refuse("build/compare/venv has no matplotlib for the plot; without --skip-setup it is installed, and with "
               "--no-plot not needed")


def refuse_what_does_not_fit(options):
    if shutil.which("fincore") is None:
        refuse("needs the command fincore (Debian: util-linux) to know what is cold")
    file_bytes = options.bytes if {"loads", "residence"} & set(options.parts) else 0
    packed_bytes = file_bytes if takes_packed(options) else 0  # less, but how much less is only known afterwards
    needed = file_bytes + packed_bytes + (0 if options.skip_setup or setup.SERVER.exists() else SETUP_BYTES)
    free = shutil.disk_usage(options.dir).free
    if free < needed:
        refuse(f"needs {needed / 1e9:.1f} GB in {options.dir}, where {free / 1e9:.1f} are free")
    needed, available = 2 * file_bytes + WORKERS_BYTES, memory("MemAvailable")  # one load, the page cache, the peers
    if available < needed:
        refuse(f"needs {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} are available; "
               f"--bytes makes the file smaller")


# --------------------------------------------------------------------------------------------------------------- parts


def takes_packed(options):
    return "loads" in options.parts and any(contestant.packed for contestant in options.chosen)


def pack_for_loads(path, packed, options, result, log):
    """Who takes a packed file fails without it, by name; the others go on."""
    if not takes_packed(options):
        return
    try:
        result["packed_bytes"] = pack(path, packed, log)["packed_bytes"]
    except (Failed, OSError) as error:
        result["failed"]["sgi pack"] = str(error)


def measure_loads(path, options, result, log):
    packed = path.with_suffix(".sgi")
    loads = Loads(path, options.chosen, options, log, setup.tell, packed)
    try:
        pack_for_loads(path, packed, options, result, log)
        result["loads"] = loads.run()
    finally:
        loads.close()
        packed.unlink(missing_ok=True)
    result["failed"].update(loads.failed)
    result["digests"] = loads.digests
    result["disagree"] += check_digests(loads.digests)


def measure_residence(path, options, result, log):
    setup.tell("an instance out of DRAM")
    try:
        result["residence"] = residence_rounds(path, options.rounds, log)
    except (Failed, OSError) as error:
        result["failed"]["residence"] = str(error)


def measure_first_tokens(options, result, log):
    model = setup.llama_env().get("SGI_DEMO_MODEL", "")
    if not os.path.exists(model) or not (setup.RELEASE / "bench/first_token").exists():
        result["failed"]["first tokens"] = "the model or build/release/bench/first_token is missing"
        return
    tokens = FirstTokens(model, options, log, setup.tell)
    try:
        result["first_token"] = tokens.run()
    except (Failed, OSError) as error:
        result["failed"]["first tokens"] = str(error)
    finally:
        tokens.close()
    result["failed"].update(tokens.failed)
    for prompt, said in tokens.tokens.items():
        result["disagree"] += [f"{name} ({prompt})" for name in check_digests(said)]


def measure(options, result):
    path = options.dir / "compare.safetensors"
    with open(setup.HOME / "peers.log", "w", encoding="utf-8") as log:
        try:
            if "first-token" in options.parts:
                measure_first_tokens(options, result, log)
            if "loads" in options.parts or "residence" in options.parts:
                setup.tell(f"writing {options.bytes / 1e9:.2f} GB to {path}")
                write_model(path, options.bytes, normal_weights if takes_packed(options) else random_bytes)
                result["file_bytes"] = path.stat().st_size
            if "loads" in options.parts:
                measure_loads(path, options, result, log)
            if "residence" in options.parts:
                measure_residence(path, options, result, log)
        finally:
            path.unlink(missing_ok=True)


def write(options, result):
    options.json.write_text(json.dumps(result, indent=1) + "\n")
    text = summary.markdown(result)
    options.markdown.write_text(text)
    print(text, end="")
    draw(options, "plot.py")


def parts_without_anybody(options, result):
    """Those that were asked for and in which no turn was taken."""
    return [part for part in options.parts
            if not any(result.get(part.replace("-", "_")) or [])]


def exit_status(options, result):
    if result["failed"]:
        setup.tell(f"{len(result['failed'])} left out; what they said is in build/compare/peers.log")
    nobody = parts_without_anybody(options, result)
    if nobody:
        setup.tell(f"nobody could be measured in {', '.join(nobody)}; build/compare/peers.log says more")
    return 1 if result["disagree"] or nobody else 0


def run(options):
    try_outputs(options, refuse)
    refuse_what_does_not_fit(options)
    if options.skip_setup:
        refuse_what_is_not_set_up(options)
    missing = {} if options.skip_setup else setup.set_up()
    if "libsgi" in missing:
        refuse(missing["libsgi"])
    result = {"machine": machine(options.dir), "missing": missing, "failed": {}, "disagree": [], "file_bytes": 0,
              "options": {"rounds": options.rounds, "bytes": options.bytes, "threads": options.threads,
                          "parts": options.parts, "memory_as_is": options.memory_as_is}}
    before = load_average()
    measure(options, result)
    result["load_average"] = [before, load_average()]
    result["ratios"] = summary.all_ratios(result)
    write(options, result)
    return exit_status(options, result)


def main(arguments=None):
    options = parse(arguments)
    with ends_in_order(Worker.end_all):
        return run(options)


if __name__ == "__main__":
    sys.exit(main())
