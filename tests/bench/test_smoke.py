# SPDX-License-Identifier: Apache-2.0
"""Every subcommand of sgi-bench on small files: what it puts out, how it ends, and that it keeps its word where that
does not depend on how fast the machine is.

    test_smoke.py SGI_BENCH [names of tests, as unittest takes them]
"""

import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

BENCH = os.path.abspath(sys.argv.pop(1))
BUILD = os.path.dirname(os.path.dirname(BENCH))
ON_FAKE = [sys.executable, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "fakecuda", "run"),
           "--build", BUILD]
HANGS = 120
SGI, CODEC = os.path.join(BUILD, "bin", "sgi"), os.path.join(BUILD, "bench", "codec")

with open(BENCH, "rb") as bench_file:
    bench_bytes = bench_file.read()
ASAN, TSAN = b"__asan_" in bench_bytes, b"__tsan_" in bench_bytes

STATS = {"median", "min", "max", "spread", "count"}
MACHINE = {"cpu", "cpus", "memory_bytes", "kernel", "page_bytes", "transparent_huge_pages", "shmem_huge_pages",
           "library", "io_uring", "load_average"}
RAW = {"what", "engine", "block", "depth", "memory", "buffered", "cold", "bytes", "seconds", "gib_s",
       "cpu_core_s_per_gib"}
LOAD = {"what", "device", "engine", "memory", "from", "fd", "checks", "cold", "bytes", "read_bytes", "seconds",
        "gib_s", "cpu_core_s_per_gib", "direct", "total_seconds", "limited_seconds", "before_ms", "phases_ms"}
COMMANDS = ("raw", "pages", "load", "warm", "idle", "swap", "memory", "release", "gpu")

WRONG = (
    ([], "which command"), (["frobnicate"], "'frobnicate'"), (["raw"], "FILE"), (["load"], "FILE"),
    (["raw", "a", "b"], "'b'"), (["warm", "a", "b"], "'b'"), (["idle", "a"], "'a'"), (["swap", "a"], "two files"),
    (["load", ""], "empty"), (["load", "a", "--engine", "mmap"], "'mmap'"), (["load", "a", "--memory"], "--memory"),
    (["load", "a", "--repeat", "0"], "'0'"), (["load", "a", "--repeat", "2x"], "'2x'"),
    (["load", "a", "--repeat", "-1"], "'-1'"), (["load", "a", "--rate", "1Q"], "'1Q'"), (["load", "a", "-x"], "-x"),
    (["raw", "a", "--rate", "99999999999999999999"], "'99999999999999999999'"), (["raw", "a", "--cold=1"], "--cold"),
    (["load", "a", "--colder"], "--colder"), (["raw", "a", "--block", "4097"], "4097"),
    (["load", "a", "--against", "raw", "--stdin"], "--stdin"),
    (["load", "a", "--against", "raw", "--from", "dram"], "dram"), (["memory", "--bytes", "1"], "--bytes"),
    (["load", "a", "--from", "dram", "--cold"], "without --from dram"),
    (["raw", "a", "--bogus"], "no option --bogus; sgi-bench raw --help"),
    (["raw", "a", "--b=1"], "--b may be any of --block, --buffered"), (["help", "frobnicate"], "'frobnicate'"),
    (["help", "raw", "load"], "one command"), (["raw", "a", "--block", "2MB"], "2MiB"),
    (["load", "a", "--device", "gpu0"], "'gpu0'"), (["load", "a", "--device", "hosts"], "'hosts'"),
    (["load", "a", "--device", "cuda:1000"], "'cuda:1000'"), (["gpu", "--device", "cuda:01"], "'cuda:01'"),
    (["gpu", "--device", ""], "host, host:N, cuda or cuda:N"),
    (["pages", "a"], "'a'"), (["pages", "--memory", "fresh"], "'fresh'"), (["pages", "--bytes", "0"], "'0'"),
)


def run(*argv, folder=None, text=""):
    environment = {**os.environ, "SGI_BENCH_DIR": folder} if folder else None
    return subprocess.run([BENCH, *argv], input=text, capture_output=True, text=True, timeout=HANGS, env=environment,
                          check=False)


