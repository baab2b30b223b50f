"""QEMU's tools as clients: qemu-img and qemu-io over NBD."""
import json
import os
import unittest

from coppice import MIB, StoreTest, random_image, run, same_files, tool

QEMU_IMG = tool("qemu-img")
QEMU_IO = tool("qemu-io")


class Qemu(StoreTest):
    def io(self, disk, *commands, options=(), expect=0):
        arguments = []
        for command in commands:
            arguments += ["-c", command]
        done = run(QEMU_IO, "-f", "raw", *options, *arguments, self.store.uri(disk), expect=expect)
        return done.stdout.decode() + done.stderr.decode()

    def check_io(self, disk, *commands, options=()):
        """qemu-io ends with 0 also when a pattern does not match; it only says so."""
        text = self.io(disk, *commands, options=options)
        for bad in ("Pattern verification failed", "failed", "error"):
            self.assertNotIn(bad, text)
        return text

    def test_info_tells_the_size(self):
        disk = self.new_disk("10M")
        info = json.loads(run(QEMU_IMG, "info", "--output=json", self.store.uri(disk)).stdout)
        self.assertEqual(info["virtual-size"], 10 * MIB)
        self.assertEqual(info["format"], "raw")

    def test_convert_in_and_out_is_byte_equal(self):
        image = random_image(self.store.file("in.raw"), 40 * MIB + 512, seed=1)
        disk = self.new_disk(40 * MIB + 512)
        run(QEMU_IMG, "convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "8", image, self.store.uri(disk))
        run(QEMU_IMG, "compare", "-f", "raw", "-F", "raw", image, self.store.uri(disk))
        back = self.store.file("out.raw")
        run(QEMU_IMG, "convert", "-f", "raw", "-O", "raw", self.store.uri(disk), back)
        self.assertTrue(same_files(image, back))
        qcow2 = self.store.file("out.qcow2")
        run(QEMU_IMG, "convert", "-f", "raw", "-O", "qcow2", self.store.uri(disk), qcow2)
        run(QEMU_IMG, "compare", "-f", "qcow2", "-F", "raw", qcow2, self.store.uri(disk))

    def test_compare_finds_one_byte(self):
        image = random_image(self.store.file("one.raw"), 4 * MIB, seed=2)
        disk = self.new_disk(4 * MIB)
        run(QEMU_IMG, "convert", "-n", "-f", "raw", "-O", "raw", image, self.store.uri(disk))
        with open(image, "r+b") as file:
            file.seek(3 * MIB + 77)
            byte = file.read(1)
            file.seek(3 * MIB + 77)
            file.write(bytes([byte[0] ^ 1]))
        run(QEMU_IMG, "compare", "-f", "raw", "-F", "raw", image, self.store.uri(disk), expect=1)

    def test_map_shows_data_and_holes(self):
        disk = self.new_disk("16M")
        self.check_io(disk, "write -P 1 1M 1M", "write -P 2 8M 64k", "discard 1280k 256k")
        found = json.loads(run(QEMU_IMG, "map", "--output=json", "-f", "raw", self.store.uri(disk)).stdout)
        taken = [(part["start"], part["length"]) for part in found if part["data"]]
        self.assertEqual(taken, [(1 * MIB, 256 * 1024), (1536 * 1024, 512 * 1024), (8 * MIB, 64 * 1024)])
        self.assertEqual(sum(part["length"] for part in found), 16 * MIB)

    def test_patterns_of_any_alignment(self):
        disk = self.new_disk("4M")
        self.check_io(
            disk,
            "write -P 0x11 0 1M",
            "write -P 0x22 1000 5000",
            "write -P 0x33 4095 2",
            "write -P 0x44 1048575 1",
            "write -P 0x55 4194303 1",
            "read -P 0x11 0 1000",
            "read -P 0x22 1000 3095",
            "read -P 0x33 4095 2",
            "read -P 0x22 4097 1903",
            "read -P 0x11 6000 1042575",
            "read -P 0x44 1048575 1",
            "read -P 0 1048576 3145727",
            "read -P 0x55 4194303 1",
        )

    def test_zeroes_and_discards_of_any_alignment(self):
        disk = self.new_disk("4M")
        self.check_io(
            disk,
            "write -P 0x11 0 4M",
            "write -z 5000 100000",
            "write -z -u 1M 1M",
            "discard 3000000 7777",
            "read -P 0x11 0 5000",
            "read -P 0 5000 100000",
            "read -P 0x11 105000 943576",
            "read -P 0 1M 1M",
            "read -P 0 3000000 7777",
            "read -P 0x11 3007777 1000000",
        )

    def test_flush_and_fua(self):
        disk = self.new_disk("4M")
        self.check_io(disk, "write -f -P 0x66 12345 54321", "write -f -z 1M 64k", "flush",
                      "read -P 0x66 12345 54321")
        self.check_io(disk, "write -P 0x67 0 64k", "read -P 0x67 0 64k", options=("-t", "writethrough"))

    def test_parallel_requests(self):
        disk = self.new_disk("32M")
        writes = [f"aio_write -P {1 + i % 200} {i * 65536} 65536" for i in range(200)]
        self.check_io(disk, *writes, "aio_flush", "flush")
        self.check_io(disk, *[f"read -P {1 + i % 200} {i * 65536} 65536" for i in range(200)])

    def test_a_write_of_32_mib(self):
        disk = self.new_disk("64M")
        self.check_io(disk, "write -P 0x77 1M 32M", "read -P 0x77 1M 32M", "read -P 0 33M 31M")

    def test_a_snapshot_reads_as_it_was_and_refuses_writes(self):
        disk = self.new_disk("4M")
        self.check_io(disk, "write -P 0x11 0 4M")
        self.store.run("snapshot", f"{disk}@before")
        self.check_io(disk, "write -P 0x22 0 2M", "discard 2M 1M")
        self.check_io(f"{disk}@before", "read -P 0x11 0 4M", options=("-r",))
        self.check_io(disk, "read -P 0x22 0 2M", "read -P 0 2M 1M", "read -P 0x11 3M 1M")
        text = self.io(f"{disk}@before", "write -P 0x33 0 4k", expect=1)
        self.assertIn("Permission denied", text)
        self.check_io(f"{disk}@before", "read -P 0x11 0 4M", options=("-r",))

    def test_an_export_that_is_not_there(self):
        done = run(QEMU_IMG, "info", self.store.uri("nothing"), expect=1)
        self.assertIn("nothing", done.stderr.decode())

    def test_qcow2_overlay_on_a_snapshot(self):
        disk = self.new_disk("8M")
        self.check_io(disk, "write -P 0x11 0 8M")
        self.store.run("snapshot", f"{disk}@base")
        overlay = self.store.file("overlay.qcow2")
        run(QEMU_IMG, "create", "-f", "qcow2", "-F", "raw", "-b", self.store.uri(f"{disk}@base"), overlay)
        run(QEMU_IO, "-f", "qcow2", "-c", "write -P 0x22 1M 1M", overlay)
        text = run(QEMU_IO, "-f", "qcow2", "-c", "read -P 0x22 1M 1M", "-c", "read -P 0x11 2M 6M", overlay).stdout
        self.assertNotIn(b"failed", text)
        os.remove(overlay)


if __name__ == "__main__":
    unittest.main(verbosity=2)
