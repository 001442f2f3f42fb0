# SPDX-License-Identifier: Apache-2.0
"""What bench/packed.py measured: ratios taken within a round, and tables in Markdown. No measuring, no third party."""
import collections

from peers.packed_loads import RATES, group_name
from peers.packing import PACKERS, everybody, name_of
from peers.summary import cell, spread, table

GAIN = 1.40  # of delivered bytes, where the disk is what is slow
BUSY = 0.8  # of what a stage can do


def turn_of(a_round, group, side):
    """None where there was none, and where it did not find the page cache as it should be."""
    turn = a_round.get(group, {}).get(side)
    return turn if turn and not turn.get("page_cache_wrong_bytes") else None


def column(rounds, group, side, key):
    return [turn[key] for r in rounds if (turn := turn_of(r, group, side))]


def within(rounds, value):
    """value(round) of those rounds that have one; None where none has."""
    values = [found for r in rounds if (found := value(r)) is not None]
    return {**spread(values), "rounds": len(values), "of": len(rounds)} if values else None


def ratio(rounds, group, ours, theirs, key="gib_s", our_group=None):
    def value(a_round):
        one, other = turn_of(a_round, our_group or group, ours), turn_of(a_round, group, theirs)
        return one[key] / other[key] if one and other else None
    return within(rounds, value)


# ------------------------------------------------------------------------------------------------ what is to be reached


def to_ceiling(rounds, group, count):
    """To the bare loop, of the most that disk and decoding allow: GAIN, or what the cores decode to what it reads."""
    def value(a_round):
        raw, packed, codec = turn_of(a_round, group, "raw"), turn_of(a_round, group, "packed"), a_round.get("codec")
        if not raw or not packed or not codec:
            return None
        most = min(GAIN, count * codec["decode_gib_s"] / raw["gib_s"])
        return packed["gib_s"] / raw["gib_s"] / most
    found = within(rounds, value)
    return {**found, "note": limit(rounds, group, count)} if found else None


def limit(rounds, group, count):
    """What of the machine a packed file's load has used. A stage that was busy nearly all the time is the limit."""
    def of_disk(a_round):
        raw, packed = turn_of(a_round, group, "raw"), turn_of(a_round, group, "packed")
        return packed["read_bytes"] / packed["seconds"] / (raw["bytes"] / raw["seconds"]) if raw and packed else None

    def of_cores(a_round):
        packed = turn_of(a_round, group, "packed")
        return packed["cpu_core_s_per_gib"] * packed["gib_s"] / count if packed else None
    disk, busy = (within(rounds, share)["median"] for share in (of_disk, of_cores))
    stage = "neither by itself" if max(disk, busy) < BUSY else "disk" if disk >= busy else "cores"
    return f"limit: {stage} (disk {disk:.0%} used, cores {busy:.0%})"


def load_ratios(result):
    rounds, most = result.get("loads") or [], result["cores"][-1]
    for count in result["cores"]:
        for rate in RATES:
            group = group_name("bf16", count, rate)
            wanted = GAIN if rate == 1 << 30 and count == most else None
            yield f"packed to plain: {group}", wanted, False, ratio(rounds, group, "packed", "plain")
        group = group_name("bf16", count, None)
        yield (f"packed to the bare loop, of what disk and decoding allow: {group}", 0.95 if count == most else None,
               False, to_ceiling(rounds, group, count))
    group = group_name("bf16", most, None)
    yield f"plain with checks beside it, to plain: {group}", 0.95, False, ratio(rounds, group, "checked", "plain")
    group = group_name("gguf", most, None)
    yield f"packed to plain: {group}", 0.95, False, ratio(rounds, group, "packed", "plain")
    rates = [r["codec"]["decode_gib_s"] for r in rounds if "codec" in r]
    yield "decoding by itself, GiB/s of one core", 1.5, False, within(rates, lambda rate: rate)


def packing_ratios(result):
    rounds = result.get("packing") or []
    one, most = "libsgi, 1 core", result["cores"][-1]
    rates = column(rounds, one, "pack", "gb_s_per_core")
    yield "packing, GB/s of a core", 0.25, False, within(rates, lambda rate: rate)
    zipnn = name_of((PACKERS[1], most))
    yield "size to zipnn's", 1.03, True, ratio(rounds, zipnn, "pack", "pack", "stored_bytes", one)


def size_ratios(result):
    def of_sizes(some, other):
        return {"median": some / other, "min": some / other, "max": some / other, "rounds": 1, "of": 1}
    gguf, base = result.get("gguf"), result.get("base")
    yield "size of the packed GGUF to the file's", 1.01, True, gguf and of_sizes(gguf["packed_bytes"], gguf["bytes"])
    yield ("a fine-tune with its base, to by itself", 0.12, True,
           base and of_sizes(base["based_bytes"], base["alone_bytes"]))


def all_ratios(result):
    """[{what, reach, at_most, median, min, max, rounds, of, note}] of everything that was measured."""
    found = [*load_ratios(result), *packing_ratios(result), *size_ratios(result)]
    return [{"what": what, "reach": reach, "at_most": at_most, **value} for what, reach, at_most, value in found
            if value]


# -------------------------------------------------------------------------------------------------------------- tables


