# SPDX-License-Identifier: Apache-2.0
"""`sgi inspect`: every field of generated files. Real files are compared with the Python readers in tests/formats."""

import json
import os
import shutil

import models
from command import Case, main, sgi


class Inspect(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        metadata = {"format": "pt", "odd \"name\"": "line\nbreak, \u00e9, \U0001f600"}
        cls.single = models.single(cls.folder, metadata=metadata)
        cls.sharded = models.sharded(cls.folder)
        cls.gguf = models.gguf(cls.folder)
        cls.split = models.gguf_split(cls.folder)

    def check(self, model, path=None, *argv):
        found = json.loads(self.good("inspect", path or model.path, "--json", *argv).out)
        self.assertEqual(found["format"], model.kind)
        self.assertEqual([f["name"] for f in found["files"]], [os.path.basename(f) for f in model.files])
        self.assertEqual([f["path"] for f in found["files"]], [os.path.realpath(f) for f in model.files])
        self.assertEqual([f["bytes"] for f in found["files"]], [os.path.getsize(f) for f in model.files])
        key = lambda t: t["name"]
        self.assertEqual(sorted(found["tensors"], key=key), sorted(model.tensors, key=key))
        self.assertEqual(found["metadata"], model.metadata)

    def test_one_file(self):
        self.check(self.single)

    def test_a_folder_and_its_index(self):
        self.check(self.sharded)
        self.check(self.sharded, os.path.join(self.sharded.path, "model.safetensors.index.json"))

    def test_gguf(self):
        self.check(self.gguf)

    def test_a_split_gguf_by_its_folder_and_its_first_file(self):
        self.check(self.split)
        self.check(self.split, self.split.files[0])

    def test_a_split_gguf_by_another_file(self):
        self.failed(["inspect", self.split.files[2]], "file 3 of the 3 .*open the first, small-00001-of-00003.gguf")

    def test_shards_in_several_folders(self):
        model, others = models.spread(self.folder)
        index = os.path.join(model.path, "model.safetensors.index.json")
        self.check(model, index, *(f"--folder={o}" for o in others))
        self.check(model, model.path, "--folder", others[1], "--folder", model.path, "--folder", others[0] + "/")
        first = os.path.basename(model.files[0])
        self.failed(["inspect", index, "--folder", others[1]],
                    f"{model.path}/{first}: not there, nor in {others[1]}; model.safetensors.index.json asks for it$")
        self.failed(["inspect", index, "--folder", others[1], "--folder", self.folder],
                    f"{model.path}/{first}: not there, nor in {others[1]} or 1 more; model.safetensors.index.json asks "
                    "for it$")
        self.failed(["inspect", index, "--folder", index], f"{index}: no folder")
        self.failed(["inspect", index, "--folder", "/nowhere"], "/nowhere: No such file")
        shutil.copy(model.files[0], others[1])
        self.failed(["inspect", index, "--folder", others[0], "--folder", others[1]],
                    f"{model.files[0]}: also in {others[1]}/{first}$")

    def test_one_of_several_shards(self):
        """It opens alone, so nothing else says that it is not all."""
        shard = self.sharded.files[1]
        packed = os.path.join(self.folder, "shard.sgi")
        for argv in (["inspect", shard], ["load", shard], ["pack", shard, "-o", packed],
                     ["pack", *self.sharded.files[1:], "-o", packed]):
            done = sgi(*argv)
            self.assertEqual(done.code, 0, done)
            self.assertEqual(done.err, "sgi: warning: model-00002-of-00003.safetensors: by its name one of 3 files of "
                                       "a model; its folder, or their index, opens all\n")
        self.good("pack", *self.sharded.files, "-o", packed)
        self.good("load", self.sharded.path)
        self.good("inspect", self.split.files[0])
        for name in ("m-00001-of-00001", "m-00000-of-00003", "m-00004-of-00003", "m-0001-of-00003", "m-00001_of-00003",
                     "m-00001-of-000003"):
            self.good("inspect", models.single(self.folder, name + ".safetensors").path)
        self.failed(["inspect", os.path.join(self.folder, "gone-00001-of-00003.safetensors")], "No such file")

    def test_a_symbolic_link(self):
        link = os.path.join(self.folder, "link.safetensors")
        os.symlink(self.single.path, link)
        found = json.loads(self.good("inspect", "--json", link).out)
        self.assertEqual(found["files"][0]["path"], os.path.realpath(self.single.path))

    def test_options_may_stand_anywhere(self):
        expected = self.good("inspect", self.single.path, "--json").out
        self.assertEqual(self.good("inspect", "--json", self.single.path).out, expected)
        self.assertEqual(self.good("inspect", "--json", "--", self.single.path).out, expected)

    def test_text_names_every_tensor(self):
        for model in (self.single, self.sharded, self.gguf, self.split):
            text = self.good("inspect", model.path).out
            self.assertIn(model.kind, text)
            for tensor in model.tensors:
                self.assertIn(tensor["name"], text)
                self.assertIn(tensor["dtype"], text)

    def test_text_is_safe_for_a_terminal(self):
        model = models.single(self.folder, "escape.safetensors", [("red \x1b[31m", "U8", [1])],
                              metadata={"title": "\x1b]0;t\x07"})
        self.assertNotRegex(self.good("inspect", model.path).out, "[\x00-\x09\x0b-\x1f\x7f]")


if __name__ == "__main__":
    main()
