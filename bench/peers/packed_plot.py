#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of bench/packed.py as lines and bars: packed_plot.py RESULT.json OUT.svg. Runs in build/compare/venv."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import matplotlib  # noqa: E402

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from peers.cores import named  # noqa: E402
from peers.packed_loads import RATES, group_name  # noqa: E402
from peers.packed_summary import column  # noqa: E402
from peers.summary import spread  # noqa: E402

COLOURS = {"packed": "#1f6f8b", "plain": "#7fc4d9", "raw": "#8a8a8a"}
LEGENDS = {"packed": "packed", "plain": "plain", "raw": "bare loop, plain"}
STYLES = ("-", "--", ":", "-.")


def line(axis, points, label, **how):
    """points: [(x, values)]; the median of each, with a line from the least to the most."""
    points = [(x, spread(values)) for x, values in points if values]
    if points:
        medians = [s["median"] for _, s in points]
        axis.errorbar([x for x, _ in points], medians, label=label, marker="o", markersize=3, elinewidth=0.8,
                      yerr=[[m - s["min"] for m, (_, s) in zip(medians, points)],
                            [s["max"] - m for m, (_, s) in zip(medians, points)]], **how)


def finish(axis, title, ticks, labels, xlabel):
    axis.set_title(title, fontsize=9)
    axis.set_xticks(ticks, labels, fontsize=8)
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def by_rate(axis, result):
    for number, count in enumerate(reversed(result["cores"])):
        for side in ("packed", "plain"):
            points = [(x, column(result["loads"], group_name("bf16", count, rate), side, "gib_s"))
                      for x, rate in enumerate(RATES)]
            line(axis, points, f"{side}, {named(count)}", color=COLOURS[side],
                 linestyle=STYLES[number % len(STYLES)])
    labels = [f"{rate / (1 << 30):g}" if rate else "unlimited" for rate in RATES]
    finish(axis, "GiB/s delivered, cold, reused memory", range(len(RATES)), labels, "reader limited to, GiB/s")


def by_cores(axis, result):
    for side in ("packed", "plain", "raw"):
        points = [(count, column(result["loads"], group_name("bf16", count, None), side, "gib_s"))
                  for count in result["cores"]]
        line(axis, points, LEGENDS[side], color=COLOURS[side])
    finish(axis, "GiB/s delivered, reader not limited", result["cores"], result["cores"], "cores")


def bars(axis, names, columns, title):
    """A group of bars for each name, one for each (label, colour, {name: values})."""
    names = [name for name in names if any(values.get(name) for _, _, values in columns)]
    height = 0.8 / len(columns)
    for at, (label, colour, values) in enumerate(columns):
        found = [(row, spread(values[name])) for row, name in enumerate(names) if values.get(name)]
        places = [row + (at - (len(columns) - 1) / 2) * height for row, _ in found]
        axis.barh(places, [s["median"] for _, s in found], height * 0.95, color=colour, label=label,
                  xerr=[[s["median"] - s["min"] for _, s in found], [s["max"] - s["median"] for _, s in found]],
                  error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
        for place, (_, s) in zip(places, found):
            axis.annotate(f"{s['median']:.3g}", (s["max"], place), xytext=(4, 0), textcoords="offset points",
                          va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set_title(title, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    if len(columns) > 1:
        axis.legend(fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.08), frameon=False)


def names_of(result):
    return sorted({name for r in result["packing"] for name in r}, key=lambda name: (name.split(", ")[0], name))


def sizes(axis, result):
    rounds = result["packing"]
    share = {name.split(", ")[0]: [stored / size for stored, size in zip(column(rounds, name, "pack", "stored_bytes"),
                                                                         column(rounds, name, "pack", "bytes"))]
             for name in names_of(result)}
    bars(axis, list(share), [("", COLOURS["packed"], share)], "size, of the file's (less is better)")


def rates(axis, result):
    rounds, names = result["packing"], names_of(result)
    columns = [(label, colour, {name: column(rounds, name, key, "gib_s") for name in names})
               for label, colour, key in (("packs", COLOURS["packed"], "pack"),
                                          ("loads, cold", COLOURS["plain"], "load"))]
    bars(axis, names, columns, "GiB/s of the model, fresh memory (more is better)")


def peaks(axis, result):
    columns = [(kind, colour, {name: [kinds[kind]["peak_over_model"]] for name, kinds in result["memory"].items()})
               for kind, colour in (("anonymous", COLOURS["packed"]), ("memfd", COLOURS["plain"]))]
    bars(axis, list(result["memory"]), columns, "memory at the peak of a load, of the model's (less is better)")


PANELS = (("loads", by_rate), ("loads", by_cores), ("packing", sizes), ("packing", rates), ("memory", peaks))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    found = [draw for part, draw in PANELS if result.get(part)]
    if not found:
        return
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "libsgi"
    rows = (len(found) + 1) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3.2 * rows), squeeze=False, layout="constrained")
    for axis, draw in zip(axes.flat, found):
        draw(axis, result)
    for axis in list(axes.flat)[len(found):]:
        axis.set_visible(False)
    figure.suptitle("medians; lines: least to most", fontsize=8)
    figure.savefig(sys.argv[2], metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
