# SPDX-License-Identifier: Apache-2.0
"""What bench/compare.py and ratio.py share of a command line: sizes, counts, places to write to, and how they end."""
import argparse
import contextlib
import errno
import os
import re
import signal
import tempfile

BYTES_MIN = 1 << 20
BYTES_MAX = 1 << 40
ROUNDS_MAX = 100000
BYTES_HELP = ("BYTES may end in K, M, G or T, or in KiB, MiB, GiB or TiB, which is the same: 2M is 2 MiB (2097152), "
              "as for sgi-bench.")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def positive(text):
    value = int(text) if re.fullmatch("-?[0-9]{1,18}", text) else None
    if value is None:
        raise argparse.ArgumentTypeError(f"takes a number, not '{text}'")
    if not 1 <= value <= ROUNDS_MAX:
        raise argparse.ArgumentTypeError(f"must be at least 1 and at most {ROUNDS_MAX}, not {value}")
    return value


def size(text):
    """Bytes, as sgi-bench takes them (options.c): 4M and 4MiB are 4 MiB."""
    found = re.fullmatch("([0-9]{1,18})(?:([KMGT])(?:iB)?)?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no size: 4000000, 4M or 4MiB are")
    value = int(found[1]) << 10 * (" KMGT".index(found[2]) if found[2] else 0)
    if not BYTES_MIN <= value <= BYTES_MAX:
        raise argparse.ArgumentTypeError(f"must be at least {BYTES_MIN} bytes and at most {BYTES_MAX}, not {value}")
    return value


def memory(field):
    """MemTotal, MemAvailable, ... in bytes."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":"))


# ---------------------------------------------------------------------------------------------------- places to write


def make_folder(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "is there, and is no folder", str(path)) from None


def try_folder(path):
    """Makes it where it is not there; raises OSError where no file can be made in it."""
    make_folder(path)
    with tempfile.TemporaryFile(dir=path):
        pass


def try_file(path):
    """Raises OSError where it cannot be written; what is there stays as it is."""
    make_folder(path.parent)
    there = path.exists()
    with open(path, "ab"):
        pass
    if not there:
        path.unlink()


# ------------------------------------------------------------------------------------------------------------- ending


class Ended(BaseException):
    """A signal that ends the program. Nobody who catches errors catches it, and everything is taken away on its way."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


class Held:
    """With this a signal waits until the end: what is being made then is known to whoever takes it away."""

    inside, number = False, None

    def __enter__(self):
        Held.inside = True

    def __exit__(self, *_):
        Held.inside = False
        if Held.number is not None:
            on_signal(Held.number, None)


BEFORE = []  # what runs before the way out


def on_signal(number, _frame):
    for other in ENDING:  # once is enough: a second one would disturb the clearing away
        signal.signal(other, signal.SIG_IGN)
    if Held.inside:
        Held.number = number
        return
    for action in BEFORE:
        action()
    raise Ended(number)


@contextlib.contextmanager
def ends_in_order(before=lambda: None):
    """SIGINT, SIGTERM and SIGHUP leave nothing behind: `before`, what is on the way out, and then the signal itself."""
    BEFORE.append(before)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, on_signal)
    try:
        yield
    except Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
