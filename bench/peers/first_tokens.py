# SPDX-License-Identifier: Apache-2.0
"""From nothing on the device to the first token of SmolLM2's answer: libsgi, llama.cpp in-process, llama-server."""
import os
import pathlib
import random
import shutil

from peers import turns
from peers.setup import HOME, RELEASE, SERVER
from peers.sleeping_server import SleepingServer

PROMPTS = ("hello", "chat")
# what is asked for: (what the table says, what the page cache may hold)
WAYS = {"sgi_dram": ("libsgi, from DRAM", ("hot",)),
        "sgi_disk": ("libsgi, from disk", ("cold", "hot")),
        "mmap": ("llama.cpp, mmap", ("cold", "hot")),
        "mmap_plain": ("llama.cpp, mmap, not repacked", ("cold", "hot")),
        "read": ("llama.cpp, read", ("cold", "hot")),
        "direct": ("llama.cpp, direct I/O", ("cold", "hot")),
        "server": ("llama-server, asleep", ("cold", "hot"))}
VOCABULARY = "llama.cpp, vocabulary alone"  # no answer, and so in no table but that of the phases
BALLAST_COPIES = 4  # of the model's size: pages of the cache, the weights, the context, and room
SERVER_NAME = WAYS["server"][0]


def own_copy(model):
    """The cache's file may be mapped by somebody else, whose pages cannot be dropped."""
    copy = HOME / pathlib.Path(model).name
    if not copy.exists() or copy.stat().st_size != os.path.getsize(model):
        shutil.copyfile(model, copy)
    return copy


def result_of(answer):
    """The phases, and what goes with them, only of those in the process that measures them."""
    result = {"seconds": answer["seconds"], "cpu_seconds": answer["cpu_seconds"], "prompt_tokens": answer["tokens"]}
    return {**result, **{key: answer[key] for key in ("phases_ms", "context_faults") if key in answer}}


class FirstTokens:
    def __init__(self, model, options, log, tell):
        self.model, self.options, self.tell = own_copy(model), options, tell
        self.ballast = turns.Ballast(not options.memory_as_is)
        self.tokens = {}  # of an answer: by prompt, what each contestant said first
        self.failed = {}
        self.program = turns.Worker("first_token", [RELEASE / "bench/first_token", self.model, "--threads",
                                                    options.threads], log=log)
        self.server = None
        if not SERVER.exists():
            self.failed[SERVER_NAME] = "it is not built"
            return
        try:
            self.server = SleepingServer(self.model, options.threads, log)
        except (turns.Failed, OSError) as error:
            self.failed[SERVER_NAME] = str(error)
            tell(f"without llama-server: {error}")

    def prepare(self, state):
        if self.server:
            self.server.wait_asleep()  # until then it maps the file, and mapped pages are not dropped
        self.ballast.hold(BALLAST_COPIES * os.path.getsize(self.model))
        return turns.make_cold(self.model) if state == "cold" else turns.make_hot(self.model)

    def take_turn(self, way, prompt, state):
        name = WAYS[way][0]
        wrong = self.prepare(state)
        self.ballast.release()
        answer = self.server.ask(prompt) if way == "server" else self.program.turn(f"{way} {prompt}")
        self.tokens.setdefault(prompt, {}).setdefault(name, answer["token"])
        return {"page_cache_wrong_bytes": wrong, **result_of(answer)}

    def read_vocabulary(self):
        wrong = self.prepare("hot")
        self.ballast.release()
        return {"page_cache_wrong_bytes": wrong, **result_of(self.program.turn("vocabulary hello"))}

    def round(self, number):
        """By prompt, contestant and state. The vocabulary has no prompt that it answers, and stands beside them."""
        results = {}
        due = [(prompt, state, way) for prompt in PROMPTS for way, (_, states) in WAYS.items() for state in states
               if way != "server" or self.server]
        random.Random(number).shuffle(due)  # nobody always follows the same one
        for prompt, state, way in due:
            result = turns.settled(self.take_turn, way, prompt, state)
            results.setdefault(prompt, {}).setdefault(WAYS[way][0], {})[state] = result
        results["no prompt"] = {VOCABULARY: {"hot": turns.settled(self.read_vocabulary)}}
        return results

    def run(self):
        """The first round is not counted: programs meet their libraries and the machine its memory."""
        rounds = []
        for number in range(self.options.rounds + 1):
            self.tell(f"first tokens, round {number} of {self.options.rounds}")
            rounds.append(self.round(number))
        return rounds[1:]

    def close(self):
        self.ballast.release()
        self.program.close()
        if self.server:
            self.server.close()
