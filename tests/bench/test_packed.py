# SPDX-License-Identifier: Apache-2.0
"""bench/packed.py: what it refuses, its arithmetic and tables, and a run on a small file that leaves nothing behind.

    test_packed.py SGI_BENCH [names of tests, as unittest takes them]
"""
import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

BUILD = pathlib.Path(sys.argv.pop(1)).resolve().parents[1]
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(FOLDER))

import packed  # noqa: E402
from peers import cores, fine_tune, loads, packed_loads, packing  # noqa: E402
from peers import packed_summary as summary  # noqa: E402

HANGS = 300
MACHINE = {"cpu": "A CPU", "cpus": 2, "memory_gib": 24.0, "kernel": "6.1", "filesystem": "ext4"}
# The program under test with this build, and all it leaves in one folder.
PROGRAM = """
import pathlib, sys
sys.path.insert(0, sys.argv.pop(1))
from peers import setup
setup.RELEASE, setup.HOME = pathlib.Path(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1))
setup.PYTHON, setup.TREE = setup.HOME / "venv/bin/python", setup.HOME
import packed
from peers import packed_loads
packed.SETUP_BYTES, packed.WORKERS_BYTES, packed_loads.TURN_BYTES = 0, 0, 8 << 20
sys.exit(packed.main())
"""


def turn(rate, wrong=0, **more):
    return {"seconds": 1 / rate, "gib_s": rate, "bytes": 1 << 30, "read_bytes": 1 << 30, "cpu_core_s_per_gib": 0.5,
            "busy": 0.4, "peak_rss_bytes": 1 << 30, "page_cache_wrong_bytes": wrong, **more}


