#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes kernels.fatbin of kernels.cu, and kernels.sha256, by which a test knows that they belong together. Needs nvcc
# 13, and only here: what it makes is committed.
#
#   examples/cuda_infer/build_kernels.sh [NVCC]
#
# The machine code in it needs a driver of CUDA 13 (580). The PTX is for cards that are newer than it, and for drivers
# that are older: hence its lower version, and the compression that every driver knows. The names of the kernels stand
# in the fatbin as its identifier: a driver does not look at it, tests/fakecuda does.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=../lib/need.sh
. ../lib/need.sh

nvcc=${1:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[[ -x $nvcc ]] || need_fail "there is no nvcc at '$nvcc'; the first argument says where one is"
tools=$(dirname "$nvcc")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

images=()
for sm in 75 80 86 89 90 100 120; do
    "$nvcc" -cubin "-arch=sm_$sm" -o "$work/$sm.cubin" kernels.cu
    images+=("--image3=kind=elf,sm=$sm,file=$work/$sm.cubin")
done
"$nvcc" -ptx -arch=compute_75 -o "$work/newest.ptx" kernels.cu
sed 's/^\.version .*/.version 7.0/' "$work/newest.ptx" >"$work/kernels.ptx"
"$tools/ptxas" -arch=sm_75 -o "$work/tried.cubin" "$work/kernels.ptx" # does 7.0 have all that it uses?
names=$(sed -n 's/^\.visible \.entry \(.*\)($/\1/p' "$work/kernels.ptx" | tr '\n' ' ')
"$tools/fatbinary" --create kernels.fatbin -64 --compress-all --compress-mode=speed "--ident=$names" \
    "${images[@]}" "--image3=kind=ptx,sm=75,file=$work/kernels.ptx"
sha256sum kernels.cu kernels.fatbin >kernels.sha256
echo "kernels.fatbin: $(stat -c %s kernels.fatbin) bytes, $names"
