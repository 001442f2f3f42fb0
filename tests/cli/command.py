# SPDX-License-Identifier: Apache-2.0
"""Running the command: what each test_*.py here shares.

    test_NAME.py --sgi PATH [--xxh3 PATH] [names of tests, as unittest takes them]
"""

import argparse
import atexit
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
HANGS = 60  # seconds after which something is not slow but stuck

arguments = argparse.ArgumentParser()
arguments.add_argument("--sgi", required=True)
arguments.add_argument("--xxh3")
options, unittest_arguments = arguments.parse_known_args()
SGI = os.path.abspath(options.sgi)

with open(SGI, "rb") as sgi_file:
    sgi_bytes = sgi_file.read()
# A sanitizer makes starting a process several times slower; what is promised is promised of what users run.
SANITIZED = b"__asan_" in sgi_bytes or b"__tsan_" in sgi_bytes
SOON = 5.0 if SANITIZED else 1.0


class Done:
    """A command that has ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out.decode(errors="replace"), err.decode(), seconds

    def __repr__(self):
        return f"exit {self.code} after {self.seconds:.2f} s, stdout {self.out[:2000]!r}, stderr {self.err[:2000]!r}"

    def lines(self):
        """What `load --json` wrote."""
        return [json.loads(line) for line in self.out.splitlines()]


def sgi(*argv, stdout=subprocess.PIPE, **kw):
    begin = time.monotonic()
    done = subprocess.run([SGI, *argv], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=HANGS,
                          check=False, **kw)
    return Done(done.returncode, done.stdout or b"", done.stderr, time.monotonic() - begin)


def on_terminal(argv, term):
    """What a command that ends well wrote to a terminal as its stderr, and to a pipe as its stdout."""
    main_fd, sub_fd = pty.openpty()
    environment = {**os.environ, "TERM": term}
    with subprocess.Popen([SGI, *argv], stdout=subprocess.PIPE, stderr=sub_fd, env=environment) as process:
        os.close(sub_fd)
        seen = b""
        while select.select([main_fd], [], [], HANGS)[0]:
            try:
                seen += os.read(main_fd, 4096)
            except OSError:  # EIO: the last one who had it open has closed it
                break
        out = process.stdout.read()
        code = process.wait(HANGS)
    os.close(main_fd)
    assert code == 0, (argv, code, seen)
    return seen.decode(), out.decode()


class Case(unittest.TestCase):
    """A folder on a real file system for each class, and what is the same in all of them."""

    @classmethod
    def setUpClass(cls):
        build = os.environ.get("SGI_BUILD_DIR")
        cls.folder = tempfile.mkdtemp(prefix="cli-", dir=os.path.join(build, "tests") if build else None)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def good(self, *argv, **kw):
        done = sgi(*argv, **kw)
        self.assertEqual((done.code, done.err), (0, ""), done)
        return done

    def failed(self, argv, *causes, within=SOON, **kw):
        """Exit 1 and one line that has all of `causes` in it, soon."""
        done = sgi(*argv, **kw)
        if done.seconds >= within:  # one hiccup of a busy machine is no finding, two are
            done = sgi(*argv, **kw)
        self.assertEqual(done.code, 1, done)
        self.assert_one_line(done, "sgi: ")
        self.assertEqual(done.out, "", done)
        for cause in causes:
            self.assertRegex(done.err, cause, done)
        self.assertLess(done.seconds, within, done)
        return done

    def assert_one_line(self, done, begin):
        self.assertTrue(done.err.startswith(begin), done)
        self.assertTrue(done.err.endswith("\n"), done)
        self.assertEqual(done.err.count("\n"), 1, done)


def xxh3_program():
    """The helper; compiled here when the build has not done it, as when an installed sgi is tested."""
    if not options.xxh3:
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder)
        options.xxh3 = os.path.join(folder, "xxh3")
        subprocess.run(["cc", "-O2", "-o", options.xxh3, os.path.join(HERE, "xxh3.c")], check=True)
    return options.xxh3


def digests(model):
    """{tensor: XXH3-64} of a model's files, as an independent program reads them."""
    found = {}
    for path in model.files:
        here = [t for t in model.tensors if t["file"] == os.path.basename(path)]
        ranges = "".join(f"{t['offset']} {t['bytes']}\n" for t in here)
        done = subprocess.run([xxh3_program(), path], input=ranges, capture_output=True, text=True, check=True)
        found.update(zip((t["name"] for t in here), done.stdout.split()))
    assert len(found) == len(model.tensors)
    return found


def features():
    return {f["name"]: f for f in json.loads(sgi("features", "--json").out)["features"]}


def file_system(path):
    return subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()


def main():
    unittest.main(argv=[sys.argv[0], *unittest_arguments])
