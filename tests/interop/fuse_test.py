"""The mounted tree: names, attributes, who may write, how it comes and goes, and QEMU's tools on its files."""
import errno
import json
import mmap
import os
import signal
import stat
import subprocess
import time
import unittest

import nbd

from coppice import MIB, PATIENCE, PROGRAM, run, same_files, tool, wait_until
from mounted import (KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, Control, MountedStore, MountedTest, close_cut_off, fallocate,
                     mounts_below)

QEMU_IMG = tool("qemu-img")
QEMU_IO = tool("qemu-io")
BLOCK = 4096


def write_file(path, offset, data, flags=0):
    descriptor = os.open(path, os.O_RDWR | flags)
    try:
        done = os.pwrite(descriptor, data, offset)
        os.fsync(descriptor)
        return done
    finally:
        os.close(descriptor)


def read_file(path, offset, length):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


class Tree(MountedTest):
    def assert_errno(self, number, function, *arguments):
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.errno, number, os.strerror(caught.exception.errno))

    def test_disks_and_snapshots_appear_and_go(self):
        name = self.new_disk("10M")
        disk = self.store.disk(name)
        status = os.stat(disk)
        self.assertEqual((status.st_size, stat.S_IMODE(status.st_mode)), (10 * MIB, 0o644))
        self.assertEqual(os.listdir(f"{self.store.mountpoint}/snapshots/{name}"), [])
        self.store.run("snapshot", f"{name}@before-upgrade")
        snapshot = self.store.snapshot(name, "before-upgrade")
        status = os.stat(snapshot)
        self.assertEqual((status.st_size, stat.S_IMODE(status.st_mode)), (10 * MIB, 0o444))
        self.store.run("rename", f"{name}@before-upgrade", "after")
        self.assertFalse(os.path.exists(snapshot))
        self.assertTrue(os.path.exists(self.store.snapshot(name, "after")))
        self.store.run("rename", name, name + "-new")
        self.assertFalse(os.path.exists(disk))
        self.assertEqual(os.listdir(f"{self.store.mountpoint}/snapshots/{name}-new"), ["after"])
        self.store.run("rm", "--now", "--snapshots", name + "-new")
        self.assertNotIn(name + "-new", os.listdir(f"{self.store.mountpoint}/disks"))
        self.assertFalse(os.path.exists(self.store.snapshot(name + "-new", "after")))

    def test_by_time_links_to_the_snapshots(self):
        name = self.new_disk("1M")
        for each in ("one", "two"):
            self.store.run("snapshot", f"{name}@{each}")
        created = {row["snapshot"]: row["created"] for row in self.store.json("ls") if row["disk"] == name}
        folder = f"{self.store.mountpoint}/by-time/{name}"
        expected = {f"{created[each][:19]}Z-{each}": f"../../snapshots/{name}/{each}" for each in ("one", "two")}
        self.assertEqual({entry: os.readlink(f"{folder}/{entry}") for entry in os.listdir(folder)}, expected)
        for link, target in expected.items():
            self.assertTrue(os.path.samefile(f"{folder}/{link}", f"{folder}/{target}"))
            modified = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(os.stat(f"{folder}/{link}").st_mtime))
            self.assertEqual(modified, link[:20])
        self.assertFalse(os.path.lexists(f"{folder}/2001-01-01T00:00:00Z-one"))

    def test_nothing_is_made_or_removed_by_name(self):
        name = self.new_disk("1M")
        for operation in (lambda: os.mkdir(f"{self.store.mountpoint}/disks/x"),
                          lambda: os.remove(self.store.disk(name)),
                          lambda: os.rename(self.store.disk(name), self.store.disk("x")),
                          lambda: open(self.store.disk("x"), "xb"),
                          lambda: os.chmod(self.store.disk(name), 0o600)):
            self.assert_errno(errno.EPERM, operation)

    def test_a_snapshot_is_never_written(self):
        name = self.new_disk("1M")
        write_file(self.store.disk(name), 0, b"a" * 4096)
        self.store.run("snapshot", f"{name}@s")
        path = self.store.snapshot(name, "s")
        self.assert_errno(errno.EROFS, os.open, path, os.O_RDWR)
        self.assert_errno(errno.EROFS, os.truncate, path, 512)
        write_file(self.store.disk(name), 0, b"b" * 4096)
        self.assertEqual(read_file(path, 0, 4097), b"a" * 4096 + b"\0")

    def test_space_and_holes_are_true(self):
        name = self.new_disk("64M")
        path = self.store.disk(name)
        self.assertEqual(os.stat(path).st_blocks, 0)
        write_file(path, 8 * MIB, os.urandom(MIB))
        self.assertEqual(os.stat(path).st_blocks * 512, MIB)
        descriptor = os.open(path, os.O_RDWR)
        self.addCleanup(os.close, descriptor)
        self.assertEqual(os.lseek(descriptor, 0, os.SEEK_HOLE), 0)
        self.assertEqual(os.lseek(descriptor, 0, os.SEEK_DATA), 8 * MIB)
        self.assertEqual(os.lseek(descriptor, 8 * MIB + 5, os.SEEK_DATA), 8 * MIB + 5)
        self.assertEqual(os.lseek(descriptor, 8 * MIB, os.SEEK_HOLE), 9 * MIB)
        self.assert_errno(errno.ENXIO, os.lseek, descriptor, 9 * MIB, os.SEEK_DATA)
        self.assert_errno(errno.ENXIO, os.lseek, descriptor, 64 * MIB, os.SEEK_HOLE)
        fallocate(descriptor, PUNCH_HOLE | KEEP_SIZE, 8 * MIB, MIB // 2)
        self.assertEqual(os.stat(path).st_blocks * 512, MIB // 2)
        self.assertEqual(os.pread(descriptor, MIB // 2, 8 * MIB), bytes(MIB // 2))
        fallocate(descriptor, ZERO_RANGE, 32 * MIB, MIB)
        self.assertEqual(os.stat(path).st_blocks * 512, MIB // 2 + MIB)
        self.assert_errno(errno.EOPNOTSUPP, fallocate, descriptor, 0, 0, MIB)
        copy = self.store.file("copy")
        run("cp", "--sparse=auto", path, copy)
        self.assertTrue(same_files(path, copy))
        self.assertLess(os.stat(copy).st_blocks * 512, 4 * MIB)

    def test_a_disk_does_not_grow_by_being_written(self):
        name = self.new_disk("1M")
        path = self.store.disk(name)
        self.assertEqual(write_file(path, MIB - 100, b"x" * 300), 100)
        self.assert_errno(errno.EFBIG, write_file, path, MIB, b"x")
        self.assertEqual(os.stat(path).st_size, MIB)
        # What a shell says before it writes is not the wish for a disk of no bytes.
        run("sh", "-c", f"echo hello > {path}")
        self.assertEqual(os.stat(path).st_size, MIB)
        self.assertEqual(read_file(path, 0, 7), b"hello\n\0")

    def test_truncate_resizes(self):
        name = self.new_disk("1M")
        path = self.store.disk(name)
        write_file(path, 0, b"x" * MIB)
        with open(path, "r+b", buffering=0) as file:
            file.truncate(2 * MIB)
            self.assertEqual(os.fstat(file.fileno()).st_size, 2 * MIB)
            self.assertEqual(os.pread(file.fileno(), 2 * MIB, 0), b"x" * MIB + bytes(MIB))
            file.truncate(512)
            file.truncate(MIB)
            self.assertEqual(os.pread(file.fileno(), MIB, 0), b"x" * 512 + bytes(MIB - 512))
            self.assert_errno(errno.EINVAL, file.truncate, 1000)
        self.assertEqual(self.store.json("info", name)["size"], MIB)
        client = nbd.NBD()
        client.connect_uri(self.store.uri(name))
        self.assert_errno(errno.EBUSY, os.truncate, path, 2 * MIB)
        self.leave(client, name)
        os.truncate(path, 2 * MIB)

    def test_one_writer_of_each_way(self):
        name = self.new_disk("1M")
        path = self.store.disk(name)
        client = nbd.NBD()
        client.connect_uri(self.store.uri(name))
        client.pwrite(b"n" * 4096, 0)
        self.assert_errno(errno.EBUSY, os.open, path, os.O_RDWR)
        self.assertEqual(read_file(path, 0, 4096), b"n" * 4096)
        self.leave(client, name)
        with open(path, "r+b", buffering=0):
            with self.assertRaises(nbd.Error):
                nbd.NBD().connect_uri(self.store.uri(name))
            said = run(QEMU_IMG, "info", self.store.uri(name), expect=1).stderr.decode()
            self.assertIn(f"is open for writing by FUSE (mount {self.store.mountpoint}", said)
        wait_until(lambda: self.store.json("info", name)["attachments"] == 0, "the file stays attached")
        client = nbd.NBD()
        client.connect_uri(self.store.uri(name))
        client.shutdown()

    def test_what_uses_a_file_is_protected(self):
        name = self.new_disk("1M")
        self.store.run("snapshot", f"{name}@s")
        with open(self.store.disk(name), "rb"), open(self.store.snapshot(name, "s"), "rb"):
            self.assertEqual(self.store.json("info", name)["attachments"], 1)
            self.refused("rollback", f"{name}@s", says=[f"mount {self.store.mountpoint}, process {os.getpid()}"])
            self.refused("rm", f"{name}@s", says=["process"])
        self.store.run("rollback", f"{name}@s", "--discard")
        self.assertEqual(os.stat(self.store.disk(name)).st_size, MIB)

    def test_shared_memory_reaches_the_disk(self):
        name = self.new_disk("1M")
        with open(self.store.disk(name), "r+b", buffering=0) as file, mmap.mmap(file.fileno(), MIB) as memory:
            memory[1000:2000] = b"m" * 1000
            memory.flush()
            self.store.run("snapshot", f"{name}@s")
            memory[1000:2000] = b"n" * 1000
            os.fsync(file.fileno())
        self.assertEqual(read_file(self.store.snapshot(name, "s"), 999, 1002), b"\0" + b"m" * 1000 + b"\0")
        client = nbd.NBD()
        client.connect_uri(self.store.uri(name))
        self.assertEqual(client.pread(1000, 1000), b"n" * 1000)
        client.shutdown()

    def test_figures_of_the_pool(self):
        pools = json.loads(self.store.run("dump", "--json").stdout)["pools"]
        figures = os.statvfs(self.store.mountpoint)
        self.assertGreaterEqual(figures.f_blocks * figures.f_frsize, sum(pool["size"] for pool in pools))
        used = (figures.f_blocks - figures.f_bfree) * figures.f_frsize
        self.assertLess(abs(used - sum(pool["used"] for pool in pools)), 4 * MIB)

    def test_qemus_tools(self):
        name = self.new_disk("64M")
        path = self.store.disk(name)
        image = self.store.file("image")
        with open(image, "wb") as file:
            for offset in range(0, 64 * MIB, 3 * MIB):
                file.seek(offset)
                file.write(os.urandom(min(MIB, 64 * MIB - offset)))
            file.truncate(64 * MIB)
        run(QEMU_IMG, "convert", "-n", "-f", "raw", "-O", "raw", "-t", "none", "-T", "none", image, path)
        run(QEMU_IMG, "compare", "-f", "raw", "-F", "raw", image, path)
        for aio in ("native", "io_uring", "threads"):
            done = run(QEMU_IO, "-f", "raw", "-t", "none", "-i", aio, "-d", "unmap",
                       "-c", "write -P 0x11 0 8M", "-c", "write -P 0x22 4096 4096", "-c", "write -z 1M 64k",
                       "-c", "discard 2M 1M", "-c", "flush", "-c", "read -P 0x22 4096 4096", "-c", "read -P 0 1M 64k",
                       "-c", "read -P 0 2M 1M", "-c", "read -P 0x11 3M 5M", path).stdout.decode()
            for bad in ("failed", "error"):
                self.assertNotIn(bad, done)
        run(QEMU_IMG, "bench", "-f", "raw", "-t", "none", "-i", "native", "-w", "-c", "2000", "-d", "32", "-s", "4k", path)

    def test_a_thousand_snapshots(self):
        name = self.new_disk("16M")
        control = Control(self.store.path)
        for number in range(1000):
            control.call("snapshot", specs=[f"{name}@s{number:04}"])
        control.close()
        folder = f"{self.store.mountpoint}/snapshots/{name}"
        began = time.monotonic()
        self.assertEqual(sorted(os.listdir(folder)), [f"s{number:04}" for number in range(1000)])
        listed = run("ls", "-l", folder).stdout.decode().splitlines()
        self.assertEqual(len(listed), 1001)
        self.assertEqual(len(os.listdir(f"{self.store.mountpoint}/by-time/{name}")), 1000)
        self.assertLess(time.monotonic() - began, 20)


class ComingAndGoing(unittest.TestCase):
    skip = MountedTest.__dict__.get("__unittest_skip__", False)

    def setUp(self):
        if self.skip:
            self.skipTest("needs root, /dev/fuse and loop devices")
        self.store = MountedStore("coming")
        self.addCleanup(self.store.remove)
        self.store.run("create", "web", "--size", "8M")

    def refused(self, *arguments, says=()):
        done = self.store.run(*arguments, expect=2)
        text = done.stderr.decode()
        self.assertEqual((done.stdout, text.count("\n")), (b"", 1), text)
        for part in says:
            self.assertIn(part, text)

    def mounted(self):
        return mounts_below(self.store.folder)

    def test_several_mounts_and_the_end_of_the_daemon(self):
        daemon = self.store.serve()
        self.store.mount("--mode", "0600", "--uid", "1", "--gid", "2")
        second = self.store.file("second mount")
        os.mkdir(second)
        self.assertEqual(self.store.json("mount", second, "--allow-other"), {"directory": second})
        status = os.stat(self.store.disk("web"))
        self.assertEqual((status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)), (1, 2, 0o600))
        self.refused("mount", second, says=["already", second])
        with open(f"{second}/disks/web", "r+b", buffering=0) as file:
            file.write(b"second" * 1000)
            self.refused("unmount", second, says=["in use", "--lazy"])
        self.assertEqual(self.store.json("unmount", second), {"directory": second})
        self.assertEqual(self.mounted(), [self.store.mountpoint])
        self.assertEqual(read_file(self.store.disk("web"), 0, 6), b"second")
        self.refused("unmount", second, says=["no mount"])
        # By hand.
        self.store.run("mount", second)
        run("umount", second)
        wait_until(lambda: "unmounted from " + second in open(daemon.log_path).read(), "the daemon does not see it")
        # In use at the end: cut off, and what was written is there.
        descriptor = os.open(self.store.disk("web"), os.O_RDWR)
        os.pwrite(descriptor, b"last" * 1024, 4096)
        began = time.monotonic()
        daemon.stop()
        self.assertLess(time.monotonic() - began, 20)
        self.assertEqual(self.mounted(), [])
        with self.assertRaises(OSError):
            os.pwrite(descriptor, b"late" * 1024, 4096)
        close_cut_off(descriptor)
        self.store.run("export", "web", self.store.file("web.raw"))
        self.assertEqual(read_file(self.store.file("web.raw"), 4096, 4), b"last")
        self.store.run("check")

    def test_lazy(self):
        self.store.serve()
        self.store.mount()
        descriptor = os.open(self.store.disk("web"), os.O_RDONLY)
        self.store.run("unmount", "--lazy", self.store.mountpoint)
        self.assertEqual(self.mounted(), [])
        with self.assertRaises(OSError):
            os.pread(descriptor, 4096, 1 << 20)
        close_cut_off(descriptor)
        self.assertEqual(self.store.json("info", "web")["attachments"], 0)
        self.store.mount()

    def test_what_a_killed_daemon_leaves_is_cleared_away(self):
        for command in ("mount", "serve", "unmount"):
            self.store.serve()
            self.store.mount()
            os.stat(self.store.mountpoint)  # the kernel remembers that it was well
            self.store.daemon.kill()
            with self.assertRaises(OSError) as dead:
                os.listdir(self.store.mountpoint)
            self.assertIn(dead.exception.errno, (errno.ENOTCONN, errno.ECONNABORTED))
            if command == "serve":
                self.store.serve()
                self.assertEqual(self.mounted(), [])
                self.store.daemon.stop()
            elif command == "unmount":
                self.store.run("unmount", self.store.mountpoint)
                self.assertEqual(self.mounted(), [])
            else:
                # The record is gone: the mount itself finds the dead one.
                os.remove(os.path.join(self.store.path, "mounts"))
                self.store.serve()
                self.store.mount()
                self.assertEqual(os.listdir(self.store.mountpoint + "/disks"), ["web"])
                self.store.daemon.stop()
        self.store.run("check")

    def test_without_a_daemon_a_process_in_the_background_mounts(self):
        self.store.mount()
        write_file(self.store.disk("web"), 0, b"alone" * 1000)
        self.store.run("snapshot", "web@s")
        self.assertEqual(read_file(self.store.snapshot("web", "s"), 0, 5), b"alone")
        self.refused("serve", says=["in use"])
        self.store.run("unmount", self.store.mountpoint)
        self.assertEqual(self.mounted(), [])
        wait_until(lambda: not os.path.exists(os.path.join(self.store.path, "control.sock")), "the process stays")
        self.store.run("check")

    def test_in_the_foreground(self):
        process = subprocess.Popen([PROGRAM, "--store", self.store.path, "mount", self.store.mountpoint, "--foreground"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), f"mounted on {self.store.mountpoint}\n".encode())
        self.assertEqual(os.listdir(self.store.mountpoint + "/disks"), ["web"])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.mounted(), [])

    def test_both_may_write_a_shared_disk(self):
        self.store.serve()
        self.store.mount("--shared")
        client = nbd.NBD()
        client.connect_uri(self.store.uri("web"))
        descriptor = os.open(self.store.disk("web"), os.O_RDWR | os.O_DIRECT)
        block = mmap.mmap(-1, BLOCK)
        block[:] = b"f" * BLOCK
        os.pwrite(descriptor, block, 0)
        self.assertEqual(client.pread(BLOCK, 0), b"f" * BLOCK)
        client.pwrite(b"n" * BLOCK, 0)
        os.preadv(descriptor, [block], 0)
        self.assertEqual(block[:], b"n" * BLOCK)
        os.close(descriptor)
        client.shutdown()

    def test_bad_input(self):
        full = self.store.file("full")
        os.mkdir(full)
        open(f"{full}/file", "w").close()
        for serving in (True, False):
            if serving:
                self.store.serve()
            self.refused("mount", full, says=["not empty"])
            self.refused("mount", f"{full}/file", says=["not a directory"])
            self.refused("mount", f"{full}/nothing", says=["no such directory"])
            self.refused("mount", self.store.mountpoint, "--mode", "9", says=["--mode"])
            self.refused("mount", self.store.mountpoint, "--uid", "nobody-of-that-name", says=["--uid"])
            self.refused("unmount", full, says=["no mount"])
            if serving:
                self.refused("mount", self.store.mountpoint, "--foreground", says=["--foreground"])
                self.store.daemon.stop()

    def test_a_read_only_store(self):
        self.store.run("snapshot", "web@s")
        self.store.run("--read-only", "mount", self.store.mountpoint)
        self.assertEqual(stat.S_IMODE(os.stat(self.store.disk("web")).st_mode), 0o444)
        self.assertEqual(read_file(self.store.snapshot("web", "s"), 0, 4), bytes(4))
        with self.assertRaises(OSError) as refused:
            os.open(self.store.disk("web"), os.O_RDWR)
        self.assertEqual(refused.exception.errno, errno.EROFS)
        self.store.run("unmount", self.store.mountpoint)


if __name__ == "__main__":
    unittest.main(verbosity=2)
