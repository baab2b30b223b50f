"""Disks over a qcow2 image: beside what qemu-img makes of the same image, for all that the format may hold; and what is
damaged, or needs more than is read, in plain words."""
import os
import random
import shutil
import struct
import unittest

import nbd

from coppice import MIB, StoreTest, random_image, run, tool

QEMU_IMG = tool("qemu-img")
QEMU_IO = tool("qemu-io")
SIZE = 23 * MIB + 512


class Qcow2(StoreTest):
    def make(self, name, *options, size=SIZE, seed=1, writes=40):
        """An image with data, holes, zeroes and what was written over, by QEMU itself."""
        path = self.store.file(name + ".qcow2")
        run(QEMU_IMG, "create", "-q", "-f", "qcow2", *options, path, str(size))
        source = random.Random(seed)
        commands = []
        for _ in range(writes):
            unit = source.choice([512, 4096, 65536])
            length = unit * source.randrange(1, 24)
            offset = source.randrange(0, (size - length) // unit) * unit
            kind = source.choice(["write -P {}", "write -P {}", "write -z", "write -z -u", "discard"])
            commands += ["-c", f"{kind.format(source.randrange(1, 255))} {offset} {length}"]
        run(QEMU_IO, "-f", "qcow2", "-d", "unmap", *commands, path)
        return path

    def raw_of(self, path):
        raw = path + ".raw"
        run(QEMU_IMG, "convert", "-f", "qcow2", "-O", "raw", path, raw)
        return raw

    def same(self, raw, export):
        run(QEMU_IMG, "compare", "-f", "raw", "-F", "raw", raw, self.store.uri(export))

    def over(self, name, path, *options):
        return self.store.json("create", name, "--base", path, *options)

    def test_like_what_qemu_makes_of_it(self):
        kinds = {
            "c512": ("-o", "cluster_size=512"),
            "c4k": ("-o", "cluster_size=4k"),
            "c64k": ("-o", "cluster_size=64k"),
            "c2m": ("-o", "cluster_size=2M"),
            "v2": ("-o", "compat=0.10"),
            "v2c1k": ("-o", "compat=0.10,cluster_size=1k"),
            "lazy": ("-o", "lazy_refcounts=on"),
            "falloc": ("-o", "preallocation=falloc"),
            "metadata": ("-o", "preallocation=metadata"),
            "refs1": ("-o", "refcount_bits=1"),
        }
        for seed, (name, options) in enumerate(kinds.items()):
            with self.subTest(name):
                path = self.make(name, *options, seed=seed)
                raw = self.raw_of(path)
                made = self.over(name, path)
                self.assertEqual(made["size"], SIZE)
                self.same(raw, name)
                info = self.store.json("info", name)["base"]
                self.assertEqual((info["format"], info["size"], info["problem"]), ("qcow2", SIZE, ""))

    def test_packed_clusters(self):
        plain = random_image(self.store.file("plain.raw"), SIZE, 3)
        with open(plain, "r+b") as image:  # something that shrinks
            for at in range(0, 8 * MIB, 3 * 65536):
                image.seek(at)
                image.write(b"all work and no play " * 5000)
        for kind in ("zlib", "zstd"):
            for cluster in ("4k", "64k", "2M"):
                with self.subTest(kind=kind, cluster=cluster):
                    name = f"{kind}{cluster}"
                    path = self.store.file(name + ".qcow2")
                    run(QEMU_IMG, "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                        f"compression_type={kind},cluster_size={cluster}", plain, path)
                    # Some of it is plain again, some zeroes.
                    run(QEMU_IO, "-f", "qcow2", "-c", "write -P 9 1M 300k", "-c", "write -z 2M 1M", path)
                    self.over(name, path)
                    self.same(self.raw_of(path), name)

    def test_the_state_it_has_now_not_its_snapshots(self):
        path = self.make("inside", seed=20)
        run(QEMU_IMG, "snapshot", "-c", "old", path)
        run(QEMU_IO, "-f", "qcow2", "-c", "write -P 77 0 3M", path)
        self.over("inside", path)
        self.same(self.raw_of(path), "inside")

    def test_guest_writes_snapshots_and_flatten(self):
        path = self.make("guest", seed=30)
        with open(path, "rb") as image:
            kept = image.read()
        before = self.raw_of(path)
        written = shutil.copy(before, self.store.file("written.raw"))
        self.over("guest", path)
        self.store.run("snapshot", "guest@before")
        source = random.Random(31)
        with open(written, "r+b") as copy:
            disk = nbd.NBD()
            disk.connect_uri(self.store.uri("guest"))
            for _ in range(300):
                length = source.randrange(1, 40_000)
                offset = source.randrange(0, SIZE - length)
                content = source.randbytes(length)
                disk.pwrite(content, offset)
                copy.seek(offset)
                copy.write(content)
            disk.shutdown()
        self.same(written, "guest")
        self.same(before, "guest@before")
        self.assertIn("guest@before", self.refused("flatten", "guest", says=("guest",)))
        self.store.run("rm", "guest@before")
        self.store.run("flatten", "guest", "--wait")
        with open(path, "rb") as image:
            self.assertEqual(image.read(), kept)
        os.remove(path)
        self.same(written, "guest")

    def test_holes_are_told_as_such(self):
        path = self.store.file("sparse.qcow2")
        run(QEMU_IMG, "create", "-q", "-f", "qcow2", path, "1T")
        run(QEMU_IO, "-f", "qcow2", "-c", "write 512G 1M", path)
        self.over("sparse", path)
        self.store.run("flatten", "sparse", "--wait")
        self.assertEqual(self.store.json("du", "sparse")[0]["own"], 1 * MIB)

    def test_what_needs_more_than_is_read(self):
        self.make("below", seed=40)
        refusals = {
            "overlay": (("-b", self.store.file("below.qcow2"), "-F", "qcow2"), "below.qcow2"),
            "subclusters": (("-o", "extended_l2=on,cluster_size=128k"), "extended_l2"),
            "outside": (("-o", f"data_file={self.store.file('outside.data')}"), "another file"),
            "luks": (("--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"), "encrypted"),
        }
        for name, (options, says) in refusals.items():
            with self.subTest(name):
                path = self.store.file(name + ".qcow2")
                run(QEMU_IMG, "create", "-q", "-f", "qcow2", *options, path, "8M")
                self.refused("create", name, "--base", path, says=(path, says))
        other = self.store.file("other.vmdk")
        run(QEMU_IMG, "create", "-q", "-f", "vmdk", other, "8M")
        self.refused("create", "other", "--base", other, says=("vmdk", "raw or qcow2"))
        self.refused("create", "other", "--base", random_image(self.store.file("some.raw"), MIB, 1), "--format", "qcow2",
                     says=("no qcow2 image",))

    def test_taken_for_raw_where_one_says_so(self):
        path = self.make("as-raw", seed=50)
        self.over("as-raw", path, "--format", "raw")
        handle = nbd.NBD()
        handle.connect_uri(self.store.uri("as-raw"))
        self.assertEqual(bytes(handle.pread(512, 0))[:4], b"QFI\xfb")
        handle.shutdown()

    def test_gone_changed_and_moved(self):
        path = self.make("moved", seed=60)
        raw = self.raw_of(path)
        self.over("moved", path)
        elsewhere = self.store.file("elsewhere.qcow2")
        shutil.copy(path, elsewhere)
        run(QEMU_IO, "-f", "qcow2", "-c", "write -P 1 0 64k", path)
        self.refused("export", "moved", self.store.file("none.raw"), says=("moved", path))
        os.remove(path)
        self.refused("export", "moved", self.store.file("none.raw"), says=("is not there",))
        self.refused("set", "moved", f"base={raw}", says=(raw,))
        self.store.run("set", "moved", f"base={elsewhere}")
        self.same(raw, "moved")

    def test_a_damaged_table_is_an_error_and_nothing_worse(self):
        whole = self.make("whole", seed=70, writes=80)
        with open(whole, "rb") as file:
            image = file.read()
        l1_entries, l1_offset = struct.unpack_from(">IQ", image, 36)
        tables = [struct.unpack_from(">Q", image, l1_offset + 8 * i)[0] & 0x00FFFFFFFFFFFE00 for i in range(l1_entries)]
        places = [(0, 104), (l1_offset, 8 * l1_entries)] + [(table, 4096) for table in tables if table]
        source = random.Random(71)
        refused = failed = read = 0
        for number in range(40):
            broken = bytearray(image)
            at, length = places[0] if number < 12 else source.choice(places[1:])
            for _ in range(source.choice([1, 2, 8])):
                broken[at + source.randrange(length)] = source.randrange(256)
            path = self.store.file(f"broken{number}.qcow2")
            with open(path, "wb") as file:
                file.write(broken)
            done = self.store.run("create", f"broken{number}", "--base", path, "--format", "qcow2", "--size", "23M", expect=None)
            if done.returncode != 0:
                self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
                refused += 1
                continue
            disk = nbd.NBD()
            disk.connect_uri(self.store.uri(f"broken{number}"))
            for offset in range(0, 23 * MIB, MIB):
                try:
                    disk.pread(MIB, offset)
                    read += 1
                except nbd.Error as error:
                    self.assertEqual(error.errno, "EIO")
                    failed += 1
            disk.shutdown()
        self.assertTrue(self.store.daemon.alive())
        self.assertGreater(min(refused, failed, read), 0, (refused, failed, read))


if __name__ == "__main__":
    unittest.main()
