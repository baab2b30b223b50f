"""Where a seccomp filter forbids io_uring, as container runtimes do: everything works, and is said to be slower once."""
import ctypes
import errno
import os
import struct
import unittest

from coppice import MIB, Store, StoreTest, random_image, run, same_files, tool

QEMU_IO = tool("qemu-io")
LINE = "io_uring is not available (Operation not permitted): using pread/pwrite, slower"


def forbid_io_uring():
    """For this process and all that it starts: io_uring_setup fails with EPERM."""
    load_number, jump_if_equal, answer = 0x20, 0x15, 0x06
    allow, fail = 0x7FFF0000, 0x00050000 | errno.EPERM
    io_uring_setup = 425
    steps = [
        (load_number, 0, 0, 0),
        (jump_if_equal, 0, 1, io_uring_setup),
        (answer, 0, 0, fail),
        (answer, 0, 0, allow),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    library = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if library.prctl(set_no_new_privileges, 1, 0, 0, 0) != 0 or library.prctl(set_seccomp, filter_mode, program) != 0:
        raise OSError(ctypes.get_errno(), "seccomp is not to be had")


def setUpModule():
    os.environ.pop("COPPICE_IO", None)
    forbid_io_uring()


class Alone(unittest.TestCase):
    def setUp(self):
        self.store = Store("no_io_uring", init=False)
        self.addCleanup(self.store.remove)

    def test_each_command_says_it_once(self):
        for command in (["init"], ["create", "disk", "--size", "1M"], ["snapshot", "disk@one"], ["check"], ["ls"]):
            done = self.store.run(*command)
            self.assertEqual(done.stderr.decode(), f"coppice: {LINE}\n", command)

    def test_a_setting_decides(self):
        self.addCleanup(os.environ.pop, "COPPICE_IO", None)
        os.environ["COPPICE_IO"] = "posix"
        self.assertEqual(self.store.run("init").stderr, b"")
        os.environ["COPPICE_IO"] = "uring"
        self.assertIn(b"io_uring is not to be had", self.store.run("ls", expect=2).stderr)
        os.environ["COPPICE_IO"] = "else"
        self.assertIn(b"COPPICE_IO", self.store.run("ls", expect=2).stderr)


class Served(StoreTest):
    def test_a_disk_is_written_read_and_rolled_back(self):
        disk = self.new_disk("64M")
        image = random_image(self.store.file("in.raw"), 64 * MIB, seed=1)
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, self.store.uri(disk))
        self.store.run("snapshot", f"{disk}@one")
        run(QEMU_IO, "-f", "raw", "-c", "write -P 3 1M 4M", "-c", "flush", "-c", "read -P 3 1M 4M", self.store.uri(disk))
        self.store.run("rollback", f"{disk}@one")
        out = self.store.file("out.raw")
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", self.store.uri(disk), out)
        self.assertTrue(same_files(image, out))

    def test_the_daemon_says_it_once_and_its_clients_do_not(self):
        self.assertEqual(self.store.run("ls").stderr, b"")
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            self.assertEqual(log.read().count(LINE), 1)


if __name__ == "__main__":
    unittest.main()
