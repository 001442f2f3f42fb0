# SPDX-License-Identifier: Apache-2.0
"""Gets what bench/compare.py and packed.py run: libsgi's benchmarks, the peers in a virtual environment, llama-server.

All of it lies under build/ in the tree. What cannot be had is named in one sentence, and the comparison goes on
without it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parents[2]
RELEASE = TREE / "build/release"
HOME = TREE / "build/compare"
REQUIREMENTS = pathlib.Path(__file__).resolve().parent / "requirements.txt"
PACKERS = pathlib.Path(__file__).resolve().parent / "requirements-packers.txt"
PYTHON = HOME / "venv/bin/python"
SERVER = HOME / "llama/build/bin/llama-server"

# The same compute as the llama.cpp that libsgi's engine links (examples/llama/setup.sh), and the server with it.
SERVER_OPTIONS = ("-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF "
                  "-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_APP=OFF "
                  "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF").split()
CPU_FLAGS = {"SSE42": "sse4_2", "AVX": "avx", "AVX2": "avx2", "FMA": "fma", "F16C": "f16c", "BMI2": "bmi2"}


class Log:
    """Runs commands; what they say goes into build/compare/setup.log."""

    def __init__(self):
        HOME.mkdir(parents=True, exist_ok=True)
        self.path = HOME / "setup.log"
        self.path.write_text("")

    def run(self, *command, cwd=TREE, environment=None):
        with open(self.path, "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(str(word) for word in command)}\n")
            log.flush()
            subprocess.run([str(word) for word in command], check=True, cwd=cwd, stdout=log, stderr=log,
                           env={**os.environ, **(environment or {})})


def tell(text):
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)


def llama_env():
    """What examples/llama/setup.sh found or built: the library's prefix, and the model."""
    path = TREE / "build/llama.env"
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def set_up_libsgi(log):
    log.run(TREE / "examples/llama/setup.sh", TREE / "build")
    cache = RELEASE / "CMakeCache.txt"
    if not cache.exists() or not re.search(r"^SGI_LLAMA_DIR:\w+=.", cache.read_text(), re.M):
        log.run("cmake", "--preset", "release", f"-DSGI_LLAMA_DIR={llama_env()['LLAMA_PREFIX']}")
    log.run("cmake", "--build", RELEASE, "--target", "bench/all", "sgi_cli")


def set_up_peers(log):
    stamp = HOME / "venv/requirements.txt"
    if stamp.exists() and stamp.read_text() == REQUIREMENTS.read_text():
        return
    tell("installing the peers into build/compare/venv (5.5 GB, torch and its CUDA libraries most of it)")
    log.run(sys.executable, "-m", "venv", "--clear", HOME / "venv")
    log.run(PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--no-cache-dir", "--only-binary", ":all:",
            "-r", REQUIREMENTS)
    shutil.copy(REQUIREMENTS, stamp)


def set_up_packers(log):
    """Into the same environment; one of them is built there, which may fail where the others do not."""
    stamp = HOME / "venv/requirements-packers.txt"
    if stamp.exists() and stamp.read_text() == PACKERS.read_text():
        return
    log.run(PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--no-cache-dir", "-r", PACKERS)
    shutil.copy(PACKERS, stamp)


def llama_source(log):
    """llama.cpp as the sdist of llama-cpp-python carries it, of the version that libsgi's engine is built from."""
    text = (TREE / "examples/llama/setup.sh").read_text()
    version, digest = (re.search(rf"^{name}=(\S+)", text, re.M).group(1) for name in ("llama_version", "llama_sha256"))
    requirement = HOME / "llama/requirement"
    requirement.write_text(f"llama-cpp-python=={version} --hash=sha256:{digest}\n")
    log.run(PYTHON, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--require-hashes",
            "--no-binary", "llama-cpp-python", "-r", requirement, "-d", HOME / "llama")
    archive, = (HOME / "llama").glob("llama_cpp_python-*.tar.gz")
    source = HOME / "llama/source"
    source.mkdir()
    log.run("tar", "-xzf", archive, "-C", source, "--strip-components=3",
            f"llama_cpp_python-{version}/vendor/llama.cpp")
    archive.unlink()
    return source


def set_up_server(log):
    if SERVER.exists():
        return
    tell("building llama-server into build/compare/llama (about ten minutes on two cores)")
    shutil.rmtree(HOME / "llama", ignore_errors=True)
    (HOME / "llama").mkdir()
    source = llama_source(log)
    with open("/proc/cpuinfo", encoding="ascii") as file:
        usable = set(re.search(r"^flags\s*:(.*)$", file.read(), re.M).group(1).split())
    flags = [f"-DGGML_{name}={'ON' if flag in usable else 'OFF'}" for name, flag in CPU_FLAGS.items()]
    log.run("cmake", "-G", "Ninja", "-S", source, "-B", HOME / "llama/build", *SERVER_OPTIONS, *flags)
    log.run("cmake", "--build", HOME / "llama/build", "--target", "llama-server")


LIBSGI = ("libsgi", set_up_libsgi, "its benchmarks could not be built")
PEERS = ("the peers in Python", set_up_peers, "their packages could not be installed")
FOR_LOADS = (LIBSGI, PEERS, ("llama-server", set_up_server, "it could not be built from the sdist of llama-cpp-python"))
FOR_PACKED = (LIBSGI, PEERS, ("zipnn and zstd", set_up_packers, "their packages could not be installed"))


def set_up(steps=FOR_LOADS):
    """What is missing, by what it is for: a sentence each."""
    log = Log()
    missing = {}
    for what, step, why in steps:
        try:
            step(log)
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            missing[what] = f"{why}: {error} ({log.path.relative_to(TREE)} says more)"
            tell(f"without {what}: {missing[what]}")
    return missing
