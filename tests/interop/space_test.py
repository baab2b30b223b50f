"""What things take of the pool, and how a large tree is shown."""
import os
import unittest

from coppice import MIB, Daemon, Store, StoreTest, random_image, run, tool, wait_until

QEMU_IO = tool("qemu-io")


class Space(StoreTest):
    def line(self, count, size="64M"):
        """A disk with snapshots s0 … of which each sees 64 KiB that no other sees, and 64 KiB with the next."""
        disk = self.new_disk(size)
        for number in range(count):
            self.write(disk, f"write -P {number + 1} 0 64k", f"write -P {number + 1} {64 * (number // 2 + 1)}k 64k")
            self.store.run("snapshot", f"{disk}@s{number}")
        return disk

    def used(self):
        return self.store.json("dump")["pools"][0]["used"]

    def frees(self, *names):
        before = self.used()
        self.store.run("rm", *names)
        # `check` waits for what is on its way back.
        self.assertEqual(self.store.json("check")["problems"], [])
        return before - self.used()

    def test_what_is_foretold_is_freed(self):
        disk = self.line(6)
        rows = {row["name"]: row for row in self.store.json("du", disk)}
        self.assertEqual(self.frees(f"{disk}@s1"), rows[f"{disk}@s1"]["frees"])
        several = self.store.json("du", f"{disk}@s2", f"{disk}@s4")
        alone = {row["name"]: row for row in self.store.json("du", disk)}
        self.assertEqual(several["names"], [f"{disk}@s2", f"{disk}@s4"])
        self.assertGreaterEqual(several["frees"], alone[f"{disk}@s2"]["frees"] + alone[f"{disk}@s4"]["frees"])
        line = self.store.json("du", f"{disk}@s2%s4")
        self.assertEqual(line["names"], [f"{disk}@s2", f"{disk}@s3", f"{disk}@s4"])
        dry = self.store.json("rm", f"{disk}@s2%s4", "--dry-run")
        self.assertEqual((sorted(dry["removed"]), dry["frees"]), (line["names"], line["frees"]))
        self.assertIn("3 disks and snapshots together", self.store.run("du", f"{disk}@s2%s4").stdout.decode())
        self.assertEqual(self.frees(f"{disk}@s2%s4"), line["frees"])
        self.assertEqual(self.store.json("du", f"{disk}@%")["names"], [f"{disk}@s0", f"{disk}@s5"])

    def test_a_range_is_one_line_of_the_tree(self):
        disk = self.line(4)
        self.store.run("rollback", f"{disk}@s1", "--keep", "left")
        self.write(disk, "write -P 99 0 64k")
        self.store.run("snapshot", f"{disk}@new")
        names = lambda spec: [name.split("@")[1] for name in self.store.json("du", spec)["names"]]
        self.assertEqual(names(f"{disk}@%"), ["s0", "s1", "new"])
        self.assertEqual(names(f"{disk}@s1%left"), ["s1", "s2", "s3", "left"])
        self.assertEqual(names(f"{disk}@%s2"), ["s0", "s1", "s2"])
        self.refused("du", f"{disk}@s2%new", says=(f"{disk}@s2", f"{disk}@new"))
        self.refused("du", f"{disk}@new%s0", says=(f"{disk}@new", f"{disk}@s0"))
        self.refused("rm", f"{disk}@s1%none", says=(f"{disk}@none",))
        self.refused("rm", f"{disk}%s1", says=("DISK@FIRST%LAST",))
        self.refused("rm", f"{disk}@s0%s1", f"{disk}@s1", says=(f"{disk}@s1", "twice"))
        copy = f"{disk}-copy"
        self.store.run("clone", f"{disk}@s1", copy)
        self.refused("du", f"{copy}@%", says=(copy, "empty"))
        self.store.run("snapshot", f"{copy}@mine")
        self.assertEqual(self.store.json("du", f"{copy}@%")["names"], [f"{copy}@mine"])
        # Its origin's blocks are shared with it, and its own are nobody's else.
        self.write(copy, "write -P 7 4M 1M")
        whole = {row["name"]: row for row in self.store.json("du")}[copy]["disk"]
        self.assertEqual(whole["own"], MIB)
        self.assertEqual(whole["shared"], 128 << 10)
        self.assertIn(f"{copy}, all of it", self.store.run("du", copy).stdout.decode())

    def test_a_long_line_is_folded(self):
        disk = self.new_disk("1M")
        for number in range(30):
            self.store.run("snapshot", f"{disk}@s{number:02}")
        self.write(disk, "write 0 64k")
        text = self.store.run("tree", disk).stdout.decode()
        self.assertIn("… 26 snapshots, 0 B own", text)
        self.assertEqual(text.count("\n"), 6, text)
        self.assertEqual(self.store.run("tree", disk, "--all").stdout.count(b"\n"), 31)
        self.assertEqual(len(self.store.json("tree", disk)["nodes"]), 31)
        self.assertIn("s00", self.store.run("tree", disk, "--since", "1h").stdout.decode())
        os.environ["COPPICE_CLOCK_OFFSET"] = "7200"
        try:
            self.assertIn("… 30 older snapshots", self.store.run("tree", disk, "--since", "1h").stdout.decode())
        finally:
            del os.environ["COPPICE_CLOCK_OFFSET"]
        self.store.run("clone", f"{disk}@s07", f"{disk}-copy")
        self.assertIn("… 1 branch: 1 disk", self.store.run("tree", disk + "-copy", "--depth", "0").stdout.decode() +
                      self.store.run("tree", "--depth", "0").stdout.decode())
        self.refused("tree", disk, "--depth", "deep", says=("--depth", "deep"))
        self.refused("tree", disk, "--since", "once", says=("--since", "once"))

    def test_a_strip_shows_where_the_changes_lie(self):
        image = random_image(self.store.file("strip.raw"), 8 * MIB, seed=3, holes=False)
        self.store.run("import", image, "strip")
        self.store.run("snapshot", "strip@a")
        self.write("strip", "write -P 1 3M 1M", "write -P 1 6M 4k")
        os.environ.update(COLUMNS="10", LC_ALL="C")
        try:
            self.assertEqual(self.store.run("diff", "strip@a", "--strip").stdout.decode(),
                             "[   @  . ]\n1.0 MiB of 8.0 MiB in 2 ranges; a column is 1.0 MiB\n")
            os.environ["LC_ALL"] = "C.UTF-8"
            self.assertIn("▕   █  ▁ ▏", self.store.run("diff", "strip@a", "--strip").stdout.decode())
        finally:
            del os.environ["COLUMNS"], os.environ["LC_ALL"]
        self.assertEqual(len(self.store.json("diff", "strip@a", "--strip")), 2)