class Smoke(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        build = os.environ.get("SGI_BUILD_DIR")
        cls.folder = tempfile.mkdtemp(prefix="bench-", dir=os.path.join(build, "tests") if build else None)
        cls.tensors = 3 << 20
        cls.path = os.path.join(cls.folder, "model.safetensors")
        half = cls.tensors // 2
        header = json.dumps({name: {"dtype": "U8", "shape": [half], "data_offsets": [n * half, (n + 1) * half]}
                             for n, name in enumerate(("a", "b"))}).encode()
        header += b" " * (-len(header) % 8)
        with open(cls.path, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header + os.urandom(cls.tensors))
            os.fsync(file.fileno())
        cls.engines = ["threads"] + (["uring"] if cls.machine(run("raw", cls.path, "--engine", "threads"))["io_uring"]
                                     else [])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @staticmethod
    def machine(done):
        return json.loads(done.stdout.splitlines()[-1])["machine"]

    def lines(self, *argv):
        """What it put out: the results, and the summary."""
        made = tempfile.mkdtemp(dir=self.folder)
        done = run(*argv, folder=made)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assertEqual(os.listdir(made), [], "it left files behind")
        *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual((summary["what"], summary["command"]), ("summary", argv[0]))
        self.assertLessEqual(MACHINE, set(summary["machine"]))
        return lines, summary

    def check_stats(self, stats, values):
        self.assertEqual(set(stats), STATS)
        self.assertEqual(stats["count"], len(values))
        self.assertAlmostEqual(stats["min"], min(values), delta=min(values) * 1e-5)
        self.assertAlmostEqual(stats["max"], max(values), delta=max(values) * 1e-5)
        if len(values) == 3:
            self.assertAlmostEqual(stats["median"], sorted(values)[1], delta=max(values) * 1e-5)

    # ---- arguments ----

    def test_what_is_wrong_is_named_in_one_sentence(self):
        for argv, named in WRONG:
            with self.subTest(argv=argv):
                done = run(*argv)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assertTrue(done.stderr.startswith("sgi-bench"), done)
                self.assertEqual(done.stderr.count("\n"), 1, done)
                self.assertIn(named, done.stderr)

    def test_help_is_everywhere(self):
        general = run("--help")
        self.assertEqual((general.returncode, general.stderr), (0, ""))
        for command in COMMANDS:
            self.assertIn(f"  {command} ", general.stdout)
            done = run(command, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual("--rate" in done.stdout, command not in ("pages", "gpu"))  # which read nothing, or all
            self.assertEqual(run("help", command).stdout, done.stdout)
            self.assertIn("2M is 2 MiB", done.stdout)
        self.assertEqual(run("help").stdout, general.stdout)
        for said in ("KiB", "2M is 2 MiB", "SGI_BENCH_DIR", "/var/tmp"):
            self.assertIn(said, general.stdout)
        self.assertIn("(default 512M)", run("swap", "--help").stdout)

    def test_help_that_cannot_be_written_is_an_error(self):
        for argv in (["--help"], ["help"], ["load", "--help"], ["help", "load"]):
            with self.subTest(argv=argv), open("/dev/full", "wb") as full:
                done = subprocess.run([BENCH, *argv], stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGS,
                                      check=False)
                self.assertEqual(done.returncode, 1)
                self.assertIn("cannot be written: No space left", done.stderr)

    def test_what_raw_cannot_read_is_named_with_its_cause(self):
        empty, pipe = (os.path.join(self.folder, name) for name in ("empty.safetensors", "pipe"))
        with open(empty, "wb"):
            os.mkfifo(pipe)
        for path, cause in ((empty, "is empty"), (self.folder, "is a folder; raw reads a file"),
                            ("/dev/zero", "is not a regular file"), (pipe, "is not a regular file")):
            with self.subTest(path=path):
                done = run("raw", path)
                self.assertEqual((done.returncode, done.stdout), (1, ""), done)
                self.assertEqual(done.stderr, f"sgi-bench: {path}: {cause}\n")

    def test_what_cannot_be_measured_is_said(self):
        for argv in (["raw", "/nonexistent"], ["raw", "/dev/zero"], ["load", "/nonexistent"], ["load", __file__],
                     ["swap", "/none", "/none"], ["load", "/nonexistent", "--against", "raw"],
                     ["warm", self.folder + "/none"]):
            with self.subTest(argv=argv):
                done = run(*argv)
                self.assertEqual((done.returncode, done.stdout), (1, ""), done)
                self.assertIn("sgi-bench: ", done.stderr)

    # ---- reads ----

    def test_raw(self):
        for engine in self.engines:
            for argv in ([], ["--cold"], ["--buffered"], ["--memory", "fresh"], ["--memory", "memfd"],
                         ["--memory", "fresh-memfd"], ["--memory", "ring", "--block", "64K"],
                         ["--depth", "3", "--block", "4K"]):
                with self.subTest(engine=engine, argv=argv):
                    lines, summary = self.lines("raw", self.path, "--engine", engine, "--repeat", "3", *argv)
                    for line in lines:
                        self.assertEqual(set(line), RAW)
                        self.assertEqual((line["what"], line["engine"], line["bytes"]),
                                         ("raw", engine, os.path.getsize(self.path)))
                    self.check_stats(summary["gib_s"], [line["gib_s"] for line in lines])

    @unittest.skipIf(ASAN or TSAN, "they map more than the limit by themselves")
    def test_a_ring_takes_no_more_than_the_file_needs(self):
        for engine in self.engines:
            done = subprocess.run([BENCH, "raw", self.path, "--engine", engine, "--memory", "ring", "--block", "1G",
                                   "--depth", "64"], capture_output=True, text=True, timeout=HANGS, check=False,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))
            self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_what_does_not_fit_into_memory_is_refused(self):
        huge = os.path.join(self.folder, "huge")
        with open(huge, "wb") as file:
            try:
                file.truncate(8 << 40)
            except OSError as error:
                self.skipTest(f"no such large file here: {error}")
        for argv in (["raw", huge], ["raw", huge, "--memory", "fresh"], ["pages", "--bytes", "1T"]):
            with self.subTest(argv=argv):
                done = run(*argv)
                self.assertEqual((done.returncode, done.stdout), (1, ""), done)
                self.assertIn("three quarters of this machine's", done.stderr)
        os.unlink(huge)

    def test_pages(self):
        for memory in ("anonymous", "memfd"):
            lines, summary = self.lines("pages", "--memory", memory, "--bytes", "3M", "--repeat", "3")
            for line in lines:
                self.assertEqual(set(line), {"what", "memory", "populated", "bytes", "seconds", "gib_s",
                                             "cpu_core_s_per_gib"})
                self.assertEqual((line["memory"], line["bytes"]), (memory, 4 << 20))  # whole huge pages
                self.assertAlmostEqual(line["gib_s"] * line["seconds"], 1 / 256, delta=1e-6)
            self.check_stats(summary["seconds"], [line["seconds"] for line in lines])

    def test_load(self):
        for engine in self.engines:
            for argv in ([], ["--cold"], ["--fd"], ["--memory", "fresh"], ["--checks"], ["--checks", "--fd", "--cold"]):
                with self.subTest(engine=engine, argv=argv):
                    lines, summary = self.lines("load", self.path, "--engine", engine, "--repeat", "3", *argv)
                    self.assertEqual(len(lines), 3)
                    for line in lines:
                        self.assertEqual(set(line), LOAD)
                        self.assertEqual((line["engine"], line["bytes"]), (engine, self.tensors))
                        self.assertEqual((line["from"], line["limited_seconds"]), ("disk", 0))
                        self.assertEqual("verify" in line["phases_ms"], "--checks" in argv)
                        self.assertEqual((line["fd"], line["checks"]), ("--fd" in argv, "--checks" in argv))
                    memory = "fresh" if "--memory" in argv else "reused"
                    self.assertEqual([line["memory"] for line in lines], [memory] * 3)
                    self.check_stats(summary["gib_s"], [line["gib_s"] for line in lines])

    def packed(self):
        """Floats of two bytes that are all of about the same size: what they become is smaller."""
        if not os.path.exists(SGI):
            self.skipTest("the command sgi is not built")
        plain, path = (os.path.join(self.folder, name) for name in ("floats.safetensors", "floats.sgi"))
        header = json.dumps({"a": {"dtype": "BF16", "shape": [1 << 19], "data_offsets": [0, 1 << 20]}}).encode()
        with open(plain, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.write(b"".join(bytes((low, 0x3c)) for low in os.urandom(1 << 19)))
        done = subprocess.run([SGI, "pack", plain, "-o", path], capture_output=True, text=True, timeout=HANGS,
                              check=False)
        self.assertEqual(done.returncode, 0, done)
        return plain, path

    def test_a_packed_model_is_measured_by_what_it_delivers(self):
        _, path = self.packed()
        for argv in ([], ["--cold", "--checks"], ["--memory", "fresh", "--fd"]):
            lines, _ = self.lines("load", path, *argv)
            for line in lines:
                self.assertEqual((line["bytes"], line["from"]), (1 << 20, "disk"))
                self.assertLess(line["read_bytes"], line["bytes"])
                self.assertAlmostEqual(line["gib_s"] * line["seconds"], 1 / 1024, delta=1e-6)
                self.assertLessEqual({"verify", "decode"}, set(line["phases_ms"]))
        lines, _ = self.lines("memory", path, "--repeat", "1")
        for line in lines:
            self.assertAlmostEqual(line["peak_over_model"], line["peak_bytes"] / line["image_bytes"], delta=1e-4)
            self.assertLess(line["bytes"], line["image_bytes"])

    def test_a_plain_model_is_read_as_it_is(self):
        lines, _ = self.lines("load", self.path)
        self.assertEqual([line["read_bytes"] for line in lines], [self.tensors])

    @unittest.skipUnless(os.path.exists(CODEC), "codec is not built")
    def test_codec(self):
        plain, _ = self.packed()
        for path, smaller in ((plain, True), (self.path, False)):
            done = subprocess.run([CODEC, path], input="\n\n", capture_output=True, text=True, timeout=HANGS,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            self.assertEqual([line["bytes"] for line in lines], [os.path.getsize(path)] * 2)
            for line in lines:
                self.assertEqual(line["stored_bytes"] < 0.8 * line["bytes"], smaller)
                self.assertGreater(min(line[key] for key in ("encode_gib_s", "check_gib_s", "decode_gib_s")), 0)
        for path, says in ((self.folder + "/none", "No such file"), ("/dev/null", "is empty")):
            done = subprocess.run([CODEC, path], capture_output=True, text=True, timeout=HANGS, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(says, done.stderr)

    def test_a_device_goes_by_every_name_the_library_has_for_it(self):
        for name, device in (("host", "host:0"), ("host:0", "host:0"), ("host:999", "host:999")):
            lines, _ = self.lines("load", self.path, "--device", name)
            self.assertEqual([line["device"] for line in lines], [device])
        done = run("load", self.path, "--device", "cuda:999")
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        self.assertIn("cuda:999: ", done.stderr)

    def test_what_cannot_be_registered_is_named_once(self):
        path = os.path.join(self.folder, "none.safetensors")
        says = f"register: {path}: No such file or directory (SGI_E_IO)\n"
        for command, prefix in ((["load"], ""), (["warm"], ""), (["gpu", "--device", "host:0"], "first: ")):
            done = run(*command, path)
            self.assertEqual((done.returncode, done.stderr), (1, f"sgi-bench: {prefix}{says}"), done)

    @unittest.skipUnless(os.path.exists(os.path.join(BUILD, "tests", "fake_cuda")), "the fake driver is not built")
    def test_a_model_larger_than_the_card_is_the_last_that_is_said(self):
        for command, prefix in (("load", ""), ("gpu", "first: ")):
            done = subprocess.run([*ON_FAKE, "--vram", "66M", BENCH, command, self.path, "--device", "cuda:0"],
                                  capture_output=True, text=True, timeout=HANGS, check=False)
            self.assertEqual(done.returncode, 1, done)  # 86: something was left on the device
            self.assertRegex(done.stderr, rf"^sgi-bench: {prefix}acquire: [^\n]*\(SGI_E_DEVICE_MEMORY\)\n$")

    @unittest.skipUnless(os.path.exists(os.path.join(BUILD, "tests", "fake_cuda")), "the fake driver is not built")
    def test_check_values_are_those_of_the_file(self):
        """Of a first copy that came wrong nothing is learned: what is loaded after it is right."""
        done = subprocess.run([*ON_FAKE, "--fault", "@copy 1 corrupt", BENCH, "load", self.path, "--device", "cuda:0",
                               "--checks"], capture_output=True, text=True, timeout=HANGS, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)

    def test_load_from_dram_reads_nothing(self):
        lines, _ = self.lines("load", self.path, "--from", "dram", "--repeat", "2")
        for line in lines:
            self.assertEqual((line["from"], line["bytes"]), ("dram", self.tensors))
            self.assertNotIn("read", line["phases_ms"])

    def test_taking_turns(self):
        """A line in, a line out; so programs share a disk."""
        for command in ("raw", "load"):
            argv = [BENCH, command, self.path, "--cold", "--stdin", "--repeat", "5"]
            with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                for _ in range(2):
                    process.stdin.write("\n")
                    process.stdin.flush()
                    self.assertEqual(json.loads(process.stdout.readline())["what"], command)
                process.stdin.close()
                self.assertEqual(process.stdout.read(), "")
                self.assertEqual(process.wait(), 0)

    def test_the_first_turn_of_several_programs_pays_for_the_memory_and_says_so(self):
        done = run("load", self.path, "--stdin", "--repeat", "2", text="\n\n")
        self.assertEqual([json.loads(line)["memory"] for line in done.stdout.splitlines()], ["fresh", "reused"])

    def test_against(self):
        for other, names in (("raw", ("load", "raw")), ("unchecked", ("checked", "unchecked"))):
            lines, summary = self.lines("load", self.path, "--against", other, "--repeat", "3")
            self.assertEqual([line["round"] for line in lines], [1, 2, 3])
            for line in lines:
                self.assertAlmostEqual(line["ratio"], line[names[0]]["gib_s"] / line[names[1]]["gib_s"], delta=1e-3)
            self.check_stats(summary["ratio"], [line["ratio"] for line in lines])
            for name in names:
                self.check_stats(summary[name]["gib_s"], [line[name]["gib_s"] for line in lines])
            if other == "unchecked":
                self.assertEqual([line[name]["checks"] for line in lines for name in names], [True, False] * 3)

    def test_a_limit_holds(self):
        rate = 12 << 20  # a quarter of a second; 50 ms' worth may come at once, and the last read is paid later
        least = self.tensors / rate - 0.05 - (64 << 10) / rate
        for engine in self.engines:
            lines, _ = self.lines("raw", self.path, "--engine", engine, "--block", "64K", "--rate", str(rate))
            self.assertGreaterEqual(lines[0]["seconds"], least)
        lines, _ = self.lines("load", self.path, "--rate", "2M", "--cold")  # two reads: the second waits for the first
        self.assertGreater(lines[0]["limited_seconds"], 0)
        self.assertGreaterEqual(lines[0]["seconds"], 1 - 0.05 - 0.001)

    # ---- the others ----

    def test_warm(self):
        lines, summary = self.lines("warm", "--pairs", "2000", "--repeat", "2")
        self.assertEqual([line["threads"] for line in lines], [1, 2, 1, 2])
        for line in lines:
            self.assertEqual(line["pairs"], 2000 * line["threads"])
            self.assertLessEqual(line["p50_ns"], line["p99_ns"])
            self.assertLessEqual(line["p99_ns"], line["max_ns"])
        self.check_stats(summary["p50_ns"], [line["p50_ns"] for line in lines[::2]])
        self.check_stats(summary["several"]["pairs_per_s"], [line["pairs_per_s"] for line in lines[1::2]])
        lines, _ = self.lines("warm", self.path, "--pairs", "1000", "--threads", "1", "--repeat", "1")
        self.assertEqual([line["threads"] for line in lines], [1])

    def test_idle(self):
        for argv in ([], ["--files"]):
            lines, summary = self.lines("idle", "--models", "50", "--tensors", "64", "--seconds", "1", *argv)
            self.assertEqual([line["variant"] for line in lines], ["registered", "loaded once"])
            for line in lines:
                self.assertEqual(line["models"], 50)
                if not TSAN:  # which has a thread of its own
                    self.assertEqual((line["context_switches"], line["cpu_ticks"]), (0, 0), line)
                    self.assertIn(line["wakeups"], (0, None))
                    self.assertEqual(line["threads"], 2)  # the one that waits for input, and the library's
                if not ASAN and not TSAN:  # which have heaps of their own
                    self.assertGreater(line["heap_bytes_per_model"], 1000)
                    self.assertGreater(line["index_bytes_per_tensor"], 56)
            self.assertEqual(summary["models"], 50)
            self.assertEqual(summary["loaded_once"]["context_switches"]["count"], 1)

    def test_idle_does_not_tell_what_it_cannot(self):
        lines, summary = self.lines("idle", "--models", "10", "--tensors", "2", "--seconds", "1")
        for line in lines:
            for name in ("index_bytes_per_tensor", "beyond_index_bytes_per_model",
                         "beyond_index_heap_bytes_per_model"):
                self.assertIsNone(line[name], line)
        self.assertNotIn("index_bytes_per_tensor", summary["registered"])
        self.assertEqual(summary["registered"]["context_switches"]["count"], 1)

    def test_swap(self):
        for source in ("disk", "dram"):
            lines, summary = self.lines("swap", "--bytes", "2M", "--from", source, "--repeat", "2")
            self.assertEqual([line["to"] for line in lines], ["a", "b", "a", "b"])
            for line in lines:
                self.assertEqual((line["from"], line["bytes"]), (source, 2 << 20))
                self.assertAlmostEqual(line["ratio"], line["raw_seconds"] / line["total_seconds"],
                                       delta=line["ratio"] * 1e-3)
            self.check_stats(summary["ratio"], [line["ratio"] for line in lines])
            self.assertEqual("read" in summary["phases_ms"], source == "disk")
            for step, stats in summary["phases_ms"].items():
                self.check_stats(stats, [line["phases_ms"][step] for line in lines if step in line["phases_ms"]])
        lines, _ = self.lines("swap", self.path, self.path, "--fd", "--repeat", "1")
        self.assertEqual([line["bytes"] for line in lines], [self.tensors] * 2)

    def test_memory(self):
        lines, summary = self.lines("memory", "--bytes", "8M", "--repeat", "1")
        self.assertEqual([line["fd"] for line in lines], [False, True])
        for line in lines:
            self.assertGreaterEqual(line["image_bytes"], 8 << 20)
            self.assertGreaterEqual(line["peak_bytes"], 8 << 20)  # all of it was there
            if not ASAN and not TSAN:
                self.assertLess(line["residue_bytes"], 4 << 20)  # and is not any more
        self.assertEqual(summary["memfd"]["peak_bytes"]["count"], 1)

    def test_gpu_on_the_host_goes_through_all_its_sides_but_the_link(self):
        lines, summary = self.lines("gpu", "--device", "host:0", "--bytes", "4M", "--repeat", "2")
        self.assertEqual([line["what"] for line in lines if line["what"] != "row"],
                         ["first"] * 2 + ["round"] * 3 + ["zero"] * 3)
        for line in lines[2:5]:
            self.assertEqual(set(line), {"what", "round", "raw", "dram", "reopened", "disk"})
            self.assertEqual([line[side]["from"] for side in ("dram", "reopened", "disk")], ["dram", "dram", "disk"])
        self.assertEqual([line["nvml_ms"] for line in lines[5:8]], [None] * 3)
        rows = {line["name"]: line for line in lines[8:]}
        self.assertIs(rows["zero_device_ms"]["reached"], rows["zero_device_ms"]["median"] <= 300)
        self.assertEqual((rows["disk_gib_s"]["count"], rows["first_total_ms"]["count"]), (2, 2))
        self.assertNotIn("dram_ratio", rows)  # to the link's, which is not there
        self.assertEqual((summary["device"], summary["card"]), ("host:0", None))

    def test_gpu_without_a_driver_says_so(self):
        done = run("gpu", self.path, "--repeat", "1")
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)

    def test_release(self):
        lines, summary = self.lines("release", "--bytes", "16M", "--repeat", "2")
        self.assertEqual([line["image"] for line in lines], ["anonymous", "memfd"] * 2)
        for line in lines:
            self.assertGreaterEqual(line["held_bytes"], 12 << 20)
            self.assertGreaterEqual(line["memory_ms"], line["device_ms"])
            self.assertEqual(line["within"], line["memory_ms"] <= line["row_ms"])
        self.assertEqual(summary["anonymous_within"], all(line["within"] for line in lines[::2]))
        self.assertEqual(summary["memfd_within"], all(line["within"] for line in lines[1::2]))


if __name__ == "__main__":
    unittest.main()
