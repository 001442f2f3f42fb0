#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything that only a GPU can show: the suites on a real driver, what it takes, and both in one JSON and one table.
#
#   tests/gpu/run.sh [options]
#
#   --out FOLDER     where results.json, results.md and what each step said (said/) go (build/gpu)
#   --build FOLDER   what was built (build/release)
#   --only STEP      this step alone; may be given several times (--list names them)
#   --bytes BYTES    size of the model that is measured with (2G), from 1M to 1T
#   --model FILE     a BERT encoder in safetensors: for cuda_infer beside the random one, and for sgi load --digest
#   --seconds N      for all steps together (460), at least 1
#   --list           names the steps
#   --fake           all of it on tests/fakecuda, with small sizes: that the suite itself works. Its figures are worth
#                    nothing and are not written: what steps said is in --out (gpu_fake in the build's folder)
#
# Needs bash, coreutils, awk and what was built: tests/gpu/pack.sh makes a folder of it for a machine that has no more
# than the driver. Python 3 is for the peers, and for --fake. Takes less than 8 minutes: each step has its own time, and
# all of them together. Models are made under TMPDIR, or /var/tmp: the disk that is measured.
#
# Exit status: 0 all passed; 1 a step failed, was out of time, was not run, or was skipped without being one that may;
# 2 usage; 3 no device.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$tree/build/release
out=
bytes=$((2 << 30))
model=
fake=0
only=()
deadline_s=460

# name, seconds at most, the program of the build that it needs, what it shows. Tests before figures, and what takes
# longest last.
steps=(
    "driver 60 tests/conformance_cuda_driver what the library relies on of a driver"
    "device 60 tests/conformance_device the device table, alike for host and cuda"
    "kernels 40 tests/gpu_kernels our kernels against plain C"
    "loads 90 tests/gpu_loads tensors read back are the file's"
    "zero 60 tests/gpu_zero an idle model leaves the device, as NVML sees it"
    "fault 40 tests/gpu_fault a kernel that faults"
    "infer 40 examples/cuda_infer cuda_infer: layers compute while weights arrive"
    "bench 150 bench/sgi-bench a model's way onto the device beside its ceilings"
    "peers 150 bench/sgi-bench other loaders in turn with libsgi"
    "probe 200 bench/gpu_probe what the card, its driver and the machine do"
)
may_skip=" peers "

# bench/gpu.sh is this script under its own name, with some of the steps (figures_only).
if [[ -n ${figures_only:-} ]]; then
    steps=("${steps[@]: -3}")
fi

# comments FILE FROM TO: what its comments say between two lines that match.
comments()
{
    sed -n "/$2/,/$3/{/^#/s/^# \{0,1\}//p}" "$1"
}

usage()
{
    if [[ -n ${figures_only:-} ]]; then
        comments "$0" '^# What' '^set '
        echo
        comments "${BASH_SOURCE[0]}" '^#   --out' '^set '
    else
        comments "${BASH_SOURCE[0]}" '^# Everything' '^set '
    fi
}

wrong()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

list_steps()
{
    local step name text

    for step in "${steps[@]}"; do
        read -r name _ _ text <<<"$step"
        printf '%-8s %s\n' "$name" "$text"
    done
}

# ----------------------------------------------------------------------------------------------------------- arguments

# All of them are looked at before anything is run: what is wrong is one sentence, and 2.

take_step()
{
    local step

    for step in "${steps[@]}"; do
        if [[ ${step%% *} == "$1" ]]; then
            only+=("$1")
            return
        fi
    done
    wrong "there is no step '$1' (--list names them)"
}

