"""A small file system filled to the last block, and a pool on a device that grows: who needs space is told so,
nobody else notices, and all goes on when there is room again. Needs root and loop devices."""
import errno
import os
import random
import subprocess
import sys
import tempfile
import unittest

import nbd

from coppice import MIB, PROGRAM, Store, run, tool, wait_until


def without_loop():
    """Why loop mounts can't be had here, or None."""
    if os.geteuid() != 0:
        return "loop mounts need root"
    probe = subprocess.run(["losetup", "--find"], capture_output=True)
    return None if probe.returncode == 0 else "no loop devices: " + probe.stderr.decode().strip()


REASON = without_loop()
if REASON:
    print(f"skipped: {REASON}", file=sys.stderr)


class Mount:
    """An ext4 in a file."""

    def __init__(self, size):
        self.folder = tempfile.mkdtemp(prefix="full.", dir=os.getcwd())
        self.image = os.path.join(self.folder, "image")
        self.path = os.path.join(self.folder, "mount")
        os.mkdir(self.path)
        with open(self.image, "wb") as image:
            image.truncate(size)
        run(tool("mkfs.ext4"), "-q", "-m", "0", self.image)
        run(tool("mount"), "-o", "loop", self.image, self.path)

    def free(self):
        room = os.statvfs(self.path)
        return room.f_bfree * room.f_frsize

    def fill(self):
        """To the last block; what another program would do."""
        with open(os.path.join(self.path, "filler"), "ab", buffering=0) as filler:
            for piece in (4 * MIB, 65536, 4096):
                try:
                    while True:
                        filler.write(b"x" * piece)
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error
            os.fsync(filler.fileno())

    def drain(self):
        os.remove(os.path.join(self.path, "filler"))
        os.sync()

    def remove(self):
        # A killed daemon's last writes may hold it a little longer.
        wait_until(lambda: subprocess.run(["umount", self.path], capture_output=True).returncode == 0, "umount", 30)
        subprocess.run(["rm", "-r", "--one-file-system", self.folder], capture_output=True)


class Client:
    """A disk over NBD, with a record of what it holds; blocks of 64 KiB."""

    BLOCK = 65536

    def __init__(self, uri):
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.content = {}

    def again(self, uri):
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)

    def write(self, block, seed):
        """False when there is no space."""
        data = random.Random(seed).randbytes(self.BLOCK)
        try:
            self.handle.pwrite(data, block * self.BLOCK)
        except nbd.Error as error:
            assert error.errnum == errno.ENOSPC, error
            self.content.pop(block, None)  # the old bytes or the new ones
            return False
        self.content[block] = seed
        return True

    def fill(self, blocks, seed):
        for block in blocks:
            if not self.write(block, seed + block):
                return block
        raise AssertionError("the disk was written to its end: the pool is not full")

    def check(self):
        for block, seed in self.content.items():
            data = self.handle.pread(self.BLOCK, block * self.BLOCK)
            assert data == random.Random(seed).randbytes(self.BLOCK), f"block {block}"

    def trim(self, blocks):
        for block in blocks:
            self.handle.trim(self.BLOCK, block * self.BLOCK)
            self.content.pop(block, None)
        self.handle.flush()


