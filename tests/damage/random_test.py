"""Random damage to random files of a store: never a crash, a hang, or a byte that is not the oracle's.

COPPICE_DAMAGE_SECONDS is the budget (20), COPPICE_DAMAGE_SEED the first seed.
"""
import os
import random
import signal
import subprocess
import threading
import time
import unittest

from coppice import MIB, PATIENCE, PROGRAM
from damaged import BLOCK, DamagedStore

SECONDS = float(os.environ.get("COPPICE_DAMAGE_SECONDS", "20"))


def interesting(store, source):
    """A place in a pool: its front, its ring's start, a slab's metadata, or anywhere."""
    size = store.slab() + 16 * MIB
    return source.choice([
        source.randrange(4 * MIB),
        4 * MIB + source.randrange(512 * 1024),
        store.slab() + source.randrange(32 * BLOCK),
        store.data() + source.randrange(8 * MIB),
        source.choice([0, 1, 2, 3]) * MIB + source.randrange(256),
        source.randrange(size),
    ])


def harm(store, source):
    """Does one thing to one file and says what."""
    files = []
    for folder, _, names in os.walk(store.path):
        files += [os.path.join(folder, name) for name in names]
    files = sorted(name for name in files if os.path.isfile(name))
    path = store.pool if source.random() < 0.5 and store.pool in files else source.choice(files)
    size = os.path.getsize(path)
    offset = interesting(store, source) if path == store.pool else source.randrange(max(size, 1))
    length = source.choice([1, 8, 512, BLOCK, 2 * BLOCK, 16 * BLOCK, 1 * MIB])
    how = source.choice(["flip", "zero", "noise", "shift", "cut", "copy", "remove"])
    if how in ("cut", "remove") and source.random() < 0.7:
        how = "flip"
    what = f"{how} {os.path.relpath(path, store.path)} at {offset}, {length} bytes"
    if how == "remove":
        os.remove(path)
        return what
    if how == "cut":
        os.truncate(path, source.randrange(size + 1))
        return what
    with open(path, "r+b") as file:
        file.seek(offset)
        data = bytearray(file.read(min(length, max(size - offset, 0))))
        if not data:
            return what + " (nothing)"
        if how == "flip":
            data[source.randrange(len(data))] ^= 1 << source.randrange(8)
        elif how == "zero":
            data = bytes(len(data))
        elif how == "noise":
            data = source.randbytes(len(data))
        elif how == "shift":
            data = data[1:] + data[:1]
        elif how == "copy":
            offset = source.randrange(max(size - len(data), 1)) // BLOCK * BLOCK
        file.seek(offset)
        file.write(data)
    return what


class Random(unittest.TestCase):
    def setUp(self):
        self.answers = {}

    def count(self, answer):
        self.answers[answer] = self.answers.get(answer, 0) + 1

    def ended_well(self, done):
        text = done.stderr.decode(errors="replace")
        self.assertIn(done.returncode, (0, 1, 2), text)
        self.assertNotIn("unexpected:", text)
        if done.returncode == 2:
            self.assertGreaterEqual(text.count("\n"), 1)

    def open_and_compare(self, store, options, source):
        """Served; read block by block; ended in order or not."""
        log = store.file("daemon.log")
        socket = os.path.join(store.folder, "r.sock")
        with open(log, "wb") as errors:
            process = subprocess.Popen([PROGRAM, "--store", store.path, *options, "serve", "--listen", socket],
                                       stdout=subprocess.PIPE, stderr=errors)
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            if not process.stdout.readline().startswith(b"listening"):
                code = process.wait(timeout=PATIENCE)
                with open(log, encoding="utf-8", errors="replace") as text:
                    self.assertEqual(code, 2, text.read())
                return "refused"
            lost = sum(len(store.unreadable(lambda export: f"nbd+unix:///{export}?socket={socket}", name))
                       for name in store.names())
            if source.random() < 0.5:
                process.send_signal(signal.SIGTERM)
                self.assertIn(process.wait(timeout=PATIENCE), (0, 2))
            else:
                process.kill()
            return "errors" if lost else "exact"
        finally:
            watchdog.cancel()
            if process.poll() is None:
                process.kill()
            process.wait(timeout=PATIENCE)
            process.stdout.close()

    def one_round(self, store, seed):
        source = random.Random(seed)
        store.restore()
        done = [harm(store, source) for _ in range(source.choice([1, 1, 1, 2, 3]))]
        options = ("--read-only",) if source.random() < 0.3 else ()
        try:
            self.count(self.open_and_compare(store, options, source))
            if source.random() < 0.3:
                self.count("again: " + self.open_and_compare(store, options, source))
            if source.random() < 0.2:
                self.ended_well(store.run(*options, "check", "--data", expect=None))
        except Exception as error:
            raise AssertionError(f"seed {seed}, {store.state}: {'; '.join(done)}: {error}") from error

    def test_random_damage(self):
        first = int(os.environ.get("COPPICE_DAMAGE_SEED", str(int(time.time()))))
        stores = []
        for state in ("clean", "killed"):
            stores.append(DamagedStore(state))
            stores[-1].state = state
        rounds = 0
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                self.one_round(stores[rounds % 2], first + rounds)
                rounds += 1
        finally:
            print(f"seeds from {first}: {rounds} rounds: {self.answers}", flush=True)
            for store in stores:
                store.remove()


if __name__ == "__main__":
    unittest.main()
