# SPDX-License-Identifier: Apache-2.0
"""Loading a safetensors file, every contestant in turn, round by round; and an instance out of DRAM beside it."""
import array
import functools
import hashlib
import itertools
import json
import os
import pathlib
import random
import statistics
import struct
import subprocess

from peers import contestants, turns
from peers.setup import RELEASE

HIDDEN, VOCABULARY = 2048, 128256
WEIGHTS_DEVIATION = 0.02
RESIDENCE_ROUNDS_MIN = 18  # microseconds each; a multiple of the orders of three, so everybody is first equally often


def tensor_shapes(size):
    """Names and shapes of a decoder of about `size` bytes in bf16: the embedding takes up what the layers leave."""
    hidden, vocabulary = (HIDDEN, VOCABULARY) if size >= 1 << 30 else (HIDDEN // 4, VOCABULARY // 4)
    layer = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden // 4, hidden),
             "self_attn.v_proj": (hidden // 4, hidden), "self_attn.o_proj": (hidden, hidden),
             "mlp.gate_proj": (4 * hidden, hidden), "mlp.up_proj": (4 * hidden, hidden),
             "mlp.down_proj": (hidden, 4 * hidden), "input_layernorm": (hidden,),
             "post_attention_layernorm": (hidden,)}
    layer_bytes = sum(2 * rows * (rest[0] if rest else 1) for rows, *rest in layer.values())
    count = max(0, (size - 2 * vocabulary * hidden) // layer_bytes)
    rows = max(1, (size - count * layer_bytes) // (2 * hidden))
    shapes = {"model.embed_tokens.weight": (rows, hidden)}
    for number in range(count):
        shapes.update({f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()})
    return shapes


def random_bytes(count):
    """What nothing makes smaller, a disk neither."""
    return os.urandom(count)


@functools.cache
def normal_table():
    """Of the values of a normal distribution, 65536 that are equally likely, in bf16."""
    values = (statistics.NormalDist(0, WEIGHTS_DEVIATION).inv_cdf((n + 0.5) / 65536) for n in range(65536))
    return [(struct.unpack("<I", struct.pack("<f", value))[0] + 0x8000) >> 16 for value in values]


def normal_weights(count):
    """As many bytes of bf16 as a trained model could have: exponents can be guessed, signs and mantissas cannot."""
    return array.array("H", map(normal_table().__getitem__, memoryview(os.urandom(count)).cast("H"))).tobytes()


def write_model(path, size, fill=random_bytes):
    """A safetensors file of that shape."""
    header, at = {}, 0
    for name, shape in tensor_shapes(size).items():
        end = at + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    partial = f"{path}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            while at:
                block = fill(min(at, 1 << 24))
                file.write(block)
                at -= len(block)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
    except BaseException:
        pathlib.Path(partial).unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------------------------------------------------- same bytes


def sgi(*words, log=None):
    """What the command puts out; what else it says goes into the log."""
    done = subprocess.run([RELEASE / "bin/sgi", *map(str, words)], check=False, capture_output=True, text=True)
    if log:
        turns.note(log, f"sgi {words[0]}", done.stderr.splitlines())
    if done.returncode:
        raise turns.Failed(f"sgi {words[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def pack(path, packed, log=None):
    """What `sgi pack` says of the result."""
    return json.loads(sgi("pack", path, "-o", packed, "--json", log=log))


@functools.cache
def our_digest(path, engine, log=None):
    """As load_worker.py makes it, from what lies on the device after a load by libsgi."""
    said = sgi("load", path, "--engine", engine, "--digest", "--json", log=log)
    tensors = json.loads(said.splitlines()[0])["tensors"]
    lines = sorted(f"{tensor['name']} {tensor['xxh3']}\n" for tensor in tensors)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_digests(digests):
    """Every contestant has to have loaded the same; a list of those that have not, against the largest group."""
    values = list(digests.values())
    agreed = max(set(values), key=values.count) if values else None
    return [name for name, value in digests.items() if value != agreed]


# -------------------------------------------------------------------------------------------------------------- rounds


class Loads:
    """`packed` is what `sgi pack` has made of the file at `path`: for those chosen that take it."""

    def __init__(self, path, chosen, options, log, tell, packed=None):
        self.path, self.packed, self.options, self.log, self.tell = path, packed, options, log, tell
        self.chosen = chosen
        self.size = os.path.getsize(path)
        self.ballast = turns.Ballast(not options.memory_as_is)
        self.workers = {}
        self.failed = {}
        self.digests = {}

    def file_of(self, contestant):
        return self.packed if contestant.packed else self.path

    def prepare(self, path, state):
        """How many bytes of the file are on the wrong side of the page cache all the same."""
        return turns.make_cold(path) if state == "cold" else turns.make_hot(path)

    def take_turn(self, contestant, state):
        path = self.file_of(contestant)
        worker = self.workers.get(contestant.name) or contestants.start(contestant, path, self.log)
        try:
            if not contestant.persistent:
                self.ballast.release()
                worker.turn()  # pays for the memory that the next one uses again
            wrong = self.prepare(path, state)
            self.ballast.release()
            result = contestants.result_of(contestant, worker.turn("load"))
        finally:
            if not contestant.persistent:
                worker.close()
            self.take_back(path, state)
        result["page_cache_wrong_bytes"] = wrong
        return result

    def take_back(self, path, state):
        """What the turn has freed, before the host has it: a cold load may take the page cache's copy and its own."""
        if state == "cold":
            turns.drop_pages(path)
        self.ballast.hold(self.size * (2 if state == "cold" else 1))

    def warm_up(self, contestant):
        """The first load of a program, which nobody counts; of a peer it says what the bytes are."""
        if contestant.ours:
            self.digests[contestant.name] = our_digest(self.file_of(contestant), contestant.engine, self.log)
        if contestant.persistent:
            worker = self.workers[contestant.name] = contestants.start(contestant, self.file_of(contestant), self.log)
            answer = worker.turn("digest")
            if not contestant.ours:
                self.digests[contestant.name] = answer["digest"]

    def attempt(self, contestant, action, *arguments):
        """A contestant that fails is out, by name, and the others go on."""
        if contestant.name in self.failed:
            return None
        try:
            return action(contestant, *arguments)
        except (turns.Failed, OSError, KeyError, ValueError, subprocess.CalledProcessError) as error:
            self.failed[contestant.name] = f"{type(error).__name__}: {error}"
            if self.log:
                turns.note(self.log, contestant.name, [f"left out: {self.failed[contestant.name]}"])
            self.tell(f"without {contestant.name}: {self.failed[contestant.name]}")
            return None

    def round(self, number):
        results = {}
        order = list(self.chosen)
        random.Random(number).shuffle(order)  # nobody always follows the same one
        for state in ("cold", "hot"):
            self.take_back(self.path, state)
            for contestant in order:
                if state not in contestant.states:
                    continue
                result = self.attempt(contestant, functools.partial(turns.settled, self.take_turn), state)
                if result:
                    results.setdefault(contestant.name, {})[state] = result
        return results

    def run(self):
        turns.make_hot(self.path)
        for contestant in self.chosen:
            self.attempt(contestant, self.warm_up)
        rounds = []
        for number in range(self.options.rounds):
            self.tell(f"loads, round {number + 1} of {self.options.rounds}")
            rounds.append(self.round(number))
        return rounds

    def close(self):
        self.ballast.release()
        for worker in self.workers.values():
            worker.close()


# ----------------------------------------------------------------------------------------------------------- residence


def residence_turn(path, name, worker):
    """{way: seconds}: what comes from libsgi has both ways in one turn, a peer has the one it is named for."""
    wrong = turns.make_hot(path)
    answer = worker.turn("load")
    if name == "libsgi":
        if answer["from"] != "dram":
            raise turns.Failed(f"residence came from {answer['from']}")
        ways = {"as returned": answer["seconds"], "every page touched": answer["touched_seconds"]}
    else:
        ways = {name: answer["seconds"]}
    return {"ways": ways, "page_cache_wrong_bytes": wrong}


def residence_round(path, workers, order):
    """By who it is and the way, as the other parts have it by contestant and state."""
    row = {}
    for name in order:
        turn = turns.settled(residence_turn, path, name, workers[name])
        for way, seconds in turn.pop("ways").items():
            row.setdefault("libsgi" if name == "libsgi" else "load_file", {})[way] = {"seconds": seconds, **turn}
            turn["redone"] = 0  # a turn of two ways was taken again once
    return row


def residence_turns(path, workers, rounds):
    """The first load of each does not count; then all orders in turn, so that nobody always follows the same one."""
    for worker in workers.values():
        worker.turn("load")
    orders = itertools.islice(itertools.cycle(itertools.permutations(workers)), rounds)
    return [residence_round(path, workers, order) for order in orders]


def residence_rounds(path, rounds, log):
    """From DRAM to an instance, beside load_file of a file in the page cache: both give every tensor an address."""
    workers = {"libsgi": turns.Worker("residence", [RELEASE / "bench/residence", path], log=log)}
    try:
        for way, peer in (("as returned", "safetensors_mmap"), ("every page touched", "safetensors_touched")):
            workers[way] = contestants.start(contestants.Contestant(f"load_file, {way}", peer), path, log)
        return residence_turns(path, workers, max(rounds, RESIDENCE_ROUNDS_MIN))
    finally:
        for worker in workers.values():
            worker.close()
