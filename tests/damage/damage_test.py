"""Every kind of damage of docs/durability.md, one at a time: exact data, EIO for what is lost and nothing else, a
read-only store with the reason, or a refusal with the reason."""
import errno
import os
import shutil
import subprocess
import unittest

import nbd

from coppice import MIB, Daemon, Store, run, wait_until
from damaged import BLOCK, PLACES, QEMU_IO, RING, DamagedStore, batches, flip, overwrite, tree_of, zero


class Damage(unittest.TestCase):
    state = "clean"
    pools = ()

    @classmethod
    def setUpClass(cls):
        cls.store = DamagedStore(cls.state, cls.pools)

    @classmethod
    def tearDownClass(cls):
        cls.store.remove()

    def setUp(self):
        self.store.restore()

    def exact(self, *options, says=""):
        """Opens, and everything is as it was."""
        listed = self.store.run(*options, "ls")
        self.assertIn(says, listed.stderr.decode())
        for name in self.store.names():
            self.assertEqual(self.store.judge(name, *options), 0, name)
        if not options:
            self.store.run("create", "another", "--size", "1M")
        self.store.run(*options, "check", "--data")

    def refused(self, *says, options=()):
        done = self.store.run(*options, "ls", expect=2)
        text = done.stderr.decode()
        self.assertEqual(done.stdout, b"")
        for part in says:
            self.assertIn(part, text)
        return text

    def refused_by_all(self, *says):
        before = tree_of(self.store.path)
        self.refused(*says)
        self.refused(*says, options=("--read-only",))
        return before

    def lost(self, expect=None):
        """Served: blocks that answer EIO, by disk; no other bytes anywhere."""
        self.store.serve()
        lost = {name: self.store.unreadable(self.store.uri, name) for name in self.store.names()}
        self.store.daemon.kill()
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            self.log = log.read()
        return {name: blocks for name, blocks in lost.items() if blocks}


