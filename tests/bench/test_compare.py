#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/compare.py and ratio.py where they measure nothing: arguments, arithmetic, tables, and how turns are taken."""
import contextlib
import io
import json
import os
import pathlib
import shutil
import statistics
import struct
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))

import compare  # noqa: E402
import ratio  # noqa: E402
from peers import cli, contestants, first_tokens, loads, summary, turns  # noqa: E402

MACHINE = {"cpu": "A CPU", "cpus": 2, "memory_gib": 24.0, "kernel": "6.1", "filesystem": "ext4"}


def refusal(*arguments):
    """What is said to arguments that are refused, which has to be with 2."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            compare.parse(arguments)
        except SystemExit as ended:
            return said.getvalue() if ended.code == 2 else f"ended with {ended.code}"
    return "taken"


def loaded(seconds, rate=1.0, wrong=0):
    return {"seconds": seconds, "gib_s": rate, "cpu_core_s_per_gib": 0.5, "peak_rss_bytes": 1 << 30,
            "page_cache_wrong_bytes": wrong}


def a_result(**parts):
    result = {"machine": MACHINE, "options": {"rounds": 2, "threads": 1}, "file_bytes": 4 * 10**9, "missing": {},
              "failed": {}, "disagree": [], "load_average": [0.1, 0.2], **parts}
    result["ratios"] = summary.all_ratios(result)
    return result


class Arguments(unittest.TestCase):
    def test_what_is_refused_is_named(self):
        for arguments, named in ((["--rounds", "0"], "at least 1"), (["--rounds", "x"], "not 'x'"),
                                 (["--bytes", "12"], "at least 1048576"), (["--bytes", "4Q"], "'4Q' is no size"),
                                 (["--bytes", "4MB"], "'4MB' is no size"), (["--json", "a.md"], "the same file"),
                                 (["--json", "/"], "is a folder"),
                                 (["--only", "nobody"], "--only nobody"), (["--threads", "0"], "at least 1"),
                                 (["--frobnicate"], "--frobnicate"), (["model.safetensors"], "model.safetensors")):
            with self.subTest(arguments=arguments):
                self.assertIn(named, refusal(*arguments))

    def test_sizes(self):
        self.assertEqual([compare.size(text) for text in ("1048576", "4M", "4MiB", "2G")],
                         [1 << 20, 4 << 20, 4 << 20, 2 << 30])  # as sgi-bench has them

    def test_everything_takes_part_unless_somebody_is_named(self):
        options = compare.parse([])
        self.assertEqual(options.parts, ["loads", "residence", "first-token"])
        self.assertEqual(options.chosen, list(contestants.CONTESTANTS))
        self.assertEqual((options.rounds, options.bytes), (5, 4 * 10**9))

    def test_only_takes_parts_and_pieces_of_names(self):
        self.assertEqual(compare.parse(["--only", "first-token"]).parts, ["first-token"])
        options = compare.parse(["--only", "RunAI", "--only", "residence"])
        self.assertEqual(options.parts, ["loads", "residence"])
        self.assertEqual([c.peer for c in options.chosen], ["runai", "runai"])


@unittest.skipUnless(shutil.which("fincore"), "there is no command fincore")
class Room(unittest.TestCase):
    def refusal(self, free, available, *arguments):
        options = compare.parse(["--dir", "/", "--skip-setup", *arguments])
        with mock.patch.object(compare.shutil, "disk_usage", return_value=mock.Mock(free=free)), \
                mock.patch.object(compare, "memory", return_value=available):
            try:
                compare.refuse_what_does_not_fit(options)
            except SystemExit as ended:
                return str(ended)
        return "taken"

    def test_a_disk_or_a_memory_that_is_too_small_is_told_before_the_work(self):
        self.assertIn("needs 8.0 GB in /, where 7.0 are free", self.refusal(7 * 10**9, 64 * 10**9))
        self.assertIn("needs 11.2 GB of memory, 11.0 are available", self.refusal(64 * 10**9, 11 * 10**9))
        self.assertEqual(self.refusal(8 * 10**9, 12 * 10**9), "taken")

    def test_without_anybody_who_takes_a_packed_file_there_is_none(self):
        self.assertIn("needs 4.0 GB in /, where 3.0 are free", self.refusal(3 * 10**9, 64 * 10**9, "--only", "runai"))
        self.assertEqual(self.refusal(4 * 10**9, 12 * 10**9, "--only", "residence"), "taken")

    def test_first_tokens_need_no_file(self):
        self.assertEqual(self.refusal(0, 4 * 10**9, "--only", "first-token"), "taken")


class Before(unittest.TestCase):
    """What is said before anything is set up or measured, and how it ends where nobody could be measured."""

    def refusal(self, *arguments, matplotlib=True):
        with tempfile.TemporaryDirectory() as home, mock.patch.object(compare.setup, "HOME", pathlib.Path(home)), \
                mock.patch.object(compare.setup, "RELEASE", pathlib.Path(home)), \
                mock.patch.object(compare, "refuse_what_does_not_fit"), \
                mock.patch.object(compare.setup, "set_up", side_effect=AssertionError("it set up")), \
                mock.patch.object(compare, "has_matplotlib", return_value=matplotlib), \
                mock.patch.object(compare, "measure", side_effect=AssertionError("it measured")):
            (pathlib.Path(home) / "bench").mkdir()
            (pathlib.Path(home) / "bench/sgi-bench").touch()
            places = ("--dir", home, "--json", f"{home}/r.json", "--plot", f"{home}/r.svg")
            with self.assertRaises(SystemExit) as ended:
                compare.run(compare.parse([*places, *arguments]))
        return str(ended.exception)

    def test_what_cannot_be_written_is_told_before_the_work(self):
        for option in ("--json", "--plot"):
            for path, cause in (("/proc/nobody/result", "No such file"), ("/dev", "Is a directory"),
                                (__file__ + "/result", ".* no folder")):
                with self.subTest(option=option, path=path):
                    self.assertRegex(self.refusal(option, path), f"{path} cannot be written: {cause}")
        for folder in (__file__, "/proc/nobody"):
            self.assertIn(f"--dir {folder}: ", self.refusal("--dir", folder))

    def test_trying_a_place_leaves_what_was_there(self):
        with tempfile.TemporaryDirectory() as folder:
            new, old = pathlib.Path(folder) / "new", pathlib.Path(folder) / "old"
            old.write_text("kept")
            cli.try_file(new)
            cli.try_file(old)
            self.assertEqual([path.name for path in pathlib.Path(folder).iterdir()], ["old"])
            self.assertEqual(old.read_text(), "kept")

    def test_a_plot_that_cannot_be_made_is_told_before_the_work(self):
        self.assertIn("no matplotlib", self.refusal("--skip-setup", matplotlib=False))
        with self.assertRaisesRegex(AssertionError, "it measured"):
            self.refusal("--skip-setup", "--no-plot", matplotlib=False)

    def test_help_says_what_it_costs(self):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), self.assertRaises(SystemExit):
            compare.parse(["--help"])
        for text in ("5.5 GB", "14 GB of disk", "11 GB of memory", "twenty minutes", "2M is 2 MiB"):
            self.assertIn(text, said.getvalue())

    def test_where_nobody_could_be_measured_the_status_and_the_log_say_so(self):
        options = compare.parse(["--only", "loads"])
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            self.assertEqual(compare.exit_status(options, {"loads": [{}, {}], "failed": {"a": "b"}, "disagree": []}), 1)
        self.assertIn("nobody could be measured in loads; build/compare/peers.log", said.getvalue())
        good = {"loads": [{}, {"a": {"hot": loaded(1)}}], "failed": {}, "disagree": []}
        self.assertEqual(compare.exit_status(options, good), 0)
        self.assertEqual(compare.exit_status(options, {**good, "disagree": ["a"]}), 1)


class Arithmetic(unittest.TestCase):
    def test_ratios_are_taken_within_a_round(self):
        # The second round's disk is four times slower: a ratio of medians would be 2.5.
        rounds = [{"a": {"cold": loaded(1)}, "b": {"cold": loaded(2)}},
                  {"a": {"cold": loaded(4)}, "b": {"cold": loaded(8)}},
                  {"a": {"cold": loaded(1)}, "b": {"cold": loaded(3)}}]
        self.assertEqual(summary.ratio(rounds, "a", ["b"], "cold"),
                         {"median": 2, "min": 2, "max": 3, "who": "b", "rounds": 3, "of": 3})

    def test_the_fastest_peer_is_the_same_in_every_round(self):
        # In the second round `b` is lucky: that does not make it the one to compare with.
        rounds = [{"a": {"hot": loaded(1)}, "b": {"hot": loaded(9)}, "c": {"hot": loaded(5)}},
                  {"a": {"hot": loaded(1)}, "b": {"hot": loaded(1)}, "c": {"hot": loaded(3)}},
                  {"a": {"hot": loaded(1)}, "b": {"hot": loaded(9)}, "c": {"hot": loaded(4)}}]
        self.assertEqual(summary.ratio(rounds, "a", ["b", "c"], "hot"),
                         {"median": 4, "min": 3, "max": 5, "who": "c", "rounds": 3, "of": 3})

    def test_ours_may_come_from_another_state_of_the_page_cache(self):
        rounds = [{"a": {"hot": loaded(1)}, "b": {"cold": loaded(2)}}]
        self.assertIsNone(summary.ratio(rounds, "a", ["b"], "cold"))
        self.assertEqual(summary.ratio(rounds, "a", ["b"], "cold", "hot")["median"], 2)

    def test_rounds_that_lack_one_side_do_not_count(self):
        rounds = [{"a": {"cold": loaded(1)}, "b": {"hot": loaded(2)}}, {"a": {"cold": loaded(1)}}]
        self.assertIsNone(summary.ratio(rounds, "a", ["b"], "cold"))
        rounds.append({"a": {"cold": loaded(2)}, "b": {"cold": loaded(3)}})
        self.assertEqual(summary.ratio(rounds, "a", ["b"], "cold")["rounds"], 1)

    def test_turns_that_found_another_page_cache_are_in_no_median_and_no_ratio(self):
        rounds = [{"a": {"cold": loaded(1)}, "b": {"cold": loaded(2)}},
                  {"a": {"cold": loaded(1)}, "b": {"cold": loaded(0.1, wrong=4096)}},
                  {"a": {"cold": loaded(0.1, wrong=1)}, "b": {"cold": loaded(2)}},
                  {"a": {"cold": loaded(1)}, "b": {"cold": loaded(4)}}]
        self.assertEqual(summary.column(rounds, "b", "cold", "seconds"), [2, 2, 4])
        self.assertEqual(summary.ratio(rounds, "a", ["b"], "cold"),
                         {"median": 3, "min": 2, "max": 4, "who": "b", "rounds": 2, "of": 4})
        self.assertIsNone(summary.ratio(rounds[1:3], "a", ["b"], "cold"))

    def test_peers_that_leave_bytes_in_the_page_cache_are_not_counted_with_those_that_deliver_them(self):
        self.assertIn("safetensors pread", summary.OWN_PEERS)
        self.assertNotIn("safetensors mmap, as returned", summary.OWN_PEERS)
        self.assertNotIn("safetensors mmap, every page touched", summary.OWN_PEERS)
        self.assertFalse([name for name in summary.OWN_PEERS if name.startswith("libsgi")])

    def test_names_in_the_ratios_are_those_of_contestants(self):
        names = {c.name for c in contestants.CONTESTANTS}
        for _, ours, theirs, _, _ in summary.LOAD_RATIOS:
            self.assertLessEqual({ours, *theirs}, names)

    def test_what_a_user_gets_and_both_engines_are_compared_with_the_fastest_peer(self):
        engines = {c.name: c.engine for c in contestants.CONTESTANTS if c.ours}
        found = {(state, engines[ours], ours.split(", ")[1], reach)
                 for _, ours, theirs, state, reach in summary.LOAD_RATIOS
                 if theirs is summary.OWN_PEERS and "packed" not in ours}
        self.assertEqual(found, {(state, engine, memory, 1.0) for state in ("cold", "hot")
                                 for engine in ("auto", "uring", "threads") for memory in ("fresh", "reused")})
        self.assertEqual((engines["libsgi, fresh"], engines["libsgi, reused"]), ("auto", "auto"))

    def test_packed_stands_beside_plain_and_beside_the_fastest_peer(self):
        found = {(ours, state): theirs for _, ours, theirs, state, _ in summary.LOAD_RATIOS if "packed" in ours}
        self.assertEqual(found.keys(), {("libsgi packed, fresh", "cold"), ("libsgi packed, reused", "cold"),
                                        ("libsgi packed, reused", "hot")})
        self.assertEqual({c.memory for c in contestants.CONTESTANTS if c.packed}, {"fresh", "reused"})

    def test_who_loaded_other_bytes_is_named(self):
        self.assertEqual(loads.check_digests({"a": "1", "b": "2", "c": "1"}), ["b"])
        self.assertEqual(loads.check_digests({"a": "1", "b": "1"}), [])


class Ratio(unittest.TestCase):
    def test_everybody_has_one_turn_in_a_round_beside_what_it_is_compared_with(self):
        turns_of_a_round = sorted(row.name for row in ratio.ROWS if not row.alone)
        orders = [[row.name for row in ratio.order(number)] for number in range(20)]
        for order in orders:
            self.assertEqual(sorted(order), turns_of_a_round)
            for raw in ("raw uring", "raw threads"):
                group = {row.name for row in ratio.ROWS if raw in (row.name, *row.references)}
                at = sorted(order.index(name) for name in group)
                self.assertEqual(at, list(range(at[0], at[0] + len(group))))
        self.assertEqual(len({order.index("raw uring") < order.index("uring fresh") for order in orders}), 2)
        self.assertEqual(len({order.index("raw uring") < order.index("raw threads") for order in orders}), 2)

    def test_both_engines_are_there_reused_and_fresh(self):
        rows = {row.name: row.references[0] for row in ratio.ROWS if row.command == "load" and row.references}
        for engine in ("uring", "threads"):
            for memory in ("reused", "fresh"):
                self.assertEqual(rows[f"{engine} {memory}"], f"raw {engine}")

    def test_a_ratio_is_taken_within_its_round(self):
        turn = {"gib_s": 1.0, "cpu_core_s_per_gib": 0.1}
        rounds = [{row.name: dict(turn) for row in ratio.ROWS} for _ in range(3)]
        for result, (raw, load) in zip(rounds, ((1.0, 0.5), (4.0, 2.0), (2.0, 2.0))):
            result["raw threads"]["gib_s"], result["threads fresh"]["gib_s"] = raw, load
        row = ratio.rows_of(rounds)["threads fresh"]
        self.assertEqual(row["ratios"], {"raw threads": {"median": 0.5, "min": 0.5, "max": 1.0}})
        self.assertIn("0.50 [0.50-1.00] of raw threads", "\n".join(ratio.table({"threads fresh": row})))


class Tables(unittest.TestCase):
    def test_loads(self):
        rounds = [{"libsgi uring, fresh": {"cold": loaded(1, 4.0)}, "safetensors pread": {"cold": loaded(2, 2.0)}},
                  {"libsgi uring, fresh": {"cold": loaded(1, 5.0)}, "safetensors pread": {"cold": loaded(1.2, 2.2)}}]
        text = summary.markdown(a_result(loads=rounds))
        self.assertIn("| libsgi uring, fresh | own memory | 4.50 [4.00-5.00] | - | 0.50 [0.50-0.50] | - | 1.00 |", text)
        self.assertIn("| load: cold, fresh memory, `uring`, to the fastest peer | 1.60 [1.20-2.00] | "
                      "safetensors pread | 1: reached in every round |", text)
        self.assertIn("`uring`, to safetensors | 1.60 [1.20-2.00] | safetensors pread | "
                      "1.5: reached, 1.20 in the worst round |", text)
        self.assertNotIn("fastsafetensors", text)
        self.assertIn("file of 4.00 GB", text)

    def test_what_is_not_reached_is_said(self):
        rounds = [{"libsgi uring, fresh": {"cold": loaded(2)}, "safetensors pread": {"cold": loaded(1)}}]
        self.assertIn("| 0.50 [0.50-0.50] | safetensors pread | 1: **not reached** |",
                      summary.markdown(a_result(loads=rounds)))

    def test_what_returns_before_a_byte_is_read_has_a_time_and_no_rate(self):
        rounds = [{"safetensors mmap, as returned": {"hot": loaded(0.0015, 2000.0)}}]
        text = summary.markdown(a_result(loads=rounds))
        self.assertIn("(1.5 [1.5-1.5] ms)", text)
        self.assertNotIn("2000", text)

    def test_first_tokens(self):
        took = {"seconds": 0.02, "cpu_seconds": 0.015, "prompt_tokens": 0}
        rounds = [{"hello": {"libsgi, from DRAM": {"hot": took},
                             "llama.cpp, mmap": {"hot": {"seconds": 0.1, "cpu_seconds": 0.1, "prompt_tokens": 1}}}}]
        text = summary.markdown(a_result(first_token=rounds))
        self.assertIn("| 1-token prompt, cold | hot | CPU time, hot |", text)
        self.assertIn("| libsgi, from DRAM | - | 20 [20-20] | 15 [15-15] | - | - | - |", text)
        self.assertIn("| 5.00 [5.00-5.00] | llama.cpp, mmap | 4: reached in every round |", text)

    def test_where_the_time_of_a_first_token_goes(self):
        def took(*phases, wrong=0):
            return {"seconds": sum(phases) / 1000, "cpu_seconds": 0.01, "prompt_tokens": 1, "context_faults": 3360,
                    "phases_ms": dict(zip(summary.PHASES, phases)), "page_cache_wrong_bytes": wrong}
        rounds = [{"hello": {"llama.cpp, mmap": {"hot": took(0, 60, 8, 0, 12, 1)},
                             "libsgi, from DRAM": {"hot": took(0.1, open_ms, 8, 0.1, 12, 1, wrong=wrong)},
                             "llama-server, asleep": {"hot": {"seconds": 1, "cpu_seconds": 1, "prompt_tokens": 1}}},
                   "no prompt": {"llama.cpp, vocabulary alone": {"hot": took(0, 45, 0, 0, 0, 0)}}}
                  for open_ms, wrong in ((6, 0), (7, 0), (9, 0), (99, 1))]
        text = summary.markdown(a_result(first_token=rounds))
        ours, theirs, vocabulary = text[text.index("| first token hot, ms in"):].splitlines()[2:5]
        self.assertTrue(ours.startswith("| libsgi, from DRAM | hello | 0.10 [0.10-0.10] | 7.00 [6.00-9.00] |"), ours)
        self.assertTrue(ours.endswith("| 3360 [3360-3360] |"), ours)
        self.assertTrue(theirs.startswith("| llama.cpp, mmap | hello |"), theirs)
        self.assertTrue(vocabulary.startswith("| llama.cpp, vocabulary alone | no prompt | 0.00 [0.00-0.00] | 45.00"),
                        vocabulary)
        self.assertEqual(text.count("vocabulary alone"), 1)  # it is no first token

    def test_residence(self):
        def a_round(ours, theirs, wrong=0):
            return {who: {"as returned": {"seconds": seconds, "page_cache_wrong_bytes": wrong, "redone": 0},
                          "every page touched": {"seconds": 1000 * seconds, "page_cache_wrong_bytes": wrong}}
                    for who, seconds in (("libsgi", ours), ("load_file", theirs))}
        rounds = [a_round(1e-5, 2e-3), a_round(1e-5, 5e-4), a_round(2e-5, 3e-3), a_round(1e-5, 1, wrong=1)]
        text = summary.markdown(a_result(residence=rounds))
        self.assertIn("| DRAM to instance, ms, 4 rounds | as returned | every page touched |", text)
        self.assertIn("| libsgi | 0.010 [0.010-0.020] | 10.000 [10.000-20.000] |", text)
        self.assertIn("| 150.00 [50.00-200.00], 3 of 4 rounds | load_file | 100: reached, 50.00 in the worst round |",
                      text)
        rounds = [a_round(1e-5, 2e-3), a_round(1e-5, 5e-4), a_round(1e-5, 9e-4)]
        self.assertIn("| 90.00 [50.00-200.00] | load_file | 100: **not reached** |",
                      summary.markdown(a_result(residence=rounds)))

    def test_what_is_left_out_or_wrong_stands_below(self):
        rounds = [{"safetensors pread": {"cold": {**loaded(1, 7.0, wrong=4096), "redone": 3}, "hot": loaded(1)},
                   "libsgi, fresh": {"cold": {**loaded(1), "engine": "uring"}, "hot": {**loaded(1), "redone": 1,
                                                                                      "engine": "threads"}}}]
        text = summary.markdown(a_result(loads=rounds, missing={"llama-server": "it could not be built"},
                                         failed={"runai-model-streamer": "it ended with 1"}, disagree=["fast"]))
        for note in ("- Left out: llama-server: it could not be built", "- Left out: runai-model-streamer: it ended",
                     "- **fast loaded other bytes than the rest**",
                     "- libsgi as it comes read the hot file with threads\n",
                     "- Turns that did not find the page cache as they should have, and were taken again: 4\n",
                     "page cache as it should be: safetensors pread, cold (1)\n"):
            self.assertIn(note, text)
        self.assertIn("| safetensors pread | own memory | - | 1.00", text)


class Files(unittest.TestCase):
    def test_the_file_has_the_size_that_was_asked_for(self):
        for size in (1 << 20, 256 * 10**6, 4 * 10**9):
            total = sum(2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
                        for shape in loads.tensor_shapes(size).values())
            self.assertLessEqual(abs(size - total), 4096, size)
        self.assertGreater(len(loads.tensor_shapes(4 * 10**9)), 200)

    def test_the_file_is_safetensors(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.safetensors"
            loads.write_model(path, 1 << 20)
            data = path.read_bytes()
        header_bytes, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + header_bytes])
        self.assertEqual(header_bytes % 8, 0)
        self.assertEqual(max(t["data_offsets"][1] for t in header.values()), len(data) - 8 - header_bytes)
        self.assertGreater(len(set(data[8 + header_bytes:])), 200)  # of 256: nothing that compresses

    def test_weights_are_those_of_a_normal_distribution(self):
        data = memoryview(loads.normal_weights(1 << 18)).cast("H")
        values = [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in data]
        self.assertAlmostEqual(statistics.fmean(values), 0, delta=0.001)
        self.assertAlmostEqual(statistics.stdev(values), 0.02, delta=0.001)
        self.assertLess(len({value >> 7 & 255 for value in data}), 30)  # exponents, of 256
        self.assertGreater(len({value & 127 for value in data}), 120)  # mantissas, of 128

    def test_a_file_that_is_not_finished_is_not_left(self):
        with tempfile.TemporaryDirectory() as folder:
            for error in (OSError("full"), cli.Ended(15)):
                with mock.patch.object(loads.os, "urandom", side_effect=error), self.assertRaises(type(error)):
                    loads.write_model(pathlib.Path(folder) / "model.safetensors", 1 << 20)
            self.assertEqual(os.listdir(folder), [])

    @unittest.skipUnless(shutil.which("fincore"), "there is no command fincore")
    def test_the_page_cache_is_what_it_is_said_to_be(self):
        with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR", "/var/tmp")) as file:
            file.write(os.urandom(1 << 20))
            file.flush()
            self.assertEqual(turns.make_hot(file.name), 0)
            self.assertEqual(turns.resident_bytes(file.name), 1 << 20)
            self.assertEqual(turns.make_cold(file.name), turns.resident_bytes(file.name))
            if turns.resident_bytes(file.name):
                self.skipTest("the file system of TMPDIR is memory")


def resident_bytes_of_this_process():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Memory(unittest.TestCase):
    def test_ballast_is_memory_while_it_is_held(self):
        size, ballast = 64 << 20, turns.Ballast()
        before = resident_bytes_of_this_process()
        ballast.hold(size)
        self.assertGreater(resident_bytes_of_this_process(), before + size // 2)
        ballast.release()
        self.assertLess(resident_bytes_of_this_process(), before + size // 2)

    def test_without_it_nothing_is_held(self):
        ballast = turns.Ballast(enabled=False)
        ballast.hold(64 << 20)
        self.assertIsNone(ballast.memory)


class Turns(unittest.TestCase):
    def test_a_turn_is_a_line_and_its_answer(self):
        program = "import sys\nprint('hello')\nfor l in sys.stdin: print('{\"n\": %d}' % int(l), flush=True)"
        worker = turns.Worker("it", [sys.executable, "-c", program])
        answer = worker.turn("7")
        self.assertEqual(answer["n"], 7)
        self.assertGreater(answer["peak_rss_bytes"], 1 << 20)
        worker.close()
        self.assertEqual(worker.process.returncode, 0)

    def test_a_contestant_that_ends_is_out_and_says_how(self):
        worker = turns.Worker("it", [sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(3)"])
        with self.assertRaisesRegex(turns.Failed, "it ended with 3"):
            worker.turn()
        worker.close()

    def test_what_it_said_is_in_the_sentence_and_in_the_log(self):
        log = io.StringIO()
        program = "import sys; print('so far', flush=True); sys.exit('no module of that name')"
        worker = turns.Worker("it", [sys.executable, "-c", program], log=log)
        with self.assertRaisesRegex(turns.Failed, "it ended with 1: "):
            worker.read()
        worker.close()
        self.assertIn("it: no module of that name\n", log.getvalue())
        self.assertIn("it: so far\n", log.getvalue())
        with self.assertRaises(FileNotFoundError):
            turns.Worker("nobody", ["/nonexistent/program"], log=log)
        self.assertIn("nobody: [Errno 2]", log.getvalue())
        self.assertFalse(turns.Worker.alive)

    def test_one_that_has_ended_before_its_turn_is_no_other_error(self):
        worker = turns.Worker("it", [sys.executable, "-c", ""])
        worker.process.wait()
        with self.assertRaisesRegex(turns.Failed, "it ended with 0"):
            worker.turn()
        worker.close()

    def test_one_that_takes_too_long_is_ended(self):
        worker = turns.Worker("it", [sys.executable, "-c", "import sys; sys.stdin.read()"])
        with self.assertRaisesRegex(turns.Failed, "it ended with -9"):
            worker.read(seconds_max=0.01)
        worker.close()

    def test_one_that_found_another_page_cache_is_taken_again_and_not_for_ever(self):
        take = mock.Mock(side_effect=[loaded(1, wrong=8), loaded(2, wrong=4), loaded(3), loaded(4)])
        result = turns.settled(take, "it", "cold")
        self.assertEqual((result["seconds"], result["redone"], result["page_cache_wrong_bytes"]), (3, 2, 0))
        take.assert_called_with("it", "cold")
        take = mock.Mock(return_value=loaded(1, wrong=8))
        result = turns.settled(take)
        self.assertEqual((result["redone"], result["page_cache_wrong_bytes"]), (turns.REDO_MAX, 8))
        self.assertEqual(take.call_count, turns.REDO_MAX + 1)

    def test_loads_and_first_tokens_take_such_turns_again(self):
        with tempfile.NamedTemporaryFile() as file:
            who = contestants.CONTESTANTS[0]
            part = loads.Loads(file.name, [who], mock.Mock(memory_as_is=True), None, lambda text: None)
            part.take_turn = mock.Mock(side_effect=[loaded(1, wrong=8), loaded(2), loaded(3)])
            results = part.round(0)[who.name]
        self.assertEqual([results[state]["seconds"] for state in ("cold", "hot")], [2, 3])
        tokens = first_tokens.FirstTokens.__new__(first_tokens.FirstTokens)
        tokens.server = None
        tokens.read_vocabulary = mock.Mock(side_effect=lambda: loaded(1))
        tokens.take_turn = mock.Mock(side_effect=lambda *_: loaded(1, wrong=8 * (tokens.take_turn.call_count == 1)))
        taken = [turn for of_prompt in tokens.round(0).values() for states in of_prompt.values()
                 for turn in states.values()]
        self.assertEqual(sorted(turn["redone"] for turn in taken), [0] * (len(taken) - 1) + [1])

    def test_a_residence_is_first_second_and_third_equally_often(self):
        asked, names = [], ("libsgi", "as returned", "every page touched")
        answer = {"seconds": 1.0, "touched_seconds": 2.0, "from": "dram"}

        def worker(name):
            return mock.Mock(turn=lambda line: asked.append(name) or answer)
        with mock.patch.object(loads.turns, "make_hot", return_value=0):
            rounds = loads.residence_turns("a file", {name: worker(name) for name in names},
                                           loads.RESIDENCE_ROUNDS_MIN)
        self.assertGreaterEqual(len(rounds), 15)
        self.assertEqual(asked[:3], list(names))  # not counted
        for place in range(3):
            at_place = asked[3 + place::3]
            self.assertEqual({at_place.count(name) for name in names}, {len(rounds) // 3})
        self.assertEqual({way: turn["seconds"] for way, turn in rounds[0]["libsgi"].items()},
                         {"as returned": 1.0, "every page touched": 2.0})
        self.assertEqual(set(rounds[0]["load_file"]), {"as returned", "every page touched"})

    def test_others_go_on_without_one_that_fails(self):
        with tempfile.NamedTemporaryFile() as file:
            part = loads.Loads(file.name, [], mock.Mock(), None, lambda text: None)
            fails = mock.Mock(side_effect=turns.Failed("it ended with 1"))
            broken, whole = contestants.CONTESTANTS[:2]
            for _ in range(2):
                self.assertIsNone(part.attempt(broken, fails, "cold"))
            self.assertEqual(fails.call_count, 1)
            self.assertIn("it ended with 1", part.failed[broken.name])
            self.assertEqual(part.attempt(whole, lambda contestant: contestant.name), whole.name)


if __name__ == "__main__":
    unittest.main()
