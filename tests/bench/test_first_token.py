# SPDX-License-Identifier: Apache-2.0
"""bench/first_token: that its phases are the whole of each turn, and that all ways say the same token.

    test_first_token.py FIRST_TOKEN

SGI_TEST_GGUF is the model (tests/run.sh sets it).
"""
import json
import os
import subprocess
import sys

WAYS = ("sgi_dram", "sgi_disk", "mmap", "mmap_plain", "read", "direct")
SECONDS_MAX = 240


def ask(program, model, lines):
    done = subprocess.run([program, model], input="".join(f"{line}\n" for line in lines), capture_output=True,
                          text=True, timeout=SECONDS_MAX, check=False)
    return done, [json.loads(line) for line in done.stdout.splitlines()]


def check(turn):
    phases = turn["phases_ms"]
    assert abs(sum(phases.values()) - 1e3 * turn["seconds"]) < 0.01, turn  # each is rounded
    assert min(phases.values()) >= 0, turn
    assert phases["open"] > 0, turn
    if turn["way"] == "vocabulary":
        assert (phases["context"], phases["grant"], phases["decode"], turn["token"]) == (0, 0, 0, ""), turn
        return
    assert phases["context"] > 0 and phases["decode"] > 0 and turn["context_faults"] > 0, turn
    assert (phases["grant"] > 0) == turn["way"].startswith("sgi"), turn
    assert turn["token"], turn


def main():
    program, model = sys.argv[1], os.environ.get("SGI_TEST_GGUF")
    if not model:
        print("SGI_TEST_GGUF is not set: no model to ask")
        sys.exit(77)
    done, turns = ask(program, model, ["vocabulary hello", *(f"{way} hello" for way in WAYS), "sgi_dram chat"])
    assert done.returncode == 0 and len(turns) == len(WAYS) + 2, done
    for turn in turns:
        check(turn)
    assert len({turn["token"] for turn in turns[1:-1]}) == 1, turns

    for line, named in (("nobody hello", "nobody"), ("mmap nothing", "hello or chat"), ("mmap", "hello or chat")):
        done, turns = ask(program, model, [line])
        assert done.returncode == 1 and not turns and named in done.stderr, done


if __name__ == "__main__":
    main()
