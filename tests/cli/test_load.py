# SPDX-License-Identifier: Apache-2.0
"""`sgi load`: the bytes on the device are the bytes of the file, and what it says about the load is true."""

import json
import os
import shutil
import struct
import tempfile
import unittest

import models
from command import Case, digests, features, file_system, main

STEPS = {"queue", "source", "context", "memory", "open", "read", "verify", "decode", "copy", "prefix", "prepare",
         "start"}
NUMBERS = {"repetition", "bytes", "load_ms", "total_ms", "gib_s", "cpu_ms", "process_cpu_ms", "bounced_bytes",
           "read_bytes", "reread_bytes", "limited_ms", "kept_bytes", "residue_bytes"}
TEXTS = {"path", "engine", "device", "tier", "direct"}


class Load(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.single = models.single(cls.folder)
        big = [(f"layer.{i}", "BF16", [1 << 20]) for i in range(12)] + [("tail", "U8", [12345])]
        cls.models = (
            cls.single,
            models.single(cls.folder, "big.safetensors", big),
            models.single(cls.folder, "odd.safetensors", metadata={"x": "y"}, pad_to=1),
            models.single(cls.folder, "none.safetensors", []),
            models.single(cls.folder, "empty.safetensors", [("nothing", "F32", [0]), ("no", "U8", [3, 0])]),
            models.sharded(cls.folder),
            models.gguf(cls.folder),
            models.gguf_folder(cls.folder),
            models.gguf_split(cls.folder),
        )
        cls.engines = ["threads"] + (["uring"] if features()["io_uring"]["usable"] else [])

    def load(self, model, *argv):
        """The records of `load --json`, each with what every one has."""
        records = self.good("load", model.path, "--json", *argv).lines()
        for i, record in enumerate(records):
            self.check_record(model, record, argv)
            self.assertEqual(record["repetition"], i + 1)
        return records

    def check_record(self, model, record, argv):
        extra = {"cached_bytes"} if "--cold" in argv else set()
        extra |= {"digest_ms", "tensors"} if "--digest" in argv else set()
        self.assertEqual(set(record), NUMBERS | TEXTS | extra | {"cold", "phases"})
        for key in NUMBERS:
            self.assertIn(type(record[key]), (int, float), key)
            self.assertGreaterEqual(record[key], 0, key)
        for key in TEXTS:
            self.assertIs(type(record[key]), str, key)
        self.assertEqual(record["path"], model.path)
        self.assertEqual((record["tier"], record["kept_bytes"], record["residue_bytes"]), ("disk", 0, 0))
        self.assertIn(record["direct"], ("yes", "no", "part"))
        self.assertEqual(set(record["phases"]), STEPS)
        for phase in record["phases"].values():
            self.assertEqual(set(phase), {"start_ms", "ms"})
        tensor_bytes = sum(t["bytes"] for t in model.tensors)
        self.assertGreaterEqual(record["bytes"], tensor_bytes)
        self.assertLessEqual(record["bytes"], sum(os.path.getsize(f) for f in model.files))
        self.assertLessEqual(record["load_ms"], record["total_ms"])
        if tensor_bytes:
            self.assertGreater(record["load_ms"], 0)
            self.assertAlmostEqual(record["gib_s"], record["bytes"] / 2 ** 30 / (record["load_ms"] / 1000),
                                   delta=0.001 + 0.01 * record["gib_s"])

    def check_digests(self, model, record):
        expected = digests(model)
        self.assertEqual({t["name"]: t["xxh3"] for t in record["tensors"]}, expected)
        self.assertEqual(len(record["tensors"]), len(expected))

    def test_digests_equal_those_of_the_files(self):
        for engine in self.engines:
            for temperature in ([], ["--cold"]):
                for model in self.models:
                    with self.subTest(engine=engine, temperature=temperature, model=os.path.basename(model.path)):
                        record, = self.load(model, "--digest", "--engine", engine, *temperature)
                        self.check_digests(model, record)
                        if any(t["bytes"] for t in model.tensors):
                            self.assertEqual(record["engine"], engine)

    def test_shards_in_several_folders(self):
        model, others = models.spread(self.folder)
        for temperature in ([], ["--cold"]):
            record, = self.load(model, "--digest", *temperature, "--folder", others[0], "--folder", others[1])
            self.check_digests(model, record)

    def test_digests_of_real_models(self):
        """Where their tensors are, `sgi inspect` says; tests/formats compares that with the Python readers."""
        paths = [os.environ[v] for v in ("SGI_TEST_SAFETENSORS", "SGI_TEST_GGUF") if v in os.environ]
        if not paths:
            self.skipTest("SGI_TEST_SAFETENSORS and SGI_TEST_GGUF are not set; tests/run.sh sets them")
        for path in paths:
            found = json.loads(self.good("inspect", path, "--json").out)
            model = models.Expected(path, found["format"])
            model.files = [f["path"] for f in found["files"]]
            model.tensors = found["tensors"]
            for engine in self.engines:
                for temperature in ([], ["--cold"]):
                    with self.subTest(path=path, engine=engine, temperature=temperature):
                        record, = self.load(model, "--digest", "--engine", engine, *temperature)
                        self.check_digests(model, record)

    def test_a_model_that_can_never_fit(self):
        self.refuses_what_never_fits("vast.safetensors")
        self.refuses_what_never_fits("that's it.safetensors")
        self.refuses_what_never_fits("a long name " * 9 + ".safetensors")

    def refuses_what_never_fits(self, name):
        path = os.path.join(self.folder, name)
        size = 1 << 42  # all of it a hole of the file system
        text = json.dumps({"vast": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        models.write(path, struct.pack("<Q", len(text)), text)
        os.truncate(path, 8 + len(text) + size)
        for argv in ([], ["--json", "--repeat", "2"]):
            done = self.failed(["load", path, *argv])
            self.assertTrue(done.err.startswith(f"sgi: {path}: needs 43980465"), done)

    def test_every_shape_of_reads(self):
        for engine in self.engines:
            for block, depth in (("4096", "1"), ("4K", "64"), ("1MiB", "3"), ("64M", "2"), ("12288", "7")):
                with self.subTest(engine=engine, block=block, depth=depth):
                    shape = ["--engine", engine, "--block", block, "--depth", depth]
                    record, = self.load(self.models[1], "--digest", *shape)
                    self.check_digests(self.models[1], record)

    def test_sizes_have_suffixes_of_either_case(self):
        text = self.good("help", "load").out
        for size in ("2097152", "2M", "2m", "2MiB", "2mib", "2048k", "2048KiB"):
            self.good("load", self.single.path, "--block", size)
            if not size.isdigit() and "048" not in size and size != "2mib":
                self.assertIn(size, text)
        self.good("load", self.single.path, "--rate", "1T")

    def test_a_low_limit_holds_for_a_small_file(self):
        model = models.single(self.folder, "small.safetensors", [("w", "U8", [300000])])
        for rate, once in ((1 << 20, 52429), (2 << 20, 104858)):
            record = self.load(model, "--rate", str(rate))[0]
            self.assertGreater(record["load_ms"], (300000 - once) / rate * 1000 - 51)

    def test_a_limit_on_the_rate_holds(self):
        file_bytes = os.path.getsize(self.models[1].path)
        rate = file_bytes * 4  # a quarter of a second, less what may come at once; without a limit a tenth of that
        limited = ["--rate", str(rate), "--block", "1M"]
        record, = self.load(self.models[1], *limited, "--digest")
        self.check_digests(self.models[1], record)
        self.assertGreater(record["load_ms"], (file_bytes - (1 << 20)) / rate * 1000 - 51)
        if record["load_ms"] < 500:  # else the machine is slower than the limit
            self.assertGreater(record["limited_ms"], 0)
            self.assertIn("by --rate", self.good("load", *limited, self.models[1].path).out)
        self.assertEqual(self.load(self.models[1])[0]["limited_ms"], 0)

    def test_an_engine_that_does_not_work_here_says_so(self):
        if "uring" in self.engines:
            self.skipTest("io_uring works here")
        self.failed(["load", self.single.path, "--engine", "uring"], "single.safetensors", "io_uring")
        self.assertEqual(self.load(self.models[1])[0]["engine"], "threads")

    def test_repetitions_come_from_disk_into_recycled_memory(self):
        for temperature in ([], ["--cold"]):
            records = self.load(self.models[1], "--repeat", "4", "--digest", *temperature)
            self.assertEqual(len(records), 4)
            for record in records:
                self.check_digests(self.models[1], record)
            first, *others = (r["phases"]["memory"]["ms"] for r in records)
            self.assertGreater(first, 0)
            self.assertLess(min(others), 0.05, "no memory is touched at 480 GiB/s: it was new")

    def needs_disk(self):
        if file_system(self.folder) in ("tmpfs", "ramfs"):
            self.skipTest(f"{self.folder} is in memory: what is there stays in the page cache")

    def test_cold_is_cold(self):
        self.needs_disk()
        for record in self.load(self.models[1], "--cold", "--repeat", "3"):
            self.assertIn(record["cached_bytes"], (0, None))
            self.assertIs(record["cold"], True)
        self.assertIs(self.load(self.models[1])[0]["cold"], False)

    def test_dirty_pages_are_written_and_dropped(self):
        self.needs_disk()
        model = models.single(self.folder, "dirty.safetensors", [("t", "U8", [8 << 20])])
        record, = self.load(model, "--cold", "--digest")
        self.assertIn(record["cached_bytes"], (0, None))
        self.check_digests(model, record)

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK) and file_system("/dev/shm") == "tmpfs", "no tmpfs at /dev/shm")
    def test_what_stays_in_the_page_cache_is_not_called_cold(self):
        folder = tempfile.mkdtemp(dir="/dev/shm")
        self.addCleanup(shutil.rmtree, folder)
        model = models.single(folder, "memory.safetensors", [("t", "U8", [8 << 20])])
        record, = self.load(model, "--cold", "--digest")
        self.check_digests(model, record)
        if record["cached_bytes"] is not None:
            self.assertGreater(record["cached_bytes"], 8 << 20)
            self.assertIs(record["cold"], False)
            self.assertIn("stayed in the page cache", self.good("load", model.path, "--cold").out)

    @unittest.skipUnless(os.access("/dev/shm", os.W_OK) and file_system("/dev/shm") == "tmpfs", "no tmpfs at /dev/shm")
    def test_a_base_that_stays_in_the_page_cache_is_counted(self):
        folder, other = (tempfile.mkdtemp(dir="/dev/shm") for _ in range(2))
        for path in (folder, other):
            self.addCleanup(shutil.rmtree, path)
        model = models.single(folder, "memory.safetensors", [("t", "U8", [8 << 20])])
        base, tuned = os.path.join(folder, "base.sgi"), os.path.join(folder, "tuned.sgi")
        self.good("pack", model.path, "-o", base)
        self.good("pack", model.path, "-o", tuned, "--base", base)
        self.assertLess(os.path.getsize(tuned), 1 << 20)
        for where in (folder, other):
            os.rename(base, os.path.join(where, "base.sgi"))
            record, = self.good("load", tuned, "--cold", "--json", "--folder", other).lines()
            if record["cached_bytes"] is not None:
                self.assertGreater(record["cached_bytes"], 8 << 20)
                self.assertIs(record["cold"], False)

    def test_a_base_is_dropped_too(self):
        self.needs_disk()
        base, tuned = (os.path.join(self.folder, name) for name in ("cold_base.sgi", "cold.sgi"))
        self.good("pack", self.models[1].path, "-o", base)
        self.good("pack", self.models[1].path, "-o", tuned, "--base", base)
        for _ in range(2):
            record, = self.good("load", tuned, "--cold", "--json").lines()
            self.assertIn(record["cached_bytes"], (0, None))
            self.assertIs(record["cold"], True)

    def test_an_order_is_taken(self):
        order = os.path.join(self.folder, "order.txt")
        for text in ("tail\nlayer.11\n", "layer.5\r\n\r\nlayer.4", "\n\n", ""):
            with open(order, "w", encoding="utf-8", newline="") as f:
                f.write(text)
            record, = self.load(self.models[1], "--order", order, "--digest")
            self.check_digests(self.models[1], record)

    def test_a_bad_order_is_refused(self):
        def order(content):
            path = os.path.join(self.folder, "bad order.txt")
            with open(path, "wb") as f:
                f.write(content)
            return ["load", self.single.path, "--order", path]
        self.failed(order(b"layer.0.bias\nno.such.tensor\n"), "bad order.txt", "no.such.tensor")
        self.failed(order(b"bytes\0\n"), "bad order.txt", "text")
        self.failed(["load", self.single.path, "--order", "/nonexistent"], "/nonexistent", "No such file")
        self.failed(["load", self.single.path, "--order", self.folder], "Is a directory")
        self.failed(["load", self.single.path, "--order", "/dev/zero"], "/dev/zero", "text")

    def test_a_device_by_name(self):
        self.assertEqual(self.load(self.single)[0]["device"], "host:0")
        self.assertEqual(self.load(self.single, "--device", "host")[0]["device"], "host:0")
        self.assertEqual(self.load(self.single, "--device", "host:999")[0]["device"], "host:999")
        self.assertEqual(self.load(self.single, "--device", "cuda:7", "--device", "host")[0]["device"], "host:0")

    def test_a_device_that_is_not_there(self):
        cuda = features()["cuda"]["detail"]
        if not cuda.startswith("no CUDA driver: "):
            self.skipTest(f"cuda: {cuda}")
        for name in ("cuda", "cuda:0", "cuda:999"):
            done = self.failed(["load", self.single.path, "--device", name])
            self.assertEqual(done.err, f"sgi: --device {name}: {cuda}\n")

    def test_text_for_people(self):
        text = self.good("load", self.models[1].path, "--digest", "--repeat", "2", "--engine", "threads").out
        self.assertTrue(text.startswith(f"{self.models[1].path}: safetensors, 1 file, 13 tensors, 24.0 MiB"), text)
        for word in ("GiB/s", "load", "total", "cpu", "threads", "#1 ", "#2 ", "read ", "median of 2"):
            self.assertIn(word, text)
        for name, digest in digests(self.models[1]).items():
            self.assertEqual(text.count(f"{digest}  {name}\n"), 2)


if __name__ == "__main__":
    main()
