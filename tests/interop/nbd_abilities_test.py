"""What an export says that it can, and that it can that: libnbd's tools, and its Python module for each command."""
import errno
import json
import os
import subprocess
import unittest

import nbd  # Debian has it for its own Python only

from coppice import MIB, PROGRAM, StoreTest, run, tool, wait_until

NBDINFO = tool("nbdinfo")
DISK = ("connect", "read", "write", "flush", "fua", "trim", "zero", "fast-zero", "cache", "df", "multi-conn",
        "structured-reply")
NOT_READ_ONLY = ("write", "trim", "zero", "fast-zero")


class Abilities(StoreTest):
    def connect(self, export, *contexts):
        handle = nbd.NBD()
        for context in contexts:
            handle.add_meta_context(context)
        handle.connect_uri(self.store.uri(export))
        handle.set_strict_mode(0)  # the server is asked, not the library
        return handle

    def can(self, export, expected):
        for ability in DISK:
            run(NBDINFO, "--can", ability, self.store.uri(export), expect=0 if ability in expected else 2)
        for question in ("rotational", "tls"):
            run(NBDINFO, "--is", question, self.store.uri(export), expect=2)

    def fails(self, number, call, *arguments):
        with self.assertRaises(nbd.Error) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.errnum, number, caught.exception)

    def test_can(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@one")
        read_only = set(DISK) - set(NOT_READ_ONLY)
        self.can(disk, DISK)
        self.can(f"{disk}@one", read_only)
        run(NBDINFO, "--is", "read-only", self.store.uri(f"{disk}@one"))
        attachment = self.store.json("attach", disk)["export"]
        # Its next client has the one before leave, so several at once there can't be.
        self.can(attachment, set(DISK) - {"multi-conn"})
        self.can(disk, read_only)

    def test_sizes_and_descriptions(self):
        disk = self.new_disk("3M")
        self.store.run("snapshot", f"{disk}@one", "--note", "before the upgrade")
        described = {}
        for export in (disk, f"{disk}@one"):
            told = json.loads(run(NBDINFO, "--json", self.store.uri(export)).stdout)["exports"][0]
            sizes = [told[f"block_size_{kind}"] for kind in ("minimum", "preferred", "maximum")]
            self.assertEqual(sizes, [1, 4096, 32 * MIB])
            described[export] = told["description"]
        self.assertIn("disk", described[disk])
        self.assertIn("before the upgrade", described[f"{disk}@one"])
        listed = json.loads(run(NBDINFO, "--list", "--json", self.store.uri()).stdout)["exports"]
        self.assertEqual({each["export-name"]: each["description"] for each in listed
                          if each["export-name"] in described}, described)

    def map(self, export, context):
        found = json.loads(run(NBDINFO, f"--map={context}", "--json", self.store.uri(export)).stdout)
        return [(part["offset"], part["length"], part["type"], part["description"]) for part in found]

    def test_a_map_of_each_context(self):
        disk = self.new_disk("8M")

        def with_qemu(*commands):
            run(tool("qemu-io"), "-f", "raw", *commands, self.store.uri(disk))

        with_qemu("-c", "write -P 1 0 2M")
        self.store.run("snapshot", f"{disk}@one")
        with_qemu("-c", "write -P 2 1M 1M")
        self.store.run("snapshot", f"{disk}@two")
        with_qemu("-c", "write -P 3 4M 4k", "-c", "discard 0 4k")
        self.assertEqual(self.map(disk, "base:allocation"), [
            (0, 4096, 3, "hole,zero"), (4096, 2 * MIB - 4096, 0, "data"), (2 * MIB, 2 * MIB, 3, "hole,zero"),
            (4 * MIB, 4096, 0, "data"), (4 * MIB + 4096, 4 * MIB - 4096, 3, "hole,zero")])
        self.assertEqual(self.map(disk, "qemu:allocation-depth"), [
            (0, 4096, 0, "absent"), (4096, MIB - 4096, 3, "backing depth 3"), (MIB, MIB, 2, "backing depth 2"),
            (2 * MIB, 2 * MIB, 0, "absent"), (4 * MIB, 4096, 1, "local"),
            (4 * MIB + 4096, 4 * MIB - 4096, 0, "absent")])
        self.assertEqual(self.map(f"{disk}@two", "qemu:allocation-depth"), [
            (0, MIB, 2, "backing depth 2"), (MIB, MIB, 1, "local"), (2 * MIB, 6 * MIB, 0, "absent")])
        self.assertEqual(self.map(disk, "qemu:dirty-bitmap:two"), [
            (0, 4096, 1, "dirty"), (4096, 4 * MIB - 4096, 0, "clean"), (4 * MIB, 4096, 1, "dirty"),
            (4 * MIB + 4096, 4 * MIB - 4096, 0, "clean")])
        # QEMU's own view of the layers.
        options = (f"driver=nbd,export={disk},server.type=unix,server.path={self.store.daemon.socket},"
                   f"x-dirty-bitmap=qemu:allocation-depth")
        mapped = json.loads(run(tool("qemu-img"), "map", "--output=json", "--image-opts", options).stdout)
        self.assertTrue(mapped)

    def test_contexts_at_once(self):
        disk = self.new_disk("4M")
        self.store.run("snapshot", f"{disk}@one")
        names = ("base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:one")
        handle = self.connect(disk, *names)
        self.assertTrue(all(handle.can_meta_context(name) for name in names))
        handle.pwrite(b"x" * 4096, MIB)
        seen = {}

        def take(name, offset, entries, _error):
            seen[name] = entries

        handle.block_status(4 * MIB, 0, take)
        rest = 3 * MIB - 4096
        self.assertEqual(seen, {names[0]: [MIB, 3, 4096, 0, rest, 3], names[1]: [MIB, 0, 4096, 1, rest, 0],
                                names[2]: [MIB, 0, 4096, 1, rest, 0]})
        handle.block_status(4 * MIB, 0, take, nbd.CMD_FLAG_REQ_ONE)
        self.assertEqual(set(map(tuple, seen.values())), {(MIB, 3), (MIB, 0)})
        handle.shutdown()

    def test_every_command_with_every_flag(self):
        handle = self.connect(self.new_disk("64M"), "base:allocation")
        data = os.urandom(100_001)
        handle.pwrite(data, 777, nbd.CMD_FLAG_FUA)
        for flags in (0, nbd.CMD_FLAG_DF, nbd.CMD_FLAG_FUA, nbd.CMD_FLAG_DF | nbd.CMD_FLAG_FUA):
            self.assertEqual(handle.pread(len(data), 777, flags), data)
        most = os.urandom(32 * MIB)
        handle.pwrite(most, 12345)
        self.assertEqual(handle.pread(32 * MIB, 12345, nbd.CMD_FLAG_DF), most)
        fua = nbd.CMD_FLAG_FUA
        for flags in (0, fua, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO, nbd.CMD_FLAG_FAST_ZERO | fua,
                      nbd.CMD_FLAG_NO_HOLE | fua):
            handle.pwrite(b"x" * 8192, 0)
            handle.zero(8000, 100, flags)
            self.assertEqual(handle.pread(8192, 0), b"x" * 100 + bytes(8000) + b"x" * 92)
        for flags in (0, fua):
            handle.trim(4096, 4096, flags)
            self.assertEqual(handle.pread(4096, 4096), bytes(4096))
            handle.cache(64 * MIB, 0, flags)
            handle.flush(flags)
        handle.shutdown()

    def test_every_error(self):
        disk = self.new_disk("40M")
        handle = self.connect(disk, "base:allocation")
        end = 40 * MIB

        def nothing(*_):
            return 0

        self.fails(errno.EINVAL, handle.pread, 2, end - 1)
        self.fails(errno.EINVAL, handle.pread, 1, 1 << 62)
        self.fails(errno.ENOSPC, handle.pwrite, b"xx", end - 1)
        self.fails(errno.ENOSPC, handle.zero, 2, end - 1)
        self.fails(errno.EINVAL, handle.trim, 2, end - 1)
        self.fails(errno.EINVAL, handle.cache, 2, end - 1)
        self.fails(errno.EINVAL, handle.block_status, 2, end - 1, nothing)
        self.fails(errno.EINVAL, handle.pread, 32 * MIB + 1, 0)
        self.fails(errno.EOVERFLOW, handle.pread, 32 * MIB + 1, 0, nbd.CMD_FLAG_DF)
        self.fails(errno.EINVAL, handle.pwrite, bytes(32 * MIB + 1), 0)
        self.fails(errno.ENOTSUP, handle.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
        # A flag that the command doesn't have, an unknown one, and that of payloads without extended headers.
        self.fails(errno.EINVAL, handle.pwrite, b"x", 0, nbd.CMD_FLAG_DF)
        self.fails(errno.EINVAL, handle.trim, 512, 0, nbd.CMD_FLAG_NO_HOLE)
        for unknown in (1 << 5, 1 << 6, 1 << 15):
            self.fails(errno.EINVAL, handle.pread, 512, 0, unknown)
            self.fails(errno.EINVAL, handle.pwrite, b"x", 0, unknown)
        handle.pwrite(b"still in step", 0)
        self.assertEqual(handle.pread(13, 0), b"still in step")
        handle.shutdown()
        self.store.run("snapshot", f"{disk}@one")
        snapshot = self.connect(f"{disk}@one")
        self.fails(errno.EPERM, snapshot.pwrite, b"x", 0)
        self.fails(errno.EPERM, snapshot.trim, 512, 0)
        self.fails(errno.EPERM, snapshot.zero, 512, 0)
        self.fails(errno.EINVAL, snapshot.block_status, 512, 0, nothing)  # no context
        snapshot.flush()
        self.assertEqual(snapshot.pread(13, 0), b"still in step")
        snapshot.shutdown()

    def test_nbdsh(self):
        script = "h.pwrite(b'hello', 4094); h.flush(); print(bytes(h.pread(5, 4094)), h.get_size(), h.can_multi_conn())"
        # It takes the first python3 on the path, and only Debian's own has its module.
        done = run(tool("env"), "PATH=/usr/bin:/bin", tool("nbdsh"), "-u", self.store.uri(self.new_disk("1M")), "-c", script)
        self.assertEqual(done.stdout.decode().strip(), "b'hello' 1048576 True")

    def test_what_one_connection_was_answered_all_others_see(self):
        disk = self.new_disk("4M")
        handles = [self.connect(disk) for _ in range(4)]
        for turn in range(64):
            writer, reader = handles[turn % 4], handles[(turn + 1) % 4]
            data = os.urandom(5000)
            writer.pwrite(data, turn * 4321)
            self.assertEqual(reader.pread(5000, turn * 4321), data)
            handles[(turn + 2) % 4].flush()
        for handle in handles:
            handle.shutdown()

    def test_a_new_size_is_what_the_next_client_sees(self):
        disk = self.new_disk("4M")
        first = self.connect(disk)
        first.pwrite(b"x" * 4096, 4 * MIB - 4096)
        done = self.store.run("resize", disk, "--size", "6M", expect=2)
        self.assertIn(disk, done.stderr.decode())
        first.shutdown()
        for size in (6, 2, 8):
            self.store.run("resize", disk, "--size", f"{size}M")
            handle = self.connect(disk)
            self.assertEqual(handle.get_size(), size * MIB)
            self.fails(errno.EINVAL, handle.pread, 1, size * MIB)
            handle.pwrite(b"y" * 512, size * MIB - 512)
            handle.shutdown()

    def test_null(self):
        path = self.store.file("null.sock")
        for arguments, says in ((["serve", "--null"], "--listen"),
                                (["--store", self.store.path, "serve", "--null", "--listen", path], "--store"),
                                (["--read-only", "serve", "--null", "--listen", path], "--read-only")):
            done = run(PROGRAM, *arguments, expect=2)
            self.assertIn(says, done.stderr.decode())
            self.assertEqual(done.stderr.count(b"\n"), 1)
        daemon = subprocess.Popen([PROGRAM, "serve", "--null", "--listen", path], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.kill)
        self.assertTrue(daemon.stdout.readline().startswith(b"listening on"))
        handle = nbd.NBD()
        handle.connect_uri(f"nbd+unix:///null?socket={path}")
        self.assertEqual(handle.get_size(), 1 << 40)
        handle.pwrite(b"x" * 4096, 1 << 39, nbd.CMD_FLAG_FUA)
        handle.zero(1 << 30, 0)
        handle.flush()
        self.assertEqual(handle.pread(4096, 1 << 39), bytes(4096))
        handle.shutdown()
        run(NBDINFO, f"nbd+unix:///other?socket={path}", expect=1)
        daemon.terminate()
        self.assertEqual(daemon.wait(timeout=60), 0)
        daemon.stdout.close()

    @unittest.skipUnless(os.path.exists("/dev/fuse"), "no /dev/fuse")
    def test_nbdfuse(self):
        disk = self.new_disk("16M")
        folder = self.store.file("fuse")
        os.mkdir(folder)
        path = os.path.join(folder, "disk")
        process = subprocess.Popen([tool("nbdfuse"), path, self.store.uri(disk)])
        try:
            wait_until(lambda: process.poll() is not None or os.path.exists(path), "nbdfuse mounts")
            self.assertIsNone(process.poll(), "nbdfuse ended")
            data = os.urandom(3 * MIB + 5)
            with open(path, "r+b") as file:
                file.seek(12345)
                file.write(data)
                os.fsync(file.fileno())
            with open(path, "rb") as file:
                self.assertEqual(os.fstat(file.fileno()).st_size, 16 * MIB)
                file.seek(12345)
                self.assertEqual(file.read(len(data)), data)
        finally:
            subprocess.run([tool("fusermount3"), "-u", folder], check=False)
            process.wait(timeout=60)
        self.assertEqual(self.connect(disk).pread(len(data), 12345), data)


if __name__ == "__main__":
    unittest.main(verbosity=2)