class Reclaim(StoreTest):
    def metrics(self):
        found = {}
        for line in self.store.run("metrics").stdout.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = int(value)
        return found

    def test_how_far_space_is_on_its_way_back_is_told(self):
        disk = self.new_disk("64M")
        for number in range(40):
            self.write(disk, f"write -P {number + 1} {number}M 1M")
            self.store.run("snapshot", f"{disk}@s{number}")
        self.assertIsNone(self.store.json("info", disk)["reclaim"])
        before = self.metrics()
        self.assertEqual((before["coppice_disks"], before["coppice_snapshots"]), (1, 40))
        self.assertEqual(before[f'coppice_disk_size_bytes{{disk="{disk}"}}'], 64 * MIB)
        self.assertEqual(before["coppice_reclaim_nodes"], 0)
        self.store.run("rm", f"{disk}@s0%s38")
        seen = self.store.json("info", disk)["reclaim"]
        if seen is not None:  # it may be over already
            self.assertTrue(0 < seen["nodes"] <= 39 and seen["looked"] <= seen["total"] <= 39 * 64 * MIB, seen)
        wait_until(lambda: self.store.json("info", disk)["reclaim"] is None, "the space to come back")
        after = self.metrics()
        self.assertEqual((after["coppice_snapshots"], after["coppice_reclaim_nodes"]), (1, 0))


