#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/gpu/run.sh with programs that only pretend: how steps end, what is written of it, and its exit status. And
bench/gpu.sh, which is some of it."""

import json
import os
import subprocess
import tempfile
import unittest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITE = os.path.join(TREE, "tests", "gpu", "run.sh")
FIGURES = os.path.join(TREE, "bench", "gpu.sh")
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


class Case(unittest.TestCase):
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

    def suite(self, *options, script=SUITE):
        """Its exit status, and what it has written: how each step ended, and all of the JSON."""
        done = subprocess.run(["bash", script, "--build", self.build, "--out", self.out, *options], text=True,
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


class Suite(Case):
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
        self.assertEqual(done.stderr.splitlines()[-1], "run.sh: not all is as it should be: device, zero")

    def test_what_a_step_said_is_kept_and_that_of_an_earlier_run_is_not(self):
        model = os.path.join(self.folder, "model")
        with open(model, "w", encoding="utf-8") as file:
            file.write("weights")
        self.program("bin/sgi", 'echo "$4"; echo "0123456789abcdef $4"; echo odd >&2')
        done, ended, _ = self.suite("--only", "loads", "--model", model)
        self.assertEqual(ended, {"loads": "failed"}, done)
        said = [os.path.join(self.out, "said", name) for name in ("loads", "loads.err", "loads.device", "loads.host")]
        self.assertIn(f"all that it said: {said[0]}, {said[1]}", done.stderr)
        self.assertIn(f"{said[2]} {said[3]} differ", done.stdout + done.stderr)
        for path, word in zip(said[1:], ("odd", "cuda:0", "host:0")):
            with open(path, encoding="utf-8") as file:
                self.assertIn(word, file.read())
        self.assertEqual(self.suite("--only", "zero")[1], {"zero": "passed"})
        self.assertFalse([path for path in said if os.path.exists(path)])

    def test_a_skip_is_no_success_where_it_may_not_be(self):
        self.program("tests/conformance_device", "exit 77")
        self.assertEqual(self.suite("--only", "device")[0].returncode, 1)

    def test_what_hangs_is_ended_and_what_is_too_late_is_not_run(self):
        self.program("tests/conformance_cuda_driver", "sleep 50")
        done, ended, _ = self.suite("--seconds", "2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual((ended["driver"], ended["device"], ended["probe"]), ("out of time", "not run", "not run"))

    def test_a_step_that_is_not_run_has_a_line_and_a_result(self):
        done, ended, _ = self.suite("--seconds", "01", "--only", "driver")
        self.assertEqual((done.returncode, ended), (1, {"driver": "not run"}))
        self.assertRegex(done.stdout, "driver +not run +0 s +of the 1 seconds for all steps together")

    def test_without_a_device_nothing_is_run(self):
        self.program("bench/gpu_probe", "echo '{\"driver\": null, \"reason\": \"no such card\"}'; exit 3")
        done, ended, _ = self.suite()
        self.assertEqual((done.returncode, ended), (3, None))
        self.assertIn("no such card", done.stderr)

    def test_wrong_usage_is_a_sentence_before_anything_is_run(self):
        self.program("bench/gpu_probe", f"touch {self.folder}/was_run; echo '{{}}'")
        for options, named in ((["--bogus"], "'--bogus'"), (["--only"], "--only"), (["--only", "nothing"], "'nothing'"),
                               (["--only", "driver device"], "'driver device'"), (["--seconds", "x"], "'x'"),
                               (["--seconds", "0"], "'0'"), (["--seconds", "1e3"], "'1e3'"),
                               (["--bytes", "xyz"], "'xyz'"), (["--bytes", "1K"], "'1K'"),
                               (["--bytes", "16777217T"], "'16777217T'"), (["--model", "/a/b/c"], "/a/b/c"),
                               (["--model", self.folder], self.folder), (["--build", "/nonexistent"], "/nonexistent"),
                               (["--out", "/proc/x"], "/proc/x"), (["--fake"], "/nonexistent")):
            with self.subTest(options=options):
                done = self.suite(*options)[0]
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assertRegex(done.stderr, r"^run\.sh: [^\n]*\n$")
                self.assertIn(named, done.stderr)
        os.remove(os.path.join(self.build, "tests", "gpu_zero"))
        done = self.suite()[0]
        self.assertEqual(done.returncode, 2)
        self.assertIn("has no tests/gpu_zero for 'zero'", done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "was_run")))
        self.assertEqual(self.suite("--only", "fault")[1], {"fault": "passed"})

    def test_sizes_reach_the_bench_in_bytes(self):
        for size, number in (("08M", 8 << 20), ("2GiB", 2 << 30), ("1T", 1 << 40), ("1048576", 1 << 20)):
            self.program("bench/sgi-bench", "echo \"$*\" >&2; exit 1")
            result = self.suite("--only", "bench", "--bytes", size)[2]
            self.assertEqual(result["steps"][0]["last"], f"gpu --bytes {number} --repeat 5")


class Figures(Case):
    def test_all_is_well(self):
        done, ended, _ = self.suite(script=FIGURES)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(ended, {"bench": "passed", "peers": "skipped", "probe": "passed"})
        self.assertEqual(self.suite("--only", "probe", script=FIGURES)[1], {"probe": "passed"})

    def test_it_speaks_in_its_own_name(self):
        done = self.suite("--only", "driver", script=FIGURES)[0]
        self.assertEqual((done.returncode, done.stderr), (2, "gpu.sh: there is no step 'driver' (--list names them)\n"))
        self.assertEqual([line.split()[0] for line in self.suite("--list", script=FIGURES)[0].stdout.splitlines()],
                         ["bench", "peers", "probe"])
        usage = self.suite("--help", script=FIGURES)[0].stdout
        self.assertIn("\n  bench/gpu.sh [options]\n", usage)
        self.assertIn("\n  --bytes BYTES ", usage)
        self.assertNotIn("  tests/gpu/run.sh [options]", usage)


if __name__ == "__main__":
    unittest.main()
