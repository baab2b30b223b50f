"""File systems on loop devices on files of the mounted tree: made, filled, checked; and the daemon killed below one.

COPPICE_FUSE_KILLS: how often it is killed (2).
"""
import hashlib
import os
import random
import signal
import subprocess
import threading
import time
import unittest

from coppice import MIB, PATIENCE, PROGRAM, run, wait_until
from mounted import Loop, MountedTest

ROUNDS = int(os.environ.get("COPPICE_FUSE_KILLS", "2"))
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
TREE = [os.path.join(SOURCE, part) for part in ("engine", "nbd", "cli", "docs")]

FILE_SYSTEMS = {
    "ext4": (("mkfs.ext4", "-q", "-F"), ("e2fsck", "-fn"), "ro,noload"),
    "xfs": (("mkfs.xfs", "-q", "-f"), ("xfs_repair", "-n"), "ro,norecovery,nouuid"),
    "btrfs": (("mkfs.btrfs", "-q", "-f"), ("btrfs", "check", "--readonly"), "ro"),
}


def fsync_all(folder):
    for path, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(os.path.join(path, name), os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


class FileSystems(MountedTest):
    def fill(self, point, number):
        run("cp", "-r", *TREE, point)
        with open(f"{point}/random{number}", "wb") as file:
            file.write(random.Random(number).randbytes(20 * MIB))
        fsync_all(point)

    def same(self, point, number):
        for tree in TREE:
            run("diff", "-r", tree, f"{point}/{os.path.basename(tree)}")
        with open(f"{point}/random{number}", "rb") as file:
            self.assertTrue(file.read() == random.Random(number).randbytes(20 * MIB))

    def one(self, kind, direct):
        make, check, frozen = FILE_SYSTEMS[kind]
        name = self.new_disk("512M")
        disk = self.store.disk(name)
        with Loop(self.store, disk, direct) as loop:
            run(*make, loop.device)
            point = loop.mount()
            self.fill(point, 1)
            # Frozen, so that it can be mounted without its log being played back.
            run("fsfreeze", "-f", point)
            try:
                self.store.run("snapshot", f"{name}@filled")
            finally:
                run("fsfreeze", "-u", point)
            run("rm", "-r", *[f"{point}/{os.path.basename(tree)}" for tree in TREE], f"{point}/random1")
            run("fstrim", point)
            self.fill(point, 2)
            loop.unmount()
            run(*check, loop.device)
            self.same(loop.mount(), 2)
        with Loop(self.store, self.store.snapshot(name, "filled"), direct, read_only=True) as loop:
            self.same(loop.mount(frozen), 1)
        run(*check, disk)

    def test_ext4(self):
        self.one("ext4", True)
        self.one("ext4", False)

    def test_xfs(self):
        self.one("xfs", True)

    def test_btrfs(self):
        self.one("btrfs", True)


class PowerCut(MountedTest):
    """What a power cut leaves: the files as they are at that moment, without the staging file, which ends with the boot."""

    def after_a_cut(self, name, copier, copy):
        daemon = self.store.daemon.process
        daemon.send_signal(signal.SIGSTOP)
        try:
            copier.communicate(b"now\n", timeout=PATIENCE)
            self.assertEqual(copier.returncode, 0)
        finally:
            daemon.send_signal(signal.SIGCONT)
        for left in ("staging", "control.sock", "mounts"):
            if os.path.lexists(f"{copy}/{left}"):
                os.remove(f"{copy}/{left}")
        content = run(PROGRAM, "--store", copy, "export", name, "-").stdout
        run("rm", "-r", copy)
        return content

    def one(self, flags, sync):
        name = self.new_disk("4M")
        copy = self.store.file("copy")
        # Begun before the file is open: a child that has it closes it, and that flushes.
        copier = subprocess.Popen(["sh", "-c", 'read word && exec cp -r --sparse=always "$0" "$1"', self.store.path, copy],
                                  stdin=subprocess.PIPE)
        descriptor = os.open(self.store.disk(name), os.O_RDWR | flags)
        try:
            data = os.urandom(64 << 10)
            os.pwrite(descriptor, data, 1 * MIB)
            if sync:
                os.fsync(descriptor)
            content = self.after_a_cut(name, copier, copy)
            self.assertTrue(content[MIB:MIB + len(data)] == data)
        finally:
            os.close(descriptor)

    def test_fsync(self):
        self.one(0, True)

    def test_dsync(self):
        self.one(os.O_DSYNC, False)


class Writer(threading.Thread):
    """Makes files and remembers those whose fsync came back, until an error ends it."""

    def __init__(self, point, number):
        super().__init__()
        self.point, self.chance, self.synced = point, random.Random(number), {}

    def run(self):
        count = 0
        folder = os.open(self.point, os.O_RDONLY)
        try:
            while True:
                name = f"f{count % 400}"  # the same in each round, so that the disk does not fill up
                data = self.chance.randbytes(self.chance.choice((100, 4096, 70_000, 400_000)))
                self.synced.pop(name, None)
                with open(f"{self.point}/{name}", "wb", buffering=0) as file:
                    file.write(data)
                    os.fsync(file.fileno())
                os.fsync(folder)
                self.synced[name] = hashlib.sha256(data).digest()
                count += 1
        except OSError:
            pass
        finally:
            os.close(folder)


class Killed(MountedTest):
    def test_no_fsynced_file_is_lost(self):
        name = self.new_disk("400M")
        run("mkfs.ext4", "-q", "-F", self.store.disk(name))
        for number in range(ROUNDS):
            with Loop(self.store, self.store.disk(name), direct=number % 2 == 0) as loop:
                writer = Writer(loop.mount("errors=remount-ro"), number)
                writer.start()
                wait_until(lambda: len(writer.synced) >= 20 or not writer.is_alive(), "no file is written")
                time.sleep(random.random() * 2)
                self.store.daemon.kill()
                writer.join(timeout=120)
                self.assertFalse(writer.is_alive(), "the writer hangs")
            self.assertGreaterEqual(len(writer.synced), 20)
            self.store.serve()
            self.store.mount()
            # 1: it has played back its journal.
            done = subprocess.run(["e2fsck", "-fy", self.store.disk(name)], capture_output=True, text=True)
            self.assertIn(done.returncode, (0, 1), done.stdout + done.stderr)
            self.assertNotIn("FIXED", done.stdout)
            with Loop(self.store, self.store.disk(name)) as loop:
                point = loop.mount()
                for file_name, digest in writer.synced.items():
                    with open(f"{point}/{file_name}", "rb") as file:
                        self.assertEqual(hashlib.sha256(file.read()).digest(), digest, file_name)
        print(f"{ROUNDS} kills", flush=True)


if __name__ == "__main__":
    unittest.main(verbosity=2)
