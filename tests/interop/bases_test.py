"""Disks over a read-only image: against the same operations on a copy, when the image goes or changes, flattened."""
import os
import random
import shutil
import unittest

import nbd

from coppice import MIB, Store, StoreTest, random_image, run, same_files, tool, wait_until

QEMU_IMG = tool("qemu-img")
QEMU_IO = tool("qemu-io")
SIZE = 37 * MIB + 1536


def operations(seed, size):
    """The same for a disk and for a plain file."""
    source = random.Random(seed)
    commands = []
    for _ in range(60):
        unit = source.choice([1, 512, 4096, 65536])
        length = unit * source.randrange(1, 40)
        offset = source.randrange(0, (size - length) // unit) * unit
        kind = source.choice(["write -P {pattern}", "write -P {pattern}", "write -z", "write -z -u", "discard"])
        if unit < 512 and kind != "write -P {pattern}":
            kind = "write -P {pattern}"
        # A plain file is zeroed where it is discarded: `discard` there may do nothing.
        commands.append((kind.format(pattern=source.randrange(1, 255)), offset, length))
    return commands


class WithDaemon(StoreTest):
    def image(self, name, seed, size=SIZE, holes=True):
        return random_image(self.store.file(name), size, seed, holes)

    def io(self, target, commands, zeroes):
        arguments = []
        for command, offset, length in commands:
            arguments += ["-c", f"{zeroes if command == 'discard' else command} {offset} {length}"]
        done = run(QEMU_IO, "-f", "raw", "-d", "unmap", *arguments, target)
        self.assertNotIn(b"failed", done.stdout)

    def compare(self, image, export):
        run(QEMU_IMG, "compare", "-f", "raw", "-F", "raw", image, self.store.uri(export))

    def test_like_the_same_operations_on_a_copy(self):
        for number, size in enumerate((None, "45M", "20M")):
            base = self.image(f"like{number}.raw", seed=number)
            copy = self.store.file(f"copy{number}.raw")
            shutil.copy(base, copy)
            before = self.store.file(f"before{number}.raw")
            shutil.copy(base, before)
            disk = f"like{number}"
            made = self.store.json("create", disk, "--base", base, *(("--size", size) if size else ()))
            self.assertEqual((made["size"], made["base"]), (int(size[:-1]) * MIB if size else SIZE, os.path.realpath(base)))
            os.truncate(copy, made["size"])
            self.compare(copy, disk)
            self.store.run("snapshot", f"{disk}@one")
            commands = operations(number, made["size"])
            self.io(self.store.uri(disk), commands, "discard")
            self.io(copy, commands, "write -z")
            self.compare(copy, disk)
            os.truncate(before, made["size"])
            self.compare(before, f"{disk}@one")
            self.store.run("clone", f"{disk}@one", f"{disk}-clone")
            self.compare(before, f"{disk}-clone")
            out = self.store.file("out.raw")
            self.store.run("export", disk, out, "--force")
            self.assertTrue(same_files(out, copy))
        self.store.run("check", "--data")

    def test_the_image_is_never_written(self):
        base = self.image("kept.raw", seed=11)
        kept = self.store.file("kept.copy")
        shutil.copy2(base, kept)
        os.chmod(base, 0o444)
        self.store.run("create", "kept", "--base", base)
        self.io(self.store.uri("kept"), operations(5, SIZE), "discard")
        self.store.run("flatten", "kept", "--wait")
        self.assertTrue(same_files(base, kept))
        self.assertEqual(os.stat(base).st_mtime_ns, os.stat(kept).st_mtime_ns)

    def test_a_client_is_told_what_is_data(self):
        base = self.store.file("sparse.raw")
        with open(base, "wb") as file:
            file.truncate(16 * MIB)
            file.seek(8 * MIB)
            file.write(b"x" * MIB)
        self.store.run("create", "sparse", "--base", base, "--size", "20M")
        self.io(self.store.uri("sparse"), [("discard", 8 * MIB, 65536), ("write -P 1", 2 * MIB, 65536)], "discard")
        client = nbd.NBD()
        client.add_meta_context("base:allocation")
        client.connect_uri(self.store.uri("sparse"))
        found = []
        client.block_status(20 * MIB, 0, lambda _, offset, entries, __: found.extend(entries))
        client.shutdown()
        ends, at = [], 0
        for length, flags in zip(found[::2], found[1::2]):
            at += length
            ends.append((at, flags))
        self.assertEqual(ends, [(2 * MIB, 3), (2 * MIB + 65536, 0), (8 * MIB + 65536, 3), (9 * MIB, 0), (20 * MIB, 3)])

    def test_a_snapshot_as_the_base_is_a_clone(self):
        self.store.run("create", "origin", "--size", "4M")
        self.store.run("snapshot", "origin@one")
        self.assertEqual(self.store.json("create", "over", "--base", "origin@one"), {"name": "over", "from": "origin@one"})
        self.refused("create", "over2", "--base", "origin@one", "--size", "8M", says=("over2", "--size", "clone"))
        self.refused("create", "over2", "--base", "origin@none", says=("origin@none",))
        self.assertIsNone(self.store.json("info", "over")["base"])

    def test_what_is_refused(self):
        qcow2 = self.store.file("image.qcow2")
        run(QEMU_IMG, "create", "-f", "qcow2", qcow2, "1M")
        vmdk = self.store.file("image.vmdk")
        run(QEMU_IMG, "create", "-f", "vmdk", vmdk, "1M")
        self.refused("create", "new", "--base", vmdk, says=(vmdk, "vmdk", "qemu-img convert"))
        self.refused("create", "new", "--base", self.store.file("nothing.raw"), says=("nothing.raw", "No such file"))
        self.refused("create", "new", "--base", self.store.folder, says=(self.store.folder,))
        self.refused("create", "new", "--base", "/dev/null", says=("/dev/null", "file or a block device"))
        self.refused("create", "new", says=("new", "--size", "--base"))
        self.refused("create", "new", "--size", "1M", "--format", "raw", says=("--format", "--base"))
        self.refused("create", "new", "--base", vmdk, "--format", "vmdk", says=("new", "raw"))
        disk = self.new_disk("1M")
        self.refused("flatten", disk, says=(disk, "no base"))
        self.refused("flatten", disk, "--stop", says=(disk, "not being flattened"))
        self.refused("set", disk, f"base={qcow2}", says=(disk, "no base"))
        self.store.run("create", "as-raw", "--base", qcow2, "--format", "raw")
        self.compare(qcow2, "as-raw")

    def test_a_shared_base_is_not_flattened(self):
        base = self.image("shared.raw", seed=21, size=2 * MIB)
        self.store.run("create", "shared", "--base", base)
        self.store.run("snapshot", "shared@one")
        self.refused("flatten", "shared", says=("shared", "shared@one", "export"))
        self.store.run("rm", "shared@one")
        self.store.run("flatten", "shared", "--wait")
        self.store.run("snapshot", "shared@one")

    def test_flatten_beside_a_writer_through_kills(self):
        base = self.image("busy.raw", seed=31, size=96 * MIB, holes=False)
        copy = self.store.file("busy.copy")
        shutil.copy(base, copy)
        self.store.run("create", "busy", "--base", base)
        self.assertEqual(self.store.json("flatten", "busy")["state"], "running")
        state = self.store.json("info", "busy")["base"]["flatten"]
        self.assertEqual((state["running"], state["total"]), (True, 96 * MIB))
        self.refused("snapshot", "busy@one", says=("busy", "--stop"))
        for number in range(3):
            commands = operations(100 + number, 96 * MIB)
            self.io(self.store.uri("busy"), commands, "discard")
            self.io(copy, commands, "write -z")
            self.store.daemon.kill()
            self.store.serve()
        self.compare(copy, "busy")
        wait_until(lambda: self.store.json("info", "busy")["base"] is None, "the end of a flatten")
        os.remove(base)
        self.compare(copy, "busy")
        self.store.daemon.kill()
        self.store.serve()
        self.compare(copy, "busy")
        self.store.run("snapshot", "busy@one")
        self.store.run("check", "--data")

    def test_flatten_stopped(self):
        base = self.image("stopped.raw", seed=41, size=64 * MIB, holes=False)
        self.store.run("create", "stopped", "--base", base)
        self.store.run("flatten", "stopped")
        self.assertIn(b"stays", self.store.run("flatten", "stopped", "--stop").stdout)
        self.assertIsNone(self.store.json("info", "stopped")["base"]["flatten"])
        self.store.run("snapshot", "stopped@one")
        self.compare(base, "stopped@one")

    def test_the_image_goes_and_changes_while_it_is_served(self):
        base = self.image("served.raw", seed=51, size=4 * MIB)
        self.store.run("create", "served", "--base", base)
        other = self.new_disk("1M")
        os.rename(base, base + ".away")
        self.store.daemon.stop()
        self.store.serve()
        with open(self.store.file("daemon.log")) as log:
            self.assertIn(f"disk served: its base {base} is not there", log.read())
        self.io(self.store.uri(other), [("write -P 1", 0, 4096)], "discard")
        self.refused("export", "served", self.store.file("no.raw"), says=("served", base, "not there", "coppice set served base=PATH"))
        done = run(QEMU_IMG, "info", self.store.uri("served"), expect=None)
        self.assertNotEqual(done.returncode, 0)
        self.store.run("set", "served", f"base={base}.away")
        self.compare(base + ".away", "served")
        with open(base + ".away", "r+b") as file:
            file.write(b"changed")
        self.refused("export", "served", self.store.file("no.raw"), says=("served", "another content"))
        self.refused("set", "served", f"base={base}.away", says=("served", "another image"))
        self.assertIn("another content", self.store.run("check", expect=1).stdout.decode())
        self.store.run("rm", "served", "--now")
        self.store.run("check")


class WithoutDaemon(unittest.TestCase):
    def setUp(self):
        self.store = Store("alone")
        self.base = random_image(self.store.file("base.raw"), SIZE, seed=7)

    def tearDown(self):
        self.store.remove()

    def test_flatten_returns_when_it_is_done(self):
        os.chdir(self.store.folder)
        try:
            self.store.run("create", "disk", "--base", "base.raw")
        finally:
            os.chdir("..")
        self.assertEqual(self.store.json("info", "disk")["base"]["path"], os.path.realpath(self.base))
        self.assertEqual(self.store.json("flatten", "disk")["state"], "done")
        os.rename(self.base, self.base + ".away")
        self.store.run("export", "disk", self.store.file("out.raw"))
        self.assertTrue(same_files(self.base + ".away", self.store.file("out.raw")))
        self.store.run("check", "--data")

    def test_a_flatten_that_was_killed_goes_on(self):
        big = random_image(self.store.file("big.raw"), 256 * MIB, seed=8, holes=False)
        self.store.run("create", "disk", "--base", big)
        killed = self.store.start("flatten", "disk")
        used = self.store.file("store/pool")
        wait_until(lambda: os.stat(used).st_blocks * 512 > 24 * MIB or killed.poll() is not None, "some of it")
        killed.kill()
        killed.communicate()
        self.store.run("export", "disk", self.store.file("out.raw"))
        self.assertTrue(same_files(big, self.store.file("out.raw")))
        self.store.run("flatten", "disk")
        os.remove(big)
        self.store.run("export", "disk", self.store.file("again.raw"))
        self.assertTrue(same_files(self.store.file("out.raw"), self.store.file("again.raw")))
        self.store.run("check", "--data")

    def test_others_work_when_a_base_is_gone(self):
        self.store.run("create", "disk", "--base", self.base)
        self.store.run("create", "other", "--size", "1M")
        os.remove(self.base)
        done = self.store.run("ls")
        self.assertIn(b"is not there", done.stdout)
        self.assertEqual(done.stderr, b"")
        done = self.store.run("export", "disk", self.store.file("no.raw"), expect=2)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.store.run("export", "other", self.store.file("other.raw"))
        self.store.run("snapshot", "disk@one")
        self.store.run("check", expect=1)
        self.store.run("rm", "disk", "--snapshots", "--now")
        self.store.run("check")


if __name__ == "__main__":
    unittest.main(verbosity=2)