@unittest.skipIf(REASON, REASON)
class FullFileSystem(unittest.TestCase):
    SIZE = 400 * MIB

    def setUp(self):
        self.mount = Mount(self.SIZE)
        self.addCleanup(self.mount.remove)
        self.store = Store("full", init=False)
        self.addCleanup(self.store.remove)
        self.store.path = os.path.join(self.mount.path, "store")

    def log(self):
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            return log.read()

    def serve(self, client=None):
        self.store.serve()
        if client:
            client.again(self.store.uri("disk"))

    def restart(self, client):
        del client.handle
        self.store.daemon.stop()
        self.serve(client)

    def test_a_small_file_system_is_used(self):
        """A growing pool takes slabs that fit: most of the file system holds data in the end."""
        self.store.run("init")
        self.store.run("create", "disk", "--size", "1G")
        self.serve()
        client = Client(self.store.uri("disk"))
        written = client.fill(range(8192), 1) * Client.BLOCK
        self.assertGreater(written, 0.5 * self.SIZE)
        self.assertIn("can't grow", self.log())
        client.handle.flush()
        client.check()

    def test_a_full_file_system(self):
        self.store.run("init")
        self.store.run("create", "disk", "--size", "1G")
        self.store.run("create", "other", "--size", "16M")
        self.serve()
        client = Client(self.store.uri("disk"))
        other = Client(self.store.uri("other"))
        for block in range(256):
            self.assertTrue(other.write(block, 5000 + block))
            self.assertTrue(client.write(block, 9000 + block))
        client.handle.flush()
        self.store.run("snapshot", "disk@one")
        full_at = client.fill(range(8192), 100)
        self.mount.fill()
        self.assertLess(self.mount.free(), 8 * MIB)  # ext4 keeps a little for itself

        # Reads, flushes and what overwrites in place go on, checkpoints or not.
        for round in range(6):
            for block in range(256):
                self.assertTrue(other.write(block, 7000 + 300 * round + block))
            other.handle.flush()
        client.handle.flush()
        client.check()
        other.check()
        self.assertFalse(client.write(full_at, 1))

        # A restart with nothing free, by SIGTERM and by SIGKILL.
        del other.handle
        self.restart(client)
        client.check()
        del client.handle
        self.store.daemon.kill()
        self.serve(client)
        other.again(self.store.uri("other"))
        client.check()
        other.check()
        self.assertFalse(client.write(full_at + 1, 1))

        # Snapshots are taken and removed.
        self.store.run("snapshot", "disk@two")
        self.store.run("rm", "disk@two")
        self.store.run("rm", "disk@one")
        wait_until(lambda: client.write(full_at, 2), "space of a removed snapshot")
        # And what is trimmed is there to be written.
        client.fill(range(full_at, 8192), 200)
        client.trim(range(0, 512))
        for block in range(0, 400):
            wait_until(lambda block=block: client.write(block, 300 + block), "space of a trim")
        client.handle.flush()
        client.check()

        # Room again: the pool grows, the reserve comes back.
        self.mount.drain()
        wait_until(lambda: os.path.exists(os.path.join(self.store.path, "reserve")), "the reserve")
        client.check()
        other.check()
        del client.handle, other.handle
        self.store.daemon.stop()
        self.store.run("check")
        self.assertNotIn("error", self.log().replace("No space", ""))


@unittest.skipIf(REASON, REASON)
class Small(unittest.TestCase):
    def test_a_hundred_megabytes_are_enough(self):
        mount = Mount(100 * MIB)
        self.addCleanup(mount.remove)
        store = Store("small", init=False)
        self.addCleanup(store.remove)
        store.path = os.path.join(mount.path, "store")
        store.run("init")
        store.run("create", "disk", "--size", "1G")
        store.serve()
        client = Client(store.uri("disk"))
        self.assertTrue(client.write(0, 1))
        client.handle.flush()
        client.check()
        del client.handle
        store.daemon.stop()
        store.run("check")


@unittest.skipIf(REASON, REASON)
class Device(unittest.TestCase):
    """A whole block device as a pool: full, made larger under the daemon, and punched behind discards."""

    def setUp(self):
        self.store = Store("device", init=False)
        self.addCleanup(self.store.remove)
        self.image = self.store.file("image")
        with open(self.image, "wb") as image:
            image.truncate(128 * MIB)
        made = run(tool("losetup"), "--find", "--show", self.image)
        self.device = made.stdout.decode().strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", self.device])
        # The store goes first: its daemon holds the device.
        self.addCleanup(self.store.remove)

    def test_it_grows_online(self):
        self.store.run("init", "--pool", self.device)
        self.store.run("create", "disk", "--size", "1G")
        self.store.serve()
        client = Client(self.store.uri("disk"))
        full_at = client.fill(range(8192), 1)
        with open(self.image, "r+b") as image:
            image.truncate(256 * MIB)
        run(tool("losetup"), "--set-capacity", self.device)
        grown_to = client.fill(range(full_at, 8192), 1)
        self.assertGreater(grown_to - full_at, 112 * MIB // Client.BLOCK)
        client.handle.flush()
        client.check()
        del client.handle
        self.store.daemon.stop()
        self.store.run("check")


if __name__ == "__main__":
    unittest.main(verbosity=2)
