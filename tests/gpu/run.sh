#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a GPU can show: the suites on a real driver, what it takes, and both in one JSON and one table.
#
#   tests/gpu/run.sh [options]
#
#   --out FOLDER     where results.json, results.md and what each step said go (build/gpu)
#   --build FOLDER   what was built (build/release)
#   --only STEP      this step alone; may be given several times (--list names them)
#   --bytes BYTES    size of the model that is measured with (2G)
#   --model FILE     a BERT encoder in safetensors: for cuda_infer beside the random one, and for sgi load --digest
#   --seconds N      for all steps together (460)
#   --list           names the steps
#   --fake           all of it on tests/fakecuda, with small sizes: that the suite itself works. Its figures are worth
#                    nothing and are not written
#
# Needs bash, coreutils, awk and what was built: tests/gpu/pack.sh makes a folder of it for a machine that has no more
# than the driver. Python 3 is for the peers, and for --fake. Takes less than 8 minutes: each step has its own time, and
# all of them together. Models are made under TMPDIR, or /var/tmp: the disk that is measured.
#
# Exit status: 0 all passed; 1 a step failed, was out of time, or was skipped without being one that may; 2 usage; 3 no
# device.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$tree/build/release
out=$tree/build/gpu
bytes=2G
model=
fake=0
only=()
deadline_s=460

# name, seconds at most, what it shows. Tests before figures, and what takes longest last.
steps=(
    "driver 60 what the library relies on of a driver"
    "device 60 the device table, alike for host and cuda"
    "kernels 40 our kernels against plain C"
    "loads 90 tensors read back are the file's"
    "zero 60 an idle model leaves the device, as NVML sees it"
    "fault 40 a kernel that faults"
    "infer 40 cuda_infer: layers compute while weights arrive"
    "bench 150 a model's way onto the device beside its ceilings"
    "peers 150 other loaders in turn with libsgi"
    "probe 200 what the card, its driver and the machine do"
)
may_skip=" peers "

usage()
{
    sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

wrong()
{
    printf 'run.sh: %s\n' "$*" >&2
    exit 2
}

list_steps()
{
    local step

    for step in "${steps[@]}"; do
        read -r name _ text <<<"$step"
        printf '%-8s %s\n' "$name" "$text"
    done
}

while (($#)); do
    case $1 in
    --out | --build | --only | --bytes | --model | --seconds)
        [[ -n ${2:-} ]] || wrong "$1 needs a value"
        case $1 in
        --out) out=$2 ;;
        --build) build=$2 ;;
        --bytes) bytes=$2 ;;
        --model) model=$(realpath -- "$2") ;;
        --seconds)
            [[ $2 =~ ^[0-9]{1,5}$ ]] || wrong "--seconds takes a number, not '$2'"
            deadline_s=$2
            ;;
        --only)
            [[ " $(list_steps | awk '{ print $1 }' | tr '\n' ' ') " == *" $2 "* ]] || wrong "there is no step '$2'"
            only+=("$2")
            ;;
        esac
        shift
        ;;
    --fake) fake=1 ;;
    --list) list_steps && exit 0 ;;
    -h | --help) usage && exit 0 ;;
    *) wrong "'$1' is not an option (--help lists them)" ;;
    esac
    shift
done
[[ -x $build/bench/gpu_probe && -x $build/tests/gpu_loads ]] ||
    wrong "'$build' has no bench/gpu_probe and tests/gpu_loads: build them, or say --build FOLDER"
build=$(cd "$build" && pwd)

