#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gpu_probe without a GPU: what it says where there is no driver, and that its processes work together on the fake one
(tests/fakecuda). Nothing here says anything about a real driver.

    test_gpu_probe.py --probe PROGRAM --build FOLDER [--every-function] [names of tests]
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

arguments = argparse.ArgumentParser()
for option in ("probe", "build"):
    arguments.add_argument("--" + option, required=True)
arguments.add_argument("--every-function", action="store_true")
options, unittest_arguments = arguments.parse_known_args()

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = os.path.join(HERE, "..", "..", "bench")
ON_FAKE = (os.path.join(HERE, "..", "fakecuda", "run"), "--build", options.build, "--devices", "2", "--foreign", "100M",
           "--delay", "0", "--leaks", "ignore")  # a probe ends without giving back, and so do many roles
MODES = {"works": (), "stub": ("--stub",), "none": ("--devices", "0"), "empty": ("--without", "cuInit"),
         "old": ("--driver", "550"), "crash": ("--fault", "cuMemCreate 1 abort"),
         "hang": ("--fault", "cuMemCreate 1 hang"), "dirty": ()}
PATTERN = "A5C3F00D"  # of gpu_probe: what dirty memory is full of
HANGS = 120  # seconds after which something is not slow but stuck
SMALL = ("--bytes", "16M")
STUBS = ["/usr/local/cuda/lib64/stubs", *glob.glob("/usr/local/cuda*/lib*/stubs"), "/usr/lib/x86_64-linux-gnu/stubs"]


def run(*argv, libraries=(), program=options.probe, under=(), **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "FAKECUDA_", "LD_LIBRARY"))}
    env.update(environment, LD_LIBRARY_PATH=":".join(libraries))
    return subprocess.run([*under, program, *argv], env=env, capture_output=True, text=True, timeout=HANGS,
                          check=False)


def fake(*argv, mode="works", nvml=True, fails="", program=options.probe, **environment):
    """On the fake driver, where `fails` names a function that always fails."""
    under = [*ON_FAKE, *MODES[mode], "--nvml", "on" if nvml else "off"]
    if fails:  # what cannot be undone then stays as it is, which the fake would not have
        under += ["--lax", "--fault", f"{fails} * error 999"]
    if mode == "dirty":
        environment["FAKECUDA_POISON"] = PATTERN
    return run(*argv, program=program, under=[*under, "--"], **environment)


def functions():
    """All that gpu_probe looks for in the driver."""
    found = []
    for header in ("../lib/device/cuda_abi.h", "gpu_probe_cuda.h"):
        with open(os.path.join(SOURCES, header), encoding="utf-8") as f:
            found += re.findall(r"X\((cu\w+),", f.read())
    return found


def called():
    """Those of them that it calls; the rest is what only the library does."""
    text = ""
    for path in glob.glob(os.path.join(SOURCES, "gpu_probe*.c")):
        with open(path, encoding="utf-8") as f:
            text += f.read()
    return [name for name in functions() if re.search(rf"\b{name}\b", text)]


class Case(unittest.TestCase):
    maxDiff = None

    def report(self, done, code):
        self.assertEqual(done.returncode, code, done)
        return json.loads(done.stdout)

    def only(self, name, mode="works", code=0, nvml=True, bytes_max=SMALL):
        return self.report(fake("--only", name, *bytes_max, mode=mode, nvml=nvml), code)

    def succeeded(self, fact):
        self.assertEqual(fact, {"code": 0, "name": "CUDA_SUCCESS"})


