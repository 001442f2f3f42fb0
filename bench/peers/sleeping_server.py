# SPDX-License-Identifier: Apache-2.0
"""llama-server, which unloads its model after a while without requests and loads it again for the next one."""
import http.client
import json
import os
import socket
import subprocess
import time

from peers.setup import SERVER
from peers.turns import Failed

IDLE_SECONDS = 1  # the least that --sleep-idle-seconds takes
WAIT_SECONDS_MAX = 120
# As examples/llama's engine renders them for SmolLM2.
PROMPTS = {"hello": "Hello",
           "chat": "<|im_start|>user\nIn one short sentence, what is the capital city of France?<|im_end|>\n"
                   "<|im_start|>assistant\n"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_seconds(pid):
    """In steps of a clock tick, 10 ms."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SleepingServer:
    """Everything that would only cost it time is off: warm-up run, prompt cache, fitting to devices, web interface."""

    def __init__(self, model, threads, log):
        self.port = free_port()
        command = [SERVER, "-m", model, "--host", "127.0.0.1", "--port", self.port, "-c", 512, "-b", 64, "-ub", 64,
                   "-np", 1, "-t", threads, "-tb", threads, "--sleep-idle-seconds", IDLE_SECONDS, "--no-warmup",
                   "--fit", "off", "--cache-ram", 0, "--no-ui"]
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log or
                                        subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            self.wait_until(lambda: self.get("/health").get("status") == "ok", "is not up")
        except Failed:
            self.close()
            raise

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def wait_until(self, condition, otherwise):
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            if self.process.poll() is not None:
                raise Failed(f"llama-server ended with {self.process.returncode}")
            if time.monotonic() > end:
                raise Failed(f"llama-server {otherwise} after {WAIT_SECONDS_MAX} s")
            time.sleep(0.05)

    def wait_asleep(self):
        """Looking does not keep it awake: /props is no task."""
        self.wait_until(lambda: self.get("/props").get("is_sleeping") is True, "is not asleep")

    def ask(self, prompt):
        """From the request to the first token, on a connection that is open already."""
        body = json.dumps({"prompt": PROMPTS[prompt], "n_predict": 1, "temperature": 0, "stream": True,
                           "cache_prompt": False})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS_MAX)
        connection.connect()
        try:
            cpu = cpu_seconds(self.process.pid)
            start = time.perf_counter()
            connection.request("POST", "/completion", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            first, seconds, tokens = None, 0, 0
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                event = json.loads(line[len(b"data: "):])
                if first is None and event.get("content"):
                    first, seconds = event["content"], time.perf_counter() - start
                tokens = event.get("tokens_evaluated", tokens)
        finally:
            connection.close()
        if first is None:
            raise Failed("llama-server answered without a token")
        return {"seconds": seconds, "cpu_seconds": cpu_seconds(self.process.pid) - cpu, "token": first.encode().hex(),
                "tokens": tokens}

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
