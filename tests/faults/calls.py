#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everything outside that lib/ calls can fail in a test, or cannot fail; and nothing of that is in what users get.

    calls.py --archive libsgi_testing.a [--library libsgi.so]

The symbols that the library's objects leave undefined are compared with the calls that tests/CMakeLists.txt wraps
(support/calls.h; faults/test_calls.c makes each of them fail), and with the lists below. One that is nowhere has no
test that makes it fail: wrap it, or say here why not.
"""

import argparse
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Fail at a named point of base/fault.h, or in another suite.
ELSEWHERE = {
    "calloc malloc realloc": "SGI__FAULT_ALLOC",
    "eventfd": "SGI__FAULT_EVENTFD",
    "io_uring_queue_init": "SGI__FAULT_RING",
    "memfd_create": "SGI__FAULT_MEMFD",
    "pthread_create": "SGI__FAULT_THREAD",
    "dlopen dlsym": "unit/test_cuda.c: no driver, one that lacks a function; conformance/test_device.c without NVML",
    "ZSTD_compress2 ZSTD_decompressDCtx": "unit/test_codec.c: what gets no smaller, and what is damaged",
    "json_loadb": "formats/test_format_faults.c: every allocation of jansson",
}

# Do not fail where they are called, or it makes no difference.
NEVER = {
    "close closedir fclose free": "give back; what they say changes nothing",
    "fgets": "a file without a line is as one that is not there, which fopen can say",
    "munmap": "fails only where it splits a mapping at the limit of them; ours go whole, or lose an edge",
    "read write": "of an eventfd: EAGAIN, which means what was to be reached. unit/test_pressure.c: what is full",
    "poll": "of descriptors that are ours: there is nothing that it could say",
    "preadv64v2": "asks whether a page is cached: a failure is a no",
    "posix_fadvise64": "advice: then it is read from the cache once more",
    "lstat64": "words of an error that there is already",
    "dlerror getpid": "say what there is",
    "clock_gettime nanosleep sysconf": "with constants that the system knows",
    "io_uring_queue_exit io_uring_free_probe __io_uring_get_cqe": "its own memory; a failed wait is made again",
    "json_array_get json_array_size json_delete json_integer_value json_object_get json_string_length "
    "json_string_value": "look at what is there",
    "pthread_cond_broadcast pthread_cond_destroy pthread_cond_init pthread_cond_signal pthread_cond_timedwait "
    "pthread_cond_wait pthread_condattr_destroy pthread_condattr_init pthread_condattr_setclock pthread_join "
    "pthread_mutex_destroy pthread_mutex_init pthread_mutex_lock pthread_mutex_unlock pthread_self "
    "pthread_setname_np pthread_sigmask sigfillset": "plain ones need nothing on Linux that could be missing",
    "ZSTD_CCtx_setParameter ZSTD_freeCCtx ZSTD_freeDCtx ZSTD_isError": "with constants that it knows; its own memory",
    "__sched_cpucount sched_getaffinity": "how many threads are worth it: one, where that is not to be had",
    "unlinkat": "takes away what was left: a failure leaves it to the next",
    "memchr memcmp memcpy memmove memset qsort snprintf strchr strcmp strcspn strerror_r strlen strncmp strnlen "
    "strpbrk strrchr strspn strstr strtod strtol strtoul strtoull vsnprintf": "work on memory that is there",
    "__assert_fail __errno_location __cpu_model __tls_get_addr __stack_chk_fail "
    "_GLOBAL_OFFSET_TABLE_": "the compiler's",
}

# Of the test build alone.
TEST_ONLY = re.compile(r"\bsgi__(fault\w*|alloc_live)\b")


def undefined(archive):
    """{symbol}: what the objects of an archive want from outside it."""
    out = subprocess.run(["nm", archive], check=True, capture_output=True, text=True).stdout
    wanted, there = set(), set()
    for line in out.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] == "U":
            wanted.add(fields[1])
        elif len(fields) == 3:
            there.add(fields[2])
    return wanted - there


def wrapped():
    with open(os.path.join(os.path.dirname(HERE), "CMakeLists.txt"), encoding="utf-8") as f:
        text = f.read()
    found = re.findall(r"(?:set\(|list\(APPEND )wrapped_calls([^)]*)\)", text)
    return set(" ".join(found).split())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--library")
    args = parser.parse_args()

    known = wrapped().union(*(names.split() for table in (ELSEWHERE, NEVER) for names in table))
    wanted = undefined(args.archive)
    wrong = [f"{name}: no test makes it fail" for name in sorted(wanted - known)]
    wrong += [f"{name}: is wrapped, and the library does not call it" for name in sorted(wrapped() - wanted)]
    if args.library:
        out = subprocess.run(["nm", args.library], check=True, capture_output=True, text=True).stdout
        wrong += [f"{name}: is in {os.path.basename(args.library)}, where nothing may fail on request"
                  for name in sorted({m.group(0) for m in TEST_ONLY.finditer(out)})]
    for line in wrong:
        print(line)
    print(f"{len(wanted)} calls, {len(wrapped())} of them wrapped; {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
