# SPDX-License-Identifier: Apache-2.0
"""`sgi pack`, `verify`, `unpack`, and what the other commands make of a packed file."""

import filecmp
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

import models
from command import HANGS, SANITIZED, SGI, Case, digests, main, on_terminal, sgi


def shapes(seed):
    """Tensors of any dtype and shape, some of them empty or without a dimension, few large."""
    rng = random.Random(seed)
    dtypes, tensors = list(models.DTYPES), []
    for n in range(rng.randrange(1, 30)):
        rank = rng.randrange(0, 5)
        shape = [rng.choice((0, 1, 2, 3, 7, 64, 129)) for _ in range(rank)]
        if n % 9 == 0:
            shape = [rng.choice((511, 1024, 3000)), 257]
        if models.elements(shape) > 4 << 20:
            shape = shape[:2]
        dtype = dtypes[(11 * seed + n) % len(dtypes)]
        if models.elements(shape) % models.DTYPES[dtype][0] != 0:
            shape = [*shape[:-1], 4 * rng.randrange(1, 40)]
        tensors.append((f"t.{n}", dtype, shape))
    return tensors


def has_unnamed(folder):
    """Whether files there can be without a name."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        return False
    return True


class Pack(Case):
    def path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def content(path):
        """Of a file; None where there is none."""
        if not os.path.exists(path):
            return None
        with open(path, "rb") as f:
            return f.read()

    def pack(self, source, name, *argv):
        done = self.good("pack", source, "-o", self.path(name), "--json", *argv)
        report = json.loads(done.out)
        self.assertEqual(report["path"], self.path(name))
        self.assertEqual(report["packed_bytes"], os.path.getsize(self.path(name)))
        return report

    def check(self, model, name, *argv):
        """There and back, and what is said and loaded on the way."""
        report = self.pack(model.path, name, *argv)
        self.assertEqual(report["source_bytes"], sum(os.path.getsize(f) for f in model.files))
        unit = r"[0-9.]+ (?:[KMG]iB|bytes)"
        self.assertRegex(self.good("verify", self.path(name)).out,
                         rf"^{self.path(name)}: good: \d+ chunks?, {unit}\n" +
                         (rf"\S+base\.sgi: good, the base: \d+ chunks?, {unit}\n$" if "--base" in argv else "$"))
        back = self.path(name + ".back")
        os.mkdir(back)
        root = model.path if os.path.isdir(model.path) else os.path.dirname(model.files[0])
        expected = [os.path.basename(f) for f in model.files]
        expected += [f for f in os.listdir(root) if f.endswith(".index.json") and os.path.isdir(model.path)]
        self.assertEqual(self.good("unpack", self.path(name), "-o", back).out,
                         "".join(f"{back}/{f}: {os.path.getsize(os.path.join(root, f))} bytes\n" for f in expected))
        self.assertEqual(sorted(os.listdir(back)), sorted(expected))
        for file in expected:
            self.assertTrue(filecmp.cmp(os.path.join(root, file), os.path.join(back, file), shallow=False), file)
        found = json.loads(self.good("inspect", self.path(name), "--json").out)
        self.assertEqual(found["format"], model.kind)
        self.assertEqual(found["packed"], {"bytes": report["packed_bytes"], "chunks": report["chunks"],
                                           "planes": report["chunks_planes"], "zstd": report["chunks_zstd"],
                                           "raw": report["chunks_raw"],
                                           "base": "base.sgi" if "--base" in argv else None,
                                           "base_bytes": report["base_bytes"]})
        self.check_text(model, name, report, "--base" in argv)
        self.assertEqual(found["metadata"], model.metadata)
        plain = [(t["name"], t["dtype"], t["shape"], t["file"], t["bytes"]) for t in model.tensors]
        self.assertEqual(sorted((t["name"], t["dtype"], t["shape"], t["file"], t["bytes"]) for t in found["tensors"]),
                         sorted(plain))
        loaded = self.good("load", self.path(name), "--digest", "--json").lines()[0]
        self.assertEqual({t["name"]: t["xxh3"] for t in loaded["tensors"]}, digests(model))

    def check_text(self, model, name, report, based):
        """Each original file once, and what is stored where."""
        out = self.good("inspect", self.path(name)).out
        for n, file in enumerate(model.files):
            self.assertRegex(out, rf"(?m)^  {n}  {os.path.basename(file)}  {os.path.getsize(file)} bytes[;,] ")
        self.assertEqual(out.count(os.path.realpath(self.path(name))), 1, out)
        stores = re.findall(r"(?m)^  (packed|base): (\S+)  [0-9.]+ (?:[KMG]iB|bytes); of the model (\d+) chunks?, "
                            r"[0-9.]+ (?:[KMG]iB|bytes) unpacked: (\d+) planes, (\d+) zstd, (\d+) raw$", out)
        self.assertEqual([s[0] for s in stores], ["packed", "base"] if based else ["packed"], out)
        self.assertEqual([sum(int(s[n]) for s in stores) for n in (2, 3, 4, 5)],
                         [report[k] for k in ("chunks", "chunks_planes", "chunks_zstd", "chunks_raw")], out)
        self.assertNotRegex(out, "[: ]1 chunks")

    def damaged(self, argv, message, first, tensors):
        """One line on stderr as ever, and on stdout what there is no room for in it."""
        done = sgi("verify", *argv)
        self.assertEqual(done.code, 1, done)
        self.assert_one_line(done, "sgi: ")
        self.assertRegex(done.err, message, done)
        lines = done.out.splitlines()
        self.assertRegex(lines[0], first + "$", done)
        if tensors is not None:
            self.assertEqual(lines[1:], [f"  tensor {name}" for name in tensors], done)
        return done

    def test_any_tensors(self):
        dtypes = set()
        for seed in range(24):
            tensors = shapes(seed)
            dtypes.update(t[1] for t in tensors)
            model = models.single(self.folder, f"any{seed}.safetensors", tensors=tensors,
                                  metadata={"a": "b"} if seed % 2 else None)
            self.check(model, f"any{seed}.sgi", "--codec", ("auto", "raw", "zstd", "planes")[seed % 4], "--jobs",
                       str(1 + seed % 3))
        self.assertEqual(dtypes, set(models.DTYPES))

    def test_no_tensors(self):
        self.check(models.single(self.folder, "none.safetensors", tensors=[]), "none.sgi")

    def test_data_at_an_odd_address(self):
        self.check(models.single(self.folder, "unpadded.safetensors", pad_to=1, metadata={"x": "yz"}), "unpadded.sgi")

    def test_shards_and_their_index(self):
        self.check(models.sharded(self.folder), "sharded.sgi")

    def test_several_files(self):
        one = models.single(self.folder, "one.safetensors", tensors=[("a", "BF16", [300, 300])])
        two = models.single(self.folder, "two.safetensors", tensors=[("b", "F32", [77, 300])])
        self.good("pack", one.path, two.path, "-o", self.path("both.sgi"))
        found = json.loads(self.good("inspect", self.path("both.sgi"), "--json").out)
        self.assertEqual([f["name"] for f in found["files"]], ["one.safetensors", "two.safetensors"])
        self.failed(["pack", one.path, self.path("nowhere"), "-o", self.path("x.sgi")], "nowhere")
        self.failed(["pack", one.path, two.path, "-o", self.path("x.sgi"), "--folder", self.path("nowhere")], "nowhere")

    def test_gguf(self):
        self.check(models.gguf(self.folder), "gguf.sgi")
        self.check(models.gguf_split(self.folder), "split.sgi")
        tensors = [(f"blk.{number}.weight", name, number, [block * (1 + number % 3), 7 + 40 * (number % 2)])
                   for number, (name, block, _) in models.GGML_TYPES.items()]
        self.check(models.gguf(self.folder, "types.gguf", tensors=tensors), "types.sgi", "--codec", "zstd")

    def test_a_folder_with_nothing_else(self):
        model = models.single(self.folder, "alone.safetensors")
        folder = self.path("only")
        os.mkdir(folder)
        self.pack(model.path, "only/a.sgi")
        for command in (["inspect"], ["load"], ["verify"]):
            self.good(*command, folder)
        shutil.copy(os.path.join(folder, "a.sgi"), os.path.join(folder, "b.sgi"))
        for command in (["inspect"], ["load"], ["verify"]):
            self.failed([*command, folder], r"a folder with 2 \.sgi files \('a\.sgi', 'b\.sgi'\): name the one to open")
        shutil.copy(model.path, folder)
        self.assertNotIn("packed", json.loads(self.good("inspect", folder, "--json").out))
        for command in ("inspect", "load"):
            self.assertIn("a .sgi file as sgi pack makes it", self.good("help", command).out)

    def test_what_is_said(self):
        model = models.single(self.folder, "said.safetensors", tensors=[("w", "BF16", [1000, 999])])
        out = self.good("pack", model.path, "-o", self.path("said.sgi")).out
        self.assertRegex(out, r"said\.sgi: 1\.9 MiB -> [0-9.]+ MiB \([01]\.[0-9]{3}\)\n\d chunks: \d planes, \d zstd, ")
        self.assertNotIn("base", out)
        out = self.good("pack", model.path, "-o", self.path("more.sgi"), "--base", self.path("said.sgi")).out
        self.assertRegex(out, r"\n\d chunks: .*\nof these in the base, and not stored again: 1\.9 MiB of the model\n")
        none = models.single(self.folder, "nothing.safetensors", tensors=[])
        self.assertIn("\n1 chunk: ", self.good("pack", none.path, "-o", self.path("nothing.sgi")).out)
        self.assertIn("planes hardly gain from more than 1", self.good("help", "pack").out)

    def test_a_name_that_json_escapes(self):
        name = 'of "quotes\\", lines\n, \u00e9 and \x7f.safetensors'
        model = models.single(self.folder, name, tensors=[("w", "U8", [9])])
        shown = re.sub("[\n\x7f]", "?", name)
        self.assertEqual(self.good("digest", model.path).out, f"{self.folder}/{shown}.sgisum\n")
        self.good("pack", model.path, "-o", self.path("escaped.sgi"))
        back = self.path("escaped")
        os.mkdir(back)
        self.assertEqual(self.good("unpack", self.path("escaped.sgi"), "-o", back).out,
                         f"{back}/{shown}: {os.path.getsize(model.path)} bytes\n")

    def test_an_order(self):
        model = models.single(self.folder, "order.safetensors", tensors=[(f"t{n}", "U8", [300000]) for n in range(9)])
        order = models.write(self.path("order.txt"), b"t7\nt2\n")
        self.check(model, "order.sgi", "--order", order)
        self.failed(["pack", model.path, "-o", self.path("x.sgi"), "--order",
                     models.write(self.path("wrong.txt"), b"t7\nnobody\n")],
                    "wrong.txt: .*no tensor 'nobody', which is number 2 of the order")
        self.assertFalse(os.path.exists(self.path("x.sgi")))

    def test_a_base(self):
        tensors = [(f"t{n}", "BF16", [500, 600]) for n in range(20)]
        base = models.single(self.folder, "base.safetensors", tensors=tensors)
        self.pack(base.path, "base.sgi")
        with open(base.path, "rb") as f:
            content = bytearray(f.read())
        for n in (3, 11):
            at = base.tensors[n]["offset"]
            content[at:at + 600000] = models.content(f"other{n}", 600000)
        tuned = models.single(self.folder, "tuned.safetensors", tensors=tensors)
        models.write(tuned.path, bytes(content))
        report = self.pack(tuned.path, "tuned.sgi", "--base", self.path("base.sgi"))
        self.assertLess(report["packed_bytes"], 0.12 * report["source_bytes"])
        self.check(tuned, "tuned.sgi", "--base", self.path("base.sgi"))
        out = self.good("inspect", self.path("tuned.sgi")).out
        self.assertRegex(out, r"packed: \S+tuned.sgi  [0-9.]+ [KM]iB; of the model [1-9] chunks?, [0-9.]+ MiB unpacked")
        self.assertIn("base.sgi  ", out)
        os.rename(self.path("base.sgi"), self.path("elsewhere.sgi"))
        for command in (["load"], ["verify"], ["inspect"]):
            self.failed([*command, self.path("tuned.sgi")], "base.sgi: .*tuned.sgi asks for it")
        other = os.path.join(self.folder, "other")
        os.mkdir(other)
        os.rename(self.path("elsewhere.sgi"), os.path.join(other, "base.sgi"))
        self.good("load", self.path("tuned.sgi"), "--folder", other)
        self.good("verify", self.path("tuned.sgi"), "--folder", other)
        self.good("unpack", self.path("tuned.sgi"), "--folder", other, "-o", other)
        self.assertTrue(filecmp.cmp(tuned.path, os.path.join(other, "tuned.safetensors"), shallow=False))
        done = sgi("pack", tuned.path, "-o", self.path("far.sgi"), "--base", os.path.join(other, "base.sgi"))
        self.assertEqual(done.code, 0, done)
        self.assertIn("warning: the base is not beside it", done.err)
        self.good("inspect", self.path("far.sgi"), "--folder", other)
        done = sgi("pack", tuned.path, "-o", self.path("by_folder.sgi"), "--base", os.path.join(other, "lone"))
        self.assertEqual(done.code, 1, done)
        os.mkdir(os.path.join(other, "lone"))
        os.rename(os.path.join(other, "base.sgi"), os.path.join(other, "lone", "base.sgi"))
        done = sgi("pack", tuned.path, "-o", self.path("by_folder.sgi"), "--base", os.path.join(other, "lone"))
        self.assertEqual(done.code, 0, done)
        self.assertIn("warning: the base is not beside it", done.err)
        os.rename(os.path.join(other, "lone", "base.sgi"), os.path.join(other, "base.sgi"))
        nothing = models.single(self.folder, "alone.safetensors", tensors=[("w", "U8", [99])])
        out = self.good("pack", nothing.path, "-o", self.path("alone.sgi"), "--base",
                        os.path.join(other, "base.sgi")).out
        self.assertIn("nothing of it is in the base, which is not asked for\n", out)
        self.good("verify", self.path("alone.sgi"))

    def test_a_damaged_chunk_is_never_loaded(self):
        model = models.single(self.folder, "bad.safetensors", tensors=[("first", "U8", [5000000]), ("w", "U8", [9])])
        self.pack(model.path, "bad.sgi")
        with open(self.path("bad.sgi"), "r+b") as f:
            f.seek(3 << 20)
            byte = f.read(1)
            f.seek(3 << 20)
            f.write(bytes([byte[0] ^ 4]))
        message = ("bad.sgi: chunk [0-9]+ at offset [0-9]+ is damaged: it does not match its check; it holds tensor "
                   "'first'")
        self.failed(["load", self.path("bad.sgi")], message)
        self.damaged([self.path("bad.sgi")], message, "bad.sgi: damaged: chunk [0-9]+, [0-9]+ bytes at offset [0-9]+",
                     ["first"])

    def test_checks_beside_a_file(self):
        model = models.single(self.folder, "checked.safetensors", tensors=[("w", "U8", [5000000])])
        self.assertNotIn("checks", json.loads(self.good("inspect", model.path, "--json").out))
        self.assertEqual(self.good("digest", model.path).out, model.path + ".sgisum\n")
        self.assertEqual(json.loads(self.good("inspect", model.path, "--json").out)["checks"],
                         {"chunks": 3, "checked": 3})
        self.assertIn("checks: 3 of 3 chunks\n", self.good("inspect", model.path).out)
        self.assertEqual(self.good("verify", model.path).out, f"{model.path}: good: 3 chunks, 4.8 MiB\n")
        loaded = self.good("load", model.path, "--digest", "--json").lines()[0]
        self.assertEqual({t["name"]: t["xxh3"] for t in loaded["tensors"]}, digests(model))
        with open(model.path, "r+b") as f:
            f.seek(3000000)
            f.write(b"?!")
        message = "checked.safetensors: chunk 1 at offset 2097152 is damaged: .*'w'"
        self.failed(["load", model.path], message)
        self.damaged([model.path], message, "checked.safetensors: damaged: chunk 1, 2097152 bytes at offset 2097152",
                     ["w"])

    def test_a_file_without_checks_beside_others(self):
        model = models.sharded(self.folder, "partly")
        index = os.path.join(model.path, "model.safetensors.index.json")
        for path in (model.path, index):
            self.assertEqual(self.good("digest", path).out, "".join(f"{f}.sgisum\n" for f in model.files))
        os.unlink(model.files[1] + ".sgisum")
        lines = self.good("verify", model.path).out.splitlines()
        self.assertEqual([": good: 1 chunk, " in line for line in lines], [True, False, True], lines)
        self.assertEqual(lines[1], f"{model.files[1]}: without checks: nobody knows")

    def test_all_tensors_of_a_damaged_chunk(self):
        model = models.single(self.folder, "many.safetensors", tensors=[(f"t\x1b{n}", "U8", [9]) for n in range(20)])
        self.assertEqual(self.good("digest", model.path, "-o", self.path("many.sgisum")).out,
                         self.path("many.sgisum") + "\n")
        self.assertIn("checks: 1 of 1 chunk\n",
                      self.good("inspect", model.path, "--checks", self.path("many.sgisum")).out)
        with open(model.path, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last[0] ^ 1]))
        done = self.damaged([model.path, "--checks", self.path("many.sgisum")], r"it holds tensor 't\?\d+' and 19 more",
                            "many.safetensors: damaged: chunk 0, [0-9]+ bytes at offset 0", None)
        self.assertEqual(len(re.findall(r"(?m)^  tensor t\?\d+$", done.out)), 8)
        self.assertTrue(done.out.endswith("\n  and 12 more\n"), done)

    def test_checks_elsewhere(self):
        model = models.sharded(self.folder, "elsewhere")
        checks = self.path("checks")
        os.mkdir(checks)
        sidecars = [os.path.basename(f) + ".sgisum" for f in model.files]
        self.assertEqual(self.good("digest", model.path, "-o", checks).out,
                         "".join(f"{checks}/{s}\n" for s in sidecars))
        self.assertEqual(sorted(os.listdir(checks)), sorted(os.path.basename(f) + ".sgisum" for f in model.files))
        self.assertEqual(self.good("verify", model.path, "--checks", checks).out,
                         "".join(f"{f}: good: 1 chunk, {os.path.getsize(f) / 1024:.1f} KiB\n" for f in model.files))
        found = json.loads(self.good("inspect", model.path, "--json", "--checks", checks).out)["checks"]
        self.assertEqual(found["checked"], found["chunks"])
        loaded = self.good("load", model.path, "--checks", checks, "--digest", "--json").lines()[0]
        self.assertEqual({t["name"]: t["xxh3"] for t in loaded["tensors"]}, digests(model))
        self.failed(["verify", model.path], "without checks beside it")
        one = os.path.join(checks, os.path.basename(model.files[0]) + ".sgisum")
        for command in (["load"], ["verify"], ["inspect"]):
            self.failed([*command, model.path, "--checks", one], "it has to be a folder")
        other = models.single(self.folder, "other.safetensors")
        self.good("digest", other.path, "-o", one)
        for command in (["load"], ["verify"], ["inspect"]):
            self.failed([*command, model.path, "--checks", checks], "sgisum: checks of another file")
            self.good(*command, other.path, "--checks", one)
        os.unlink(one)
        for command in (["load"], ["verify"], ["inspect"]):
            self.failed([*command, model.path, "--checks", checks], f"{os.path.basename(one)}: No such file")
        self.failed(["digest", other.path, "-o", other.path], "is not a file of checks")
        packed = self.path("of_checks.sgi")
        self.failed(["pack", model.path, "-o", packed, "--checks", checks], f"{os.path.basename(one)}: No such file")
        self.good("digest", model.path, "-o", checks)
        with open(model.files[0], "r+b") as f:
            f.seek(-1, os.SEEK_END)
            last = f.read(1)
            f.seek(-1, os.SEEK_END)
            f.write(bytes([last[0] ^ 1]))
        self.failed(["pack", model.path, "-o", packed, "--checks", checks], "do not match their check")
        self.assertFalse(os.path.exists(packed))
        self.good("pack", model.path, "-o", packed)
        for argv in (["load", "a", "--checks", ""], ["inspect", "a", "--checks", ""], ["verify", "a", "--checks", ""],
                     ["digest", "a", "-o", ""], ["digest", "a", "--checks", "b"], ["verify", "a", "-o", "b"],
                     ["pack", "a", "-o", "b", "--checks", ""], ["pack", "a", "-o", "b", "--folder", ""]):
            self.assertEqual(sgi(*argv).code, 2, argv)

    def test_killed(self):
        """At random moments; tests/faults/test_output.c does it at each call. What was there before is there after, or
        what was to come, whole; and nothing beside it that the next to write there would not take away.
        """
        folder = os.path.join(self.folder, "kill")
        os.mkdir(folder)
        path, other = os.path.join(folder, "killed.sgi"), os.path.join(folder, "other.sgi")
        small = models.single(self.folder, "small.safetensors", tensors=[("w", "U8", [9])])
        tunings = [models.single(self.folder, f"tuning{n}.safetensors", tensors=[(f"w{n}", "BF16", [4000, 1000])])
                   for n in range(2)]
        packed = []
        for n, model in enumerate(tunings):
            begin = time.monotonic()
            self.pack(model.path, f"tuning{n}.sgi", "--jobs", "1")
            takes = time.monotonic() - begin
            packed.append(self.content(self.path(f"tuning{n}.sgi")))
        self.assertNotEqual(*packed)
        rng = random.Random(7)
        for n in range(50):
            if n % 3 == 0 and os.path.exists(path):
                os.unlink(path)
            before = self.content(path)
            with subprocess.Popen([SGI, "pack", tunings[n % 2].path, "-o", path, "--jobs", "1"],
                                  stdout=subprocess.DEVNULL) as process:
                time.sleep(rng.random() * takes * 1.5)
                process.send_signal(signal.SIGKILL)
            after = self.content(path)
            self.assertTrue(after in (before, packed[n % 2]), f"round {n}: neither the old file nor the new one")
            left = [name for name in os.listdir(folder) if name not in ("killed.sgi", "other.sgi")]
            if before is None and has_unnamed(folder):
                self.assertEqual(left, [])
            self.good("pack", small.path, "-o", other)
            self.assertEqual(sorted(os.listdir(folder)), ["killed.sgi", "other.sgi"][not os.path.exists(path):])

    def test_wrong_usage(self):
        model = models.single(self.folder, "usage.safetensors")
        for argv, cause in (([], "which model"), ([model.path], "-o FILE is missing"),
                            ([model.path, "-o"], "-o needs a value"),
                            ([model.path, "-o", "x", "--codec", "lz4"], "--codec is one of"),
                            ([model.path, "-o", "x", "--level", "0"], "--level takes"),
                            ([model.path, "-o", "x", "--jobs", "many"], "--jobs takes"),
                            ([model.path, "-o", ""], "-o FILE is missing"),
                            ([model.path, "-o", "-"], "cannot go to standard output"),
                            (["", "-o", "x"], "PATH is empty"), ([model.path, "", "-o", "x"], "PATH is empty"),
                            ([model.path, "-o", "x", "--order", ""], "--order takes the path of a file"),
                            ([model.path, "-o", "x", "--base", ""], "--base takes the path of a file")):
            done = sgi("pack", *argv)
            self.assertEqual(done.code, 2, done)
            self.assertIn(cause, done.err)
        self.assertEqual(sgi("unpack", model.path).code, 2)
        self.assertEqual(sgi("verify").code, 2)
        self.failed(["verify", model.path], "not a packed one")
        self.failed(["unpack", model.path, "-o", self.folder], "not a packed one")


# Between this process and the command: what a process is told to have taken at most includes what the one that has
# started it had then, which is much for this one.
PEAK = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Memory(Case):
    def peak_bytes(self, *argv):
        done = subprocess.run([sys.executable, "-I", "-S", "-c", PEAK, SGI, *argv], capture_output=True, text=True,
                              timeout=HANGS, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return int(done.stdout.splitlines()[-1]) << 10

    def sparse(self, mib):
        """A model of so many MiB of zeros that the disk does not have to hold."""
        model = models.single(self.folder, f"sparse{mib}.safetensors", tensors=[])
        entry = {"w": {"dtype": "BF16", "shape": [mib, 1 << 19], "data_offsets": [0, mib << 20]}}
        text = json.dumps(entry).encode()
        models.write(model.path, struct.pack("<Q", len(text)) + text)
        os.truncate(model.path, 8 + len(text) + (mib << 20))
        return model.path

    @unittest.skipIf(SANITIZED, "a sanitizer takes memory of its own")
    def test_packing_takes_as_much_for_any_model(self):
        peaks = {}
        for mib in (64, 512):
            path = os.path.join(self.folder, f"sparse{mib}.sgi")
            peaks[mib] = [self.peak_bytes("pack", self.sparse(mib), "-o", path, "--jobs", "2"),
                          self.peak_bytes("verify", path, "--jobs", "2")]
        for small, large in zip(peaks[64], peaks[512]):
            self.assertLess(large, small + (4 << 20), peaks)
            self.assertLess(large, 32 << 20, peaks)


class Progress(Case):
    def test_a_terminal_shows_a_bar_and_is_left_clean(self):
        model = models.single(self.folder, tensors=[("w", "BF16", [4000, 500])])
        path = os.path.join(self.folder, "bar.sgi")
        for argv in (["pack", model.path, "-o", path], ["verify", path], ["unpack", path, "-o", self.folder],
                     ["digest", model.path]):
            with self.subTest(argv=argv):
                seen, out = on_terminal(argv, "xterm")
                self.assertRegex(seen, r"^\r\x1b\[K\[#*\.*\] +\d+%  [0-9.]+ [KM]iB")
                self.assertRegex(seen, r"\r\x1b\[K\[#+\] +100%  .*\r\x1b\[K$")
                self.assertNotIn("\x1b", out)
                self.assertEqual(on_terminal(argv, "dumb")[0], "")
                self.good(*argv)  # to a pipe: none


if __name__ == "__main__":
    main()
