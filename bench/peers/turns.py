# SPDX-License-Identifier: Apache-2.0
"""Programs that take turns, and what the machine has to look like before each."""
import contextlib
import json
import mmap
import os
import subprocess
import tempfile
import threading

from peers.cli import Held

MADV_HUGEPAGE = 14
MADV_POPULATE_WRITE = 23
TURN_SECONDS_MAX = 300
TRIES = 3
REDO_MAX = 3


class Failed(Exception):
    """A contestant that ended, or said something else than a result. The words are one sentence."""


def note(log, name, lines):
    for line in lines:
        log.write(f"{name}: {line}\n")
    log.flush()


class Worker:
    """A program that does one thing for each line of input and answers each with a line of JSON.

    What else it says goes into the log when it ends, and its last line into the sentence about its failure.
    """

    alive = set()

    def __init__(self, name, command, environment=None, log=None):
        self.name = name
        self.log = log
        self.said = tempfile.TemporaryFile("a+", encoding="utf-8", errors="replace")
        try:
            with Held():
                self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                                stdout=subprocess.PIPE, stderr=self.said, text=True,
                                                env={**os.environ, **(environment or {})})
                Worker.alive.add(self)
        except OSError as error:
            self.said.write(f"{error}\n")
            self.tell_log()
            raise

    @classmethod
    def end_all(cls):
        for worker in cls.alive:
            worker.process.kill()
        for worker in cls.alive:
            worker.process.wait()

    def tell_log(self):
        """Returns its last line, empty where it said nothing."""
        if self.said.closed:
            return ""
        self.said.flush()
        self.said.seek(0)
        lines = [line.rstrip() for line in self.said if line.strip()]
        self.said.close()
        if self.log:
            note(self.log, self.name, lines)
        return lines[-1] if lines else ""

    def failure(self):
        ended = self.process.wait()
        last = self.tell_log()
        return Failed(f"{self.name} ended with {ended}" + (f": {last}" if last else ""))

    def read(self, seconds_max=TURN_SECONDS_MAX):
        """Its next answer. One that takes too long is ended: it would hold up all others."""
        timer = threading.Timer(seconds_max, self.process.kill)
        timer.start()
        try:
            for line in iter(self.process.stdout.readline, ""):
                if line.startswith("{"):  # peers may print words of their own
                    return json.loads(line)
                self.said.write(line)
        finally:
            timer.cancel()
        raise self.failure()

    def turn(self, line=""):
        try:
            reset_peak_rss(self.process.pid)
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, FileNotFoundError, ProcessLookupError):
            raise self.failure() from None
        result = self.read()
        result["peak_rss_bytes"] = peak_rss(self.process.pid)
        return result

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.tell_log()
        Worker.alive.discard(self)


# -------------------------------------------------------------------------------------------------------- its memory


def reset_peak_rss(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def peak_rss(pid):
    """Pages of files that are mapped count: they are in memory for it, though the page cache may take them back."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


class Ballast:
    """Memory that was used a moment ago: held between turns, lent to whoever has one.

    A virtual machine may give free memory back to its host, and whoever takes it then pays for the host's faults: here
    1-2 core-seconds a GiB, at random. Of what is freed at the last moment, and taken back at once, little goes.
    """

    def __init__(self, enabled=True):
        self.enabled, self.memory = enabled, None

    def hold(self, size):
        if not self.enabled or self.memory and len(self.memory) == size:
            return
        self.release()
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(MADV_HUGEPAGE)
        self.memory.madvise(MADV_POPULATE_WRITE)

    def release(self):
        if self.memory:
            self.memory.close()
            self.memory = None


# ----------------------------------------------------------------------------------------------------- the page cache


def drop_pages(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)  # pages that are not on the disk yet would stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def fill_pages(path):
    with open(path, "rb", buffering=0) as file:
        block = bytearray(1 << 24)
        while file.readinto(block):
            pass


def resident_bytes(path):
    output = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", str(path)], check=True,
                            capture_output=True, text=True).stdout
    return int(output.split()[0]) if output.strip() else 0


def make_cold(path):
    """How many bytes of the file are in the page cache all the same: 0 where it is cold."""
    for _ in range(TRIES):  # a page that somebody is just looking at stays
        drop_pages(path)
        resident = resident_bytes(path)
        if resident == 0:
            break
    return resident


def settled(take, *arguments):
    """A turn that found the page cache as it should be: taken again where it did not, at most REDO_MAX times.

    Its `redone` says how often. Where none succeeded it is the last one, which summary.py leaves out.
    """
    for redone in range(REDO_MAX + 1):
        result = take(*arguments)
        if not result["page_cache_wrong_bytes"]:
            break
    return {**result, "redone": redone}


def make_hot(path):
    """How many bytes are missing from the page cache all the same: 0 where it is hot."""
    size = os.path.getsize(path)
    for _ in range(TRIES):
        if resident_bytes(path) >= size:
            return 0
        fill_pages(path)
    return max(0, size - resident_bytes(path))