class Clean(Damage):
    def test_nothing(self):
        self.exact()

    def test_read_only_writes_nothing(self):
        before = tree_of(self.store.path)
        self.exact("--read-only")
        for verb in (["ls"], ["tree"], ["info", "disk"], ["diff", "disk@one", "disk"], ["du"], ["check"], ["dump"]):
            self.store.run("--read-only", *verb)
        for verb in (["create", "x", "--size", "1M"], ["snapshot", "disk@x"], ["rm", "disk@one"],
                     ["rollback", "disk@one"], ["clone", "disk@one", "x"], ["rename", "disk", "x"],
                     ["resize", "disk", "--size", "1G"], ["set", "disk", "strict=on"]):
            done = self.store.run("--read-only", *verb, expect=2)
            self.assertIn(b"read-only", done.stderr, verb)
            self.assertEqual(done.stderr.count(b"\n"), 1, verb)
        self.store.run("--read-only", "init", expect=2)
        self.assertEqual(tree_of(self.store.path), before)

    def test_one_superblock(self):
        for place in PLACES:
            self.store.restore()
            flip(self.store.pool, place + 200)
            self.exact(says="1 of its 4 superblocks")

    def test_superblocks_two_of_a_state(self):
        for pair in (PLACES[:2], PLACES[2:]):
            self.store.restore()
            for place in pair:
                zero(self.store.pool, place)
            self.exact(says="2 of its 4 superblocks")

    def test_superblocks_three(self):
        for kept in PLACES:
            self.store.restore()
            for place in PLACES:
                if place != kept:
                    flip(self.store.pool, place + 300)
            self.exact(says="3 of its 4 superblocks")

    def test_superblocks_four(self):
        for place in PLACES:
            flip(self.store.pool, place + 16)
        self.refused_by_all("none of its superblocks is valid", self.store.pool)
        for place in PLACES:
            zero(self.store.pool, place)
        self.refused_by_all("is not a coppice pool", self.store.pool)

    def test_journal_of_a_clean_store_is_not_needed(self):
        zero(self.store.pool, RING, 4 * MIB)
        self.exact()

    def test_slab_header(self):
        flip(self.store.pool, self.store.slab() + 20)
        self.exact(says="header of slab 0 is damaged")
        self.assertEqual(self.store.run("ls").stderr, b"")

    def test_slab_of_another_place(self):
        other = DamagedStore("clean")
        with open(other.pool, "rb") as file:
            file.seek(other.slab())
            header = file.read(BLOCK)
        other.remove()
        overwrite(self.store.pool, self.store.slab(), header)
        self.refused_by_all("another slab")

    def test_granule_page(self):
        for copies in ((0,), (1,), (0, 1)):
            self.store.restore()
            for copy in copies:
                flip(self.store.pool, self.store.granules() + copy * BLOCK + 100)
            self.exact()

    def test_bitmap_page(self):
        for how in (flip, zero):
            for copies in ((0,), (1,), (0, 1)):
                self.store.restore()
                for copy in copies:
                    how(self.store.pool, self.store.bitmap() + copy * BLOCK)
                self.exact(says="made anew from the map")
                self.assertEqual(self.store.run("ls").stderr, b"")
                self.store.restore()
                for copy in copies:
                    how(self.store.pool, self.store.bitmap() + copy * BLOCK)
                self.exact("--read-only")

    def test_checksum_page(self):
        for copies in ((0,), (1,), (0, 1)):
            self.store.restore()
            for copy in copies:
                flip(self.store.pool, self.store.checksums() + copy * BLOCK + 200)
            lost = self.lost()
            if len(copies) == 2:
                self.assertTrue(lost)
                self.assertIn("checksum", self.log)
                done = self.store.run("check", "--json", expect=1)
                self.assertIn(b"lost their checksums", done.stdout)
                self.assertNotIn(b'"unverifiable": 0,', done.stdout)

    def test_data_block(self):
        flip(self.store.pool, self.store.block_of(1) + 100)
        lost = self.lost()
        self.assertEqual(max(len(blocks) for blocks in lost.values()), 1, lost)
        self.assertIn("checksum mismatch", self.log)
        self.store.run("check", "--data", expect=1)

    def test_pool_file(self):
        pool = self.store.pool
        os.rename(pool, pool + ".away")
        self.refused_by_all(pool, "is missing")
        open(pool, "wb").close()
        self.refused_by_all(pool, "cut short")
        shutil.copy(pool + ".away", pool)
        os.truncate(pool, self.store.slab() + 1 * MIB)
        self.refused(pool, "cut short", "read-only")
        self.store.run("--read-only", "ls")

    def test_cut_pool_can_be_read(self):
        os.truncate(self.store.pool, self.store.data() + 64 * BLOCK)
        self.assertIn("can't be read", self.store.run("--read-only", "ls").stderr.decode())
        for name in self.store.names():
            self.store.judge(name, "--read-only")

    def test_pool_of_another_store(self):
        other = DamagedStore("clean")
        try:
            shutil.copy(other.pool, self.store.pool)
        finally:
            other.remove()
        self.refused_by_all(self.store.pool, "belongs to another store")

    def test_map_of_another_store(self):
        other = DamagedStore("clean")
        try:
            shutil.rmtree(self.store.path + "/map")
            shutil.copytree(other.path + "/map", self.store.path + "/map")
        finally:
            other.remove()
        self.refused_by_all("map belongs to another store")

    def test_older_map_and_older_pool(self):
        old_map, old_pool = self.store.file("old-map"), self.store.file("old-pool")
        shutil.rmtree(old_map, ignore_errors=True)
        shutil.copytree(self.store.path + "/map", old_map)
        shutil.copy(self.store.pool, old_pool)
        self.store.run("create", "later", "--size", "1M")
        self.store.run("create", "latest", "--size", "1M")
        shutil.copy(self.store.pool, self.store.file("new-pool"))
        shutil.copy(old_pool, self.store.pool)
        self.refused_by_all("older")
        shutil.copy(self.store.file("new-pool"), self.store.pool)
        shutil.rmtree(self.store.path + "/map")
        shutil.copytree(old_map, self.store.path + "/map")
        self.refused_by_all("older")

    def test_map(self):
        folder = self.store.path + "/map"
        for damage in ("CURRENT", "MANIFEST"):
            self.store.restore()
            for name in os.listdir(folder):
                if name.startswith(damage):
                    os.remove(os.path.join(folder, name))
            self.refused_by_all("map")
        self.store.restore()
        shutil.rmtree(folder)
        self.refused_by_all("map")

    def test_manifest_cut(self):
        """RocksDB takes one that ends with a whole record for what it says, an older state of everything."""
        folder = self.store.path + "/map"
        name, = [name for name in os.listdir(folder) if name.startswith("MANIFEST")]
        size = os.path.getsize(os.path.join(folder, name))
        with open(os.path.join(folder, name), "rb") as file:
            text = file.read()
        ends, at = [], 0
        while at + 7 <= size:
            at += 7 + int.from_bytes(text[at + 4:at + 6], "little")
            ends.append(at)
        self.assertGreater(len(ends), 3)
        for cut in [0, size // 2] + [end for end in ends if end < size]:
            self.store.restore()
            os.truncate(os.path.join(folder, name), cut)
            self.refused_by_all("map")
        for end in ends[2:]:
            self.store.restore()
            if end + 7 <= size:
                overwrite(os.path.join(folder, name), end + 4, b"\xff\xff")  # the next record's length
                self.refused_by_all("map")

    def test_table_footer(self):
        """Sizes in it have no checksum, and RocksDB takes memory for whatever they say."""
        folder = self.store.path + "/map"
        for name in os.listdir(folder):
            if not name.endswith(".sst"):
                continue
            path = os.path.join(folder, name)
            for back, noise in ((52, b"\x80\x80\x80\x80\x80\x80\x01" * 2), (50, b"\xff" * 8), (45, b"\xff" * 9)):
                self.store.restore()
                overwrite(path, os.path.getsize(path) - back, noise)
                done = self.store.run("ls", expect=None)
                self.assertIn(done.returncode, (0, 2), done.stderr)

    def test_store_json(self):
        path = self.store.path + "/store.json"
        with open(path, "rb") as file:
            text = file.read()
        for content in (b"", text[:-10], b"\0" * len(text), b"[]", text.replace(b'"pools"', b'"pool"')):
            overwrite(path, 0, content)
            os.truncate(path, len(content))
            self.refused_by_all("store.json is damaged")
        os.remove(path)
        self.refused_by_all("store.json is missing")

    def test_staging(self):
        path = self.store.path + "/staging"
        for damage in (lambda: os.truncate(path, 1000), lambda: os.remove(path), lambda: zero(path, 0, 1 * MIB)):
            self.store.restore()
            damage()
            self.exact()

    @unittest.skipIf(os.geteuid() == 0, "root may write everything")
    def test_no_permission(self):
        os.chmod(self.store.pool, 0o400)
        self.exact_read_only_by_itself("permission denied")

    def exact_read_only_by_itself(self, says):
        text = self.store.run("ls").stderr.decode()
        self.assertIn("read-only", text)
        self.assertIn(says, text)
        for name in self.store.names():
            self.assertEqual(self.store.judge(name), 0)
        done = self.store.run("create", "x", "--size", "1M", expect=2)
        self.assertIn(says.encode(), done.stderr)


class Killed(Damage):
    state = "killed"

    def test_nothing(self):
        self.exact()

    def test_read_only_recovers_in_memory(self):
        before = tree_of(self.store.path)
        self.exact("--read-only")
        self.store.run("--read-only", "diff", "disk@one", "disk")
        self.assertEqual(tree_of(self.store.path), before)
        self.exact()

    def test_served_read_only(self):
        log = self.store.file("read-only.log")
        socket = os.path.join(self.store.path, "test.sock")
        self.store.daemon = Daemon(self.store.path, log, options=("--read-only",))
        self.assertEqual([], self.store.unreadable(self.store.uri, "disk"))
        info = run("nbdinfo", "--json", self.store.uri("disk")).stdout
        self.assertIn(b'"is_read_only": true', info)
        done = self.store.run("snapshot", "disk@x", expect=2)
        self.assertIn(b"read-only", done.stderr)
        self.store.daemon.stop()
        self.exact()

    def test_batches(self):
        """Each batch but the last: what is behind it was flushed, and is never taken back without a word."""
        found = batches(self.store.pool)
        self.assertGreater(len(found), 4)
        first_needed = None
        for sequence, offset in reversed(found[:-1]):
            self.store.restore()
            flip(self.store.pool, offset + 40)
            done = self.store.run("ls", expect=None)
            if done.returncode == 0:
                # Before the last checkpoint.
                first_needed = sequence + 1
                self.exact()
                break
            self.assertIn(f"batch {sequence} of its journal is lost", done.stderr.decode())
            self.assertEqual(self.store.run("--read-only", "ls", expect=2).stderr, done.stderr)
        self.assertLess(first_needed or 0, found[-1][0] - 2)

    def test_the_last_batch_too(self):
        sequence, offset = batches(self.store.pool)[-1]
        zero(self.store.pool, offset)
        self.refused_by_all(f"batch {sequence} of its journal is lost")

    def test_bitmap_page(self):
        for copies in ((0,), (1,), (0, 1)):
            self.store.restore()
            for copy in copies:
                flip(self.store.pool, self.store.bitmap() + copy * BLOCK + 50)
            self.exact(says="made anew from the map")

    def test_superblock_pair(self):
        for pair in (PLACES[:2], PLACES[2:]):
            self.store.restore()
            for place in pair:
                zero(self.store.pool, place)
            done = self.store.run("ls", expect=None)
            if done.returncode == 0:
                self.exact()
            else:
                self.assertIn(b"older", done.stderr)

    def test_staging_lost(self):
        path = self.store.path + "/staging"
        os.remove(path)
        self.exact(says="its staging file holds nothing of it")

    def test_wal_cut(self):
        folder = self.store.path + "/map"
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".log"):
                continue
            for keep in (0.0, 0.5, 0.99):
                self.store.restore()
                path = os.path.join(folder, name)
                os.truncate(path, int(os.path.getsize(path) * keep))
                if self.store.run("ls", expect=None).returncode == 0:
                    self.exact()


