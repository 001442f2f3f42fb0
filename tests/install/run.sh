#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs a build into a folder of its own, moves that folder, and builds a consumer from it in every promised way.
#
#   tests/install/run.sh BUILD_DIR CC
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
cc=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/sgi-install.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
prefix=$work/prefix

# The log is read only where something fails.
quietly()
{
    "$@" >"$work/log" 2>&1 && return
    cat "$work/log" >&2
    echo "failed: $*" >&2
    return 1
}

# check NAME COMMAND...: runs a consumer and says how it went.
check()
{
    local name=$1

    shift
    echo "$name: $("$@")"
}

# needs_libsgi PROGRAM: does it load the shared library?
needs_libsgi()
{
    readelf -d "$1" | grep -q 'NEEDED.*\[libsgi\.so\.0\]'
}

# A leading ! would keep `set -e` from noticing.
not()
{
    if "$@"; then
        echo "should not hold: $*" >&2
        return 1
    fi
}

quietly cmake --install "$build" --prefix "$work/first"
mv "$work/first" "$prefix" # whatever remembers where it was installed breaks here
libdir=$(dirname "$(find "$prefix" -name 'libsgi.so')")
for file in include/sgi/sgi.h include/sgi/ext.h include/sgi/pack.h include/sgi/status.h include/sgi/version.h; do
    [[ -f $prefix/$file ]] || { echo "not installed: $file" >&2 && exit 1; }
done

# find_package: shared and static
quietly cmake -G Ninja -S "$here/consumer" -B "$work/build" "-DCMAKE_PREFIX_PATH=$prefix" "-DCMAKE_C_COMPILER=$cc"
quietly cmake --build "$work/build"
needs_libsgi "$work/build/with_shared"
check "find_package, shared" "$work/build/with_shared"
not needs_libsgi "$work/build/with_static"
check "find_package, static" "$work/build/with_static"

# pkg-config: shared, and static as far as libsgi goes
export PKG_CONFIG_PATH=$libdir/pkgconfig
version=$(sed -n 's/^#define SGI_VERSION_[MP][A-Z]* *//p' "$prefix/include/sgi/version.h" | paste -sd .)
[[ $(pkg-config --modversion sgi) == "$version" ]]
read -ra flags < <(pkg-config --cflags --libs sgi)
quietly "$cc" "$here/consumer/main.c" -o "$work/shared" "${flags[@]}"
needs_libsgi "$work/shared"
check "pkg-config, shared" env "LD_LIBRARY_PATH=$libdir" "$work/shared"

read -ra flags < <(pkg-config --static --cflags --libs sgi)
quietly "$cc" "$here/consumer/main.c" -o "$work/static" "${flags[@]/#-lsgi/-l:libsgi.a}"
not needs_libsgi "$work/static"
check "pkg-config, static" "$work/static"

# The installed command finds its library without being told.
if [[ -e $build/bin/sgi ]]; then
    "$prefix/bin/sgi" features >/dev/null
    echo "sgi features: runs from the installed tree"
fi
