#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The small examples, as somebody tries them out who has not read them: wrong arguments, files that are dear to them,
# output that does not arrive.
#
#   tests/examples/programs.sh EXAMPLES_DIR
set -euo pipefail

examples=$(cd "$1" && pwd)
work=$(mktemp -d /tmp/sgi-programs.XXXXXX) # a socket's path must be short, and $TMPDIR may not be
server=
finish()
{
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf -- "$work"
}
trap finish EXIT
cd "$work"

fail()
{
    echo "failed: $*"
    exit 1
}

# run STATUS PROGRAM ARGUMENT...: stdout and stderr into out and err.
run()
{
    local want=$1 program=$2 status=0

    shift 2
    "$examples/$program" "$@" >out 2>err </dev/null || status=$?
    ((status == want)) || fail "'$program $*' ends with $status, not $want: $(cat out err)"
}

# says WORDS: the one line on stderr begins with the program's name and has the words.
says()
{
    [[ $(wc -l <err) == 1 ]] && grep -q "^$program: .*$1" err ||
        fail "'$program' does not say '$1' in one line: $(cat err)"
}

# ----------------------------------------------------------------------------------------------------------- arguments

for program in cuda_infer host_batch host_epoll host_threads quickstart; do
    run 0 "$program" --help
    grep -q "^usage: $program" out && [[ ! -s err ]] || fail "$program --help does not print its usage"
done
for program in cuda_infer host_batch host_epoll host_threads; do
    run 2 "$program" --bogus
    says "no option '--bogus'"
    run 2 "$program" 1 2
    says "'2' is one argument too many"
done
program=host_threads
run 2 "$program" anything
says "'anything'"
program=host_batch
for jobs in anything 0 1000001 99999999999999999999 12x ''; do
    run 2 "$program" "$jobs"
    says "JOBS is a number from 1 to 1000000, not '$jobs'"
done
for program in host_batch host_epoll host_threads; do
    TMPDIR=$work/missing run 1 "$program"
    says "$work/missing: No such file or directory"
done
run 2 quickstart
run 2 quickstart --bogus
run 2 quickstart --device host
run 2 quickstart model tensor more

# -------------------------------------------------------------------------------------- nothing of anybody's is deleted

program=host_epoll
echo precious >file
run 1 "$program" file
says "'file' already"
[[ $(cat file) == precious ]] || fail "host_epoll has changed a file"
mkdir folder
run 1 "$program" folder
[[ -d folder ]] || fail "host_epoll has removed a folder"
run 1 "$program" missing/socket
says "'missing/socket': No such file or directory"
run 1 "$program" ''
says "empty"
long=$(printf 'a%.0s' {1..140})
touch "${long:0:107}" "${long:0:127}" # what a path that was cut would name
run 1 "$program" "$long"
says "at most 107 bytes"
[[ -e ${long:0:107} && -e ${long:0:127} ]] || fail "host_epoll has removed a file with the beginning of a long name"

# serve SOCKET: until it says that it listens.
serve()
{
    rm -f served # of the one before
    "$examples/host_epoll" "$1" >served 2>err &
    server=$!
    for ((i = 0; i < 200; i++)); do
        [[ ! -s served ]] || return 0
        sleep 0.1
    done
    fail "host_epoll does not say that it serves: $(cat err)"
}

stop()
{
    local status=0

    kill -TERM "$server"
    wait "$server" || status=$?
    server=
    ((status == 0)) || fail "host_epoll ends with $status: $(cat err)"
}

serve socket
[[ -S socket ]] || fail "host_epoll serves, and there is no socket"
run 1 "$program" socket # of another server
[[ -S socket ]] || fail "a second host_epoll has removed the socket of the first"
stop
[[ ! -e socket ]] || fail "host_epoll has left its socket behind"

serve socket
mv socket moved
echo precious >socket # whoever put it there wants it
stop
[[ $(cat socket) == precious ]] || fail "host_epoll has removed what took the place of its socket"

# ------------------------------------------------------------------------------------------ output that does not arrive

# A tensor of eight bytes.
printf '\x38\0\0\0\0\0\0\0%-56s12345678' '{"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}' >model.safetensors
run 0 quickstart model.safetensors
grep -q "8 bytes: 31 32 33 34 35 36 37 38$" out || fail "quickstart shows other bytes: $(cat out)"
run 0 quickstart model.safetensors t --device host:7
grep -q "^t, U8, 8 bytes: 31" out || fail "quickstart shows other bytes: $(cat out)"
program=quickstart
run 1 quickstart missing.safetensors
says "missing.safetensors: No such file or directory"
run 1 quickstart model.safetensors cuda:0
says "no tensor 'cuda:0' in model.safetensors$"
run 1 quickstart --device gpu0 model.safetensors
says "device 'gpu0'"
printf '\x08\0\0\0\0\0\0\0{}      ' >none.safetensors
run 1 quickstart none.safetensors
says "no tensors in none.safetensors$"
for command in "quickstart model.safetensors" "quickstart --help" "host_batch 3" "host_epoll" "host_threads" \
    "host_batch --help"; do
    program=${command%% *} status=0
    # shellcheck disable=SC2086 # words
    "$examples/"$command >/dev/full 2>err </dev/null || status=$?
    ((status == 1)) || fail "'$command' ends with $status where its output cannot be written"
    says "No space left on device"
done

# -------------------------------------------------------------------------------------------- what looks like a failure

run 0 host_threads
grep -q "as they were made to$" out && grep -q "^every request ended as it should" out ||
    fail "host_threads does not say that its ends were meant: $(cat out)"
