#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/run.sh and the quickstart, as a reader runs them:   tests/examples/run.sh PYTHON
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$1
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

fail()
{
    echo "examples/run.sh: $*"
    exit 1
}

# run STATUS ARGUMENT...: stdout and stderr into $work.
run()
{
    local want=$1 status=0

    shift
    "$tree/examples/run.sh" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    if ((status != want)); then
        cat "$work/out" "$work/err"
        fail "'$*' ends with $status, not $want"
    fi
}

if ! "$tree/examples/llama/setup.sh" "$tree/build" >"$work/out" 2>"$work/err"; then
    tail -n 1 "$work/err"
    exit 77
fi
cd "$work" # it has to work from anywhere

run 2 --bogus
grep -q "there is no option '--bogus'" err && grep -q -- --prompt err || fail "wrong options do not give the usage"
run 2 --idle-ms soon
grep -q "takes a number" err || fail "a number that is none is not refused"
run 2 --prompt
run 0 --help
grep -q -- --prompt out || fail "--help does not list the options"

run 1 --model missing.gguf
[[ $(wc -l <err) == 1 ]] && grep -q missing.gguf err || fail "a missing model does not give one line: $(cat err)"
mkdir folder && mkfifo pipe.gguf && echo "not a model, whatever its name" >broken.gguf
for bad in folder pipe.gguf broken.gguf; do
    run 1 --model "$bad"
    [[ $(wc -l <err) == 1 ]] && grep -q "$bad" err || fail "$bad does not give one line: $(cat err)"
done

run 0 --json --max-tokens 24 --idle-ms 100 --trace trace.json
"$python" - out trace.json <<'PY'
import json, sys
report, trace = (json.load(open(path)) for path in sys.argv[1:])

cold, dram, warm = report["runs"]
assert [r["tier"] for r in report["runs"]] == ["disk", "DRAM", "device"], [r["tier"] for r in report["runs"]]
assert cold["answer"] and cold["answer"] == dram["answer"] == warm["answer"], report["runs"]
assert all(0 < r["lease_ms"] < r["first_token_ms"] <= r["total_ms"] and r["tokens"] > 3 for r in report["runs"])
assert dram["lease_ms"] < cold["lease_ms"] / 2, (dram["lease_ms"], cold["lease_ms"])
assert warm["lease_ms"] < dram["lease_ms"] / 2, (warm["lease_ms"], dram["lease_ms"]) # microseconds, if left alone
assert cold["bytes"] > 0.9 * report["model"]["file_bytes"] and cold["gib_per_s"] > 0
steps = {p["step"]: p["ms"] for p in cold["phases"]}
assert {"read", "prepare", "start"} <= set(steps), steps
assert "read" not in {p["step"] for p in dram["phases"]}
assert all(p["start_ms"] + p["ms"] <= cold["lease_ms"] + 1 for p in cold["phases"]), (cold["phases"], cold["lease_ms"])

nothing = ("device_bytes", "engine_bytes", "instances", "contexts", "working_threads", "engine_threads")
assert all(report["registered"][k] == 0 for k in nothing + ("dram_bytes", "prepared_bytes")), report["registered"]
assert all(report["idle"][k] == 0 for k in nothing), report["idle"]
assert report["idle"]["dram_bytes"] >= cold["bytes"] > 0 and report["idle"]["prepared_bytes"] > 0, report["idle"]
assert report["ready"]["device_bytes"] > report["ready"]["engine_bytes"] > 0, report["ready"]
assert 100 <= report["idle_after_ms"] < 5000, report["idle_after_ms"]

events = trace["traceEvents"] if isinstance(trace, dict) else trace
assert any(e.get("name") == "read" for e in events), "the trace has no read"
PY

run 0 --max-tokens 8 --idle-ms 50 --prompt "Say hello."
grep -q "first token" out && grep -q "^warm" out || fail "the table is missing: $(cat out)"
if grep -q "$(printf '\033')" out err; then
    fail "terminal colours where there is no terminal"
fi

if [[ -r ${SGI_TEST_SAFETENSORS:-} ]]; then
    "$tree/build/release/examples/quickstart" "$SGI_TEST_SAFETENSORS" >out || fail "the quickstart fails"
    grep -q "bytes:" out || fail "the quickstart shows no tensor"
fi
