# SPDX-License-Identifier: Apache-2.0
"""bench/ratio.py as a program, on small files: what it refuses, how it ends, and that it leaves nothing behind.

    test_ratio.py SGI_BENCH [names of tests, as unittest takes them]
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BENCH = os.path.abspath(sys.argv.pop(1))
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "bench"
HANGS = 120
# The program under test, with this build's sgi-bench and without its waits.
PROGRAM = """
import pathlib, sys
sys.path.insert(0, sys.argv.pop(1))
import ratio
ratio.BENCH = pathlib.Path(sys.argv.pop(1))
ratio.GIVEN_BACK_SECONDS = 0
sys.exit(ratio.main())
"""


def command(*arguments, bench=BENCH):
    return [sys.executable, "-c", PROGRAM, str(FOLDER), str(bench), *arguments]


def run(*arguments, bench=BENCH, made="/nonexistent/folder"):
    return subprocess.run(command(*arguments, bench=bench), capture_output=True, text=True, timeout=HANGS, check=False,
                          env={**os.environ, "SGI_BENCH_DIR": str(made)})


def listen():
    """What starts the tests may ignore some of them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def processes_with(text):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if any(text in word for word in words):
            found.append(words)
    return found


class Ratio(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.made = pathlib.Path(self.folder.name) / "made"
        self.made.mkdir()

    def model(self, present):
        header = json.dumps({"a": {"dtype": "U8", "shape": [8192], "data_offsets": [0, 8192]}}).encode()
        path = pathlib.Path(self.folder.name) / f"model-{present}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(present))
        return str(path)

    def sentence(self, done, status):
        self.assertEqual((done.returncode, done.stdout), (status, ""), done)
        self.assertNotIn("Traceback", done.stderr)
        last = done.stderr.splitlines()[-1]
        self.assertIn("ratio.py" if status == 1 else "error: argument", last)
        return last

    def test_arguments_are_checked(self):
        for arguments, named in ((["--rounds", "0"], "at least 1"), (["--rounds", "-1"], "at least 1"),
                                 (["--rounds", "x"], "'x'"), (["--bytes", "0"], "at least 1048576"),
                                 (["--bytes=-5"], "'-5' is no size"), (["--bytes", "4MB"], "'4MB' is no size"),
                                 (["--bytes", "2T"], "at most")):
            with self.subTest(arguments=arguments):
                self.assertIn(named, self.sentence(run(*arguments, made=self.made), 2))

    def test_a_file_that_cannot_be_loaded_is_named_with_its_cause(self):
        for path, named in (("nope", "nope: there is no such file"), (self.folder.name, "is a folder"),
                            (__file__, "neither GGUF nor safetensors"), (self.model(8191), "model-8191.safetensors: "),
                            ("/dev/null", "/dev/null"), ("", "there is no such file")):
            with self.subTest(path=path):
                said = self.sentence(run("--file", path), 1)
                self.assertIn(named, said)
                self.assertNotIn("Failed", said)

    def test_a_folder_that_is_none_is_named(self):
        self.assertIn("/nonexistent/folder", self.sentence(run("--bytes", "1M"), 1))

    def test_more_than_the_memory_is_refused(self):
        self.assertIn("--bytes makes the file smaller", self.sentence(run("--bytes", "1T", made=self.made), 1))

    def test_help_explains(self):
        done = run("--help")
        for text in ("--rounds ROUNDS", "default 7", "default 1G", "2M is 2 MiB", "SGI_BENCH_DIR"):
            self.assertIn(text, " ".join(done.stdout.split()))

    def stub(self, text):
        path = pathlib.Path(self.folder.name) / "stub"
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return path

    def test_what_the_child_said_is_the_sentence(self):
        stub = self.stub("import sys; sys.exit('sgi-bench: this is why')")
        said = self.sentence(run("--bytes", "1M", bench=stub, made=self.made), 1)
        self.assertRegex(said, "^ratio.py: .* ended with 1: sgi-bench: this is why$")
        self.assertEqual(os.listdir(self.made), [])

    def test_signals_end_it_at_once_and_nothing_is_left(self):
        stub = self.stub("import time; time.sleep(1000)")  # a turn that does not end by itself
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number=number), subprocess.Popen(
                    command("--bytes", "1M", bench=stub), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    preexec_fn=listen, env={**os.environ, "SGI_BENCH_DIR": str(self.made)}) as process:
                end = time.monotonic() + HANGS
                while not list(self.made.glob("ratio-*/model.safetensors")) and time.monotonic() < end:
                    time.sleep(0.02)
                begin = time.monotonic()
                process.send_signal(number)
                _, said = process.communicate(timeout=HANGS)
                self.assertLess(time.monotonic() - begin, 20)
                self.assertEqual((process.returncode, said), (-number, ""))
                self.assertEqual(os.listdir(self.made), [])
                self.assertEqual(processes_with(str(self.made)), [])

    def test_a_run(self):
        done = run("--bytes", "1M", "--rounds", "1", "--json", made=self.made)
        if "io_uring" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(json.loads(done.stdout)["rounds"], 1)
        self.assertEqual(os.listdir(self.made), [])


if __name__ == "__main__":
    unittest.main()
