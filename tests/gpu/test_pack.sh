#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What tests/gpu/pack.sh makes is whole: unpacked elsewhere it runs, and finds its libraries beside it.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/sgi-pack.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

fail()
{
    echo "failed: $*"
    exit 1
}

"$tree/tests/gpu/pack.sh" "$work/made"
tar -C "$work" -xzf "$work/made/sgi-gpu.tar.gz"
cd "$work/sgi-gpu"
for program in build/release/bin/* build/release/{bench,examples}/* build/release/tests/gpu_*; do
    ldd "$program" | awk '$3 ~ /^\// { print $3 }' | grep -v -E "^$work/|/lib(c|m)\.so" &&
        fail "$program takes that from the system"
done
bash tests/gpu/run.sh --fake || fail "its suite ends with $?"
status=0
bash tests/gpu/run.sh --out "$work/out" 2>"$work/err" || status=$?
[[ $status == 3 ]] && grep -q "no CUDA device" "$work/err" || echo "there is a GPU here: the suite was run on it"
