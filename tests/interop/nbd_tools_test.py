"""libnbd's tools and fio as clients."""
import json
import os
import subprocess
import unittest

from coppice import MIB, StoreTest, random_image, run, same_files, tool

NBDINFO = tool("nbdinfo")
NBDCOPY = tool("nbdcopy")
FIO = tool("fio")
IMAGE_BYTES = int(os.environ.get("COPPICE_NBDCOPY_MIB", "128")) * MIB


class NbdTools(StoreTest):
    def info(self, export):
        return json.loads(run(NBDINFO, "--json", self.store.uri(export)).stdout)

    def test_list_names_disks_and_snapshots(self):
        disk = self.new_disk("3M")
        self.store.run("snapshot", f"{disk}@one")
        listed = json.loads(run(NBDINFO, "--list", "--json", self.store.uri()).stdout)
        exports = {export["export-name"]: export for export in listed["exports"]}
        self.assertIn(disk, exports)
        self.assertIn(f"{disk}@one", exports)
        self.assertEqual(exports[disk]["export-size"], 3 * MIB)
        self.assertFalse(exports[disk]["is_read_only"])
        self.assertTrue(exports[f"{disk}@one"]["is_read_only"])

    def test_info_of_a_disk(self):
        disk = self.new_disk("5M")
        info = self.info(disk)
        self.assertEqual(info["protocol"], "newstyle-fixed")
        self.assertTrue(info["structured"])
        export = info["exports"][0]
        self.assertEqual(export["export-size"], 5 * MIB)
        self.assertIn("base:allocation", export["contexts"])
        self.assertEqual(export["block_size_minimum"], 1)
        self.assertEqual(export["block_size_preferred"], 4096)
        self.assertEqual(export["block_size_maximum"], 32 * MIB)

    def test_what_a_disk_and_a_snapshot_can(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@one")
        for ability in ("flush", "fua", "trim", "zero", "write", "connect", "read", "df", "multi-conn"):
            run(NBDINFO, "--can", ability, self.store.uri(disk))
        run(NBDINFO, "--is", "read-only", self.store.uri(disk), expect=2)
        run(NBDINFO, "--is", "read-only", self.store.uri(f"{disk}@one"))
        run(NBDINFO, "--can", "write", self.store.uri(f"{disk}@one"), expect=2)

    def test_an_empty_name_is_refused_with_how_to_list(self):
        self.new_disk("1M")
        done = run(NBDINFO, self.store.uri(), expect=1)
        self.assertIn("list", done.stderr.decode().lower())

    def test_map_and_totals(self):
        disk = self.new_disk("8M")
        run(tool("qemu-io"), "-f", "raw", "-c", "write -P 1 1M 2M", "-c", "write -P 1 5M 4k", self.store.uri(disk))
        found = json.loads(run(NBDINFO, "--map", "--json", self.store.uri(disk)).stdout)
        pieces = [(part["offset"], part["length"], part["type"]) for part in found]
        self.assertEqual(
            pieces,
            [(0, 1 * MIB, 3), (1 * MIB, 2 * MIB, 0), (3 * MIB, 2 * MIB, 3), (5 * MIB, 4096, 0),
             (5 * MIB + 4096, 3 * MIB - 4096, 3)],
        )

    def changes(self, export, snapshot):
        """What nbdinfo sees in the dirty bitmap, and what the diff says, as ranges."""
        found = json.loads(run(NBDINFO, f"--map=qemu:dirty-bitmap:{snapshot}", "--json", self.store.uri(export)).stdout)
        seen = [(part["offset"], part["length"]) for part in found if part["type"] == 1]
        self.assertEqual(sum(part["length"] for part in found), 8 * MIB)
        disk = export.split("@")[0]
        told = json.loads(self.store.run("diff", f"{disk}@{snapshot}", export, "--json").stdout)
        merged = []
        for part in told:
            if merged and sum(merged[-1]) == part["offset"]:
                merged[-1] = (merged[-1][0], merged[-1][1] + part["length"])
            else:
                merged.append((part["offset"], part["length"]))
        self.assertEqual(seen, merged)
        return seen

    def test_a_dirty_bitmap_for_each_snapshot(self):
        disk = self.new_disk("8M")
        qemu_io = tool("qemu-io")
        run(qemu_io, "-f", "raw", "-c", "write -P 1 1M 2M", self.store.uri(disk))
        self.store.run("snapshot", f"{disk}@one")
        run(qemu_io, "-f", "raw", "-c", "write -P 2 1M 4k", "-c", "write -P 2 7M 64k", self.store.uri(disk))
        self.store.run("snapshot", f"{disk}@two")
        run(qemu_io, "-f", "raw", "-c", "discard 2M 8k", "-c", "write -P 3 3M 8k", self.store.uri(disk))
        self.assertEqual(self.changes(f"{disk}@two", "one"), [(1 * MIB, 4096), (7 * MIB, 65536)])
        self.assertEqual(self.changes(disk, "two"), [(2 * MIB, 8192), (3 * MIB, 8192)])
        self.assertEqual(len(self.changes(disk, "one")), 4)
        listed = self.info(disk)["exports"][0]["contexts"]
        self.assertEqual(listed, ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:two",
                                  "qemu:dirty-bitmap:one"])
        done = run(NBDINFO, "--map=qemu:dirty-bitmap:none", self.store.uri(disk), expect=1)
        self.assertIn("qemu:dirty-bitmap:none", done.stderr.decode())
        # As QEMU's own backup tools look at it: dirty is what is not "data".
        server = self.store.daemon.socket
        options = (f"driver=nbd,export={disk}@two,server.type=unix,server.path={server},"
                   f"x-dirty-bitmap=qemu:dirty-bitmap:one")
        mapped = json.loads(run(tool("qemu-img"), "map", "--output=json", "--image-opts", options).stdout)
        dirty = [(part["start"], part["length"]) for part in mapped if not part["data"]]
        self.assertEqual(dirty, [(1 * MIB, 4096), (7 * MIB, 65536)])

    def test_a_snapshot_is_not_removed_under_its_bitmap(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@one")
        import nbd  # Debian has it for its own Python only

        handle = nbd.NBD()
        handle.add_meta_context("qemu:dirty-bitmap:one")
        handle.connect_uri(self.store.uri(disk))
        self.assertTrue(handle.can_meta_context("qemu:dirty-bitmap:one"))
        done = self.store.run("rm", f"{disk}@one", expect=2)
        self.assertIn("nbd client", done.stderr.decode())
        handle.shutdown()
        self.store.run("rm", f"{disk}@one")

    def test_nbdcopy_in_and_out_over_several_connections(self):
        image = random_image(self.store.file("copy.raw"), IMAGE_BYTES, seed=3)
        disk = self.new_disk(IMAGE_BYTES)
        run(NBDCOPY, "--connections=4", "--requests=32", "--flush", image, self.store.uri(disk), timeout=600)
        back = self.store.file("back.raw")
        run(NBDCOPY, "--connections=4", "--requests=32", self.store.uri(disk), back, timeout=600)
        self.assertTrue(same_files(image, back))
        run(tool("qemu-img"), "compare", "-f", "raw", "-F", "raw", image, self.store.uri(disk), timeout=600)
        self.store.run("snapshot", f"{disk}@copied")
        other = self.new_disk(IMAGE_BYTES)
        run(NBDCOPY, "--connections=2", self.store.uri(f"{disk}@copied"), self.store.uri(other), timeout=600)
        os.remove(back)
        run(NBDCOPY, "--synchronous", self.store.uri(other), back, timeout=600)
        self.assertTrue(same_files(image, back))
        os.remove(image)
        os.remove(back)

    def fio(self, disk, *options):
        done = run(FIO, "--name=load", "--ioengine=nbd", f"--uri={self.store.uri(disk)}", "--output-format=json",
                   "--verify_state_save=0", *options, timeout=600)
        text = done.stdout.decode()
        result = json.loads(text[text.index("{"):])
        self.assertEqual(result["jobs"][0]["error"], 0)
        return result["jobs"][0]

    def test_fio_verifies_what_it_wrote(self):
        disk = self.new_disk("64M")
        job = self.fio(disk, "--rw=randwrite", "--bs=4k", "--iodepth=32", "--size=64M", "--io_size=48M",
                       "--verify=xxhash", "--do_verify=1", "--verify_fatal=1", "--randseed=7", "--fsync=64")
        self.assertGreater(job["write"]["io_bytes"], 40 * MIB)

    def test_fio_with_odd_sizes_and_trims(self):
        disk = self.new_disk("32M")
        self.fio(disk, "--rw=randwrite", "--bsrange=512-96k", "--bs_unaligned=1", "--blockalign=512", "--iodepth=16",
                 "--size=32M", "--io_size=48M", "--verify=xxhash", "--do_verify=1", "--verify_fatal=1",
                 "--norandommap=0", "--randseed=8")

    def test_fio_keeps_verifying_while_snapshots_are_taken(self):
        disk = self.new_disk("64M")
        load = subprocess.Popen(
            [FIO, "--name=load", "--ioengine=nbd", f"--uri={self.store.uri(disk)}", "--rw=randwrite", "--bs=4k",
             "--iodepth=32", "--size=64M", "--time_based", "--runtime=6", "--verify=xxhash", "--do_verify=1",
             "--verify_backlog=256", "--verify_fatal=1", "--randseed=9",
             "--verify_state_save=0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        taken = 0
        while load.poll() is None:
            self.store.run("snapshot", f"{disk}@live{taken}")
            taken += 1
            if taken % 10 == 0:
                self.store.run("rm", f"{disk}@live{taken - 5}")
        text = load.stdout.read().decode()
        load.stdout.close()
        self.assertEqual(load.returncode, 0, text[-2000:])
        self.assertGreater(taken, 5)
        self.store.run("check")


if __name__ == "__main__":
    unittest.main(verbosity=2)
