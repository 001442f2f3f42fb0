# SPDX-License-Identifier: Apache-2.0
"""What rounds come to: medians, ratios taken within a round, tables in Markdown. No measuring, no third party."""
import statistics

from peers.contestants import CONTESTANTS, NOTHING, PAGE_CACHE

OWN_PEERS = [c.name for c in CONTESTANTS if not c.ours and c.delivers not in (PAGE_CACHE, NOTHING)]
SAFETENSORS = ["safetensors mmap, copied", "safetensors pread"]
TOUCHED = ["safetensors mmap, every page touched"]
LLAMA = ["llama.cpp, mmap", "llama.cpp, mmap, not repacked", "llama.cpp, read", "llama.cpp, direct I/O"]
SERVER = ["llama-server, asleep"]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def column(rounds, name, state, key):
    return [r[name][state][key] for r in rounds if state in r.get(name, {})]


def quickest(rounds, names, state):
    """The one of them with the least median; None where nobody took a turn."""
    medians = {name: statistics.median(times) for name in names if (times := column(rounds, name, state, "seconds"))}
    return min(medians, key=medians.get) if medians else None


def ratio(rounds, ours, theirs, state, our_state=None):
    """How many times sooner `ours` is than the quickest of `theirs`, round by round; None where nobody can say.

    The quickest is one peer, of all rounds: the luckiest of several in each round would be nobody's speed.
    """
    who = quickest(rounds, theirs, state)
    values = [r[who][state]["seconds"] / r[ours][our_state or state]["seconds"] for r in rounds
              if who and state in r.get(who, {}) and (our_state or state) in r.get(ours, {})]
    return {**spread(values), "who": who, "rounds": len(values)} if values else None


# what it says, ours, theirs, the page cache, what is to be reached (None: reported only)
LOAD_RATIOS = (
    ("cold, fresh memory, to the fastest peer", "libsgi uring, fresh", OWN_PEERS, "cold", 1.0),
    ("cold, fresh memory, `threads`, to the fastest peer", "libsgi threads, fresh", OWN_PEERS, "cold", None),
    ("cold, reused memory, to the fastest peer", "libsgi uring, reused", OWN_PEERS, "cold", 1.0),
    ("cold, fresh memory, to safetensors", "libsgi uring, fresh", SAFETENSORS, "cold", 1.5),
    ("cold, reused memory, to safetensors", "libsgi uring, reused", SAFETENSORS, "cold", 1.5),
    ("cold, fresh memory, to safetensors in the page cache only", "libsgi uring, fresh", TOUCHED, "cold", 1.0),
    ("hot, fresh memory, to the fastest peer", "libsgi threads, fresh", OWN_PEERS, "hot", 1.0),
    ("hot, reused memory, to the fastest peer", "libsgi threads, reused", OWN_PEERS, "hot", 1.0),
    ("hot, reused memory, to safetensors in the page cache only", "libsgi threads, reused", TOUCHED, "hot", 1.0),
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


def residence_ratio(rounds, way):
    return {**spread([r["load_file"][way] / r["libsgi"][way] for r in rounds]), "who": f"load_file, {way}",
            "rounds": len(rounds)}


def all_ratios(result):
    """[{what, reach, median, min, max, who, rounds}] of everything that was measured."""
    found = []
    for what, ours, theirs, state, reach in LOAD_RATIOS:
        found.append((f"load: {what}", reach, ratio(result.get("loads") or [], ours, theirs, state)))
    if result.get("residence"):
        found.append(("DRAM to instance, to load_file hot", 100.0,
                      residence_ratio(result["residence"], "as returned")))
        found.append(("DRAM to instance and a byte of every page", None,
                      residence_ratio(result["residence"], "every page touched")))
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
        peak = max(column(rounds, name, "cold", "peak_rss_bytes") + column(rounds, name, "hot", "peak_rss_bytes"))
        yield [name, contestant.delivers, *rates, *cpu, f"{peak / (1 << 30):.2f}"]


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


def residence_table(rounds):
    ways = list(rounds[0]["libsgi"])
    rows = [[who, *(cell([r[who][way] * 1000 for r in rounds], "{:.3f}") for way in ways)]
            for who in ("libsgi", "load_file")]
    return table(["DRAM to instance, ms", *ways], rows)


def verdict(row):
    if row["reach"] is None:
        return "-"
    return f"{row['reach']:g}: " + ("reached" if row["median"] >= row["reach"] else "**not reached**")


def ratio_table(rows):
    return table(["times sooner, within a round", "median [min-max]", "quickest of them", "to reach"],
                 [[row["what"], "{:.2f} [{:.2f}-{:.2f}]".format(row["median"], row["min"], row["max"]), row["who"],
                   verdict(row)] for row in rows])


def wrong_pages(result):
    """Turns that did not find the page cache as they should have."""
    def walk(node):
        if isinstance(node, dict):
            yield from ([node] if node.get("page_cache_wrong_bytes") else [])
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from walk(child)
    return sum(1 for _ in walk([result.get("loads"), result.get("first_token")]))


def notes(result):
    for what, why in {**result.get("missing", {}), **result.get("failed", {})}.items():
        yield f"Left out: {what}: {why}"
    for name in result.get("disagree", []):
        yield f"**{name} loaded other bytes than the rest**"
    if wrong_pages(result):
        yield f"Turns that did not find the page cache as they should have: {wrong_pages(result)}"


def markdown(result):
    machine, options = result["machine"], result["options"]
    file = f", file of {result['file_bytes'] / 1e9:.2f} GB" if result["file_bytes"] else ""
    lines = [f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']:.0f} GiB, kernel {machine['kernel']}, "
             f"{machine['filesystem']}; {options['rounds']} rounds{file}; "
             f"{options['threads']} thread(s) compute; load average {result['load_average'][0]} before and "
             f"{result['load_average'][1]} after.", ""]
    for part, make in (("loads", load_table), ("residence", residence_table), ("first_token", token_table)):
        if result.get(part):
            lines += [*make(result[part]), ""]
    if result["ratios"]:
        lines += [*ratio_table(result["ratios"]), ""]
    lines += [f"- {note}" for note in notes(result)]
    return "\n".join(lines).rstrip() + "\n"
