#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What README.md shows a user of the library: the snippet compiles and runs against the installed tree, the commands
# of "Use it" configure, and what is installed needs nothing else of its user.
#
#   tests/examples/readme.sh BUILD_DIR CC
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(cd "$1" && pwd)
cc=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/sgi-readme.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
cd "$work"

fail()
{
    echo "failed: $*"
    exit 1
}

# blocks LANGUAGE [HEADING]: what stands between the fences of that language, after a heading and before the next.
blocks()
{
    awk -v fence="\`\`\`$1" -v heading="${2:+## $2}" '
        !heading || $0 == heading { here = 1 }
        /^##+ / && heading && $0 != heading { here = 0 }
        /^```/ { inside = !inside && here && $0 == fence; next }
        inside' "$tree/README.md"
}

# -------------------------------------------------------------------------------------------------------- installed

cmake --install "$build" --prefix "$work/prefix" >log 2>&1 || fail "the install: $(cat log)"
[[ -n $(find prefix -path '*/doc/*' -name LICENSE) ]] || fail "the licence is not installed"
libdir=$(dirname "$(find "$work/prefix" -name libsgi.so)")

# No package but this one: whoever links the shared library has no jansson.pc and no liburing.pc.
export PKG_CONFIG_LIBDIR=$libdir/pkgconfig
unset PKG_CONFIG_PATH
pkg-config --cflags --libs sgi >flags 2>log || fail "pkg-config without jansson.pc: $(cat log)"
read -ra flags <flags
pkg-config --static --libs sgi | grep -q -- "-ljansson" || fail "a static link is not told of jansson"

# ---------------------------------------------------------------------------------------------------------- the snippet

[[ -n $(blocks c) ]] || fail "README.md has no snippet of C"
{
    printf '#include <sgi/sgi.h>\nint main(void)\n{\n'
    blocks c
    printf 'return err.code != SGI_OK || view.bytes != 8;\n}\n'
} >snippet.c
"$cc" -std=c11 -Wall -Wextra -Werror snippet.c -o snippet "${flags[@]}" >log 2>&1 ||
    fail "the snippet does not compile: $(cat log)"
# A tensor of eight bytes.
printf '\x38\0\0\0\0\0\0\0%-56s12345678' '{"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}' >model.safetensors
LD_LIBRARY_PATH=$libdir ./snippet || fail "the snippet ends with $?"

# --------------------------------------------------------------------------------------------------------- the commands

blocks "" "Use it" | sed -n '/^cmake/{s/ && ldconfig$//;p}' >commands
(($(wc -l <commands) == 3)) || fail "'Use it' does not configure, build and install: $(cat commands)"
if [[ $(grep -c "build/use" commands) != 3 ]] || grep -qE "build/release|--preset" commands; then
    fail "'Use it' has no build folder of its own, and what it sets would stay in that of the tests"
fi
unset PKG_CONFIG_LIBDIR
sed -n '1p' commands | sed "s|build/use|$work/use|" >configure
(cd "$tree" && bash -e "$work/configure") >log 2>&1 || fail "what 'Use it' configures: $(cat log)"
for what in TESTS BENCH EXAMPLES; do
    grep -qx "SGI_BUILD_$what:BOOL=OFF" use/CMakeCache.txt || fail "'Use it' builds what its user does not need: $what"
done
(cd use && ninja -t targets all) >targets
grep -q '^lib/libsgi.so' targets || fail "'Use it' builds no library"

# What is named as built is.
names=$(grep -oE 'host_[a-z]+|examples/quickstart' "$tree/README.md" | sed 's|.*/||' | sort -u)
for name in $names; do
    [[ -x $build/examples/$name ]] || fail "README.md names $name, which nobody builds"
done

(cd "$build" && ninja -t targets all) >targets
targets=$(sed -n 's/.*cmake --build build\/release --target \([A-Za-z0-9_ -]*\).*/\1/p' "$tree/README.md")
[[ -n $targets ]] || fail "README.md builds no target by its name"
for target in $targets; do
    grep -q "^$target: phony" targets || fail "README.md builds '$target', which there is not"
done
