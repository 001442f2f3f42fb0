#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/cuda_infer and the quickstart on the fake driver, and where there is none. The kernels are those of the
# source beside them.
#
#   tests/examples/cuda_infer.sh PYTHON BUILD_DIR
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=$1 build=$(cd "$2" && pwd)
program=$build/examples/cuda_infer
work=$(mktemp -d "${TMPDIR:-/tmp}/sgi-infer.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

fail()
{
    echo "failed: $*"
    exit 1
}

# run STATUS COMMAND...: stdout and stderr into out and err. Nothing is left behind where models are made.
run()
{
    local want=$1 status=0

    shift
    TMPDIR=$work/made "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
    ((status == want)) || fail "'$*' ends with $status, not $want: $(cat "$work/out" "$work/err")"
    [[ -z $(ls "$work/made") ]] || fail "'$*' leaves files behind"
}

says()
{
    [[ $(wc -l <"$work/err") == 1 ]] && grep -q "^cuda_infer: .*$1" "$work/err" ||
        fail "it does not say '$1' in one line: $(cat "$work/err")"
}

fake=("$python" "$tree/tests/fakecuda/run" --build "$build")
mkdir "$work/made"

(cd "$tree/examples/cuda_infer" && sha256sum --quiet -c kernels.sha256) ||
    fail "kernels.fatbin is of another kernels.cu: examples/cuda_infer/build_kernels.sh makes it anew"
[[ $(wc -l <"$tree/examples/cuda_infer/kernels.sha256") == 2 ]] || fail "kernels.sha256 is not whole"

run 2 "${fake[@]}" --stub "$program"
run 2 "${fake[@]}" --without cuLaunchKernel "$program"
says "lacks functions"

run 1 "${fake[@]}" "$program" "$work/none"
says "register: $work/none: No such file"
run 0 "${fake[@]}" "$program"
grep -q "^layer 5 " "$work/out" && grep -q "from DRAM" "$work/out" || fail "it shows no layers: $(cat "$work/out")"
(($(grep -c "0 bytes, 0 instances, context: none" "$work/out") == 2)) || fail "it is not zero twice: $(cat "$work/out")"
# At 100 MiB/s the device has long computed a layer when the next one is there: it does not wait for the whole load.
# Where other work keeps the machine from reading the first tensor before the last, there is nothing to see: once more.
early=0
for _ in 1 2 3 4; do
    ((early >= 2)) && break
    FAKECUDA_LINK=100 run 0 "${fake[@]}" "$program"
    early=$(sed -n 's/^load ended .*: \([0-9]*\) of 7 had computed by then$/\1/p' "$work/out" | head -n 1)
done
((early >= 2)) || fail "only '$early' steps of 7 have computed when the load ends: $(cat "$work/out")"
if [[ -n ${SGI_TEST_SAFETENSORS:-} ]]; then
    run 0 "${fake[@]}" "$program" "$SGI_TEST_SAFETENSORS"
fi
# A kernel that faults while it starts: the request fails, the program ends all the same.
run 1 "${fake[@]}" --fault "@kernel 20 sticky 719" "$program"
grep -q "SGI_E_DEVICE_LOST" "$work/err" || fail "it does not say that the device is lost: $(cat "$work/err")"

# The quickstart takes the same device by name.
model=$work/model.safetensors
printf '\x38\0\0\0\0\0\0\0%-56s12345678' '{"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}' >"$model"
run 0 "${fake[@]}" "$build/examples/quickstart" "$model" --device cuda:0
grep -q "8 bytes: 31 32 33 34 35 36 37 38$" "$work/out" || fail "quickstart shows other bytes: $(cat "$work/out")"
