# SPDX-License-Identifier: Apache-2.0
"""What becomes of the output: full disks, readers that leave, closed descriptors, terminals. And `sgi features`."""

import json
import os
import subprocess
import unittest

import models
from command import HANGS, SANITIZED, SGI, Case, main, on_terminal, sgi


class Output(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = models.single(cls.folder)
        cls.many = models.single(cls.folder, "many.safetensors", [(f"layer.{i:05}", "U8", [1]) for i in range(20000)])
        cls.commands = (["inspect", cls.model.path], ["inspect", cls.many.path, "--json"], ["features"], ["help"],
                        ["--version"], ["load", "--help"], ["load", cls.model.path, "--json"], ["load", cls.model.path])

    # A shell closes what subprocess cannot.
    def through_shell(self, redirection, argv):
        command = ["sh", "-c", "\"$0\" \"$@\" " + redirection, SGI, *argv]
        done = subprocess.run(command, capture_output=True, timeout=HANGS, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_a_full_disk_is_a_failure(self):
        for argv in self.commands:
            with self.subTest(argv=argv), open("/dev/full", "wb") as full:
                done = sgi(*argv, stdout=full)
                self.assertEqual(done.code, 1, done)
                self.assert_one_line(done, "sgi: standard output: ")
                self.assertIn("No space left on device", done.err)

    def test_a_reader_that_has_left_is_quiet(self):
        for argv in self.commands:
            with self.subTest(argv=argv):
                read, write = os.pipe()
                os.close(read)
                done = sgi(*argv, stdout=write)
                os.close(write)
                self.assertEqual((done.code, done.err), (0, ""), done)

    def test_a_reader_that_leaves_ends_the_repetitions(self):
        with subprocess.Popen([SGI, "load", self.model.path, "--json", "--repeat", "1000000"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual((process.wait(HANGS), process.stderr.read()), (0, b""))

    def test_a_closed_output_is_a_failure(self):
        for argv in self.commands:
            with self.subTest(argv=argv):
                code, _, err = self.through_shell(">&-", argv)
                self.assertEqual(code, 1)
                # By any other cause it was open, as something else: the command's own files.
                self.assertRegex(err, "^sgi: standard output: .*Bad file descriptor")
                self.assertEqual(err.count("\n"), 1, err)

    def test_closed_input_and_errors_do_no_harm(self):
        self.assertEqual(self.through_shell("<&-", ["load", self.model.path])[0], 0)
        code, out, _ = self.through_shell("2>&-", ["load", self.model.path, "--digest", "--json"])
        self.assertEqual((code, len(json.loads(out)["tensors"])), (0, len(self.model.tensors)))
        self.assertEqual(self.through_shell("2>&-", ["load", "/nonexistent"])[0], 1)
        self.assertEqual(self.through_shell("<&- >&- 2>&-", ["load", "/nonexistent"])[0], 1)


class Progress(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Thousands of reads one after the other take longer than the interval between two bars.
        size = 8 << 20 if SANITIZED else 64 << 20
        cls.model = models.single(cls.folder, "large.safetensors", [("large", "U8", [size])])
        cls.slow = ["load", cls.model.path, "--cold", "--engine", "threads", "--block", "4096", "--depth", "1"]

    def test_a_terminal_shows_a_bar_and_is_left_clean(self):
        seen, out = on_terminal(self.slow, "xterm")
        self.assertRegex(seen, r"\r\x1b\[K\[#*\.*\] +\d+%")
        self.assertTrue(seen.endswith("\r\x1b[K"), seen[-200:])
        self.assertNotIn("\x1b", out)

    def test_a_dumb_terminal_shows_none(self):
        self.assertEqual(on_terminal(self.slow, "dumb")[0], "")

    def test_a_pipe_shows_none(self):
        done = subprocess.run([SGI, *self.slow], capture_output=True, timeout=HANGS, check=True)
        self.assertEqual(done.stderr, b"")


class Features(Case):
    def test_json_and_text_say_the_same(self):
        found = json.loads(self.good("features", "--json").out)["features"]
        names = [f["name"] for f in found]
        self.assertIn("io_uring", names)
        self.assertEqual(len(set(names)), len(names))
        lines = self.good("features").out.splitlines()
        self.assertEqual(len(lines), len(found))
        for line, feature in zip(lines, found):
            self.assertEqual(set(feature), {"name", "usable", "detail"})
            self.assertIs(type(feature["usable"]), bool)
            name, usable = line.split()[:2]
            self.assertEqual((name, usable), (feature["name"], "yes" if feature["usable"] else "no"))
            if not feature["usable"]:
                self.assertNotEqual(feature["detail"], "", feature)


if __name__ == "__main__":
    unittest.TestCase.maxDiff = None
    main()