class WithoutDriver(Case):
    def reason(self, done):
        """The reason of a run that measured nothing, complete all the same."""
        report = self.report(done, 3)
        self.assertIsNone(report["driver"])
        self.assertEqual(report["probes"], {})
        self.assertEqual(report["machine"]["kernel"], os.uname().release)
        self.assertEqual(report["machine"]["cpus"], os.cpu_count())
        return report["reason"]

    def test_no_library_is_named_with_what_dlopen_said(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "libcuda.so.1"), "w", encoding="utf-8") as f:
                f.write("this is no library\n")
            reason = self.reason(run(libraries=[folder]))
        self.assertRegex(reason, r"^dlopen libcuda\.so\.1: .*(invalid ELF header|file too short)")

    def test_here(self):
        done = run()
        if done.returncode == 0:
            self.skipTest("this machine has a driver")
        self.assertRegex(self.reason(done), r"libcuda\.so\.1|^cuInit|device")

    def test_a_library_without_the_functions_is_no_driver(self):
        self.assertEqual(self.reason(fake(mode="empty")), "libcuda.so.1 has no cuInit: not a CUDA driver")

    def test_a_stub_is_told_by_its_error(self):
        self.assertEqual(self.reason(fake(mode="stub")), "cuInit: 34 CUDA_ERROR_STUB_LIBRARY")

    def test_no_device(self):
        self.assertEqual(self.reason(fake(mode="none")), "cuInit: 100 CUDA_ERROR_NO_DEVICE")

    def test_no_such_device(self):
        self.assertEqual(self.reason(fake("--device", "7")), "device 7 of 2: there is no such device")

    def test_the_stub_of_a_toolkit(self):
        for folder in STUBS:
            if os.path.exists(os.path.join(folder, "libcuda.so")):
                break
        else:
            self.skipTest("no toolkit with a stub")
        with tempfile.TemporaryDirectory() as links:
            os.symlink(os.path.join(folder, "libcuda.so"), os.path.join(links, "libcuda.so.1"))
            self.assertEqual(self.reason(run(libraries=[links])), "cuInit: 34 CUDA_ERROR_STUB_LIBRARY")

    def test_one_probe_alone_says_so_too(self):
        self.assertEqual(self.only("vmm", mode="none", code=3), {"skipped": "cuInit: 100 CUDA_ERROR_NO_DEVICE"})
        self.assertEqual(self.only("driver", mode="stub", code=3)["reason"], "cuInit: 34 CUDA_ERROR_STUB_LIBRARY")


class Kernels(Case):
    def test_the_assembler_takes_them(self):
        """A GPU is where a slip in them would show first, and nobody could mend it there."""
        ptxas = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
        if not ptxas:
            self.skipTest("no ptxas")
        with open(os.path.join(SOURCES, "gpu_probe_driver.c"), encoding="utf-8") as f:
            text = re.search(r"static const char ptx\[\] =(.*?);\n\n", f.read(), re.S).group(1)
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "kernels.ptx")
            with open(source, "w", encoding="utf-8") as f:
                f.write("".join(re.findall(r'"([^"]*)"', text)).replace("\\n", "\n"))
            for chip in ("sm_75", "sm_90"):
                done = subprocess.run([ptxas, "-arch=" + chip, source, "-o", os.path.join(folder, "out")], check=False,
                                      capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""), chip)


class Usage(Case):
    def test_wrong_usage_is_exit_2(self):
        for argv in (["--only"], ["--only", "nothing"], ["--bytes", "1T"], ["--bytes", "-1"], ["--bytes", "1M"],
                     ["--device", "x"], ["--device", "9999999999"], ["more"], ["--timeout", ""]):
            with self.subTest(argv=argv):
                done = run(*argv)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assertNotEqual(done.stderr, "")

    def test_every_probe_is_listed_and_help_is_there(self):
        names = [line.split()[0] for line in run("--list").stdout.splitlines()]
        self.assertEqual(sorted(names), sorted(["driver", *EVERY]))
        self.assertIn("--only NAME", run("-h").stdout)
        self.assertEqual(run("-h").returncode, 0)


EVERY = ("start", "context", "contextless", "syscalls", "vmm", "import", "readonly", "scrub", "h2d", "pin",
         "pin_release", "host_numa", "sticky", "checkpoint")


