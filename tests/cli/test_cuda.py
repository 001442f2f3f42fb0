# SPDX-License-Identifier: Apache-2.0
"""`sgi load --device cuda:0` on the fake driver: the digests are the file's, copies may be late, and one fault is
either survived or told."""

import os
import subprocess

import command
import models
from command import HANGS, Case, Done, digests, main

RUN = os.path.join(command.HERE, "..", "fakecuda", "run")
CALLS = ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuMemAddressReserve",
         "cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuMemHostRegister_v2", "cuStreamCreate", "cuEventCreate",
         "cuEventRecord", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize")


class Cuda(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        large = [(f"layer.{i}", "BF16", [1 << 18]) for i in range(12)] + [(f"norm.{i}", "F32", [33]) for i in range(40)]
        cls.models = (models.single(cls.folder), models.single(cls.folder, "large.safetensors", large),
                      models.single(cls.folder, "odd.safetensors", metadata={"x": "y"}, pad_to=1),
                      models.single(cls.folder, "none.safetensors", []), models.sharded(cls.folder),
                      models.gguf(cls.folder), models.gguf_split(cls.folder))

    def load(self, model, *argv, fake=(), device="cuda:0"):
        words = [RUN, "--build", os.environ["SGI_BUILD_DIR"], *fake, "--", command.SGI, "load", model.path, "--device",
                 device, "--digest", "--json", "--block", "64K", *argv]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANGS, check=False)
        return Done(done.returncode, done.stdout, done.stderr, 0)

    def same(self, model, done):
        self.assertEqual((done.code, done.err), (0, ""), done)
        for record in done.lines():
            self.assertEqual(record["device"], "cuda:0")
            self.assertEqual({t["name"]: t["xxh3"] for t in record["tensors"]}, digests(model))

    def test_the_bytes_on_the_device_are_the_files(self):
        for model in self.models:
            for fake in ((), ("--delay", "1000,2000"), ("--nvml", "off"), ("--driver", "550")):
                with self.subTest(model=model.path, fake=fake):
                    self.same(model, self.load(model, "--repeat", "2", fake=fake))

    def test_one_fault_is_survived_or_told(self):
        model, told = self.models[1], set()
        for call in CALLS:
            for nth in (1, 9):
                with self.subTest(call=call, nth=nth):
                    done = self.load(model, fake=("--fault", f"{call} {nth} error 304"))
                    if done.code == 0:
                        self.same(model, done)
                        continue
                    self.assertEqual((done.code, done.out), (1, ""), done)
                    self.assert_one_line(done, "sgi: ")
                    self.assertRegex(done.err, r"cuda:0: cu\w+.*\(304\)$", done)
                    told.add(call)
        self.assertEqual(told, set(CALLS) - {"cuMemHostRegister_v2"})

    def test_a_byte_that_a_copy_changed_is_seen(self):
        done = self.load(self.models[1], fake=("--fault", "@copy 3 corrupt"))
        self.assertEqual(done.code, 0, done)
        self.assertNotEqual({t["name"]: t["xxh3"] for t in done.lines()[0]["tensors"]}, digests(self.models[1]))

    def test_errors_that_stay_are_told(self):
        done = self.load(self.models[1], fake=("--fault", "@copy 2 sticky 700"))
        self.assertEqual((done.code, done.out), (1, ""), done)
        failure, *warnings = done.err.splitlines()
        self.assertRegex(failure, r"^sgi: .*cuda:0: .*ILLEGAL_ADDRESS \(700\)$", done)
        for warning in warnings:  # of what could not be given back
            self.assertRegex(warning, r"^sgi: warning: .*cuda:0: ", done)

    def test_a_single_load_goes_straight_to_the_device(self):
        model = self.models[1]
        self.assertEqual([r["kept_bytes"] for r in self.load(model).lines()], [0])
        for record in self.load(model, "--repeat", "2").lines():  # here the help promises a copy
            self.assertGreaterEqual(record["kept_bytes"], record["bytes"])
            self.assertEqual((record["tier"], record["residue_bytes"]), ("disk", 0))

    def test_what_is_not_given_back_is_told(self):
        fake = ("--lax", "--leaks", "ignore", "--fault", "cuMemUnmap * error 1")
        for repeat in ("1", "3"):
            done = self.load(self.models[1], "--repeat", repeat, fake=fake)
            self.assertEqual(done.code, 1, done)
            record, = done.lines()  # the first is the last
            self.assertGreaterEqual(record["residue_bytes"], record["bytes"])
            warning, failure = done.err.splitlines()
            self.assertRegex(warning, r"^sgi: warning: model 'large.safetensors': cuda:0: \d+ bytes .* \(1\)$")
            self.assertRegex(failure, r"^sgi: .*/large.safetensors: \d+\.\d MiB could not be given back to cuda:0$")

    def test_a_warning_is_no_failure(self):
        fake = ("--lax", "--leaks", "ignore", "--fault", "cuDevicePrimaryCtxRelease_v2 * error 1")
        done = self.load(self.models[1], fake=fake)
        self.assertEqual((done.code, done.lines()[0]["residue_bytes"]), (0, 0), done)
        self.assertEqual(done.err, "sgi: warning: cuda:0: cuDevicePrimaryCtxRelease: CUDA_ERROR_INVALID_VALUE (1)\n")

    def test_why_there_is_no_cuda_is_said_once(self):
        for fake, cause in ((("--stub",), "libcuda.so.1 is the toolkit's stub, not a driver; "),
                            (("--devices", "0"), "there is a CUDA driver and no device "),
                            (("--driver", "545"), "the driver is for CUDA 12.3; 12.4 (driver 550) or newer is needed"),
                            (("--without", "cuMemMap"), "libcuda.so.1 has no cuMemMap; driver 550 or newer is needed"),
                            (("--fault", "cuInit * error 803"), "cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)")):
            with self.subTest(fake=fake):
                done = self.load(self.models[0], fake=fake)
                self.assertEqual((done.code, done.out), (1, ""), done)
                self.assert_one_line(done, "sgi: ")
                self.assertTrue(done.err.startswith(f"sgi: --device cuda:0: {cause}"), done)

    def test_what_is_not_there_is_named(self):
        done = self.load(self.models[0], device="cuda:1")
        self.assertEqual((done.code, done.out), (1, ""), done)
        self.assertEqual(done.err, "sgi: --device cuda:1: there is no such device; the driver shows 1\n")

    def test_cuda_is_short_for_the_first(self):
        self.same(self.models[0], self.load(self.models[0], device="cuda"))


if __name__ == "__main__":
    main()