take_seconds()
{
    [[ $1 =~ ^[0-9]{1,5}$ ]] && ((10#$1 > 0)) || wrong "--seconds takes a number from 1 to 99999, not '$1'"
    deadline_s=$((10#$1))
}

take_bytes()
{
    local letters=KMGT number unit shift=0

    [[ $1 =~ ^([0-9]{1,13})([KMGT](iB)?)?$ ]] || wrong "--bytes takes bytes (2M is 2 MiB, as is 2MiB), not '$1'"
    number=$((10#${BASH_REMATCH[1]}))
    unit=${BASH_REMATCH[2]:0:1}
    if [[ -n $unit ]]; then
        letters=${letters%%"$unit"*}
        shift=$((10 * (${#letters} + 1)))
    fi
    ((number <= 1 << (40 - shift) && number << shift >= 1 << 20)) || wrong "--bytes takes from 1M to 1T, not '$1'"
    bytes=$((number << shift))
}

take_model()
{
    [[ -f $1 && -r $1 ]] || wrong "--model $1: there is no such file, or it cannot be read"
    model=$(realpath -- "$1")
}

while (($#)); do
    case $1 in
    --out | --build | --only | --bytes | --model | --seconds)
        [[ -n ${2:-} ]] || wrong "$1 needs a value"
        case $1 in
        --out) out=$2 ;;
        --build) build=$2 ;;
        --bytes) take_bytes "$2" ;;
        --model) take_model "$2" ;;
        --seconds) take_seconds "$2" ;;
        --only) take_step "$2" ;;
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

is_wanted()
{
    ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $1 "* ]]
}

check_build()
{
    local step name program

    [[ -x $build/bench/gpu_probe ]] || wrong "'$build' has no bench/gpu_probe: build it, or say --build FOLDER"
    for step in "${steps[@]}"; do
        read -r name _ program _ <<<"$step"
        ! is_wanted "$name" || [[ -x $build/$program ]] ||
            wrong "'$build' has no $program for '$name': build it, or say --build FOLDER"
    done
    [[ -z $model || -x $build/bin/sgi ]] || wrong "'$build' has no bin/sgi for --model: build it, or say --build FOLDER"
    build=$(cd "$build" && pwd)
}

check_fake()
{
    command -v "$python" >/dev/null || wrong "--fake needs Python 3, and there is no $python"
    [[ -e $build/tests/fake_cuda/libcuda.so.1 ]] ||
        wrong "'$build' has no tests/fake_cuda/libcuda.so.1 for --fake: build it, or say --build FOLDER"
}

# Hours later is too late to find that nothing can be kept there.
make_out()
{
    local try

    mkdir -p -- "$out/said" 2>/dev/null && try=$(mktemp "$out/said/try.XXXXXX" 2>/dev/null) ||
        wrong "--out $out: nothing can be written there"
    rm -f -- "$try"
    out=$(cd "$out" && pwd)
}

python=${SGI_TEST_PYTHON:-python3}
check_build
((!fake)) || check_fake
if [[ -z $out ]]; then
    out=$tree/build/gpu
    ((!fake)) || out=$build/gpu_fake
fi
make_out

work=$(mktemp -d "${TMPDIR:-/var/tmp}/sgi-gpu.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
said=$out/said
mkdir "$work/tmp"
export TMPDIR=$work/tmp

driver=() rounds=5 probe_options=(--bytes 8G)
if ((fake)); then
    driver=("$python" "$tree/tests/fakecuda/run" --build "$build" --vram 2G)
    bytes=$((16 << 20)) rounds=1 probe_options=(--only driver)
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
    digests cuda:0 >"$said/loads.device" && digests host:0 >"$said/loads.host" &&
        cmp "$said/loads.device" "$said/loads.host"
}

digests()
{
    "${driver[@]}" "$build/bin/sgi" load "$model" --device "$1" --digest >"$said/loads.sgi" || return
    grep -E '^ *[0-9a-f]{16} ' "$said/loads.sgi"
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
    "$python" "$tree/bench/gpu_peers.py" "$build/bench/sgi-bench" --bytes "$bytes" --rounds "$rounds"
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
    printf '%-8s ' "$name"
    if ((most < 2)); then
        end_step "$name" "not run" - 0 "of the $deadline_s seconds for all steps together too little is left"
        return
    fi
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
    end_step "$name" "$ended" "$status" "$((SECONDS - start))" "$last"
    if [[ $ended == failed || $ended == "out of time" ]]; then
        tail -qn 30 "$said/$name" "$said/$name.err" >&2
        echo "all that it said: $said/$name, $said/$name.err" >&2
    fi
}

end_step()
{
    printf '%-12s %3d s  %s\n' "$2" "$4" "$5"
    printf '%s|%s|%s|%s|%s\n' "$@" >>"$work/steps"
}

# Of a run before this one, and of no other: the folder is its user's.
forget()
{
    local step name

    for step in "${steps[@]}"; do
        name=${step%% *}
        rm -f -- "$said/$name" "$said/$name.err" "$said/$name.status" "$said/$name".{device,host,sgi}
    done
    ((fake)) || rm -f -- "$out/results.json" "$out/results.md"
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
    write_json >"$out/results.json"
    write_markdown >"$out/results.md"
    echo "$out/results.json, $out/results.md"
}

# ---------------------------------------------------------------------------------------------------------------- main

there=0
"${driver[@]}" "$build/bench/gpu_probe" --only driver >"$work/driver.json" 2>"$work/driver.err" || there=$?
if ((there != 0)); then
    why=$(sed -n 's/.*"reason": *"\([^"]*\)".*/\1/p' "$work/driver.json" | tail -n 1)
    [[ -n $why ]] || why=$(awk 'NF { line = $0 } END { print line }' "$work/driver.err")
    printf '%s: no CUDA device can be used here: %s\n' "${0##*/}" "${why:-gpu_probe ends with $there}" >&2
    exit 3
fi

forget
: >"$work/steps"
for step in "${steps[@]}"; do
    read -r name seconds _ <<<"$step"
    ! is_wanted "$name" || run_step "$name" "$seconds"
done

bad=$(awk -F'|' -v may="$may_skip" \
    '$2 != "passed" && !($2 == "skipped" && index(may, " " $1 " ")) { printf "%s%s", (n++ ? ", " : ""), $1 }' \
    "$work/steps")
if ((fake)); then
    echo "on the fake driver: its figures say nothing, and are not written"
else
    write_results
fi
if [[ -n $bad ]]; then
    echo "${0##*/}: not all is as it should be: $bad" >&2
    exit 1
fi
