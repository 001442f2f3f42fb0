#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The trace as a viewer reads it: Chrome's trace event format, with what about:tracing and Perfetto need of each event.

    check_trace.py OBSERVED     the program of observed.c
"""

import json
import subprocess
import sys

STEPS = {"source", "context", "memory", "open", "read", "verify", "decode", "copy", "prefix", "prepare", "start"}
ROUNDING_US = 0.01


def no_duplicates(pairs):
    found = dict(pairs)
    assert len(found) == len(pairs), f"a name twice in {pairs}"
    return found


def main():
    text = subprocess.run([sys.argv[1], "trace"], check=True, capture_output=True).stdout
    trace = json.loads(text.decode("utf-8"), object_pairs_hook=no_duplicates)
    assert trace["displayTimeUnit"] in ("ms", "ns")
    processes, starts, steps = {}, {}, {}
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str) and event["name"], event
        assert isinstance(event["pid"], int), event
        assert isinstance(event.get("args", {}), dict), event
        if event["ph"] == "M":
            if event["name"] == "process_name":
                assert event["pid"] not in processes, "two names for one process"
                processes[event["pid"]] = event["args"]["name"]
            continue
        assert event["ph"] == "X", f"a phase that no complete event has: {event}"
        assert isinstance(event["tid"], int) and event["ts"] >= 0 and event["dur"] >= 0, event
        if event["tid"] == 0:
            assert event["name"] == "start" and event["pid"] not in starts, event
            assert event["args"]["bytes"] > 0 and event["args"]["device"] == 0, event
            starts[event["pid"]] = event
        else:
            assert event["name"] in STEPS, event
            # A row holds one step: spans in one row would have to nest.
            assert (event["pid"], event["tid"]) not in steps, "two spans in one row"
            steps[event["pid"], event["tid"]] = event
    assert set(starts) == set(processes), "each start is a process with a name"
    for (pid, _), step in steps.items():
        start = starts[pid]
        assert step["ts"] >= start["ts"], (start, step)
        assert step["ts"] + step["dur"] <= start["ts"] + start["dur"] + ROUNDING_US, (start, step)

    from_disk = [pid for pid, name in processes.items() if name.endswith(" from disk")]
    from_dram = [pid for pid, name in processes.items() if name.endswith(" from dram")]
    assert len(from_disk) == 6 and len(from_dram) == 6, processes
    names = {pid: {s["name"] for (p, _), s in steps.items() if p == pid} for pid in processes}
    assert all({"source", "open", "read"} <= names[pid] for pid in from_disk), names
    assert all("read" not in names[pid] for pid in from_dram), names
    engine = [pid for pid in from_disk if processes[pid].startswith("engine ")]
    assert len(engine) == 1 and {"prefix", "prepare", "start"} <= names[engine[0]], names
    print(f"{len(starts)} starts, {len(steps)} steps")


if __name__ == "__main__":
    main()
