"""Objects of Python and arrays of NumPy: checked after the signal, then half of them freed and made anew, several times."""

import ctypes
import gc
import hashlib
import os
import random
import signal
import sys

import numpy as np

KEYS = 50000
BLOCKS = 8000


def report(line):
    with open(sys.argv[1], "a") as file:
        file.write(line + "\n")


bad = 0


def expect(condition, what):
    global bad
    if not condition:
        bad += 1
        report("CORRUPT " + what)


def value(key):
    return f"value {key}" * 3


def block(i):
    return bytes([i % 255 + 1]) * (i * 37 % 3000 + 1)


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
array = np.random.default_rng(1).integers(0, 2**63, size=2_000_000, dtype=np.int64)
expected = digest(array)
values = {key: value(key) for key in range(KEYS)}
blocks = [block(i) for i in range(BLOCKS)]
text = bytearray(b"Z" * 5_000_000)
trim = ctypes.CDLL(None).malloc_trim
del_me = [bytes(i * 100 + 1) for i in range(1000)]
del del_me
report(f"ready {os.getpid()}")
signal.sigwait([signal.SIGUSR1])

for seed in range(4):
    expect(digest(array) == expected, "array of NumPy")
    expect(all(values[key] == value(key) for key in range(KEYS)), "dict")
    expect(all(content == block(i) for i, content in enumerate(blocks)), "list of bytes")
    expect(text.count(b"Z") == len(text), "bytearray")
    random.seed(seed)
    for key in random.sample(range(KEYS), KEYS // 2):
        del values[key]
    for i in random.sample(range(BLOCKS), BLOCKS // 2):
        blocks[i] = None
    gc.collect()
    trim(0)
    for size in (1000, 50_000, 300_000, 3_000_000):
        zeros = np.zeros(size, dtype=np.int64)
        expect(not zeros.any(), f"numpy.zeros({size})")
        zeros[:] = 7
        expect(bytearray(size).count(0) == size, f"bytearray({size})")
    for key in range(KEYS):
        values.setdefault(key, value(key))
    for i in range(BLOCKS):
        blocks[i] = blocks[i] or block(i)
    text.extend(b"Z" * 5_000_000)
report("FAILED" if bad else "OK")