work=$(mktemp -d "${TMPDIR:-/var/tmp}/sgi-gpu.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
said=$work/said
mkdir -p "$said" "$work/tmp"
export TMPDIR=$work/tmp

driver=() python=${SGI_TEST_PYTHON:-python3} rounds=5 probe_options=(--bytes 8G)
if ((fake)); then
    driver=("$python" "$tree/tests/fakecuda/run" --build "$build" --vram 2G)
    bytes=16M rounds=1 probe_options=(--only driver)
fi

# ---------------------------------------------------------------------------------------------------------------- steps

step_driver() { "${driver[@]}" "$build/tests/conformance_cuda_driver" --any; }
step_device() { "${driver[@]}" "$build/tests/conformance_device" cuda; }
step_kernels() { "${driver[@]}" "$build/tests/gpu_kernels"; }
step_zero() { "${driver[@]}" "$build/tests/gpu_zero"; }
step_fault() { "${driver[@]}" "$build/tests/gpu_fault"; }
step_probe() { "${driver[@]}" "$build/bench/gpu_probe" "${probe_options[@]}"; }

# With a model also as a user sees it: the same digests on both devices.
step_loads()
{
    "${driver[@]}" "$build/tests/gpu_loads" || return
    [[ -n $model ]] || return 0
    digests cuda:0 >"$TMPDIR/device" && digests host:0 >"$TMPDIR/host" && cmp "$TMPDIR/device" "$TMPDIR/host"
}

digests()
{
    "${driver[@]}" "$build/bin/sgi" load "$model" --device "$1" --digest >"$TMPDIR/said" || return
    grep -E '^ *[0-9a-f]{16} ' "$TMPDIR/said"
}

# It ends with 2 where it has no device.
step_infer()
{
    local status=0

    "${driver[@]}" "$build/examples/cuda_infer" || status=$?
    ((status != 2)) || return 77
    ((status == 0)) && [[ -n $model ]] || return "$status"
    "${driver[@]}" "$build/examples/cuda_infer" "$model"
}

needs_loads()
{
    [[ ! -f $said/loads.status || $(<"$said/loads.status") != 77 ]] || { tail -n 1 "$said/loads" && return 77; }
}

step_bench()
{
    needs_loads || return 77
    SGI_BENCH_DIR=$TMPDIR "${driver[@]}" "$build/bench/sgi-bench" gpu --bytes "$bytes" --repeat "$rounds"
}

step_peers()
{
    ((!fake)) || { echo "there are no peers for a fake driver" && return 77; }
    command -v "$python" >/dev/null || { echo "there is no Python here" && return 77; }
    needs_loads || return 77
    "$python" "$tree/bench/gpu_peers.py" "$build/bench/sgi-bench" --bytes "$(numfmt --from=iec "$bytes")" \
        --rounds "$rounds"
}

# ------------------------------------------------------------------------------------------------------------- running

export -f step_driver step_device step_kernels step_loads step_zero step_fault step_probe step_infer step_bench
export -f step_peers needs_loads digests

# Text for a string of JSON and a cell of a table.
plain()
{
    tr -cd '[:print:]\n' | tr '"\\|' "'/ " | cut -c 1-240
}

# run_step NAME SECONDS TEXT: a line "name|ended|status|seconds|last line" into the list of results.
run_step()
{
    local name=$1 most=$2 status=0 ended=passed start=$SECONDS last left

    left=$((deadline_s - SECONDS))
    ((most < left)) || most=$left
    if ((most < 2)); then
        printf '%s|not run|-|0|the time of all steps together is over\n' "$name" >>"$work/steps"
        return
    fi
    printf '%-8s ' "$name"
    # A shell of its own, so that all that it starts can be ended.
    (
        declare -p driver build tree said python bytes rounds probe_options model fake >"$work/variables"
        timeout -k 5 "$most" bash -c ". '$work/variables'; step_$name" >"$said/$name" 2>"$said/$name.err"
    ) || status=$?
    echo "$status" >"$said/$name.status"
    case $status in
    0) ;;
    77) ended=skipped ;;
    124 | 137) ended="out of time" ;;
    *) ended=failed ;;
    esac
    last=$(cat "$said/$name" "$said/$name.err" | awk '!/^{/ && NF { line = $0 } END { print line }' | plain)
    [[ $ended != passed ]] || last=
    printf '%-12s %3d s  %s\n' "$ended" "$((SECONDS - start))" "$last"
    printf '%s|%s|%s|%s|%s\n' "$name" "$ended" "$status" "$((SECONDS - start))" "$last" >>"$work/steps"
    if [[ $ended == failed || $ended == "out of time" ]]; then
        tail -n 30 "$said/$name.err" "$said/$name" >&2
    fi
}

# ------------------------------------------------------------------------------------------------------------- results

# Whole lines of JSON only: who was out of time may have written half of one.
json_lines()
{
    local file

    for file in "$@"; do
        [[ ! -f $said/$file ]] || grep '^{.*}$' "$said/$file" || true
    done
}

