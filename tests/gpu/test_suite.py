#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/gpu/run.sh with programs that only pretend: how steps end, what is written of it, and its exit status."""

import json
import os
import subprocess
import tempfile
import unittest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITE = os.path.join(TREE, "tests", "gpu", "run.sh")
HANGS = 60
CARD = '{"name":"A Card","pci":"0000:01:00.0","bytes":85899345920,"cuda":13000,"driver":"580.1"}'
ROW = ('{"what":"row","name":"dram_ratio","text":"DRAM to device","unit":"of the bare copies","median":0.97,"min":0.9,'
       '"max":1.0,"spread":0.1,"count":5,"at_least":0.95,"reached":true}')
BENCH = f"""echo '{{"what":"round","round":1,"link":{{"gib_s":50.0,"card":{CARD}}}}}'
echo '{ROW}'
echo '{{"what":"row","name":"half'"""
GOOD = "echo all is well"
PROGRAMS = {"bench/gpu_probe": "echo '{\"driver\": {\"a\": 1}}'", "bench/sgi-bench": BENCH, "bin/sgi": GOOD,
            "examples/cuda_infer": GOOD, "tests/conformance_cuda_driver": GOOD, "tests/conformance_device": GOOD,
            "tests/gpu_kernels": GOOD, "tests/gpu_loads": GOOD, "tests/gpu_zero": GOOD, "tests/gpu_fault": GOOD}


class Suite(unittest.TestCase):
    def setUp(self):
        self.made = tempfile.TemporaryDirectory()
        self.addCleanup(self.made.cleanup)
        self.folder = self.made.name
        self.build, self.out = os.path.join(self.folder, "build"), os.path.join(self.folder, "out")
        for name, text in PROGRAMS.items():
            self.program(name, text)

    def program(self, name, text):
        path = os.path.join(self.build, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/bash\n{text}\n")
        os.chmod(path, 0o755)

    def suite(self, *options):
        """Its exit status, and what it has written: how each step ended, and all of the JSON."""
        done = subprocess.run(["bash", SUITE, "--build", self.build, "--out", self.out, *options], text=True,
                              env={**os.environ, "SGI_TEST_PYTHON": "/nonexistent"}, capture_output=True,
                              timeout=HANGS, check=False)
        path = os.path.join(self.out, "results.json")
        if not os.path.exists(path):
            return done, None, None
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        return done, {step["name"]: step["ended"] for step in result["steps"]}, result

    def markdown(self):
        with open(os.path.join(self.out, "results.md"), encoding="utf-8") as file:
            return file.read()

    def test_all_is_well(self):
        done, ended, result = self.suite()
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(ended.pop("peers"), "skipped")  # there is no such Python
        self.assertEqual(set(ended.values()), {"passed"})
        self.assertEqual(len(ended), 9)
        self.assertEqual(result["card"], json.loads(CARD))
        self.assertEqual(result["rows"], [json.loads(ROW)])  # half a line is none
        self.assertEqual([line["what"] for line in result["lines"]], ["round"])
        self.assertEqual(result["probe"], {"driver": {"a": 1}})
        self.assertIn("| DRAM to device | 0.97 [0.9-1] | of the bare copies | 5 | at least 0.95: reached |",
                      self.markdown())
        self.assertIn("A Card", self.markdown())

    def test_a_step_that_fails_stops_no_other_and_is_told(self):
        self.program("tests/gpu_zero", "echo 'it \"fails\" | \\ here'; exit 1")
        self.program("tests/conformance_device", "echo why not; exit 77")
        done, ended, result = self.suite()
        self.assertEqual(done.returncode, 1)
        self.assertEqual((ended["zero"], ended["device"], ended["fault"], ended["bench"]),
                         ("failed", "skipped", "passed", "passed"))
        said = {step["name"]: step["last"] for step in result["steps"]}
        self.assertEqual((said["zero"], said["device"]), ("it 'fails'   / here", "why not"))
        self.assertIn("| zero | **failed** |", self.markdown())

    def test_a_skip_is_no_success_where_it_may_not_be(self):
        self.program("tests/conformance_device", "exit 77")
        self.assertEqual(self.suite("--only", "device")[0].returncode, 1)

    def test_what_hangs_is_ended_and_what_is_too_late_is_not_run(self):
        self.program("tests/conformance_cuda_driver", "sleep 50")
        done, ended, _ = self.suite("--seconds", "2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual((ended["driver"], ended["device"], ended["probe"]), ("out of time", "not run", "not run"))

    def test_without_a_device_nothing_is_run(self):
        self.program("bench/gpu_probe", "echo '{\"driver\": null, \"reason\": \"no such card\"}'; exit 3")
        done, ended, _ = self.suite()
        self.assertEqual((done.returncode, ended), (3, None))
        self.assertIn("no such card", done.stderr)

    def test_wrong_usage(self):
        for options, named in ((["--bogus"], "--bogus"), (["--only"], "--only"), (["--only", "nothing"], "'nothing'"),
                               (["--seconds", "x"], "'x'"), (["--build", "/nonexistent"], "/nonexistent")):
            done = self.suite(*options)[0]
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(named, done.stderr)


if __name__ == "__main__":
    unittest.main()
