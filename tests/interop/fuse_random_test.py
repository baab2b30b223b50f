"""Random operations on one file of the mounted tree, beside a record in memory; every snapshot equals its record.

COPPICE_FUSE_OPERATIONS: how many (3000), COPPICE_FUSE_SEED: which.
"""
import mmap
import os
import random
import time
import unittest


from coppice import MIB, run
from mounted import KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Control, MountedTest, fallocate

OPERATIONS = int(os.environ.get("COPPICE_FUSE_OPERATIONS", "3000"))
SEED = int(os.environ.get("COPPICE_FUSE_SEED", str(random.SystemRandom().randrange(1 << 32))))
BLOCK = 4096
SIZES = (4 * MIB, 10 * MIB)
MOST_SNAPSHOTS = 12
LONGEST = 300_000


class Subject:
    """The file, open in each way, and what it should hold."""

    def __init__(self, test, name):
        self.test, self.name, self.path = test, name, test.store.disk(name)
        self.chance = random.Random(SEED)
        self.record = bytearray(SIZES[0])
        self.snapshots = {}
        self.count = 0
        self.control = Control(test.store.path)
        self.cached = os.open(self.path, os.O_RDWR)
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        self.aligned = mmap.mmap(-1, 1 * MIB)
        self.memory = mmap.mmap(self.cached, len(self.record))

    def close(self):
        self.memory.close()
        os.close(self.cached)
        os.close(self.direct)
        self.control.close()

    def range(self, unit=1, most=LONGEST):
        length = min(int(self.chance.paretovariate(0.5)), most) if self.chance.random() < 0.9 else most
        offset = self.chance.randrange(len(self.record)) // unit * unit
        length = max(unit, length // unit * unit)
        return offset, min(length, (len(self.record) - offset) // unit * unit)

    def write(self):
        offset, length = self.range()
        data = self.chance.randbytes(length)
        self.test.assertEqual(os.pwrite(self.cached, data, offset), length)
        self.record[offset:offset + length] = data

    def write_direct(self):
        unit = self.chance.choice((512, BLOCK))
        offset, length = self.range(unit)
        if length == 0:
            return
        data = self.chance.randbytes(length)
        self.memory.flush()
        self.aligned[:length] = data
        self.test.assertEqual(os.pwritev(self.direct, [memoryview(self.aligned)[:length]], offset), length)
        self.record[offset:offset + length] = data

    def write_memory(self):
        offset, length = self.range()
        data = self.chance.randbytes(length)
        self.memory[offset:offset + length] = data
        self.record[offset:offset + length] = data

    def read(self):
        offset, length = self.range()
        self.check(os.pread(self.cached, length, offset), offset)

    def read_direct(self):
        offset, length = self.range(BLOCK)
        if length == 0:
            return
        self.memory.flush()
        self.test.assertEqual(os.preadv(self.direct, [memoryview(self.aligned)[:length]], offset), length)
        self.check(self.aligned[:length], offset)

    def read_memory(self):
        offset, length = self.range()
        self.check(self.memory[offset:offset + length], offset)

    def check(self, data, offset):
        self.test.assertTrue(data == self.record[offset:offset + len(data)],
                             f"seed {SEED}, operation {self.count}: {len(data)} bytes at {offset} differ")

    def truncate(self):
        size = self.chance.randrange(SIZES[0] // 512, SIZES[1] // 512) * 512
        self.memory.flush()
        self.memory.close()
        os.ftruncate(self.cached, size)
        if size < len(self.record):
            del self.record[size:]
        else:
            self.record.extend(bytes(size - len(self.record)))
        self.test.assertEqual(os.fstat(self.direct).st_size, size)
        self.memory = mmap.mmap(self.cached, size)

    def zero(self):
        offset, length = self.range()
        mode = self.chance.choice((PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE))
        fallocate(self.cached, mode, offset, length)
        self.record[offset:offset + length] = bytes(length)

    def copy(self):
        """Within the file, or from a snapshot."""
        source, origin = self.cached, self.record
        if self.snapshots and self.chance.random() < 0.5:
            name = self.chance.choice(list(self.snapshots))
            source = os.open(self.test.store.snapshot(self.name, name), os.O_RDONLY)
            origin = self.snapshots[name]
        start, length = self.range()
        start = min(start, len(origin) - 1)
        target = self.chance.randrange(len(self.record))
        length = min(length, len(origin) - start, len(self.record) - target)
        if origin is not self.record or start + length <= target or target + length <= start:
            data = bytes(origin[start:start + length])
            done = 0
            while done < length:
                part = os.copy_file_range(source, self.cached, length - done, start + done, target + done)
                self.test.assertGreater(part, 0)
                done += part
            self.record[target:target + length] = data
        if source != self.cached:
            os.close(source)

    def sync(self):
        os.fsync(self.chance.choice((self.cached, self.direct)))

    def snapshot(self):
        self.memory.flush()
        name = f"s{self.count}"
        self.control.call("snapshot", specs=[f"{self.name}@{name}"])
        self.snapshots[name] = bytes(self.record)
        if len(self.snapshots) > MOST_SNAPSHOTS:
            oldest = self.chance.choice(list(self.snapshots))
            self.verify(oldest)
            del self.snapshots[oldest]
            self.remove(f"{self.name}@{oldest}")

    def remove(self, spec):
        """The kernel tells of a close a moment after close(2)."""
        until = time.monotonic() + 10
        while True:
            try:
                return self.control.call("remove", specs=[spec])
            except AssertionError as refusal:
                if "is open" not in str(refusal) or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def verify(self, name):
        with open(self.test.store.snapshot(self.name, name), "rb") as file:
            self.test.assertTrue(file.read() == self.snapshots[name],
                                 f"seed {SEED}, operation {self.count}: snapshot {name} differs from its record")

    def verify_one(self):
        if self.snapshots:
            self.verify(self.chance.choice(list(self.snapshots)))

    def step(self):
        self.count += 1
        operations = ((self.write, 20), (self.write_direct, 15), (self.write_memory, 15), (self.read, 10),
                      (self.read_direct, 10), (self.read_memory, 10), (self.zero, 8), (self.copy, 8), (self.sync, 2),
                      (self.truncate, 1), (self.snapshot, 1), (self.verify_one, 1))
        names, weights = zip(*operations)
        self.chance.choices(names, weights)[0]()


class RandomOperations(MountedTest):
    def test_beside_a_record(self):
        print(f"seed {SEED}, {OPERATIONS} operations", flush=True)
        subject = Subject(self, self.new_disk(SIZES[0]))
        self.addCleanup(subject.close)
        for _ in range(OPERATIONS):
            subject.step()
        subject.memory.flush()
        for name in subject.snapshots:
            subject.verify(name)
        with open(subject.path, "rb") as file:
            self.assertTrue(file.read() == subject.record, f"seed {SEED}: the disk differs at the end")
        os.fsync(subject.cached)
        run("cmp", subject.path, "-", input=bytes(subject.record))


if __name__ == "__main__":
    unittest.main(verbosity=2)