class Whole(Case):
    def test_all_probes_come_to_their_end(self):
        report = self.report(fake(*SMALL), 0)
        self.assertEqual(tuple(report["probes"]), EVERY)
        for name, probe in report["probes"].items():
            for key in ("error", "skipped", "ended", "step"):
                self.assertNotIn(key, probe, name)
        self.assertEqual(report["driver"]["device"]["name"], "Fake 0")
        self.assertEqual(report["driver"]["missing"], [])
        self.assertEqual(report["driver"]["nvml"]["nvml_driver"], "580.0")

    def test_several_are_gathered_and_without_nvml_too(self):
        report = self.report(fake("--only", "vmm", "--only", "context", *SMALL, nvml=False), 0)
        self.assertEqual(tuple(report["probes"]), ("context", "vmm"))
        self.assertEqual(report["probes"]["context"]["stages"]["init"]["nvml"], "no libnvidia-ml.so.1")

    def test_a_crash_keeps_what_was_measured_and_names_the_step(self):
        probe = self.report(fake("--only", "vmm", "--only", "contextless", *SMALL, mode="crash"), 0)["probes"]
        self.assertEqual((probe["vmm"]["ended"], probe["vmm"]["step"]), ("signal 6", "size"))
        self.assertEqual(probe["vmm"]["granularity_minimum"], 2 << 20)
        self.assertEqual(probe["contextless"]["ended"], "signal 6")
        self.assertEqual(probe["contextless"]["before"]["nvml_used_mib"], 100.0)

    def test_a_hang_ends_with_its_timeout(self):
        begin = time.monotonic()
        probe = self.report(fake("--only", "vmm", "--only", "contextless", "--timeout", "1", *SMALL, mode="hang"), 0)
        self.assertEqual([p["ended"] for p in probe["probes"].values()], ["timeout", "timeout"])
        self.assertLess(time.monotonic() - begin, 60)

    def test_nothing_is_left_running(self):
        mark = f"GPU_PROBE_TEST={os.getpid()}"  # another run of this test may be at it as well
        name, value = mark.split("=")
        fake("--only", "import", "--only", "contextless", "--timeout", "1", *SMALL, mode="hang", **{name: value})
        left = []
        for path in glob.glob("/proc/[0-9]*/environ"):
            try:
                with open(path, encoding="utf-8", errors="replace") as f:
                    if mark in f.read().split("\0"):
                        left.append(path)
            except OSError:
                pass
        self.assertEqual(left, [])


class Failures(Case):
    """Whatever fails, the report is complete, and says what it was."""

    SOME = ("cuDevicePrimaryCtxRetain", "cuModuleLoadDataEx", "cuMemAlloc_v2", "cuMemMap", "cuStreamCreate")

    def test_any_function_may_fail(self):
        names = called() if options.every_function else self.SOME
        self.assertGreaterEqual(len(names), 50 if options.every_function else 5)
        for name in names:
            with self.subTest(fails=name):
                done = fake(*SMALL, fails=name)
                report = json.loads(done.stdout)
                self.assertEqual(done.returncode, 0 if report["driver"] else 3)
                self.assertEqual(tuple(report["probes"]), EVERY if report["driver"] else ())
                for probe in report["probes"].values():
                    self.assertNotIn("ended", probe)
                self.assertTrue("999" in done.stdout or name.startswith(("cuDeviceGet", "cuDeviceTotal", "cuDriver",
                                                                         "cuDevicePrimaryCtxSetFlags",
                                                                         "cuDevicePrimaryCtxGetState",
                                                                         "cuMemGetAllocation")), name)

    def test_the_call_its_code_and_its_name(self):
        entry = self.report(fake("--only", "vmm", *SMALL, fails="cuMemSetAccess"), 0)["sizes"][0]
        self.assertEqual(entry["error"], {"call": "cuMemSetAccess", "code": 999, "name": "CUDA_ERROR_UNKNOWN"})
        probe = self.report(fake("--only", "h2d", *SMALL, fails="cuDevicePrimaryCtxRetain"), 0)
        self.assertEqual(probe["error"]["call"], "cuDevicePrimaryCtxRetain")

    def test_what_an_old_driver_lacks_is_listed_and_skipped(self):
        report = self.report(fake("--only", "checkpoint", "--only", "vmm", *SMALL, mode="old"), 0)
        self.assertEqual(report["driver"]["missing"], [n for n in functions() if n.startswith("cuCheckpoint")])
        self.assertIn("older than 570", report["probes"]["checkpoint"]["skipped"])
        self.assertNotIn("error", report["probes"]["vmm"])

    def test_who_cannot_be_restored_is_ended(self):
        probe = self.report(fake("--only", "checkpoint", *SMALL, fails="cuCheckpointProcessRestore"), 0)
        child = probe["unprivileged"]["stages"]["child_0_mib"]
        self.assertEqual(child["ended"], "signal 9")
        self.assertEqual(child["stages"]["ready"]["after"]["state"], "checkpointed")


