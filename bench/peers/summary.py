# SPDX-License-Identifier: Apache-2.0
"""What rounds come to: medians, ratios taken within a round, tables in Markdown. No measuring, no third party."""
import collections
import statistics

from peers.contestants import CONTESTANTS, NOTHING, PAGE_CACHE

OWN_PEERS = [c.name for c in CONTESTANTS if not c.ours and c.delivers not in (PAGE_CACHE, NOTHING)]
SAFETENSORS = ["safetensors mmap, copied", "safetensors pread"]
TOUCHED = ["safetensors mmap, every page touched"]
LLAMA = ["llama.cpp, mmap", "llama.cpp, mmap, not repacked", "llama.cpp, read", "llama.cpp, direct I/O"]
SERVER = ["llama-server, asleep"]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def turn_of(a_round, name, state):
    """None where there was none, and where it did not find the page cache as it should be: that counts in nothing."""
    turn = a_round.get(name, {}).get(state)
    return turn if turn and not turn.get("page_cache_wrong_bytes") else None


def column(rounds, name, state, key):
    return [turn[key] for r in rounds if (turn := turn_of(r, name, state))]


def quickest(rounds, names, state):
    """The one of them with the least median; None where nobody took a turn."""
    medians = {name: statistics.median(times) for name in names if (times := column(rounds, name, state, "seconds"))}
    return min(medians, key=medians.get) if medians else None


def ratio(rounds, ours, theirs, state, our_state=None):
    """How many times sooner `ours` is than the quickest of `theirs`, round by round; None where nobody can say.

    The quickest is one peer, of all rounds: the luckiest of several in each round would be nobody's speed.
    """
    who = quickest(rounds, theirs, state)
    pairs = [(turn_of(r, who, state), turn_of(r, ours, our_state or state)) for r in rounds]
    values = [peer["seconds"] / own["seconds"] for peer, own in pairs if peer and own]
    return {**spread(values), "who": who, "rounds": len(values), "of": len(rounds)} if values else None


# How libsgi reads: left to itself, which is what a user gets, and with either engine forced on it.
READERS = (("as it comes", "libsgi"), ("`uring`", "libsgi uring"), ("`threads`", "libsgi threads"))
# what it says, ours, theirs, the page cache, what is to be reached (None: reported only)
LOAD_RATIOS = tuple(
    (f"{state}, {memory} memory, {how}, to the fastest peer", f"{ours}, {memory}", OWN_PEERS, state, 1.0)
    for state in ("cold", "hot") for memory in ("fresh", "reused") for how, ours in READERS
) + tuple(
    (f"cold, {memory} memory, {how}, to safetensors", f"{ours}, {memory}", SAFETENSORS, "cold", 1.5)
    for memory in ("fresh", "reused") for how, ours in READERS
) + (
    ("cold, fresh memory, packed, to plain", "libsgi packed, fresh", ["libsgi, fresh"], "cold", None),
    ("cold, reused memory, packed, to plain", "libsgi packed, reused", ["libsgi, reused"], "cold", None),
    ("cold, fresh memory, packed, to the fastest peer", "libsgi packed, fresh", OWN_PEERS, "cold", None),
    ("cold, reused memory, packed, to the fastest peer", "libsgi packed, reused", OWN_PEERS, "cold", None),
    ("hot, reused memory, packed, to plain", "libsgi packed, reused", ["libsgi, reused"], "hot", None),
    ("cold, fresh memory, as it comes, to safetensors in the page cache only", "libsgi, fresh", TOUCHED, "cold", 1.0),
    ("hot, reused memory, as it comes, to safetensors in the page cache only", "libsgi, reused", TOUCHED, "hot", 1.0),
)
# what it says, the way, what is to be reached
RESIDENCE_RATIOS = (
    ("DRAM to instance, to load_file hot", "as returned", 100.0),
    ("DRAM to instance and a byte of every page", "every page touched", None),
)
# the same, with the prompt and our own state of the page cache before what is to be reached
TOKEN_RATIOS = (
    ("DRAM, to llama.cpp reloading in-process, hot", "libsgi, from DRAM", LLAMA, "hot", "hello", "hot", 4.0),
    ("DRAM, to llama-server waking, hot", "libsgi, from DRAM", SERVER, "hot", "hello", "hot", 4.0),
    ("disk cold, to llama.cpp loading cold", "libsgi, from disk", LLAMA, "cold", "hello", "cold", 1.5),
    ("disk cold, to llama-server waking, cold", "libsgi, from disk", SERVER, "cold", "hello", "cold", None),
    ("DRAM, to llama.cpp reloading, chat prompt", "libsgi, from DRAM", LLAMA, "hot", "chat", "hot", None),
    ("DRAM, to llama-server waking, chat prompt", "libsgi, from DRAM", SERVER, "hot", "chat", "hot", None),
    ("disk cold, to llama.cpp loading cold, chat prompt", "libsgi, from disk", LLAMA, "cold", "chat", "cold", None),
)


