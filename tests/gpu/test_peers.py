#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/gpu_peers.py with loaders that are none, in modules of their names: who takes part, who falls out, its rows."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(TREE, "bench", "gpu_peers.py")
HANGS = 60

TORCH = """
class cuda:
    init = synchronize = empty_cache = staticmethod(lambda: None)
class Tensor:
    nbytes = 1024
    def to(self, device):
        return self
    clone = to
"""
SAFETENSORS = """
from torch import Tensor
def load_file(path, device):
    assert device == "cuda:0", device
    open(path, "rb").close()
    return {"w": Tensor()}
"""
RUNAI = """
raise OSError("it does not work here")
"""
BENCH = """#!/bin/sh
while read -r line; do echo '{"what":"load","seconds":0.25,"total_seconds":0.5,"bytes":1024}'; done
"""


class Peers(unittest.TestCase):
    def setUp(self):
        self.made = tempfile.TemporaryDirectory()
        self.addCleanup(self.made.cleanup)
        self.folder = self.made.name
        self.bench = self.write("bench.sh", BENCH)
        os.chmod(self.bench, 0o755)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        return path

    def run_it(self):
        env = {**os.environ, "PYTHONPATH": self.folder, "TMPDIR": self.folder}
        done = subprocess.run([sys.executable, PROGRAM, self.bench, "--bytes", "1000000", "--rounds", "3"], text=True,
                              env=env, capture_output=True, timeout=HANGS, check=False)
        return done, [json.loads(line) for line in done.stdout.splitlines()]

    def test_who_is_there_takes_turns_and_who_fails_is_left_out(self):
        self.write("torch.py", TORCH)
        self.write("safetensors/__init__.py", "")
        self.write("safetensors/torch.py", SAFETENSORS)
        self.write("runai_model_streamer.py", RUNAI)
        done, lines = self.run_it()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("runai is left out", done.stderr)
        self.assertIn("instanttensor is not installed here", done.stderr)
        turns = [line for line in lines if line["what"] == "peer"]
        self.assertEqual(sum(t["counted"] for t in turns if t["who"] == "libsgi"), 6)
        self.assertEqual({t["who"] for t in turns}, {"libsgi", "safetensors"})
        rows = {line["name"]: line for line in lines if line["what"] == "row"}
        names = {f"peer_{who}_{kind}_gib_s" for who in ("libsgi", "safetensors") for kind in ("cold", "hot")}
        self.assertEqual(set(rows), names | {"peers_cold_times_sooner", "peers_hot_times_sooner"})
        self.assertEqual([row["count"] for row in rows.values()], [3] * 6)
        self.assertLess(rows["peers_cold_times_sooner"]["median"], 1)  # half a second is slower than nothing
        self.assertEqual(os.listdir(self.folder).count("peers.safetensors"), 0)

    def test_nobody_is_a_skip(self):
        done, lines = self.run_it()
        if done.returncode == 0:
            self.skipTest("there are peers here")
        self.assertEqual((done.returncode, lines), (77, []), done.stderr)


if __name__ == "__main__":
    unittest.main()
