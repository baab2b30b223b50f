"""A store with known content, its files kept as a picture, to be damaged and opened again and again.

Blocks are judged one by one: each must be what the oracle says, or an error. A store that does not open must say
why in one line; nothing may crash or hang.
"""
import os
import shutil
import subprocess

from coppice import MIB, PATIENCE, PROGRAM, Store, tool

QEMU_IO = tool("qemu-io")
BLOCK = 4096
DISK = 8 * MIB
PLACES = (0, 1 * MIB, 2 * MIB, 3 * MIB)  # of superblocks
RING = 4 * MIB


class Pattern:
    """What a block of a disk holds: a byte for each 4 KiB, as qemu-io's `write -P` writes it."""

    def __init__(self, blocks):
        self.bytes = bytearray(blocks)

    def copy(self):
        twin = Pattern(0)
        twin.bytes = bytearray(self.bytes)
        return twin


class DamagedStore(Store):
    """`state` "clean": closed in order. "killed": flushed, then the daemon died."""

    def __init__(self, state, pools=()):
        super().__init__("damage", init=False)
        self.pools = [self.file(pool) for pool in pools] or [os.path.join(self.path, "pool")]
        self.run("init", *[part for pool in self.pools for part in ("--pool", pool + ":64M")])
        with open(self.pools[0], "rb") as file:
            self.superblock = file.read(BLOCK)
        self.expected = {}
        self.fill(state)
        self.picture = self.file("picture")
        self.save()

    def fill(self, state):
        self.run("create", "disk", "--size", str(DISK))
        self.run("create", "other", "--size", str(DISK))
        self.serve()
        head = Pattern(DISK // BLOCK)
        other = Pattern(DISK // BLOCK)
        self.write("disk", head, [(1, 0, 512), (2, 600, 100)])
        self.write("other", other, [(3, 0, 64), (4, 1000, 300)])
        self.run("snapshot", "disk@one")
        self.expected["disk@one"] = head.copy()
        self.write("disk", head, [(5, 10, 50), (6, 600, 10), (7, 1500, 200)])
        self.run("snapshot", "disk@two", "other@two")
        self.expected["disk@two"] = head.copy()
        self.expected["other@two"] = other.copy()
        if state != "clean":
            # What follows is in the journal alone.
            self.daemon.stop()
            self.serve()
        self.write("disk", head, [(8, 20, 20), (9, 1900, 64)])
        self.write("disk", head, [(10, 20, 5)])
        self.write("other", other, [(11, 1000, 10)])
        self.write("disk", head, [(12, 300, 30)])
        self.expected["disk"] = head
        self.expected["other"] = other
        if state == "clean":
            self.daemon.stop()
        else:
            self.daemon.kill()

    def write(self, disk, model, ranges):
        commands = []
        for value, first, count in ranges:
            commands += ["-c", f"write -P {value} {first * BLOCK} {count * BLOCK}"]
            model.bytes[first:first + count] = bytes([value]) * count
        commands += ["-c", "flush"]
        done = subprocess.run([QEMU_IO, "-f", "raw", *commands, self.uri(disk)], capture_output=True,
                              timeout=PATIENCE)
        if done.returncode != 0 or b"failed" in done.stdout + done.stderr:
            raise AssertionError((done.stdout + done.stderr).decode())

    # The files as they were, sparse: a restore is cheap.
    def save(self):
        subprocess.run(["cp", "-a", "--sparse=always", "--reflink=auto", self.path, self.picture], check=True)
        for pool in self.pools:
            if not pool.startswith(self.path):
                subprocess.run(["cp", "-a", "--sparse=always", pool, pool + ".picture"], check=True)

    def restore(self):
        shutil.rmtree(self.path, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", "--reflink=auto", self.picture, self.path], check=True)
        for pool in self.pools:
            if not pool.startswith(self.path):
                subprocess.run(["cp", "-a", "--sparse=always", pool + ".picture", pool], check=True)

    @property
    def pool(self):
        return self.pools[0]

    def number(self, offset):
        """A field of the superblock that never changes."""
        return int.from_bytes(self.superblock[offset:offset + 8], "little")

    # Byte offsets in slab 0 (engine/layout/FORMAT.md, "Slab").
    def slab(self, block=0):
        return self.number(128) + block * BLOCK

    def granules(self):
        return self.slab(1)

    def bitmap(self):
        return self.slab(3)

    def bitmap_pages(self):
        return -(-self.number(136) // 32640)

    def checksums(self, page=0):
        return self.slab(3 + 2 * self.bitmap_pages() + 2 * page)

    def data(self):
        return self.slab(3 + 2 * self.bitmap_pages() + 2 * -(-self.number(136) // 1020))

    def block_of(self, value):
        """Where a block of that content stands in the pool."""
        with open(self.pool, "rb") as file:
            file.seek(self.data())
            while block := file.read(BLOCK):
                if block == bytes([value]) * BLOCK:
                    return file.tell() - BLOCK
        raise AssertionError(f"no block holds {value}")

    def names(self):
        return list(self.expected)

    def judge(self, name, *options):
        """Reads a disk block by block. Returns how many blocks could not be read; wrong bytes are a failure."""
        out = self.file("out.raw")
        if os.path.exists(out):
            os.remove(out)
        done = self.run(*options, "export", name, out, expect=None)
        model = self.expected[name].bytes
        if done.returncode == 0:
            self.compare(name, out, model)
            return 0
        if done.returncode != 2 or done.stderr.count(b"\n") < 1:
            raise AssertionError(f"export {name}: {done.returncode} {done.stderr.decode(errors='replace')}")
        return None

    def compare(self, name, path, model):
        with open(path, "rb") as file:
            for i, value in enumerate(model):
                block = file.read(BLOCK)
                if block != bytes([value]) * BLOCK:
                    raise AssertionError(f"{name}: block {i} holds {set(block)}, not {value}")

    def unreadable(self, uri_of, name):
        """Through a daemon: the blocks that answer EIO. All others must be right."""
        import nbd
        handle = nbd.NBD()
        handle.connect_uri(uri_of(name))
        lost = []
        model = self.expected[name].bytes
        for first in range(0, len(model), 64):
            part = model[first:first + 64]
            try:
                pieces = [bytes(handle.pread(len(part) * BLOCK, first * BLOCK))]
            except nbd.Error:
                pieces = []
                for i in range(len(part)):
                    try:
                        pieces.append(bytes(handle.pread(BLOCK, (first + i) * BLOCK)))
                    except nbd.Error:
                        pieces.append(None)
                        lost.append(first + i)
            if len(pieces) == 1:
                pieces = [pieces[0][i * BLOCK:(i + 1) * BLOCK] for i in range(len(part))]
            for i, piece in enumerate(pieces):
                if piece is not None and piece != bytes([part[i]]) * BLOCK:
                    raise AssertionError(f"{name}: block {first + i} holds {set(piece)}, not {part[i]}")
        handle.shutdown()
        return lost


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def zero(path, offset, length=BLOCK):
    overwrite(path, offset, bytes(length))


def flip(path, offset, bit=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bit]))


def batches(path, ring_bytes=8 * MIB):
    """Offset and sequence of each batch header in the ring, by sequence."""
    found = []
    with open(path, "rb") as file:
        file.seek(RING)
        ring = file.read(ring_bytes)
    at = ring.find(b"coppbtch")
    while at >= 0:
        if at % BLOCK == 0:
            found.append((int.from_bytes(ring[at + 32:at + 40], "little"), RING + at))
        at = ring.find(b"coppbtch", at + BLOCK - at % BLOCK)
    return sorted(found)


def tree_of(path):
    """All files of a store but what a read may touch: their bytes, to see that nothing was written."""
    state = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            if not os.path.isfile(full) or os.path.islink(full):
                continue
            with open(full, "rb") as file:
                state[os.path.relpath(full, path)] = hash(file.read())
    return state