def all_ratios(result):
    """[{what, reach, median, min, max, who, rounds, of}] of everything that was measured."""
    found = []
    for what, ours, theirs, state, reach in LOAD_RATIOS:
        found.append((f"load: {what}", reach, ratio(result.get("loads") or [], ours, theirs, state)))
    for what, way, reach in RESIDENCE_RATIOS:
        found.append((what, reach, ratio(result.get("residence") or [], "libsgi", ["load_file"], way)))
    for what, ours, theirs, state, prompt, our_state, reach in TOKEN_RATIOS:
        rounds = [r.get(prompt, {}) for r in result.get("first_token") or []]
        found.append((f"first token: {what}", reach, ratio(rounds, ours, theirs, state, our_state)))
    return [{"what": what, "reach": reach, **value} for what, reach, value in found if value]


# -------------------------------------------------------------------------------------------------------------- tables


def cell(values, form="{:.2f}"):
    """median [min-max]"""
    if not values:
        return "-"
    s = spread(values)
    return f"{form.format(s['median'])} [{form.format(s['min'])}-{form.format(s['max'])}]"


def table(heading, rows):
    lines = ["| " + " | ".join(heading) + " |", "|" + "---|" * len(heading)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def load_rows(rounds):
    for contestant in CONTESTANTS:
        name = contestant.name
        if not any(name in r for r in rounds):
            continue
        rates = [cell(column(rounds, name, state, "gib_s")) for state in ("cold", "hot")]
        if contestant.delivers == NOTHING:
            times = [column(rounds, name, state, "seconds") for state in ("cold", "hot")]
            rates = ["(" + cell([t * 1000 for t in values], "{:.1f}") + " ms)" for values in times]
        cpu = [cell(column(rounds, name, state, "cpu_core_s_per_gib")) for state in ("cold", "hot")]
        peaks = [p / (1 << 30) for state in ("cold", "hot") for p in column(rounds, name, state, "peak_rss_bytes")]
        yield [name, contestant.delivers, *rates, *cpu, f"{max(peaks):.2f}" if peaks else "-"]


def load_table(rounds):
    return table(["GiB/s, median [min-max]", "delivers", "cold", "hot", "core-s/GiB cold", "core-s/GiB hot",
                  "peak RSS, GiB"], load_rows(rounds))


TOKEN_COLUMNS = (("cold", "seconds"), ("hot", "seconds"), ("hot", "cpu_seconds"))


def token_rows(rounds, prompts):
    names = dict.fromkeys(name for r in rounds for p in prompts for name in r.get(p, {}))
    order = ["libsgi, from DRAM", "libsgi, from disk", *LLAMA, *SERVER]
    for name in sorted(names, key=lambda n: order.index(n) if n in order else len(order)):
        cells = []
        for prompt in prompts:
            per_prompt = [r.get(prompt, {}) for r in rounds]
            for state, key in TOKEN_COLUMNS:
                cells.append(cell([s * 1000 for s in column(per_prompt, name, state, key)], "{:.0f}"))
        yield [name, *cells]


def token_table(rounds):
    tokens = {p: max((t["prompt_tokens"] for r in rounds for c in r.get(p, {}).values() for t in c.values()), default=0)
              for p in ("hello", "chat")}
    heading = ["first token, ms"]
    for prompt in ("hello", "chat"):
        heading += [f"{tokens[prompt]}-token prompt, cold", "hot", "CPU time, hot"]
    return table(heading, token_rows(rounds, ("hello", "chat")))


PHASES = ("request", "open", "context", "grant", "decode", "other")


def phase_rows(rounds):
    prompts = dict.fromkeys(prompt for r in rounds for prompt in r)
    for prompt in prompts:
        per_prompt = [r.get(prompt, {}) for r in rounds]
        for name in dict.fromkeys(name for r in per_prompt for name in r):
            turns = [turn for r in per_prompt if (turn := turn_of(r, name, "hot")) and "phases_ms" in turn]
            if turns:
                yield [name, prompt, *(cell([turn["phases_ms"][phase] for turn in turns]) for phase in PHASES),
                       cell([turn["context_faults"] for turn in turns], "{:.0f}")]


def phase_table(rounds):
    """Where a first token's time goes, with the file in the page cache; bench/first_token.c says what is what."""
    order = ["libsgi, from DRAM", "libsgi, from disk", *LLAMA]
    rows = sorted(phase_rows(rounds), key=lambda row: (row[1] == "chat", order.index(row[0]) if row[0] in order else
                                                       len(order)))
    return table(["first token hot, ms in", "prompt", *PHASES, "page faults of the context"], rows) if rows else []


def residence_table(rounds):
    ways = [way for _, way, _ in RESIDENCE_RATIOS]
    rows = [[who, *(cell([s * 1000 for s in column(rounds, who, way, "seconds")], "{:.3f}") for way in ways)]
            for who in ("libsgi", "load_file")]
    return table([f"DRAM to instance, ms, {len(rounds)} rounds", *ways], rows)


def verdict(row):
    if row["reach"] is None:
        return "-"
    if row["median"] < row["reach"]:
        return f"{row['reach']:g}: **not reached**"
    return f"{row['reach']:g}: reached" + (f", {row['min']:.2f} in the worst round" if row["min"] < row["reach"] else
                                           " in every round")


def ratio_table(rows):
    cells = []
    for row in rows:
        ratios = f"{row['median']:.2f} [{row['min']:.2f}-{row['max']:.2f}]"
        if row["rounds"] < row["of"]:
            ratios += f", {row['rounds']} of {row['of']} rounds"
        cells.append([row["what"], ratios, row["who"], verdict(row)])
    return table(["times sooner, within a round", "median [min-max]", "quickest of them", "to reach"], cells)


def turns_by_name(result):
    """[(name, turn)] of all turns, whichever part they are of."""
    def walk(node, words):
        if isinstance(node, list):
            for child in node:
                yield from walk(child, words)
        elif "seconds" in node:
            yield ", ".join(words), node
        else:
            for word, child in node.items():
                yield from walk(child, [*words, word])
    for part in ("loads", "residence", "first_token"):
        yield from walk(result.get(part) or [], [])


def page_cache_notes(result):
    taken = list(turns_by_name(result))
    again = sum(turn.get("redone", 0) for _, turn in taken)
    left_out = collections.Counter(name for name, turn in taken if turn.get("page_cache_wrong_bytes"))
    if again:
        yield f"Turns that did not find the page cache as they should have, and were taken again: {again}"
    if left_out:
        yield ("In no median and no ratio, since not even the last try found the page cache as it should be: " +
               "; ".join(f"{name} ({count})" for name, count in left_out.items()))


def engine_notes(rounds):
    """What libsgi, left to itself, has read with."""
    for state in ("cold", "hot"):
        used = sorted({engine for memory in ("fresh", "reused")
                       for engine in column(rounds, f"libsgi, {memory}", state, "engine")})
        if used:
            yield f"libsgi as it comes read the {state} file with {' and '.join(used)}"


def notes(result):
    for what, why in {**result.get("missing", {}), **result.get("failed", {})}.items():
        yield f"Left out: {what}: {why}"
    for name in result.get("disagree", []):
        yield f"**{name} loaded other bytes than the rest**"
    yield from engine_notes(result.get("loads") or [])
    yield from page_cache_notes(result)


def markdown(result):
    machine, options = result["machine"], result["options"]
    file = f", file of {result['file_bytes'] / 1e9:.2f} GB" if result["file_bytes"] else ""
    file += f", {result['packed_bytes'] / 1e9:.2f} packed" if result.get("packed_bytes") else ""
    lines = [f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']:.0f} GiB, kernel {machine['kernel']}, "
             f"{machine['filesystem']}; {options['rounds']} rounds{file}; "
             f"{options['threads']} thread(s) compute; load average {result['load_average'][0]} before and "
             f"{result['load_average'][1]} after.", ""]
    for part, make in (("loads", load_table), ("residence", residence_table), ("first_token", token_table),
                       ("first_token", phase_table)):
        rows = make(result[part]) if result.get(part) else []
        if rows:
            lines += [*rows, ""]
    if result["ratios"]:
        lines += [*ratio_table(result["ratios"]), ""]
    lines += [f"- {note}" for note in notes(result)]
    return "\n".join(lines).rstrip() + "\n"