rows()
{
    json_lines bench peers | grep '^{"what":"row"' || true
}

card()
{
    json_lines bench | sed -n 's/.*"card":\({[^}]*}\).*/\1/p' | tail -n 1
}

write_json()
{
    local probe=null found

    found=$(card)
    [[ ! -s $said/probe || $(<"$said/probe.status") != 0 ]] || probe=$(<"$said/probe")
    printf '{"suite":"libsgi on a GPU","date":"%s","host":"%s","card":%s,"seconds":%d,\n"steps":[' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(host | plain)" "${found:-null}" "$SECONDS"
    awk -F'|' '{ printf "%s\n{\"name\":\"%s\",\"ended\":\"%s\",\"status\":\"%s\",\"seconds\":%s,\"last\":\"%s\"}",
                 (NR > 1 ? "," : ""), $1, $2, $3, $4, $5 }' "$work/steps"
    printf '],\n"rows":[\n%s\n],\n"lines":[\n%s\n],\n"probe":%s}\n' "$(rows | paste -sd, | sed 's/},{/},\n{/g')" \
        "$(json_lines bench peers | grep -v '^{"what":"row"' | paste -sd, | sed 's/},{"what"/},\n{"what"/g')" "$probe"
}

host()
{
    printf '%s, %s CPUs, %s' "$(uname -srm)" "$(nproc)" \
        "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
}

# value NAME in a row of JSON, by sgi-bench or by Python.
table_of_rows()
{
    echo "| | median [min-max] | | rounds | to reach |"
    echo "|---|---|---|---|---|"
    rows | awk '
        function value(name,   at, rest) {
            if (!match($0, "\"" name "\":"))
                return ""
            rest = substr($0, RSTART + RLENGTH)
            if (substr(rest, 1, 1) == "\"") {
                rest = substr(rest, 2)
                return substr(rest, 1, index(rest, "\"") - 1)
            }
            match(rest, /[,}]/)
            return substr(rest, 1, RSTART - 1)
        }
        {
            least = value("at_least"); most = value("at_most"); reach = ""
            if (least != "") reach = "at least " least + 0
            if (most != "") reach = "at most " most + 0
            if (reach != "") reach = reach (value("reached") == "true" ? ": reached" : ": **not reached**")
            printf "| %s | %.3g [%.3g-%.3g] | %s | %s | %s |\n", value("text"), value("median"), value("min"),
                   value("max"), value("unit"), value("count"), reach
        }'
}

write_markdown()
{
    printf '# libsgi on a GPU\n\n%s, %s. %s\n\n' "$(date -u +%Y-%m-%d)" "$(host)" \
        "$(card | sed 's/[{}]//g; s/"\([a-z]*\)":/\1 /g; s/"//g; s/,/, /g')"
    printf '| step | | seconds | |\n|---|---|---|---|\n'
    awk -F'|' '{ printf "| %s | %s | %s | %s |\n", $1, $2 == "failed" ? "**failed**" : $2, $4, $5 }' "$work/steps"
    printf '\n'
    table_of_rows
}

write_results()
{
    mkdir -p "$out/said"
    cp -f "$said"/* "$out/said/"
    write_json >"$out/results.json"
    write_markdown >"$out/results.md"
    echo "$out/results.json, $out/results.md"
}

# ---------------------------------------------------------------------------------------------------------------- main

there=0
"${driver[@]}" "$build/bench/gpu_probe" --only driver >"$work/driver.json" 2>"$work/driver.err" || there=$?
if ((there != 0)); then
    printf 'run.sh: no CUDA device can be used here: %s\n' \
        "$(sed -n 's/.*"reason": *"\([^"]*\)".*/\1/p' "$work/driver.json" | tail -n 1)" >&2
    exit 3
fi

: >"$work/steps"
for step in "${steps[@]}"; do
    read -r name seconds _ <<<"$step"
    if ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $name "* ]]; then
        run_step "$name" "$seconds"
    fi
done

bad=$(awk -F'|' -v may="$may_skip" \
    '$2 != "passed" && !($2 == "skipped" && index(may, " " $1 " "))' "$work/steps" | wc -l)
if ((fake)); then
    echo "on the fake driver: its figures say nothing, and are not written"
else
    write_results
fi
((bad == 0))
