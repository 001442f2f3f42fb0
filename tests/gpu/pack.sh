#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All that tests/gpu/run.sh needs, in one archive for a machine that has an NVIDIA driver and little else: no compiler,
# no CMake, no liburing, jansson or cmocka, no network.
#
#   tests/gpu/pack.sh [FOLDER]      makes FOLDER/sgi-gpu.tar.gz (build)
#
#   tar xzf sgi-gpu.tar.gz && sgi-gpu/tests/gpu/run.sh --out results
#
# The programs are built anew in build/pack. Libraries that a bare machine lacks are beside them and found from there;
# of glibc they want what the last line says.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
. "$tree/examples/lib/need.sh"

case ${1:-} in
-h | --help)
    sed -n '3,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
-*) need_fail "'$1' is not an option (--help says what there is)" || exit 2 ;;
esac
to=${1:-$tree/build}
mkdir -p "$to"
to=$(cd "$to" && pwd)
built=$tree/build/pack
log=$built/log

# What is built, and where it lies in a build: `run.sh` finds it by the same names.
targets=(sgi_cli bench_sgi-bench bench_gpu_probe example_cuda_infer fake_cuda fake_nvml)
programs=(bin/sgi bench/sgi-bench bench/gpu_probe examples/cuda_infer)
for test in conformance_cuda_driver conformance_device gpu_fault gpu_kernels gpu_loads gpu_zero; do
    targets+=("test_$test")
    programs+=("tests/$test")
done
fakes=(tests/fake_cuda/libcuda.so.1 tests/fake_nvml/libnvidia-ml.so.1)
scripts=(tests/gpu/run.sh tests/fakecuda/run tests/fakecuda/calls.h bench/gpu.sh bench/gpu_peers.py LICENSE)

quietly()
{
    "$@" >>"$log" 2>&1 && return
    tail -n 30 "$log" >&2
    need_fail "'$1' failed (all that it said is in build/pack/log)"
}

# Of glibc, which is everywhere and is not to be mixed.
is_of_the_system()
{
    [[ ${1##*/} =~ ^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv)\.so.*|linux-vdso.*)$ ]]
}

copy_libraries()
{
    local program=$1 library

    ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | while read -r library; do
        is_of_the_system "$library" || cp -nL -- "$library" "$pack/build/release/lib/${library##*/}"
    done
}

mkdir -p "$built"
: >"$log"
quietly cmake -S "$tree" --preset release -B "$built" -DSGI_TEST_TREE=OFF -DSGI_LLAMA_DIR= -DSGI_BUILD_TESTS=ON \
    -DSGI_BUILD_BENCH=ON -DSGI_BUILD_EXAMPLES=ON -DSGI_BUILD_CLI=ON -DSGI_BUILD_SHARED=ON \
    "-DCMAKE_BUILD_RPATH=\$ORIGIN/../lib"
quietly cmake --build "$built" --target "${targets[@]}"

work=$(mktemp -d "$built/tmp.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
pack=$work/sgi-gpu
mkdir -p "$pack/build/release/lib"
for file in "${scripts[@]}"; do
    install -D -m "$(stat -c %a "$tree/$file")" "$tree/$file" "$pack/$file"
done
for file in "${programs[@]}" "${fakes[@]}"; do
    install -D -m 755 "$built/$file" "$pack/build/release/$file"
    copy_libraries "$built/$file"
done
find "$pack/build" -type f -exec strip --strip-debug {} +

tar -C "$work" -czf "$work/sgi-gpu.tar.gz" sgi-gpu
mv -f -- "$work/sgi-gpu.tar.gz" "$to/sgi-gpu.tar.gz"
glibc=$(find "$pack/build" -type f -exec objdump -T {} + 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$to/sgi-gpu.tar.gz: $(du -h "$to/sgi-gpu.tar.gz" | cut -f 1), needs ${glibc/_/ } on $(uname -m)"
