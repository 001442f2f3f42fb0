# SPDX-License-Identifier: Apache-2.0
"""Files that are no model: exit 1, one line that names the file and the cause, in under a second."""

import json
import os
import random
import socket
import struct
import subprocess
import time

import models
from command import HANGS, SGI, SOON, Case, main

SHORT = b"\x10\0\0\0\0\0\0\0"


def entry(begin, end, dtype="U8"):
    return {"dtype": dtype, "shape": [end - begin], "data_offsets": [begin, end]}


def safetensors(entries, data):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


# name -> (bytes, what the message says)
BROKEN = {
    "empty": (b"", "too short|empty|0 bytes"),
    "short": (SHORT, "header"),
    "huge_header": (b"\xff" * 8 + b"{}", "header"),
    "long_header": (struct.pack("<Q", 1 << 40) + b"{}", "header"),
    "header_past_the_end": (struct.pack("<Q", 1000) + b"{}", "header"),
    "no_json": (safetensors(b"hello, world", 0), "."),
    "deep_json": (safetensors(b"[" * 100000, 0), "."),
    "noise": (random.Random(1).randbytes(4096), "."),
    "text": (b"This is a letter and no model at all.\n" * 10, "."),
    "zip": (b"PK\x03\x04" + bytes(100), "."),
    "truncated": (safetensors({"weight.a": entry(0, 100)}, 50), "weight.a"),
    "trailing": (safetensors({"weight.a": entry(0, 100)}, 101), "."),
    "hole": (safetensors({"weight.a": entry(0, 10), "weight.b": entry(20, 30)}, 30), "weight.b"),
    "overlap": (safetensors({"weight.a": entry(0, 20), "weight.b": entry(10, 30)}, 30), "weight.[ab]"),
    "backwards": (safetensors({"weight.a": {"dtype": "U8", "shape": [1], "data_offsets": [10, 9]}}, 10), "weight.a"),
    "out_of_range": (safetensors({"weight.a": {"dtype": "U8", "shape": [1], "data_offsets": [2**63, 2**63 + 1]}}, 1),
                     "weight.a"),
    "size": (safetensors({"weight.a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 10]}}, 10), "weight.a"),
    "overflow": (safetensors({"weight.a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, 4),
                 "weight.a"),
    "twice": (safetensors(b'{"weight.a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, '
                          b'"weight.a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', 1), "weight.a"),
    "gguf_short": (b"GGUF\x03\0\0\0", "."),
    "gguf_version": (b"GGUF" + struct.pack("<IQQ", 99, 0, 0) + bytes(64), "version"),
    "gguf_counts": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + bytes(64), "."),
    "gguf_string": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**60) + bytes(64), "."),
}


class Failures(Case):
    def both(self, path, *causes, **kw):
        for argv in (["inspect", path], ["inspect", path, "--json"], ["load", path],
                     ["load", path, "--json", "--cold", "--digest", "--repeat", "2"]):
            self.failed(argv, *causes, **kw)

    def test_broken_files(self):
        for name, (content, cause) in BROKEN.items():
            for suffix in (".safetensors", ".gguf"):
                with self.subTest(name=name, suffix=suffix):
                    path = models.write(os.path.join(self.folder, name + suffix), content)
                    self.both(path, name + suffix, cause)

    def test_a_gguf_that_was_cut_anywhere(self):
        model = models.gguf(self.folder)
        with open(model.path, "rb") as f:
            whole = f.read()
        for length in [*range(1, 64), len(whole) // 2, len(whole) - 100, len(whole) - 1]:
            with self.subTest(length=length):
                path = models.write(os.path.join(self.folder, "cut.gguf"), whole[:length])
                self.failed(["inspect", path], "cut.gguf")

    def test_special_files(self):
        fifo = os.path.join(self.folder, "fifo.safetensors")
        os.mkfifo(fifo)
        self.both(fifo, "fifo.safetensors", "FIFO")
        self.both("/dev/null", "/dev/null", "device")
        self.both("/dev/zero", "/dev/zero", "device")
        self.both("/dev/tty", "/dev/tty", "device|No such")
        path = os.path.join(self.folder, "s.safetensors")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))  # 107 bytes at most
            self.both(path, "s.safetensors", "socket")

    def test_links(self):
        for name, target in (("dangling.safetensors", "nowhere"), ("loop.safetensors", "loop.safetensors"),
                             ("to_zero.safetensors", "/dev/zero")):
            path = os.path.join(self.folder, name)
            os.symlink(target, path)
            self.both(path, name)

    def test_folders_without_a_model(self):
        for name, files in (("bare", []), ("other", ["README.md", "config.json"]), ("two", ["a.gguf", "b.gguf"]),
                            ("gap", ["m-00001-of-00003.safetensors", "m-00003-of-00003.safetensors"])):
            with self.subTest(name=name):
                path = os.path.join(self.folder, name)
                os.mkdir(path)
                for file in files:
                    models.write(os.path.join(path, file), b"")
                self.both(path, name)

    def test_shards_that_are_not_there_or_not_here(self):
        for name, shard in (("missing", "model-1.safetensors"), ("outside", "../single.safetensors"),
                            ("absolute", "/etc/passwd"), ("itself", "model.safetensors.index.json"), ("dots", "..")):
            with self.subTest(name=name):
                root = os.path.join(self.folder, name)
                os.mkdir(root)
                index = os.path.join(root, "model.safetensors.index.json")
                with open(index, "w", encoding="utf-8") as f:
                    json.dump({"weight_map": {"weight.a": shard}}, f)
                self.both(index, name)
                self.both(root, name)

    def test_paths_that_lead_nowhere(self):
        self.both(os.path.join(self.folder, "absent.safetensors"), "absent.safetensors", "No such file")
        file = models.write(os.path.join(self.folder, "file"), b"")
        self.both(os.path.join(file, "below.safetensors"), "below.safetensors", "Not a directory")
        self.both("x" * 300, "xxx", "File name too long")
        self.both("a/" * 3000 + "end", "end", "File name too long")

    def test_names_that_do_not_fit_a_line(self):
        self.both(os.path.join(self.folder, "line\nbreak.safetensors"), r"line\?break.safetensors", "No such file")
        latin = os.path.join(os.fsencode(self.folder), b"latin\xff.safetensors")
        self.both(latin, r"latin\?.safetensors", "No such file")
        self.both(os.path.join(self.folder, "red\x1b[31m.safetensors"), r"red\?\[31m.safetensors")

    def assert_named_once(self, argv, name, **kw):
        done = self.failed(argv, name, **kw)
        self.assertEqual(done.err.count(name), 1, done)
        self.assertNotIn("look at", done.err, done)
        return done

    def test_a_name_is_said_once(self):
        for name in ("nothing", "nothing.safetensors", "./nothing.gguf"):
            for command in ("inspect", "load"):
                with self.subTest(name=name, command=command):
                    done = self.assert_named_once([command, name], name.lstrip("./"), cwd=self.folder)
                    self.assertEqual(done.err, f"sgi: {name}: No such file or directory\n")
        long = os.path.join(self.folder, "d" * 100, "e" * 100)
        os.makedirs(long)
        path = models.write(os.path.join(long, "broken.safetensors"), b"")
        self.assert_named_once(["inspect", path], "broken.safetensors")
        done = self.failed(["inspect", "ok", "--folder", "nowhere"], cwd=self.folder)
        self.assertEqual(done.err, "sgi: ok: nowhere: No such file or directory\n")

    def test_a_model_goes_by_the_name_of_its_file(self):
        model = models.single(self.folder, "early.safetensors")
        for path in (model.path, os.path.join(self.folder, "cut.safetensors")):
            with open(model.path, "rb") as f:
                whole = f.read()
            models.write(path, whole)
        order = models.write(os.path.join(self.folder, "order"), b"\n\r\nno such tensor\n")
        self.failed(["load", path, "--order", order], f"sgi: {order}: line 3 names .*'no such tensor'")

    def test_who_asks_for_a_shard_is_named(self):
        root = os.path.join(self.folder, "asked")
        os.mkdir(root)
        models.write(os.path.join(root, "model.safetensors.index.json"),
                     json.dumps({"weight_map": {"weight.a": "gone.safetensors"}}).encode())
        self.both(root, "gone.safetensors: No such file or directory; model.safetensors.index.json asks for it")

    def test_a_short_name_is_named(self):
        self.assert_named_once(["inspect", "s"], "s: ", cwd=self.folder)
        models.write(os.path.join(self.folder, "a"), b"")
        self.failed(["inspect", "a"], "^sgi: a: ", cwd=self.folder)
        os.mkfifo(os.path.join(self.folder, "ff"))
        for command in ("inspect", "load", "verify"):
            self.assert_named_once([command, "ff"], "ff", cwd=self.folder)

    def test_no_permission(self):
        model = models.single(self.folder, "secret.safetensors")
        os.chmod(model.path, 0)
        self.both(model.path, "secret.safetensors", "Permission denied", **self.not_root())

    def not_root(self):
        """What runs the command as somebody whom permissions apply to."""
        if os.geteuid() != 0:
            return {}
        nobody = {"user": 65534, "group": 65534, "extra_groups": []}
        os.chmod(self.folder, 0o755)
        try:
            self.good("--version", **nobody)
        except PermissionError:
            self.skipTest("root may read everything, and nobody else may run this build")
        return nobody

    def change_between(self, name, change, *causes):
        """A model that changes after the first of many repetitions."""
        model = models.single(self.folder, name)
        with subprocess.Popen([SGI, "load", model.path, "--json", "--repeat", "1000000"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            change(model.path)
            begin = time.monotonic()
            _, err = process.communicate(timeout=HANGS)
            self.assertEqual((process.returncode, err.count("\n")), (1, 1), err)
            self.assertLess(time.monotonic() - begin, SOON)
        self.assertRegex(err, "^sgi: .*" + name)
        for cause in causes:
            self.assertRegex(err, cause)

    def test_a_model_that_changes(self):
        def append(path):
            with open(path, "ab") as f:
                f.write(b"x")

        def replace(path):
            with open(path, "rb") as f:
                models.write(path + ".new", f.read())
            os.replace(path + ".new", path)

        self.change_between("grown.safetensors", append, "changed", r"\d+ -> \d+")
        self.change_between("replaced.safetensors", replace, "changed")
        self.change_between("cut.safetensors", lambda path: os.truncate(path, 100), "changed")
        self.change_between("touched.safetensors", os.utime, "changed")
        self.change_between("removed.safetensors", os.unlink, "No such file")


if __name__ == "__main__":
    main()
