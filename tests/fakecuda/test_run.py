#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fakecuda/run: what it gives a command, what it takes out of the driver, and what it says of bad arguments.

    test_run.py --build FOLDER [names of tests]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

arguments = argparse.ArgumentParser()
arguments.add_argument("--build", required=True)
options, unittest_arguments = arguments.parse_known_args()

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
# In a process of its own: the driver is asked as anybody would ask it.
LOOK = """
import ctypes, json, sys
cuda = ctypes.CDLL("libcuda.so.1")
version, count, found, status = ctypes.c_int(), ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint(99)
def proc(name, at):
    code = cuda.cuGetProcAddress_v2(name.encode(), ctypes.byref(found), at, ctypes.c_uint64(1), ctypes.byref(status))
    return [code, bool(found.value), status.value]
def device(ordinal):
    name, total = ctypes.create_string_buffer(64), ctypes.c_size_t()
    cuda.cuDeviceGetName(name, 64, ordinal)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), ordinal)
    return [name.value.decode(), total.value]
print(json.dumps({
    "version": [cuda.cuDriverGetVersion(ctypes.byref(version)), version.value],
    "init": cuda.cuInit(0),
    "count": [cuda.cuDeviceGetCount(ctypes.byref(count)), count.value],
    "devices": [device(n) for n in range(count.value)],
    "exports": [name for name in sys.argv[1:] if hasattr(cuda, name)],
    "lock_12040": proc("cuCheckpointProcessLock", 12040),
    "lock_12080": proc("cuCheckpointProcessLock", 12080),
    "elapsed": [proc("cuEventElapsedTime", at) for at in (12040, 12080)],
    "create": [proc("cuCtxCreate", at) for at in (3020, 11040)],
    "nothing": proc("cuNothing", 12040),
    "map": proc("cuMemMap", 12040),
}))
"""
NEW = ["cuCheckpointProcessLock", "cuEventElapsedTime_v2"]


def run(*argv, **environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "FAKECUDA_", "LD_LIBRARY"))}
    return subprocess.run([RUN, *argv], env=dict(env, **environment), capture_output=True, text=True, timeout=60,
                          check=False)


def on_fake(*argv, **environment):
    return run("--build", options.build, *argv, **environment)


class Case(unittest.TestCase):
    maxDiff = None

    def look(self, *argv, names=(), **environment):
        done = on_fake(*argv, "--", sys.executable, "-c", LOOK, *names, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)


class Driver(Case):
    def test_what_it_is_without_being_told(self):
        seen = self.look(names=NEW)
        self.assertEqual((seen["version"], seen["init"], seen["count"]), ([0, 13000], 0, [0, 1]))
        self.assertEqual(seen["devices"], [["Fake 0", 1 << 30]])
        self.assertEqual(seen["exports"], NEW)

    def test_devices_and_their_size(self):
        seen = self.look("--devices", "8", "--vram", "24G")
        self.assertEqual(seen["devices"], [[f"Fake {n}", 24 << 30] for n in range(8)])

    def test_visible_devices(self):
        for visible, names in (("2,0", ["Fake 2", "Fake 0"]), ("1,9,0", ["Fake 1"]),
                               ("GPU-12121212-1212-1212-1212-121212121212", ["Fake 2"])):
            with self.subTest(visible=visible):
                seen = self.look("--devices", "3", CUDA_VISIBLE_DEVICES=visible)
                self.assertEqual([d[0] for d in seen["devices"]], names)
        self.assertEqual(self.look("--devices", "3", CUDA_VISIBLE_DEVICES="")["init"], 100)

    def test_a_machine_without_devices(self):
        seen = self.look("--devices", "0")
        self.assertEqual((seen["init"], seen["count"][0]), (100, 3))

    def test_a_stub(self):
        seen = self.look("--stub", names=NEW)
        self.assertEqual((seen["init"], seen["version"][0], seen["map"][0]), (34, 34, 34))
        self.assertEqual(seen["exports"], NEW)

    def test_versions(self):
        for driver, version in (("550", 12040), ("570", 12080), ("579", 12090), ("610", 13030), ("12060", 12060)):
            with self.subTest(driver=driver):
                self.assertEqual(self.look("--driver", driver)["version"], [0, version])

    def test_an_old_driver_has_not_what_came_later(self):
        old, new = self.look("--driver", "550", names=[*NEW, "cuMemMap"]), self.look("--driver", "570", names=NEW)
        self.assertEqual((old["exports"], new["exports"]), (["cuMemMap"], NEW))
        self.assertEqual(old["lock_12080"][0], 1)  # a version above its own
        self.assertEqual(old["lock_12040"], [0, False, 1])
        self.assertEqual(new["lock_12040"], [0, False, 2])
        self.assertEqual(new["lock_12080"], [0, True, 0])
        self.assertEqual(old["nothing"], [0, False, 1])

    def test_a_form_that_a_later_one_replaced_is_not_given_for_it(self):
        seen = self.look()
        self.assertEqual(seen["elapsed"], [[0, True, 0], [0, True, 0]])
        self.assertEqual(seen["create"], [[0, True, 0], [0, False, 1]])

    def test_what_is_left_out_is_nowhere(self):
        seen = self.look("--without", "cuMemMap", names=["cuMemMap", "cuMemUnmap"])
        self.assertEqual(seen["exports"], ["cuMemUnmap"])
        self.assertEqual(seen["map"], [0, False, 1])
        self.assertEqual(seen["init"], 0)