def packing_table(rounds):
    rows = []
    for name in map(name_of, everybody()):
        if not any(name in r for r in rounds):
            continue
        size = column(rounds, name, "pack", "stored_bytes")
        share = [stored / whole for stored, whole in zip(size, column(rounds, name, "pack", "bytes"))]
        loads = [column(rounds, name, "load", key) for key in ("gib_s", "cores", "peak_rss_bytes")]
        rows.append([name, f"{max(share):.4f}" if share else "-",
                     *(cell(column(rounds, name, "pack", key)) for key in ("gb_s_per_core", "cores")),
                     cell([v * (1 << 30) / 1e9 for v in column(rounds, name, "pack", "gib_s")]),
                     cell(loads[0]), cell(loads[1]),
                     *(f"{max(values) / (1 << 30):.2f}" if values else "-" for values in
                       (column(rounds, name, "pack", "peak_rss_bytes"), loads[2]))])
    return table(["packing, and loading what came of it", "size", "packs, GB/s of a core", "cores", "GB/s",
                  "loads, cold, GiB/s", "cores", "peak RSS packing, GiB", "loading"], rows)


def load_table(rounds):
    rows = []
    groups = dict.fromkeys(group for r in rounds for group in r if group != "codec")
    for group in sorted(groups, key=lambda g: (g.split(",")[:2], "unlimited" in g, g)):
        for side in ("raw", "plain", "checked", "packed"):
            rates = column(rounds, group, side, "gib_s")
            if rates:
                rows.append([group, side, cell(rates), cell(column(rounds, group, side, "cpu_core_s_per_gib")),
                             cell([100 * busy for busy in column(rounds, group, side, "busy")], "{:.0f}")
                             if side in ("packed", "checked") else "-"])
    return table(["GiB/s delivered, cold, reused memory", "", "median [min-max]", "core-s/GiB",
                  "checking and decoding, % of the cores"], rows)


def memory_table(memory):
    rows = [[name, kind, f"{turn['peak_over_model']:.3f}", f"{turn['over_mib']:.0f}", f"{turn['residue_mib']:.1f}"]
            for name, kinds in memory.items() for kind, turn in kinds.items()]
    return table(["memory of a load", "image", "peak to the model", "MiB beyond it", "MiB that stay"], rows)


def codec_table(rounds):
    rows = [[what, cell([r["codec"][key] for r in rounds if "codec" in r])] for what, key in
            (("encoding", "encode_gib_s"), ("XXH3 of what is stored", "check_gib_s"), ("decoding", "decode_gib_s"))]
    return table(["one core, nothing read", "GiB/s of the model"], rows)


def verdict(row):
    if row["reach"] is None:
        return "-"
    sign = "at most " if row["at_most"] else ""

    def good(value):
        return value <= row["reach"] if row["at_most"] else value >= row["reach"]
    if not good(row["median"]):
        return f"{sign}{row['reach']:g}: **not reached**"
    worst = row["max"] if row["at_most"] else row["min"]
    said = f"{sign}{row['reach']:g}: reached"
    if row["of"] == 1:
        return said
    return said + (" in every round" if good(worst) else f", {worst:.2f} in the worst round")


def ratio_table(rows):
    cells = []
    for row in rows:
        values = f"{row['median']:.3f}" if row["of"] == 1 else cell([row["min"], row["median"], row["max"]], "{:.3f}")
        if row["rounds"] < row["of"]:
            values += f", {row['rounds']} of {row['of']} rounds"
        cells.append([row["what"], values, verdict(row), row.get("note", "")])
    return table(["", "median [min-max]", "to reach", ""], cells)


def left_out(result):
    """Turns that found another page cache than they should have, after all tries."""
    sides = [(f"{group}, {side}", turn) for part in ("packing", "loads") for a_round in result.get(part) or []
             for group, turns in a_round.items() if group != "codec" for side, turn in turns.items()]
    return collections.Counter(name for name, turn in sides if turn.get("page_cache_wrong_bytes"))


def notes(result):
    for what, why in {**result.get("missing", {}), **result.get("failed", {})}.items():
        yield f"Left out: {what}: {why}"
    for name in result.get("disagree", []):
        yield f"**{name} gave other bytes back**"
    wrong = left_out(result)
    if wrong:
        yield ("In no median and no ratio, since not even the last try found the page cache as it should be: " +
               "; ".join(f"{name} ({count})" for name, count in wrong.items()))
    base = result.get("base")
    if base:
        yield (f"The fine-tune differs in {base['tensors_changed']} of {base['tensors']} tensors, which are "
               f"{base['bytes_changed'] / base['bytes']:.1%} of its bytes; packed by itself it takes "
               f"{base['alone_bytes'] / 1e6:.0f} MB, with the base {base['based_bytes'] / 1e6:.0f}")
    gguf = result.get("gguf")
    if gguf:
        yield f"The GGUF file: {gguf['name']}, {gguf['bytes'] / 1e6:.1f} MB, packed {gguf['packed_bytes'] / 1e6:.1f}"


def markdown(result):
    machine, options, load = result["machine"], result["options"], result["load_average"]
    lines = [f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']:.0f} GiB, kernel {machine['kernel']}, "
             f"{machine['filesystem']}; {options['rounds']} rounds; {result['file']}, "
             f"{result['file_bytes'] / 1e9:.2f} GB, packed {result['packed_bytes'] / 1e9:.2f}; "
             f"load average {load[0]} before and {load[1]} after.", ""]
    for part, make in (("packing", packing_table), ("loads", load_table), ("loads", codec_table),
                       ("memory", memory_table)):
        if result.get(part):
            lines += [*make(result[part]), ""]
    if result["ratios"]:
        lines += [*ratio_table(result["ratios"]), ""]
    lines += [f"- {note}" for note in notes(result)]
    return "\n".join(lines).rstrip() + "\n"