class Suspects(unittest.TestCase):
    """After a power cut a mark excuses what stands in its granule once: not on a strict disk."""

    def setUp(self):
        self.store = Store("suspects", init=False)
        self.store.run("init", "--pool", self.store.path + "/pool:64M")
        self.store.run("create", "plain", "--size", "1M")
        self.store.run("create", "strict", "--size", "1M", "--strict")

    def tearDown(self):
        self.store.remove()

    def write(self, disk, *writes):
        commands = [part for write in writes for part in ("-c", f"write -P {write}")]
        run(QEMU_IO, "-f", "raw", *commands, "-c", "flush", self.store.uri(disk))

    def rot(self, value):
        pool = self.store.path + "/pool"
        with open(pool, "rb") as file:
            content = file.read()
        found = [at for at in range(0, len(content), BLOCK) if content[at:at + BLOCK] == bytes([value]) * BLOCK]
        self.assertEqual(len(found), 1)
        flip(pool, found[0] + 100)

    def read(self, disk):
        done = run(QEMU_IO, "-r", "-f", "raw", "-c", "read 0 4k", self.store.uri(disk), expect=None)
        return b"failed" not in done.stdout + done.stderr

    def test_a_rotten_block_is_never_excused_on_a_strict_disk(self):
        self.store.serve()
        self.write("plain", "0xa1 0 4k", "0xa2 4k 4k")
        self.write("strict", "0xb1 0 4k", "0xb2 4k 4k")
        self.store.daemon.stop()
        self.store.serve()
        self.write("plain", "0xa3 4k 4k")  # in place: marks the granule in which both lie
        self.write("strict", "0xb3 4k 4k")
        self.store.daemon.kill()
        os.remove(self.store.path + "/staging")  # as a power cut
        for value in (0xa1, 0xb1):
            self.rot(value)
        self.store.serve()
        self.assertTrue(self.read("plain"))
        self.assertFalse(self.read("strict"))
        self.store.daemon.kill()


