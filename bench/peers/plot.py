#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tables of bench/compare.py as bars: plot.py RESULT.json OUT.svg. Runs in build/compare/venv."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import matplotlib  # noqa: E402

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from peers.contestants import CONTESTANTS, NOTHING, PAGE_CACHE  # noqa: E402
from peers.summary import LLAMA, SERVER, column, spread  # noqa: E402

COLOURS = {True: {"cold": "#1f6f8b", "hot": "#7fc4d9"}, False: {"cold": "#8a8a8a", "hot": "#cccccc"}}


def bars(axis, rounds, names, states, key, scale, title):
    """A bar for each state of a name, the median, with a line from the least to the most."""
    names = [name for name in names if any(column(rounds, name, state, key) for state in states)]
    for row, name in enumerate(names):
        for state in states:
            shift = 0 if len(states) == 1 else {"cold": -0.2, "hot": 0.2}[state]
            values = [scale * v for v in column(rounds, name, state, key)]
            if not values:
                continue
            s = spread(values)
            axis.barh(row + shift, s["median"], 0.38, color=COLOURS[name.startswith("libsgi")][state],
                      xerr=[[s["median"] - s["min"]], [s["max"] - s["median"]]],
                      error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
            axis.annotate(f"{s['median']:.3g}", (s["max"], row + shift), xytext=(4, 0), textcoords="offset points",
                          va="center", fontsize=7)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def panels(result):
    if result.get("loads"):
        names = [c.name for c in CONTESTANTS if c.delivers != NOTHING]
        yield result["loads"], names, ["cold"], "gib_s", 1, "load of a cold file, GiB/s (more is better)"
        # Without those that only map the page cache: they would dwarf who copies.
        names = [c.name for c in CONTESTANTS if c.delivers not in (NOTHING, PAGE_CACHE)]
        yield result["loads"], names, ["hot"], "gib_s", 1, "copy of a file in the page cache, GiB/s (more is better)"
    for prompt in ("hello", "chat"):
        rounds = [r.get(prompt, {}) for r in result.get("first_token") or []]
        if any(rounds):
            names = ["libsgi, from DRAM", "libsgi, from disk", *LLAMA, *SERVER]
            title = f"first token, prompt `{prompt}`, ms (less is better)"
            yield rounds, names, ["cold", "hot"], "seconds", 1000, title


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    found = list(panels(result))
    if not found:
        return
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "libsgi"
    heights = [len(names) for _, names, *_ in found]
    figure, axes = plt.subplots(len(found), 1, figsize=(9, 0.42 * sum(heights) + 1.1 * len(found)), squeeze=False,
                                height_ratios=heights, layout="constrained")
    for axis, panel in zip(axes[:, 0], found):
        bars(axis, *panel)
    figure.suptitle("dark: file cold, light: file in the page cache; lines: least to most", fontsize=8)
    figure.savefig(sys.argv[2], metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
