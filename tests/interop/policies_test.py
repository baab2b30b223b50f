"""How long snapshots and disks stay: notes, holds, expiry, the trash. The daemon's clock is moved, nobody waits."""
import os
import unittest
from contextlib import contextmanager

from coppice import MIB, Store, StoreTest, random_image, same_files, wait_until


@contextmanager
def clock(hours):
    """Whoever is started inside thinks that it is later."""
    os.environ["COPPICE_CLOCK_OFFSET"] = str(int(hours * 3600))
    try:
        yield
    finally:
        del os.environ["COPPICE_CLOCK_OFFSET"]


class Policies(StoreTest):
    def row(self, name):
        return {row["name"]: row for row in self.store.json("ls")}[name]

    def test_a_note_is_shown(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a", "--note", "before the upgrade")
        for verb in (("ls",), ("tree", disk), ("info", f"{disk}@a")):
            self.assertIn("before the upgrade", self.store.run(*verb).stdout.decode(), verb)
        self.assertEqual(self.row(f"{disk}@a")["note"], "before the upgrade")

    def test_a_held_snapshot_is_not_removed(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a")
        self.assertEqual(self.store.json("hold", f"{disk}@a", "audit"), {"name": f"{disk}@a", "tag": "audit"})
        self.store.run("hold", f"{disk}@a")
        for verb in (("ls",), ("tree", disk), ("info", f"{disk}@a")):
            self.assertRegex(self.store.run(*verb).stdout.decode(), "held by.* audit", verb)
        self.refused("rm", f"{disk}@a", says=(f"{disk}@a", "held", "audit", "release"))
        self.refused("rm", disk, "--snapshots", says=(f"{disk}@a", "audit"))
        self.refused("hold", f"{disk}@a", "audit", says=("audit", "already"))
        self.refused("release", f"{disk}@a", says=(f"{disk}@a", "audit"))
        self.refused("release", f"{disk}@a", "nobody", says=("nobody",))
        self.refused("hold", disk, says=(disk,))
        self.store.run("release", f"{disk}@a", "audit")
        self.assertEqual(len(self.row(f"{disk}@a")["holds"]), 1)
        self.store.run("release", f"{disk}@a")
        self.store.run("rm", f"{disk}@a")


    def test_a_removed_disk_comes_back(self):
        image = random_image(self.store.file("trash.raw"), 3 * MIB, seed=8)
        self.store.run("import", image, "removed")
        self.store.run("snapshot", "removed@a")
        self.refused("rm", "removed", says=("removed", "1 snapshot", "--snapshots"))
        said = self.store.run("rm", "removed", "--snapshots").stdout.decode()
        self.assertIn("coppice undelete removed", said)
        self.assertNotIn("removed", {row["name"] for row in self.store.json("ls")})
        self.refused("info", "removed", says=("removed",))
        trash = {row["name"]: row for row in self.store.json("ls", "--trash")}
        self.assertEqual((trash["removed"]["size"], trash["removed"]["snapshots"]), (3 * MIB, 1))
        self.assertGreater(trash["removed"]["frees"], 1 * MIB)
        self.assertIn("removed", self.store.run("ls", "--trash").stdout.decode())
        self.store.run("create", "removed", "--size", "1M")
        self.refused("undelete", "removed", says=("removed", "NEWNAME"))
        self.store.run("undelete", "removed", "back")
        out = self.store.file("back.raw")
        self.store.run("export", "back@a", out)
        self.assertTrue(same_files(image, out))
        self.store.run("rm", "--now", "removed")
        self.refused("undelete", "removed", says=("removed", "trash"))
        self.store.run("rm", "back", "--snapshots")
        self.store.run("rm", "--trash", "back")
        self.refused("rm", "--trash", "back", says=("back",))
        self.refused("rm", "--trash", "--now", "back", says=("--trash",))

    def test_when_a_snapshot_ends(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@a", "--expires", "72h")
        self.store.run("snapshot", f"{disk}@b", "--expires", "2999-01-01T00:00:00+01:00")
        for verb in (("ls",), ("tree", disk), ("info", f"{disk}@a")):
            self.assertRegex(self.store.run(*verb).stdout.decode(), "expires.*in [23] days", verb)
        self.assertEqual(self.row(f"{disk}@b")["expires"], "2998-12-31T23:00:00.000Z")
        self.store.run("expire", f"{disk}@b", "never")
        self.assertIsNone(self.row(f"{disk}@b")["expires"])
        self.store.run("expire", f"{disk}@b", "4w")
        for bad in ("soon", "0h", "-3h", "72", "2001-01-01T00:00:00Z", "99999999999w", ""):
            self.refused("expire", f"{disk}@b", bad)
            if bad:
                self.refused("snapshot", f"{disk}@c", "--expires", bad, says=("--expires", bad))
        self.refused("expire", disk, "72h", says=(disk,))


    def test_a_dry_run_changes_nothing(self):
        image = random_image(self.store.file("dry.raw"), 2 * MIB, seed=10, holes=False)
        self.store.run("import", image, "dry")
        self.store.run("snapshot", "dry@a")
        before = (self.store.run("tree", "--json").stdout, self.store.run("ls", "--trash", "--json").stdout)
        answer = self.store.json("rm", "dry", "--snapshots", "--now", "--dry-run")
        self.assertEqual((answer["dry_run"], answer["frees"], sorted(answer["removed"])), (True, 2 * MIB, ["dry", "dry@a"]))
        for verb in (("rm", "dry", "--snapshots"), ("rm", "dry@a"), ("rollback", "dry@a"), ("rollback", "dry@a", "--discard")):
            self.assertIn("nothing is changed", self.store.run(*verb, "--dry-run").stdout.decode(), verb)
        self.refused("rm", "dry", "--dry-run", says=("dry", "1 snapshot"))
        self.refused("rollback", "dry@none", "--dry-run", says=("dry@none",))
        self.store.json("schedule", "dry", "--hourly", "3", "--dry-run")
        self.assertEqual(before, (self.store.run("tree", "--json").stdout, self.store.run("ls", "--trash", "--json").stdout))
        self.assertIsNone(self.store.json("schedule", "dry")["next"])

    def test_bad_schedules_are_refused(self):
        disk = self.new_disk("1M")
        self.refused("schedule", disk, "--hourly", "x", says=("--hourly", "x"))
        self.refused("schedule", disk, "--hourly", "0", says=("--off",))
        self.refused("schedule", disk, "--hourly", "3", "--off", says=("--off",))
        self.refused("schedule", disk, "--off", says=(disk, "no schedule"))
        self.refused("schedule", "nothing", "--daily", "3", says=("nothing",))
        self.refused("schedule", f"{disk}@a", says=(disk,))


class Later(unittest.TestCase):
    """What the daemon does as time goes by."""

    def setUp(self):
        self.store = Store("later")

    def tearDown(self):
        self.store.remove()

    def names(self):
        return sorted(row["name"] for row in self.store.json("ls"))

    def test_the_daemon_removes_what_has_expired_and_what_was_in_the_trash_for_a_day(self):
        self.store.run("create", "web", "--size", "1M")
        self.store.run("snapshot", "web@soon", "--expires", "1h")
        self.store.run("snapshot", "web@late", "--expires", "72h")
        self.store.run("snapshot", "web@held", "--expires", "1h")
        self.store.run("hold", "web@held", "audit")
        self.store.run("create", "old", "--size", "1M")
        self.store.run("rm", "old")
        with clock(25):
            # Commands remove nothing by themselves.
            self.assertEqual(self.names(), ["web", "web@held", "web@late", "web@soon"])
            self.store.serve()
            wait_until(lambda: self.names() == ["web", "web@held", "web@late"], "the end of what has expired")
            wait_until(lambda: self.store.json("ls", "--trash") == [], "the end of the trash")
            self.store.run("release", "web@held")
            wait_until(lambda: self.names() == ["web", "web@late"], "the end of what was held")
            self.store.daemon.stop()
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            text = log.read()
        self.assertEqual(text.count("web@held has expired, and stays: web@held is held by audit"), 1, text)
        self.assertEqual(text.count("web@soon has expired and is removed"), 1, text)
        self.assertEqual(text.count("disk old was in the trash for a day"), 1, text)
        self.store.run("check", "--data")

    def test_the_daemon_takes_and_removes_by_the_schedule(self):
        self.store.run("create", "web", "--size", "1M")
        self.store.run("snapshot", "web@mine")
        self.store.run("schedule", "web", "--hourly", "2", "--daily", "1")
        taken = []
        # Each daemon comes hours after the last: what was missed in between makes one snapshot.
        for hours in (0, 5, 10, 15):
            with clock(hours):
                self.store.serve()
                wait_until(lambda: any(name not in taken for name in self.scheduled()), "the next snapshot")
                taken = self.scheduled()
                wait_until(lambda: len(self.scheduled()) <= 3, "the end of what is not kept")
                self.assertIn("scheduled", self.store.run("ls").stdout.decode())
                self.store.daemon.stop()
        left = self.scheduled()
        self.assertIn(len(left), (2, 3))
        self.assertRegex(left[-1], r"^web@auto-20..-..-..T..:00Z$")
        with clock(15):
            shown = self.store.json("schedule", "web")
            self.assertEqual([row["name"] for row in shown["snapshots"]], left)
            self.assertIn("hourly", shown["snapshots"][-1]["kept_as"])
        self.store.run("schedule", "web", "--off")
        self.assertIn("no schedule", self.store.run("schedule", "web").stdout.decode())
        self.assertIn("web@mine", self.names())

    def scheduled(self):
        return [row["name"] for row in self.store.json("ls") if row["snapshot"].startswith("auto-")]

    def test_old_snapshots_are_warned_of_in_one_line(self):
        self.store.run("create", "web", "--size", "1M")
        self.store.run("snapshot", "web@a")
        self.store.run("snapshot", "web@ends", "--expires", "9999h")
        self.store.run("snapshot", "web@held")
        self.store.run("hold", "web@held", "audit")
        for hours, lines in ((0, 0), (29 * 24, 0), (31 * 24, 1)):
            with clock(hours):
                for verb in (("ls",), ("tree",), ("info", "web@a")):
                    done = self.store.run(*verb)
                    self.assertEqual(done.stderr.count(b"\n"), lines, done.stderr)
                    self.assertEqual(b"web@a was taken 1 month ago" in done.stderr, lines == 1, done.stderr)
                self.assertEqual(self.store.run("ls", "--json").stderr, b"")
                self.assertEqual(self.store.run("info", "web@held").stderr, b"")

    def test_without_a_daemon_too(self):
        self.store.run("create", "web", "--size", "1M")
        self.store.run("rm", "web")
        self.store.run("undelete", "web")
        self.store.run("rm", "web", "--now")
        self.assertEqual(self.store.json("ls", "--trash"), [])

    def test_a_full_pool_empties_the_trash_first(self):
        store = Store("full-trash", init=False)
        try:
            store.run("init", "--pool", f"{store.file('pool')}:256M")
            image = random_image(store.file("in.raw"), 80 * MIB, seed=9, holes=False)
            store.run("import", image, "one")
            store.run("rm", "one")
            store.run("import", image, "two")
            store.run("rm", "two")
            done = store.run("import", image, "three")
            self.assertIn(b"the pool is full: disk one is removed from the trash", done.stderr)
            self.assertEqual([row["name"] for row in store.json("ls", "--trash")], ["two"])
            store.run("undelete", "two")
            self.assertIn(b"full", store.run("import", image, "four", expect=2).stderr)
            store.run("export", "two", store.file("out.raw"))
            self.assertTrue(same_files(image, store.file("out.raw")))
            store.run("check", "--data")
        finally:
            store.remove()


if __name__ == "__main__":
    unittest.main(verbosity=2)
