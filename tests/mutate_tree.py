# SPDX-License-Identifier: Apache-2.0
"""For tests/mutate.py: a copy of the tree with one line changed at a time, and its builds with their tests."""

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, "build", "mutate")

# Only the tests that are programs are wanted, and a warning that a mutation brings is no error.
OPTIONS = ("-DSGI_TEST_TREE=OFF", "-DSGI_BUILD_EXAMPLES=OFF", "-DSGI_BUILD_BENCH=OFF", "-DSGI_BUILD_CLI=OFF",
           "-DSGI_BUILD_STATIC=OFF", "-DSGI_WERROR=OFF")
SKIPPED = 77
# A test hangs when it takes so many times what it took unbroken, and at least so long.
HANGS_TIMES, HANGS_SECONDS_MIN = 10, 30
RACE = re.compile(r"WARNING: ThreadSanitizer: ([^(\n]+)")
CASE = re.compile(r"^\[  FAILED  \] (\w+)$", re.M)
BEGUN = re.compile(r"^\[ RUN      \] (\w+)$", re.M)


class Failed(Exception):
    """Nothing can be said about the mutations: it is told in one line."""


class Broken(Exception):
    """It does not compile."""


def command_output(command, what, **kw):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kw)
    if done.returncode != 0:
        raise Failed(f"{what}: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


class Tree:
    """The copy. What is equal is not written again, so that its builds stay good."""

    def __init__(self):
        self.changed = None

    @staticmethod
    def update():
        listed = command_output(["git", "ls-files", "-co", "--exclude-standard", "-z"], "git ls-files", cwd=ROOT)
        paths = {p for p in listed.split("\0") if p and os.path.isfile(os.path.join(ROOT, p))}
        for path in paths:
            to, of = os.path.join(COPY, path), os.path.join(ROOT, path)
            if not os.path.exists(to) or not filecmp.cmp(of, to, shallow=False):
                os.makedirs(os.path.dirname(to), exist_ok=True)
                shutil.copyfile(of, to)
                shutil.copymode(of, to)
        for base, folders, names in os.walk(COPY):
            if base == COPY:
                folders[:] = [f for f in folders if f != "build"]
            for name in names:
                if os.path.relpath(os.path.join(base, name), COPY) not in paths:
                    os.remove(os.path.join(base, name))

    def change(self, file, number, text):
        path = os.path.join(COPY, file)
        with open(path, encoding="utf-8") as f:
            whole = f.read()
        lines = whole.split("\n")
        indent = len(lines[number]) - len(lines[number].lstrip())
        lines[number] = " " * indent + text
        self.changed = path, whole, "\n".join(lines)
        self.write(self.changed[2])

    def write(self, whole):
        with open(self.changed[0], "w", encoding="utf-8") as f:
            f.write(whole)

    def restore(self):
        if self.changed:
            self.write(self.changed[1])
        self.changed = None

    def without_change(self, look):
        """What `look` returns while the line is whole."""
        self.write(self.changed[1])
        try:
            return look()
        finally:
            self.write(self.changed[2])


class Suite:
    """One preset of the copy: its tests that are programs."""

    def __init__(self, preset, jobs):
        self.folder, self.jobs = os.path.join(COPY, "build", preset), jobs
        # The sanitizer of older compilers does not know the memory layout of kernels that randomise much.
        self.before = ["setarch", "-R"] if preset == "tsan" and shutil.which("setarch") else []
        ccache = ["-DCMAKE_C_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
        command_output(["cmake", "--preset", preset, *OPTIONS, *ccache], f"configure {preset}", cwd=COPY)
        found = self.listed()
        if not all(test.get("command") for test in found):  # ctest tells none of a program that is not there yet
            command_output(["ninja", "-C", self.folder, f"-j{jobs}", "--quiet", "tests/all"], f"build {preset}")
            found = self.listed()
        self.tests = {}
        for test in found:
            test["properties"] = {p["name"]: p["value"] for p in test.get("properties", ())}
            if self.program(test):
                self.tests[test["name"]] = test
        self.seconds = {}  # a test's, unbroken

    def program(self, test):
        """What is built for it, or None; on the fake driver it stands behind the words that bring that."""
        words = test.get("command", ())
        program = words[words.index("--") + 1] if "--" in words else next(iter(words), "")
        return program if program.startswith(self.folder + os.sep) else None

    def listed(self):
        return json.loads(command_output(["ctest", "--test-dir", self.folder, "--show-only=json-v1"], "ctest"))["tests"]

    def names(self, labels):
        """Of all tests that have one of the labels and are not slow."""
        found = []
        for name, test in self.tests.items():
            has = set(test["properties"].get("LABELS", ()))
            if has & labels and "slow" not in has:
                found.append(name)
        return found

    def build(self, names):
        programs = sorted({os.path.relpath(self.program(self.tests[n]), self.folder) for n in names})
        done = subprocess.run(["ninja", "-C", self.folder, f"-j{self.jobs}", "--quiet", *programs],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Broken(done.stdout.strip()[-2000:])

    def measure(self, name):
        """Like run(), of the tree as it is: how long it takes is what it is held to later."""
        begun = time.monotonic()
        how = self.run(name)
        self.seconds[name] = time.monotonic() - begun
        return how

    def run(self, name):
        """How the test fails; None: it passes, or cannot run here."""
        test = self.tests[name]
        properties = test["properties"]
        limit = properties.get("TIMEOUT", 120)
        if name in self.seconds:
            limit = min(limit, max(HANGS_SECONDS_MIN, HANGS_TIMES * self.seconds[name]))
        environment = dict(os.environ, **dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", ())))
        with subprocess.Popen(self.before + test["command"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment, start_new_session=True,
                              cwd=properties.get("WORKING_DIRECTORY", self.folder)) as child:
            try:
                output, _ = child.communicate(timeout=limit)
            except BaseException as e:  # an interrupt too: the child does not hear of it
                os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
                if isinstance(e, subprocess.TimeoutExpired):
                    return "hangs"
                raise
        return how_it_ended(child.returncode, output.decode(errors="replace"))

    def first_to_fail(self, names):
        """(name, how) of the first of many, as many at once as there are jobs; None: all pass."""
        alone = [n for n in names if self.tests[n]["properties"].get("RUN_SERIAL")]
        beside = [n for n in names if n not in alone]
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = [(name, pool.submit(self.run, name)) for name in beside]
            for name, future in futures:
                how = future.result()
                if how:
                    pool.shutdown(cancel_futures=True)
                    return name, how
        return next(((name, how) for name in alone if (how := self.run(name))), None)


def how_it_ended(code, output):
    """None where it passed. Else the race, the first case that failed, or the signal."""
    if code in (0, SKIPPED):
        return None
    race, case = RACE.search(output), CASE.search(output)
    if race:
        return race[1].strip()
    if case:
        return case[1]
    if code < 0:
        begun = BEGUN.findall(output)
        return f"{begun[-1] if begun else ''} {signal.Signals(-code).name}".strip()
    return f"ends with {code}"