class KeepChanges(StoreTest):
    def test_a_snapshot_can_be_given_up_but_for_what_changed_since(self):
        disk = self.new_disk("4M")
        self.write(disk, "write -P 1 0 2M")
        self.store.run("snapshot", f"{disk}@base")
        self.write(disk, "write -P 2 1M 64k")
        before = self.store.json("diff", f"{disk}@base")
        self.assertEqual(self.store.json("rm", f"{disk}@base", "--keep-changes", "--dry-run")["frees"], 64 << 10)
        answer = self.store.json("rm", f"{disk}@base", "--keep-changes")
        self.assertEqual((answer["removed"], answer["keeps_changes"]), ([f"{disk}@base"], True))
        self.assertEqual(self.store.json("diff", f"{disk}@base"), before)
        self.assertEqual({row["name"]: row["kind"] for row in self.store.json("ls")}[f"{disk}@base"], "changes")
        self.assertIn("changes only", self.store.run("tree", disk).stdout.decode())
        self.assertIn("changes only", self.store.run("info", f"{disk}@base").stdout.decode())
        self.assertEqual(self.store.json("info", f"{disk}@base")["nbd"], [])
        for verb in (("clone", f"{disk}@base", "x"), ("rollback", f"{disk}@base"), ("export", f"{disk}@base", self.store.file("x.raw")),
                     ("diff", disk, f"{disk}@base"), ("hold", f"{disk}@base")):
            self.refused(*verb, says=(f"{disk}@base", "no data any more"))
        self.refused("rm", disk, "--keep-changes", says=(disk,))
        # As the base of a bitmap, and as no export.
        seen = run(tool("nbdinfo"), f"--map=qemu:dirty-bitmap:base", self.store.uri(disk)).stdout.decode().split("\n")
        self.assertEqual([row.split()[:3] for row in seen if row and row.split()[2] == "1"], [["1048576", "65536", "1"]])
        self.assertNotIn(f"{disk}@base", run(tool("nbdinfo"), "--list", self.store.uri()).stdout.decode())
        self.assertNotEqual(run(tool("nbdinfo"), self.store.uri(f"{disk}@base"), expect=None).returncode, 0)
        self.store.run("rm", f"{disk}@base")
        self.refused("diff", f"{disk}@base", says=(f"{disk}@base", "not there"))


class Quotas(StoreTest):
    def test_a_write_over_the_quota_is_refused_to_its_writer_alone(self):
        disk, other = self.new_disk("16M"), self.new_disk("16M")
        self.assertEqual(self.store.json("set", disk, "quota=1M"), {"name": disk, "quota": MIB, "charged": 0})
        write = lambda name, what: run(QEMU_IO, "-f", "raw", "-c", what, self.store.uri(name), expect=None).stdout
        self.assertNotIn(b"failed", write(disk, "write -P 1 0 1M"))
        self.assertIn(b"No space left", write(disk, "write -P 1 1M 4k"))
        self.assertNotIn(b"failed", write(other, "write -P 1 0 4M"))
        self.assertNotIn(b"failed", write(disk, "write -P 2 512k 4k") + write(disk, "discard 0 4k") + write(disk, "flush"))
        row = {row["name"]: row for row in self.store.json("du", disk)}[disk]["disk"]
        self.assertEqual((row["quota"], row["charged"]), (MIB, MIB - 4096))
        for verb in (("ls",), ("info", disk), ("du", disk)):
            self.assertRegex(self.store.run(*verb).stdout.decode(), "quota +1.0 MiB", verb)
        for bad in ("quota=", "quota=much", "quota=0"):
            self.refused("set", disk, bad, says=(disk, bad))
        self.store.run("set", disk, "quota=none")
        self.assertIsNone(self.store.json("info", disk)["quota"])
        self.assertNotIn(b"failed", write(disk, "write -P 1 1M 4k"))


class LowSpace(unittest.TestCase):
    def test_a_pool_that_gets_full_is_told_of_once(self):
        store = Store("low-space", init=False)
        try:
            store.run("init", "--pool", f"{store.file('pool')}:256M")
            image = random_image(store.file("in.raw"), 60 * MIB, seed=9, holes=False)
            log = store.file("daemon.log")
            seen = store.file("events")
            store.daemon = Daemon(store.path, log, serve=("--low-space", "40,60", "--on-event",
                                                          f'echo "$COPPICE_EVENT $COPPICE_LEVEL $COPPICE_PERCENT" >> {seen}'))
            events = lambda: open(seen, encoding="utf-8").read().splitlines() if os.path.exists(seen) else []
            store.run("import", image, "one")
            self.assertEqual(store.run("ls").stderr, b"")
            store.run("import", image, "two")
            wait_until(lambda: len(events()) == 1, "the first level")
            self.assertRegex(events()[0], "^low-space 40 [45].$")
            self.assertIn(b"% full", store.run("ls").stderr)
            self.assertIn(b"% full", store.run("info", "one").stderr)
            self.assertEqual(store.run("ls", "--json").stderr, b"")
            self.assertTrue(store.json("info", "one")["pool"]["low"])
            store.run("import", image, "three")
            wait_until(lambda: len(events()) == 2, "the second level")
            store.run("rm", "--now", "two", "three")
            wait_until(lambda: len(events()) == 3, "the end of both levels")
            self.assertRegex(events()[2], "^space-again 0 ")
            store.daemon.stop()
            with open(log, encoding="utf-8") as text:
                text = text.read()
            self.assertEqual((text.count("low space: "), text.count("space again: ")), (2, 1), text)
            self.assertIn(b"--low-space", store.run("serve", "--low-space", "90,80", expect=2).stderr)
        finally:
            store.remove()


if __name__ == "__main__":
    unittest.main(verbosity=2)