class Command(Case):
    def test_its_status_is_the_command_s(self):
        self.assertEqual(on_fake("sh", "-c", "exit 7").returncode, 7)
        done = on_fake("sh", "-c", "kill -TERM $$")
        self.assertEqual((done.returncode, done.stderr), (143, "sh: ended by signal 15\n"))

    def test_its_options_are_its_own(self):
        self.assertEqual(on_fake("echo", "--devices", "x", "--help").stdout, "--devices x --help\n")

    def test_nothing_is_left(self):
        done = on_fake("--driver", "550", "sh", "-c", "echo $FAKECUDA_STATE; echo x >$FAKECUDA_STATE/m; echo $TMPDIR")
        self.assertFalse(os.path.exists(os.path.dirname(done.stdout.split()[0])), done)

    def test_what_others_put_in_the_way_stays_behind_it(self):
        with tempfile.TemporaryDirectory() as folder:
            done = on_fake("sh", "-c", "echo $LD_LIBRARY_PATH", LD_LIBRARY_PATH=folder)
        self.assertTrue(done.stdout.strip().endswith(":" + folder), done)

    def test_nvml_is_there_or_is_not(self):
        look = "import ctypes; ctypes.CDLL('libnvidia-ml.so.1').nvmlInit_v2()"
        self.assertEqual(on_fake("--", sys.executable, "-c", look).returncode, 0)
        done = on_fake("--nvml", "off", "--", sys.executable, "-c", look)
        self.assertNotIn("fake_nvml", done.stderr)
        self.assertEqual("fake_nvml" in on_fake("--nvml", "off", "sh", "-c", "echo $LD_LIBRARY_PATH").stdout, False)

    def test_a_plan_of_faults_is_followed_and_logged(self):
        with tempfile.TemporaryDirectory() as folder:
            plan, log = os.path.join(folder, "plan"), os.path.join(folder, "log")
            with open(plan, "w", encoding="utf-8") as f:
                f.write("# the first try fails\ncuInit 1 error 999\n")
            seen = self.look("--faults", plan, "--log", log, "--seed", "5")
            self.assertEqual(seen["init"], 999)
            with open(log, encoding="utf-8") as f:
                self.assertRegex(f.read(), r"^\d+ cuInit 1: error 999 \(seed 5\)\n$")

    def test_what_a_killed_one_left_is_removed_when_nobody_uses_it(self):
        script = "echo $FAKECUDA_STATE; read line; echo $line"
        argv = [RUN, "--build", options.build, "sh", "-c", script]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
            state = first.stdout.readline().strip()
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            self.assertEqual(on_fake("true").returncode, 0)
            self.assertTrue(os.path.isdir(state))  # its command is still there
            first.stdin.write("over\n")
            first.stdin.flush()
            self.assertEqual(first.stdout.read(), "over\n")
        with subprocess.Popen([RUN, "--build", options.build, "sh", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as second:
            other = second.stdout.readline().strip()
            self.assertFalse(os.path.exists(os.path.dirname(state)))
            self.assertEqual(on_fake("true").returncode, 0)
            self.assertTrue(os.path.isdir(other))  # of one that runs
            second.communicate("over\n")
        self.assertFalse(os.path.exists(os.path.dirname(other)))

    def test_a_process_in_the_ledger_holds_a_folder_too(self):
        init = "import ctypes as c, os, sys; d = c.CDLL('libcuda.so.1'); d.cuInit(0); os.closerange(3, 64); " \
               "print(os.environ['FAKECUDA_STATE'], flush=True); sys.stdin.read()"
        with subprocess.Popen([RUN, "--build", options.build, "--", sys.executable, "-c", init], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as first:
            state = first.stdout.readline().strip()
            os.kill(first.pid, signal.SIGKILL)
            first.wait()
            self.assertEqual(on_fake("true").returncode, 0)
            self.assertTrue(os.path.isdir(state))
            first.communicate("")
        self.assertEqual(on_fake("true").returncode, 0)
        self.assertFalse(os.path.exists(state))

    def test_what_others_hold_is_no_more_than_there_is(self):
        retain = "import ctypes as c, sys; d = c.CDLL('libcuda.so.1'); d.cuInit(0); h = c.c_void_p(); " \
                 "print(d.cuDevicePrimaryCtxRetain(c.byref(h), 0))"
        done = on_fake("--vram", "1G", "--foreign", "2G", "--", sys.executable, "-c", retain)
        self.assertEqual((done.returncode, done.stdout), (0, "2\n"), done)

    def test_leaks_are_counted_or_not(self):
        leak = "import ctypes as c; d = c.CDLL('libcuda.so.1'); d.cuInit(0); h = c.c_void_p(); " \
               "d.cuDevicePrimaryCtxRetain(c.byref(h), 0)"
        done = on_fake("--", sys.executable, "-c", leak)
        self.assertEqual(done.returncode, 86)
        self.assertIn("violation: left at exit: 1 contexts\n", done.stderr)
        self.assertEqual(on_fake("--lax", "--", sys.executable, "-c", leak).returncode, 0)
        done = on_fake("--leaks", "ignore", "--", sys.executable, "-c", leak)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Arguments(Case):
    def test_bad_ones_get_one_sentence(self):
        for argv, says in (([], "no command to run"),
                           (["--devices", "17", "true"], "--devices 17: there may be 0 to 16"),
                           (["--devices", "two", "true"], "invalid int value: 'two'"),
                           (["--vram", "lots", "true"], "'lots' is no number of bytes"),
                           (["--vram", "99999999999999999999G", "true"], "is more than 1024T"),
                           (["--vram", "1025T", "true"], "'1025T' is more than 1024T"),
                           (["--fault", "cuInti 1 hang", "echo"], "fault 'cuInti 1 hang': no such call"),
                           (["--fault", "@copy 1 error 700", "echo"], "ends well or sticky"),
                           (["--driver", "1", "true"], "--driver 1: a driver from 535 on"),
                           (["--faults", "/nowhere", "true"], "--faults /nowhere: there is no such file"),
                           (["--without", "cuNothing", "true"], "--without cuNothing: the driver does not have it"),
                           (["--delay", "x", "true"], "'x' is not DELAY or DELAY,JITTER"),
                           (["/nowhere"], "/nowhere: No such file or directory")):
            with self.subTest(argv=argv):
                done = on_fake(*argv)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(says, done.stderr.splitlines()[-1])
                self.assertNotIn("Traceback", done.stderr)

    def test_a_folder_that_is_no_build(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run("--build", folder, "true")
        self.assertEqual(done.returncode, 2)
        self.assertIn("has no libcuda.so.1: build it (cmake --preset release && cmake --build", done.stderr)

    def test_help(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        for option in ("--devices", "--vram", "--driver", "--faults", "--nvml", "--delay", "--build"):
            self.assertIn(option, done.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *unittest_arguments], verbosity=1)