class Repair(Damage):
    """The map is lost or damaged: refused with the remedy, made anew from the pool, everything as it was."""
    state = "killed"

    def repaired(self, says="made anew", folder_left=True):
        done = self.store.run("check", "--repair", "--data").stdout.decode()
        self.assertIn(says, done)
        self.assertIn("copy of the metadata in the pool: whole", done)
        self.assertIn("all is well", done)
        kept = self.store.path + "/map.damaged"
        self.assertEqual(os.path.isdir(kept), folder_left)
        if folder_left:
            self.assertIn(kept, done)
        self.exact()

    def refused_with_the_remedy(self):
        for options in ((), ("--read-only",)):
            self.assertIn("check --repair", self.refused("map", options=options))

    def test_nothing_to_do(self):
        done = self.store.run("check", "--repair", "--json").stdout
        self.assertIn(b'"repaired": null', done)
        self.assertFalse(os.path.exists(self.store.path + "/map.damaged"))
        self.exact()

    def test_folder(self):
        shutil.rmtree(self.store.path + "/map")
        self.refused_with_the_remedy()
        self.repaired(folder_left=False)

    def test_current_and_manifest(self):
        folder = self.store.path + "/map"
        for damage in ("CURRENT", "MANIFEST"):
            self.store.restore()
            for name in os.listdir(folder):
                if name.startswith(damage):
                    os.remove(os.path.join(folder, name))
            self.refused_with_the_remedy()
            self.repaired()

    def test_tables(self):
        folder = self.store.path + "/map"
        tables = [name for name in os.listdir(folder) if name.endswith(".sst")]
        self.assertTrue(tables)
        for name in tables:
            for damage in ("cut", "noise"):
                self.store.restore()
                path = os.path.join(folder, name)
                if damage == "cut":
                    os.truncate(path, os.path.getsize(path) // 2)
                else:
                    overwrite(path, 0, os.urandom(os.path.getsize(path) // 3))
                self.repaired()

    def test_log_cut(self):
        folder = self.store.path + "/map"
        for name in os.listdir(folder):
            if name.endswith(".log"):
                os.truncate(os.path.join(folder, name), 0)
        done = self.store.run("check", "--repair", "--data")
        self.assertIn(b"all is well", done.stdout)
        self.exact()

    def test_another_stores_map(self):
        other = DamagedStore("clean")
        try:
            shutil.rmtree(self.store.path + "/map")
            shutil.copytree(other.path + "/map", self.store.path + "/map")
        finally:
            other.remove()
        self.refused_with_the_remedy()
        self.repaired(says="belongs to another store")

    def test_twice(self):
        """A repaired store goes on as any other, and can be repaired again."""
        for _ in range(2):
            shutil.rmtree(self.store.path + "/map")
            self.store.run("check", "--repair")
            self.store.run("create", "more", "--size", "1M")
            self.store.run("rm", "more")
        self.exact()

    def test_read_only(self):
        before = tree_of(self.store.path)
        done = self.store.run("--read-only", "check", "--repair", expect=2)
        self.assertIn(b"--read-only", done.stderr)
        self.assertEqual(tree_of(self.store.path), before)

    def test_damaged_copy(self):
        """With a whole map it is found and made anew; without one nothing is shown."""
        place = self.copy_place()
        flip(self.store.pool, place + 100)
        done = self.store.run("check", expect=None)
        self.assertIn("copy of the metadata", (done.stdout + done.stderr).decode())
        self.store.run("check")
        self.exact()
        self.store.restore()
        flip(self.store.pool, self.copy_place() + 100)
        shutil.rmtree(self.store.path + "/map")
        before = tree_of(self.store.path)
        done = self.store.run("check", "--repair", expect=2)
        self.assertIn(b"can't be made anew", done.stderr)
        self.assertEqual(tree_of(self.store.path), before)

    def copy_place(self):
        """Where the last segment of the log begins, as the newest superblock says."""
        newest, at = 0, 0
        with open(self.store.pool, "rb") as file:
            for place in PLACES:
                file.seek(place)
                block = file.read(BLOCK)
                generation = int.from_bytes(block[80:88], "little")
                if generation > newest:
                    newest, at = generation, int.from_bytes(block[184:192], "little")
        self.assertNotEqual(at, 0)
        return at * BLOCK


class FullPool(unittest.TestCase):
    """Where the pool is full the copy of the map gives its space to the writers, and comes back with space."""

    def setUp(self):
        self.store = Store("full-pool", init=False)
        self.addCleanup(self.store.remove)
        self.store.run("init", "--pool", os.path.join(self.store.path, "pool") + ":64M")
        self.store.run("create", "disk", "--size", "1G")
        self.store.serve()
        self.client = nbd.NBD()
        self.client.connect_uri(self.store.uri("disk"))

    def copy(self):
        return self.store.json("check")["metadata_copy"]

    def fill(self):
        """In pieces that get smaller: to the last block."""
        at = 0
        for piece in (1 * MIB, 65536, BLOCK):
            try:
                while True:
                    self.client.pwrite(b"x" * piece, at)
                    at += piece
            except nbd.Error as error:
                self.assertEqual(error.errnum, errno.ENOSPC)
        return at

    def test_full(self):
        wait_until(lambda: self.copy() == "whole", "the first copy")
        written = self.fill()
        pool, = self.store.json("dump")["pools"]
        self.assertEqual(pool["used"], pool["size"])
        self.assertEqual(written, pool["size"])
        self.assertEqual(self.copy(), "none")
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            self.assertIn("the copy of the metadata in it is given up", log.read())
        self.client.trim(16 * MIB, 0)
        self.client.flush()
        del self.client
        self.store.daemon.stop()
        wait_until(lambda: self.copy() == "whole", "the copy again")
        shutil.rmtree(self.store.path + "/map")
        self.assertIn(b"made anew", self.store.run("check", "--repair", "--data").stdout)


class Members(Damage):
    pools = ("a", "b")

    def test_nothing(self):
        self.exact()

    def test_swapped(self):
        a, b = self.store.pools
        os.rename(a, a + ".x")
        os.rename(b, a)
        os.rename(a + ".x", b)
        self.refused_by_all("put the files in their order")

    def test_one_missing(self):
        os.rename(self.store.pools[1], self.store.pools[1] + ".x")
        self.refused_by_all(self.store.pools[1], "is missing")


if __name__ == "__main__":
    unittest.main()