class Answers(Case):
    """What is put together from several processes is what the driver did."""

    def test_a_context_is_looked_at_at_each_step(self):
        context = self.only("context")
        self.assertEqual(tuple(context["stages"]), ("opened", "init", "retained", "launched", "released", "retained_2",
                                                    "launched_2", "released_2", "end"))
        used = {name: stage["nvml_used_mib"] for name, stage in context["stages"].items() if name != "end"}
        self.assertEqual(used, {"opened": 100.0, "init": 100.0, "retained": 164.0, "launched": 164.0, "released": 100.0,
                                "retained_2": 164.0, "launched_2": 164.0, "released_2": 100.0})
        self.assertEqual((context["context_mib"], context["left_after_release_mib"]), (64.0, 0.0))
        self.assertIs(context["stages"]["init"]["nvml_lists_it"], False)
        self.assertIs(context["stages"]["retained"]["nvml_lists_it"], True)
        self.assertGreater(context["stages"]["init"]["rss_mib"], 0)

    def test_one_visible_device_is_one(self):
        start = self.only("start")
        seen = {name: [r["stages"]["end"]["devices_visible"] for r in start[name]["runs"]] for name in ("all", "one")}
        self.assertEqual(seen, {"all": [2, 2, 2], "one": [1, 1, 1]})
        self.assertIn("not opened", start["one"]["runs"][0]["stages"]["end"]["nvml"])
        self.assertEqual(start["one_nvml_open"]["runs"][0]["stages"]["end"]["nvml_used_mib"], 164.0)
        self.assertIn("exit_ms", start["one"])

    def test_memory_goes_to_another_user_and_outlives_its_owner(self):
        stages = self.only("import")["restricted"]["stages"]
        self.assertEqual((stages["imported"]["wrong_words"], stages["again"]["wrong_words"]), (0, 0))
        self.assertEqual(stages["imported"]["uid"], 65534 if os.geteuid() == 0 else os.geteuid())

    def test_a_write_to_a_read_only_mapping_shows_where_it_fails(self):
        probe = self.only("readonly")
        read = probe["read_kernel"]["stages"]["imported"]
        self.assertIs(read["kernel_read_right"], True)
        self.succeeded(read["alloc_after"])
        write = probe["write_kernel"]["stages"]["imported"]
        self.succeeded(write["call"])
        self.assertEqual(write["synchronize"], {"code": 700, "name": "CUDA_ERROR_ILLEGAL_ADDRESS"})
        for way in ("write_memset", "write_copy"):  # neither is said to be done on return
            imported = probe[way]["stages"]["imported"]
            self.assertIn(imported["call"]["code"], (0, 700))
            self.assertEqual(imported["synchronize"]["code"], 700)
            self.assertEqual(imported["alloc_after"]["code"], 700)
        for way in ("read_kernel", "write_kernel", "write_memset", "write_copy"):
            self.assertEqual(probe[way]["owner_sees"], {"wrong_words": 0})

    def test_old_bytes_are_counted(self):
        for mode, seen in (("works", 0.0), ("dirty", 16.0)):
            with self.subTest(mode=mode):
                probe = self.only("scrub", mode=mode)
                self.assertEqual(probe["alloc_alloc"]["writer"]["stages"]["wrote"]["pattern_mib"], 16.0)
                self.assertEqual(probe["alloc_alloc"]["reader"]["stages"]["read"]["pattern_mib"], seen)
                self.assertEqual(probe["create_create"]["reader"]["stages"]["read"]["pattern_mib"], 0.0)

    def test_copies_arrive_and_have_a_rate(self):
        probe = self.only("h2d")
        self.assertIs(probe["arrived"], True)
        self.assertEqual([e["chunk_kib"] for e in probe["sweep_gb_s"]], [64, 256, 1024, 2048, 4096, 8192])
        for entry in probe["sweep_gb_s"]:
            self.assertGreater(min(entry["streams_1"], entry["streams_2"], entry["streams_4"]), 0)

    def test_a_pin_is_asked_for_in_the_next_life_of_the_context(self):
        probe = self.only("pin_release")
        self.assertEqual(probe["released"]["context_active"], 0)
        self.assertEqual(probe["after"]["cuMemHostGetFlags"]["code"], 1)  # it went with its context
        self.succeeded(probe["after"]["register_again"])
        self.succeeded(probe["after"]["unregister"])
        self.assertEqual(probe["after"]["unregister_again"]["code"], 713)
        self.assertGreater(probe["after"]["copy_gb_s"], 0)

    def test_host_memory_of_the_driver_is_shared(self):
        probe = self.only("host_numa")
        self.assertEqual(probe["own"]["stages"]["touched"]["first_word"], 0)
        for user in ("first_user", "second_user"):
            self.succeeded(probe["shared"][user]["stages"]["mapped"]["access_host_numa"])
            self.assertGreater(probe["shared"][user]["stages"]["copied"]["copy_gb_s"], 0)

    def test_a_fault_is_the_own_process_s(self):
        for fault, code in (("address", 700), ("trap", 719)):
            with self.subTest(fault=fault):
                probe = self.only("sticky")[fault]
                stages = probe["faulty"]["stages"]
                self.succeeded(stages["ready"]["other_device"]["alloc"])
                self.assertEqual(stages["faulted"]["synchronize"]["code"], code)
                self.assertEqual(stages["faulted"]["second_context"]["alloc"]["code"], code)
                self.assertEqual(stages["cures"]["retain_after_reset"]["code"], code)
                self.assertEqual(probe["bystander"]["after"]["use"]["right"], True)
                self.succeeded(probe["bystander"]["after"]["use"]["synchronize"])
                self.assertNotIn("error", probe["new_process"]["stages"]["end"])

    def test_checkpoint_goes_there_and_back(self):
        probe = self.only("checkpoint")
        self.assertEqual("root" in probe, os.geteuid() == 0)
        stages = probe["unprivileged"]["stages"]
        self.assertEqual(stages["without_init"]["stages"]["ready"]["state_seen_without_init"]["code"], 3)
        ready = stages["child_0_mib"]["stages"]["ready"]
        self.assertEqual((ready["before"]["state"], ready["checkpointed"]["state"], ready["after"]["state"]),
                         ("running", "checkpointed", "running"))
        mine = probe["self_unprivileged"]["stages"]
        self.assertEqual(mine["back"]["checkpointed"]["state"], "checkpointed")
        self.assertIs(mine["restored"]["intact"], True)

    @unittest.skipUnless(os.geteuid() == 0, "only root can start what nobody can see")
    def test_nobody_starts_a_program_in_a_folder_of_root(self):
        with tempfile.TemporaryDirectory() as folder:  # mode 0700
            copy = shutil.copy(options.probe, folder)
            done = fake("--only", "checkpoint", *SMALL, program=copy)
            child = self.report(done, 0)["unprivileged"]["stages"]["child_0_mib"]
            self.assertEqual(child["stages"]["ready"]["uid"], 65534)

    def test_what_cuinit_asks_of_the_kernel(self):
        probe = self.only("syscalls")
        self.assertGreater(probe["untraced"]["stages"]["end"]["open_files"]["/dev/null"], 0)
        if not shutil.which("strace"):
            self.assertEqual(probe["strace"], "no strace")
        elif "ended" not in probe["calls"]["run"]:
            self.assertGreater(probe["calls"]["seen"]["openat"], 0)
            self.assertEqual(probe["opened"]["seen"]["/proc/self/fd"], "ok")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *unittest_arguments], verbosity=1)