def unlimited(raw, plain, packed_rate, decode, **more):
    group = packed_loads.group_name("bf16", 2, None)
    sides = {"raw": turn(raw), "plain": turn(plain), "packed": turn(packed_rate, read_bytes=(2 << 30) // 3)}
    return {group: {**sides, **more}, "codec": {"encode_gib_s": 1, "check_gib_s": 14, "decode_gib_s": decode}}


def packs(seconds, cpu, stored, size=10**9):
    answer = {"seconds": seconds, "cpu_seconds": cpu, "bytes": size, "peak_rss_bytes": 1 << 28}
    return packing.result_of(answer, stored)


def a_result(**parts):
    result = {"machine": MACHINE, "options": {"rounds": 2}, "file": "a file", "file_bytes": 10**9,
              "packed_bytes": 7 * 10**8, "cores": [1, 2], "missing": {}, "failed": {}, "disagree": [],
              "load_average": [0.1, 0.2], **parts}
    result["ratios"] = summary.all_ratios(result)
    return result


def row_of(result, begin):
    rows = [row for row in result["ratios"] if row["what"].startswith(begin)]
    return rows[0] if len(rows) == 1 else rows


def refusal(*arguments):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            packed.parse(arguments)
        except SystemExit as ended:
            return said.getvalue() if ended.code == 2 else f"ended with {ended.code}"
    return "taken"


class Arguments(unittest.TestCase):
    def test_what_is_refused_is_named(self):
        for arguments, named in ((["--rounds", "0"], "at least 1"), (["--bytes", "12"], "at least 1048576"),
                                 (["--bytes", "4Q"], "'4Q' is no size"), (["--json", "a.md"], "the same file"),
                                 (["--only", "nobody"], "'nobody'"), (["--json", "/"], "is a folder")):
            with self.subTest(arguments=arguments):
                self.assertIn(named, refusal(*arguments))

    def test_everything_is_measured_unless_a_part_is_named(self):
        self.assertEqual(packed.parse([]).parts, ["packing", "loads", "base", "memory"])
        self.assertEqual(packed.parse(["--only", "memory", "--only", "loads"]).parts, ["loads", "memory"])

    def test_files_that_are_not_there_are_told_before_the_work(self):
        for path, cause in (("/nonexistent", "there is no such file"), ("/tmp", "is a folder")):
            for option in ("--file", "--gguf"):
                with self.subTest(path=path, option=option), self.assertRaises(SystemExit) as ended:
                    packed.refuse_what_is_not_there(packed.parse([option, path]))
                self.assertEqual(str(ended.exception), f"packed.py: {option} {path}: {cause}")

    def test_a_disk_or_a_memory_that_is_too_small_is_told_before_the_work(self):
        for free, available, says in ((8 << 30, 64 << 30, "taken"), (7 << 30, 64 << 30, "needs 8.6 GB in /"),
                                      (64 << 30, 6 << 30, "needs 7.5 GB of memory")):
            with mock.patch.object(packed.shutil, "disk_usage", return_value=mock.Mock(free=free)), \
                    mock.patch.object(packed, "memory", return_value=available):
                try:
                    packed.refuse_what_does_not_fit(packed.parse(["--dir", "/", "--skip-setup"]))
                    said = "taken"
                except SystemExit as ended:
                    said = str(ended)
            self.assertIn(says, said)


class Groups(unittest.TestCase):
    def groups(self, count, **more):
        with mock.patch.object(cores.os, "sched_getaffinity", return_value=set(range(count))):
            return packed_loads.groups_of(packed_loads.Files("plain", "packed", **more))

    def test_cores_are_doubled_up_to_all_of_them(self):
        for count, expected in ((1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])):
            with mock.patch.object(cores.os, "sched_getaffinity", return_value=set(range(count))):
                self.assertEqual(cores.counts(), expected)
        with mock.patch.object(cores.os, "sched_getaffinity", return_value={7, 2, 5}):
            self.assertEqual(cores.on(2, ["a", 1]), ["taskset", "--cpu-list", "2,5", "a", 1])

    def test_packed_always_takes_turns_with_plain_under_the_same_limit(self):
        groups = self.groups(2, checked="checked", gguf="g", gguf_packed="g.sgi")
        self.assertEqual(len(groups), 2 * 4 + 1)
        for name, sides in groups.items():
            what = [side.what for side in sides]
            self.assertEqual(what[:2], ["plain", "packed"], name)
            self.assertEqual(len({(side.rate, side.cores) for side in sides}), 1, name)
            self.assertEqual("raw" in what, name.startswith("bf16") and name.endswith("unlimited"))
        self.assertEqual([name for name, sides in groups.items() if sides[-1].what == "checked"],
                         ["bf16, 2 cores, unlimited"])

    def test_without_a_quantised_model_there_is_no_group_of_it(self):
        self.assertFalse([name for name in self.groups(1) if "gguf" in name])

    def test_a_limit_and_the_cores_are_on_the_command_line(self):
        side = packed_loads.Side("packed", "m.sgi", 1, 1 << 30)
        words = [str(word) for word in side.command]
        self.assertEqual(words[words.index("--rate") + 1], str(1 << 30))
        self.assertEqual(words[0], "taskset")
        self.assertNotIn("--rate", packed_loads.Side("raw", "m", 1).command)


class Arithmetic(unittest.TestCase):
    def test_the_ratio_to_plain_is_taken_within_a_round(self):
        rounds = [unlimited(1, 1, 1.5, 9), unlimited(4, 4, 4.8, 9), unlimited(2, 2, 2.6, 9)]
        row = row_of(a_result(loads=rounds), "packed to plain: bf16, 2 cores, unlimited")
        self.assertAlmostEqual(row["median"], 1.3)
        self.assertAlmostEqual(row["max"], 1.5)
        self.assertIsNone(row["reach"])

    def test_the_row_under_a_limit_is_that_of_all_cores(self):
        def a_round(count, rate):
            return {packed_loads.group_name("bf16", count, rate): {"plain": turn(1), "packed": turn(1.5)}}
        for count, rate, reach in ((2, 1 << 30, 1.4), (1, 1 << 30, None), (2, 2 << 30, None)):
            self.assertEqual(row_of(a_result(loads=[a_round(count, rate)]), "packed to plain")["reach"], reach)

    def test_what_is_to_be_reached_is_what_the_slower_of_disk_and_decoding_allows(self):
        for decode, packed_rate, expected in ((2.0, 1.4, 1.0), (0.6, 1.2, 1.0), (0.6, 0.6, 0.5)):
            row = row_of(a_result(loads=[unlimited(1, 1, packed_rate, decode)]), "packed to the bare loop")
            self.assertAlmostEqual(row["median"], expected)
            self.assertEqual(row["reach"], 0.95)

    def test_the_limit_is_named_by_what_is_used(self):
        for raw, packed_rate, named in ((1, 1.47, "limit: disk (disk 98% used, cores 37%)"),
                                        (8, 3.9, "limit: cores (disk 32% used, cores 98%)"),
                                        (2, 2, "limit: neither by itself (disk 67% used, cores 50%)")):
            row = row_of(a_result(loads=[unlimited(raw, raw, packed_rate, 2)]), "packed to the bare loop")
            self.assertEqual(row["note"], named)

    def test_turns_that_found_another_page_cache_count_in_nothing(self):
        rounds = [unlimited(1, 1, 1.5, 9), unlimited(1, 1, 9, 9, packed=turn(9, wrong=1))]
        result = a_result(loads=rounds)
        row = row_of(result, "packed to plain")
        self.assertEqual((row["max"], row["rounds"], row["of"]), (1.5, 1, 2))
        self.assertIn("as it should be: bf16, 2 cores, unlimited, packed (1)", summary.markdown(result))

    def test_several_loads_of_a_small_file_are_one_turn(self):
        answer = {"seconds": 0.5, "bytes": 1 << 30, "read_bytes": 1 << 29, "cpu_core_s_per_gib": 0.5,
                  "peak_rss_bytes": 5, "phases_ms": {"decode": 300, "verify": 100}}
        result = packed_loads.result_of([answer, {**answer, "seconds": 1.5, "cpu_core_s_per_gib": 1.5}], 2)
        self.assertEqual((result["seconds"], result["gib_s"], result["read_bytes"]), (2, 1, 1 << 30))
        self.assertAlmostEqual(result["busy"], 0.2)  # of two cores for two seconds
        self.assertAlmostEqual(result["cpu_core_s_per_gib"], 1)

    def test_packing_is_rated_by_the_time_of_the_processor(self):
        result = packs(2, 1, 7 * 10**8)
        self.assertAlmostEqual(result["gb_s_per_core"], 1)
        self.assertAlmostEqual(result["cores"], 0.5)
        rounds = [{"libsgi, 1 core": {"pack": packs(1, cpu, 672)}, "zipnn, 2 cores": {"pack": packs(1, 1, 640)}}
                  for cpu in (2, 5)]
        with mock.patch.object(summary, "everybody", return_value=[]):
            result = a_result(packing=rounds)
        self.assertAlmostEqual(row_of(result, "packing")["median"], 0.35)
        size = row_of(result, "size to zipnn's")
        self.assertAlmostEqual(size["median"], 1.05)
        self.assertEqual(summary.verdict(size), "at most 1.03: **not reached**")

    def test_sizes_are_held_against_what_they_may_be(self):
        result = a_result(base={"alone_bytes": 100, "based_bytes": 11, "bytes": 100, "bytes_changed": 10, "tensors": 10,
                                "tensors_changed": 1}, gguf={"bytes": 100, "packed_bytes": 102, "name": "q.gguf"})
        self.assertEqual(summary.verdict(row_of(result, "a fine-tune")), "at most 0.12: reached")
        self.assertEqual(summary.verdict(row_of(result, "size of the packed GGUF")), "at most 1.01: **not reached**")


class Tables(unittest.TestCase):
    def test_what_was_measured_is_in_them_and_what_was_not_is_named(self):
        rounds = [unlimited(2, 2, 2.8, 2.5, checked=turn(1.9)) for _ in range(2)]
        text = summary.markdown(a_result(loads=rounds, failed={"zipnn, 2 cores": "it ended with 1"},
                                         disagree=["zstd 1, 1 core"],
                                         memory={"packed": {"memfd": {"peak_over_model": 1.25, "over_mib": 64,
                                                                      "residue_mib": 0.25}}}))
        for line in ("| bf16, 2 cores, unlimited | packed | 2.80 [2.80-2.80] | 0.50 [0.50-0.50] | 40 [40-40] |",
                     "| decoding | 2.50 [2.50-2.50] |", "| packed | memfd | 1.250 | 64 | 0.2 |",
                     "| plain with checks beside it, to plain: bf16, 2 cores, unlimited | 0.950 [0.950-0.950] | "
                     "0.95: reached in every round |", "- Left out: zipnn, 2 cores: it ended with 1",
                     "- **zstd 1, 1 core gave other bytes back**", "a file, 1.00 GB, packed 0.70"):
            self.assertIn(line, text)

    def test_packers_are_in_the_order_they_are_named_in(self):
        names = [packing.name_of(who) for who in packing.everybody()]
        rounds = [{name: {"pack": packs(1, 1, 7 * 10**8), "load": turn(1.5, cores=1)} for name in reversed(names)}]
        rows = summary.packing_table(rounds)[2:]
        self.assertEqual([row.split(" | ")[0][2:] for row in rows], names)
        self.assertIn("| 0.7000 | 1.00 [1.00-1.00] |", rows[0])


class Files(unittest.TestCase):
    def test_a_fine_tune_differs_in_a_tenth_of_its_bytes_in_whole_tensors(self):
        with tempfile.TemporaryDirectory() as folder:
            source, tuned = pathlib.Path(folder) / "a.safetensors", pathlib.Path(folder) / "b.safetensors"
            with mock.patch.object(loads, "tensor_shapes", return_value={f"t{n}": (64 + n, 32) for n in range(40)}):
                loads.write_model(source, 0)
            said = fine_tune.write_fine_tune(tuned, source)
            before, after = source.read_bytes(), tuned.read_bytes()
            tensors = fine_tune.tensors_of(source)
        self.assertEqual(len(before), len(after))
        changed = [size for _, at, size in tensors if before[at:at + size] != after[at:at + size]]
        self.assertEqual((len(changed), sum(changed)), (said["tensors_changed"], said["bytes_changed"]))
        self.assertTrue(0.07 < said["bytes_changed"] / said["bytes"] <= 0.1, said)
        first = tensors[0][1]
        self.assertEqual(before[:first], after[:first])


class Measured(unittest.TestCase):
    def test_a_program_is_measured_to_its_end(self):
        program = "import sys; b = bytearray(64 << 20); print('words'); print('{\"a\": 1}')"
        result = packing.run_measured([sys.executable, "-c", program])
        self.assertEqual(result["a"], 1)
        self.assertGreater(result["seconds"], 0)
        self.assertGreater(result["cpu_seconds"], 0)
        self.assertGreaterEqual(result["peak_rss_bytes"], 0)

    def test_one_that_fails_says_why(self):
        with self.assertRaisesRegex(packing.turns.Failed, "ended with 3: because"):
            packing.run_measured([sys.executable, "-c", "import sys; print('because', file=sys.stderr); sys.exit(3)"])


@unittest.skipUnless(shutil.which("fincore") and shutil.which("taskset"), "there is no command fincore, or taskset")
@unittest.skipUnless((BUILD / "bin/sgi").exists() and (BUILD / "bench/codec").exists(), "sgi or codec is not built")
class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)

    def command(self, *arguments):
        places = ["--dir", str(self.home / "files"), "--json", str(self.home / "packed.json")]
        return [sys.executable, "-c", PROGRAM, str(FOLDER), str(BUILD), str(self.home), *places, "--skip-setup",
                "--no-plot", "--rounds", "1", *arguments]

    def run_it(self, *arguments):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=HANGS, check=False)

    def result(self):
        return json.loads((self.home / "packed.json").read_text())

    def test_loads_base_and_memory(self):
        done = self.run_it("--bytes", "4M", "--only", "loads", "--only", "base", "--only", "memory")
        if "io_uring" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual(done.returncode, 0, done)
        result = self.result()
        self.assertEqual(result["disagree"], [])
        self.assertEqual(set(result["failed"]), {"the quantised model"})
        self.assertLess(result["packed_bytes"], 0.75 * result["file_bytes"])
        a_round, = result["loads"]
        self.assertEqual(set(a_round), {"codec", *packed_loads.groups_of(packed_loads.Files("a", "b"))})
        for group, sides in a_round.items():
            if group != "codec":
                self.assertLess(sides["packed"]["read_bytes"], 0.75 * sides["packed"]["bytes"], group)
                self.assertEqual(sides["plain"]["read_bytes"], sides["plain"]["bytes"], group)
        self.assertIs(result["base"]["same"], True)
        self.assertEqual(set(result["memory"]), {"plain", "packed"})
        self.assertEqual(os.listdir(self.home / "files"), [])

    def test_packers_that_cannot_be_had_are_left_out_by_name(self):
        done = self.run_it("--bytes", "2M", "--only", "packing")
        self.assertEqual(done.returncode, 0, done)
        ours = {packing.name_of(who) for who in packing.everybody() if who[0].ours}
        a_round, = self.result()["packing"]
        self.assertEqual(set(a_round), ours)
        self.assertEqual(set(self.result()["failed"]), {packing.name_of(who) for who in packing.everybody()} - ours)
        for sides in a_round.values():
            self.assertEqual(sides["pack"]["bytes"], sides["load"]["bytes"])
        self.assertEqual(os.listdir(self.home / "files"), [])

    def test_a_file_of_ones_own_is_copied_and_stays(self):
        own = self.home / "own.safetensors"
        loads.write_model(own, 1 << 20, loads.normal_weights)
        done = self.run_it("--file", str(own), "--only", "memory")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("own.safetensors", done.stdout)
        self.assertTrue(own.exists())

    def test_a_signal_ends_it_and_nothing_is_left(self):
        with subprocess.Popen(self.command("--bytes", "16M", "--only", "loads"), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)) as process:
            end = time.monotonic() + HANGS
            while not list(self.home.glob("files/*-checked.safetensors")) and time.monotonic() < end:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=HANGS)
            self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertEqual(os.listdir(self.home / "files"), [])


if __name__ == "__main__":
    unittest.main()
