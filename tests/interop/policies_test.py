"""How long snapshots and disks stay: notes, holds."""
import unittest

from coppice import StoreTest


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


if __name__ == "__main__":
    unittest.main(verbosity=2)
