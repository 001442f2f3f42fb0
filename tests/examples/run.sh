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

# one_line WORDS: all that stderr has is one line with the words.
one_line()
{
    [[ $(wc -l <err) == 1 ]] && grep -qF -- "$1" err || fail "not one line that says '$1': $(cat err)"
}

run 0 --help
grep -q -- "--idle-ms N .*1 to 3600000" out || fail "--help does not list the options and their ranges"
run 2 --prompt
one_line "--prompt needs a value"
run 2 stray
one_line "'stray' is not an option"

# Wrong values are told before anything is set up, in one line, and the program behind says the same of them.
generate=$tree/build/release/examples/generate
touch readable
mkdir folder && mkfifo pipe.gguf
cpus=$(env -u OMP_NUM_THREADS nproc)
while read -r argument; do
    run 2 "$argument"
    [[ $(wc -l <err) == 1 ]] || fail "$argument does not give one line: $(cat err)"
    sed 's/^run.sh: //' err >expected
    status=0
    "$generate" --model readable "$argument" >out 2>err </dev/null || status=$?
    ((status == 2)) && sed 's/^generate: //' err | cmp -s - expected ||
        fail "of $argument the two programs say: $(cat expected err)"
done <<END
--bogus
--idle-ms=soon
--idle-ms=0
--idle-ms=3600001
--idle-ms=
--idle-ms=99999999999999999999
--max-tokens=0
--max-tokens=2147483648
--n-ctx=15
--n-ctx=16777217
--threads=0
--threads=1025
--threads=$((cpus + 1))
--temperature=-1
--temperature=100.5
--temperature=warm
--temperature=
--model=
END
for argument in --idle-ms=1 --idle-ms=3600000 --max-tokens=2147483647 --n-ctx=16 --n-ctx=16777216 \
    --threads="$cpus" --temperature=0.7 --temperature=1e-2 --temperature=100; do
    run 2 "$argument" --bogus # is taken, so that what is said is of the next
    one_line "--bogus"
    "$generate" --model readable "$argument" --bogus 2>err && fail "--bogus is taken"
    one_line "--bogus"
done
run 2 --trace folder
one_line "'folder' is a folder"
run 2 --trace missing/trace.json
one_line "no folder 'missing'"
[[ ! -e folder/trace.json && ! -e missing ]] || fail "a refused --trace has left something"

run 2 --model missing.gguf
one_line "no file 'missing.gguf'"
run 2 --model folder
one_line "'folder' is not a file"
run 2 --model pipe.gguf
one_line "'pipe.gguf' is not a file"
echo "not a model, whatever its name" >broken.gguf
run 1 --model broken.gguf
one_line broken.gguf

# A model of one's own: the other is not downloaded, though it is not there, and llama.cpp is not built again.
mkdir cache
for kept in "$(. "$tree/build/llama.env" && dirname "$SGI_DEMO_MODEL")"/../llama-*; do
    ln -s "$kept" cache/
done
SGI_CACHE_DIR=$work/cache "$tree/examples/llama/setup.sh" --no-model "$work/own" >out 2>err ||
    fail "setup.sh --no-model fails: $(cat err)"
grep -q "^LLAMA_PREFIX=" out && [[ $(cat out) != *SGI_DEMO_MODEL* && -z $(find cache -name '*smollm2*') ]] ||
    fail "setup.sh --no-model has fetched the model: $(cat out err)"

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

# Output that does not arrive; the prompt that does not fit is told of by the name of its option.
for argument in --json --temperature=0; do
    status=0
    "$tree/examples/run.sh" "$argument" --max-tokens 2 --idle-ms 50 >/dev/full 2>err </dev/null || status=$?
    ((status == 1)) || fail "'$argument' ends with $status where its output cannot be written"
    one_line "standard output could not be written"
done
run 1 --n-ctx 256 --idle-ms 50 --json --prompt "$(yes word | head -n 300 | tr '\n' ' ')"
one_line "(--n-ctx)"
status=0
"$tree/examples/run.sh" --max-tokens 2 --idle-ms 50 --trace /dev/full --json >out 2>err </dev/null || status=$?
((status == 1)) || fail "a trace that cannot be written ends with $status"
one_line "cannot write the trace to /dev/full: No space left on device"

if [[ -r ${SGI_TEST_SAFETENSORS:-} ]]; then
    "$tree/build/release/examples/quickstart" "$SGI_TEST_SAFETENSORS" >out || fail "the quickstart fails"
    grep -q "bytes:" out || fail "the quickstart shows no tensor"
fi
