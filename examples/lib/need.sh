# SPDX-License-Identifier: Apache-2.0
# Sourced, not run: what a script needs from the machine, and one clear sentence when it is not there.
# Functions return non-zero after the sentence, so that a script under `set -e` ends there.
# shellcheck shell=bash

# need_fail WORDS...: the one sentence, on stderr. Under `set -e` it also ends the script.
need_fail()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    return 1
}

# need_apt PACKAGE...: installs those Debian packages that are not installed. With all of them there it neither becomes
# root nor touches the network. Package lists are fetched only when installing without them fails, as on a new machine.
need_apt()
{
    local package log
    local -a missing=() apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)

    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    if ! command -v apt-get >/dev/null; then
        need_fail "needs the Debian packages '${missing[*]}' or their like, and there is no apt-get to install them"
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            need_fail "needs 'apt-get install ${missing[*]}', which takes root or sudo, and neither is here"
            return 1
        fi
        # No terminal to ask on: a password prompt would hang the script for ever.
        if [[ -t 0 ]]; then apt=(sudo "${apt[@]}"); else apt=(sudo -n "${apt[@]}"); fi
    fi

    log=$(mktemp)
    printf 'installing %s\n' "${missing[*]}" >&2
    if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >"$log" 2>&1 &&
        ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        need_fail "could not run 'apt-get install ${missing[*]}' (apt-get's last lines are above)"
        return 1
    fi
    rm -f "$log"
}

# need_apt_file FOLDER PACKAGE FILE: that one file out of a Debian package, as FOLDER/FILE's last part. The package is
# unpacked and not installed: nothing of it runs, and no service of it starts. Takes no root where the package lists are
# there already.
need_apt_file()
{
    local folder=$1 package=$2 file=$3 work status=0
    local -a update=(apt-get -q update)

    [[ ! -x $folder/${file##*/} ]] || return 0
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        need_fail "needs '$file' out of the Debian package '$package', and there is no apt-get to fetch it"
        return 1
    fi
    ((EUID == 0)) || update=(sudo -n "${update[@]}")
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/$package.XXXXXX")
    printf 'fetching %s\n' "$package" >&2
    (
        cd "$work"
        apt-get -q download "$package" || { "${update[@]}" && apt-get -q download "$package"; }
    ) >"$work/log" 2>&1 && dpkg-deb -x "$work/$package"_*.deb "$work/root" >>"$work/log" 2>&1 &&
        mv -f -- "$work/root/$file" "$folder/${file##*/}" 2>>"$work/log" || status=1
    ((status == 0)) || tail -n 5 "$work/log" >&2
    rm -rf -- "$work"
    ((status == 0)) || need_fail "could not fetch '$file' out of the Debian package '$package'"
}

# need_command COMMAND PACKAGE...: the packages only when the command is not there already, from wherever it came.
need_command()
{
    local command=$1

    shift
    command -v "$command" >/dev/null || need_apt "$@" || return 1
    hash -r
    command -v "$command" >/dev/null || need_fail "installed '$*', but there is still no command '$command'"
}

# need_space FOLDER MIB: so that a full disk is told before the work, not as some tool's odd failure in the middle.
need_space()
{
    local free_mib

    free_mib=$(($(df -Pk -- "$1" | awk 'NR == 2 { print $4 }') / 1024))
    ((free_mib >= $2)) || need_fail "needs $2 MiB free in '$1', where there are $free_mib"
}
