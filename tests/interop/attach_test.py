"""Attachments over NBD: who writes, who is fenced, and what a daemon that dies makes of it."""
import json
import os
import shlex
import threading
import time
import unittest

import nbd

from coppice import MIB, Store, StoreTest, run, tool, wait_until

BLOCK = 4096


class Client:
    """A client as QEMU is one: when its connection breaks it comes back and asks again for what was not answered."""

    def __init__(self, uri, patience=60):
        self.uri, self.patience = uri, patience
        self.handle = None
        self.reconnects = -1
        self.connect()

    def connect(self):
        end = time.monotonic() + self.patience
        while True:
            self.handle = nbd.NBD()
            try:
                self.handle.connect_uri(self.uri)
                self.reconnects += 1
                return
            except nbd.Error:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def __getattr__(self, name):
        def call(*arguments):
            while True:
                try:
                    return getattr(self.handle, name)(*arguments)
                except nbd.Error:
                    if not self.handle.aio_is_dead() and not self.handle.aio_is_closed():
                        raise
                    self.connect()

        return call


class Attach(StoreTest):
    def attach(self, disk, *options):
        return self.store.json("attach", disk, *options)

    def connect(self, export):
        handle = nbd.NBD()
        handle.connect_uri(self.store.uri(export))
        return handle

    def states(self, disk):
        return [each["state"] for each in self.store.json("info", disk)["attached"]]

    def refused_connection(self, export, says):
        self.assertRaises(nbd.Error, self.connect, export)
        # libnbd keeps the server's reason to itself, QEMU tells it.
        done = run(tool("qemu-io"), "-f", "raw", "-c", "read 0 512", self.store.uri(export), expect=1)
        for part in says:
            self.assertIn(part, done.stderr.decode())

    def refused_write(self, handle, errno="ESHUTDOWN"):
        with self.assertRaises(nbd.Error) as raised:
            handle.pwrite(bytes(BLOCK), 0)
        self.assertEqual(raised.exception.errno, errno)

    def kill_and_restart(self):
        self.store.daemon.kill()
        self.store.serve()

    def test_what_attach_prints_works_as_it_is(self):
        disk = self.new_disk("4M")
        made = self.attach(disk, "--label", "host-7")
        self.assertEqual((made["name"], made["epoch"], made["state"], made["label"]), (disk, 1, "active", "host-7"))
        self.assertTrue(made["served"])
        self.assertIsNone(made["client"])
        self.assertEqual(made["nbd"], [self.store.uri(made["export"])])
        option, value = shlex.split(made["qemu"])
        self.assertEqual(option, "-blockdev")
        self.assertIn("reconnect-delay=30", value)
        run(tool("qemu-io"), "--image-opts", value, "-c", "write -P 7 0 64k", "-c", "flush")
        run(tool("qemu-io"), "-f", "raw", "-c", "read -P 7 0 64k", made["nbd"][0])
        info = json.loads(run(tool("nbdinfo"), "--json", made["nbd"][0]).stdout)["exports"][0]
        self.assertFalse(info["can_multi_conn"])
        self.assertFalse(info["is_read_only"])
        text = self.store.run("info", disk).stdout.decode()
        self.assertRegex(text, f"active +attachment {made['token']}, epoch 1, host-7")
        listed = run(tool("nbdinfo"), "--list", self.store.uri()).stdout.decode()
        self.assertNotIn(made["token"], listed)
        self.assertNotIn(made["token"], self.store.run("dump").stdout.decode())
        human = self.store.run("attach", disk, "--incoming").stdout.decode()
        self.assertIn("first write fences", human)
        self.assertIn("-blockdev driver=nbd", human)

    def test_the_second_writer_s_first_write_fences_the_first(self):
        disk = self.new_disk("4M")
        source = self.attach(disk, "--label", "source")
        self.refused("attach", disk, says=(disk, "source, epoch 1", "--incoming", "fence"))
        target = self.attach(disk, "--incoming")
        self.assertEqual((target["epoch"], target["state"]), (2, "incoming"))
        old, new = self.connect(source["export"]), self.connect(target["export"])
        old.pwrite(b"a" * BLOCK, 0)
        # As a migration does: the destination reads at its start, and flushes before it writes.
        self.assertEqual(bytes(new.pread(512, 0)), b"a" * 512)
        old.flush()
        new.flush()
        old.pwrite(b"b" * BLOCK, 0)
        self.assertEqual(self.states(disk), ["active", "incoming"])
        new.pwrite(b"c" * BLOCK, 0)
        self.assertEqual(self.states(disk), ["fenced", "active"])
        self.refused_write(old)
        for call in (old.trim, old.zero):
            self.assertRaises(nbd.Error, call, BLOCK, 0)
        old.flush()
        old.flush()
        self.assertEqual(bytes(old.pread(1, 0)), b"c")
        new.pwrite(b"d" * BLOCK, BLOCK)
        old.shutdown()
        self.refused_connection(source["export"], ("epoch 1", "fenced"))
        self.assertEqual(bytes(new.pread(1, 0)), b"c")
        clients = [each["client"] for each in self.store.json("info", disk)["attached"]]
        self.assertEqual(clients, [None, f"nbd client pid {os.getpid()}"])

    def test_epochs_and_fences_survive_kill_9(self):
        disk = self.new_disk("4M")
        source, target = self.attach(disk), self.attach(disk, "--incoming")
        old, new = Client(self.store.uri(source["export"])), Client(self.store.uri(target["export"]))
        old.pwrite(b"a" * BLOCK, 0)
        self.kill_and_restart()
        self.assertEqual(self.states(disk), ["active", "incoming"])
        old.pwrite(b"b" * BLOCK, 0)
        new.pwrite(b"c" * BLOCK, 0)
        # Neither flushed nor closed in order: the fence stands all the same.
        self.kill_and_restart()
        self.assertEqual(self.states(disk), ["fenced", "active"])
        self.refused_connection(source["export"], ("epoch 1", "fenced"))
        new.pwrite(b"d" * BLOCK, BLOCK)
        self.assertEqual(new.reconnects, 2)
        self.assertEqual(bytes(new.pread(1, 0)), b"c")
        self.assertEqual(self.attach(disk, "--incoming")["epoch"], 3)
        gone = self.store.json("detach", disk, "--all")
        self.assertEqual([each["epoch"] for each in gone["attachments"]], [1, 2, 3])
        self.kill_and_restart()
        self.assertEqual(self.states(disk), [])
        self.assertEqual(self.attach(disk)["epoch"], 4)

    def test_a_plain_export_admits_many_and_fences_none(self):
        disk = self.new_disk("4M")
        one, two = self.connect(disk), self.connect(disk)
        self.assertTrue(one.can_multi_conn())
        for round in range(3):
            one.pwrite(bytes([round]) * BLOCK, 0)
            two.pwrite(bytes([round]) * BLOCK, BLOCK)
        self.refused("attach", disk, says=(disk, "nbd client pid", "without an attachment"))
        self.refused("fence", disk, says=(disk, "nbd client pid", "can't be fenced"))
        one.shutdown()
        two.shutdown()

    def test_plain_writers_are_refused_while_a_disk_is_attached(self):
        disk = self.new_disk("4M")
        made = self.attach(disk, "--label", "mine")
        writer = self.connect(made["export"])
        writer.pwrite(b"a" * BLOCK, 0)
        plain = self.connect(disk)
        self.assertTrue(plain.is_read_only())
        self.assertEqual(bytes(plain.pread(1, 0)), b"a")
        plain.set_strict_mode(0)
        self.refused_write(plain, "EPERM")
        self.assertIn("attached: read-only here", run(tool("nbdinfo"), self.store.uri(disk)).stdout.decode())
        copy = self.store.file("copy.raw")
        run(tool("nbdcopy"), "--connections=4", self.store.uri(disk), copy)
        with open(copy, "rb") as image:
            self.assertEqual(image.read(1), b"a")
        done = run(tool("qemu-io"), "-f", "raw", "-c", "write 0 4k", self.store.uri(disk), expect=1)
        self.assertIn("Permission denied", (done.stdout + done.stderr).decode())
        plain.shutdown()
        writer.shutdown()
        self.store.run("detach", disk)
        self.assertFalse(self.connect(disk).is_read_only())

    def test_names_that_are_none(self):
        disk = self.new_disk("1M")
        self.refused_connection(f"{disk}/attach:no-such-token", (disk, "no attachment"))
        self.refused_connection(f"{disk}/other:x", ("DISK/attach:TOKEN",))
        other = self.new_disk("1M")
        made = self.attach(other)
        self.refused_connection(f"{disk}/attach:{made['token']}", (disk, "no attachment"))
        self.refused("attach", f"{disk}@x", says=(disk, "snapshot"))
        self.refused("attach", "nothing", says=("nothing", "not there"))
        self.refused("detach", disk, says=(disk, "not attached"))
        self.refused("detach", other, "abc", says=(other, "abc"))

    def test_what_would_change_the_disk_names_who_has_it(self):
        disk = self.new_disk("4M")
        self.store.run("snapshot", f"{disk}@one")
        made = self.attach(disk, "--label", "guest-1")
        for verb in (("rm", disk, "--snapshots"), ("rm", disk, "--snapshots", "--now"), ("resize", disk, "--size", "8M"),
                     ("rename", disk, "other"), ("set", disk, "strict=on"), ("rollback", f"{disk}@one")):
            self.refused(*verb, says=(disk, "guest-1, epoch 1"))
        writer = self.connect(made["export"])
        self.refused("rollback", f"{disk}@one", says=("guest-1", f"nbd client pid {os.getpid()}", "--online"))
        # The token may be given as the name of the export.
        self.store.run("detach", disk, made["export"])
        self.assertRaises(nbd.Error, writer.pwrite, bytes(BLOCK), 0)
        self.refused_connection(made["export"], ("no attachment",))
        self.store.run("resize", disk, "--size", "8M")
        self.assertEqual(self.connect(disk).get_size(), 8 * MIB)

    def test_a_resize_of_an_unattached_export_is_seen_by_the_next_client(self):
        disk = self.new_disk("4M")
        self.assertEqual(self.connect(disk).get_size(), 4 * MIB)
        wait_until(lambda: self.store.json("info", disk)["attachments"] == 0, "the client's end")
        for size in ("8M", "2M"):
            self.store.run("resize", disk, "--size", size)
            self.assertEqual(self.connect(disk).get_size(), int(size[0]) * MIB)
            wait_until(lambda: self.store.json("info", disk)["attachments"] == 0, "the client's end")
            made = self.attach(disk)
            self.assertEqual(self.connect(made["export"]).get_size(), int(size[0]) * MIB)
            self.store.run("detach", disk)

    def test_fence_lets_nobody_write_and_another_take_over(self):
        disk = self.new_disk("4M")
        made = self.attach(disk, "--label", "lost host")
        lost = self.connect(made["export"])
        lost.pwrite(b"a" * BLOCK, 0)
        fenced = self.store.json("fence", disk)
        self.assertEqual([(each["epoch"], each["label"]) for each in fenced["attachments"]], [(1, "lost host")])
        self.refused_write(lost)
        lost.flush()
        self.assertEqual(self.store.json("fence", disk)["attachments"], [])
        heir = self.connect(self.attach(disk)["export"])
        heir.pwrite(b"b" * BLOCK, 0)
        self.refused_write(lost)
        self.assertEqual(bytes(heir.pread(1, 0)), b"b")

    def test_a_new_connection_takes_the_place_of_the_one_before(self):
        disk = self.new_disk("16M")
        made = self.attach(disk)
        first = self.connect(made["export"])
        buffers = [bytes([i]) * 65536 for i in range(128)]
        cookies = [first.aio_pwrite(buffer, i * 65536) for i, buffer in enumerate(buffers)]
        second = self.connect(made["export"])
        # All that the first one had under way has ended: nothing of it comes behind the successor's writes.
        second.pwrite(b"z" * (8 * MIB), 0)
        time.sleep(0.2)
        self.assertEqual(bytes(second.pread(8 * MIB, 0)), b"z" * (8 * MIB))
        self.assertRaises(nbd.Error, first.pwrite, bytes(BLOCK), 0)
        self.assertEqual(len(cookies), 128)
        with open(self.store.file("daemon.log"), encoding="utf-8") as log:
            self.assertIn("its attachment has a new connection", log.read())

    def test_online_rollback_under_a_client_that_comes_back(self):
        disk = self.new_disk("16M")
        made = self.attach(disk, "--label", "guest")
        client = Client(self.store.uri(made["export"]))
        client.pwrite(b"a" * (2 * MIB), 0)
        self.store.run("snapshot", f"{disk}@good")
        client.pwrite(b"b" * (2 * MIB), 0)
        self.refused("rollback", f"{disk}@good", says=("guest", "--online"))
        rehearsed = self.store.json("rollback", f"{disk}@good", "--online", "--dry-run", "--keep", "kept")
        self.assertTrue(rehearsed["dry_run"])
        self.assertEqual(bytes(client.pread(1, 0)), b"b")
        self.assertEqual(client.reconnects, 0)
        answer = self.store.json("rollback", f"{disk}@good", "--online", "--keep", "kept")
        self.assertEqual(answer["kept"], f"{disk}@kept")
        self.assertEqual(bytes(client.pread(2 * MIB, 0)), b"a" * (2 * MIB))
        self.assertEqual(client.reconnects, 1)
        client.pwrite(b"c" * BLOCK, 0)
        client.flush()
        self.kill_and_restart()
        self.assertEqual(bytes(client.pread(2 * BLOCK, 0)), b"c" * BLOCK + b"a" * BLOCK)
        kept = self.connect(f"{disk}@kept")
        self.assertEqual(bytes(kept.pread(2 * MIB, 0)), b"b" * (2 * MIB))

    def test_online_rollback_while_its_client_writes(self):
        disk = self.new_disk("16M")
        made = self.attach(disk)
        client = Client(self.store.uri(made["export"]))
        client.pwrite(b"\1" * MIB, 8 * MIB)
        self.store.run("snapshot", f"{disk}@base")
        stop = threading.Event()
        wrote = [0]
        failure = []

        def write():
            try:
                while not stop.is_set():
                    number = wrote[0] % 1024
                    client.pwrite(number.to_bytes(4, "big") * (BLOCK // 4), number * BLOCK)
                    wrote[0] += 1
            except nbd.Error as error:
                failure.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for round in range(5):
                seen = wrote[0]
                wait_until(lambda: wrote[0] > seen + 50 or failure, "writes between the rollbacks", 60)
                self.store.run("rollback", f"{disk}@base", "--online", "--keep", f"kept{round}")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(failure, [])
        self.assertGreaterEqual(client.reconnects, 5)
        self.assertEqual(bytes(client.pread(MIB, 8 * MIB)), b"\1" * MIB)
        # Each block is what it was, or what the client wrote there.
        content = bytes(client.pread(4 * MIB, 0))
        for number in range(1024):
            block = content[number * BLOCK : (number + 1) * BLOCK]
            self.assertIn(block, (bytes(BLOCK), number.to_bytes(4, "big") * (BLOCK // 4)))
        plain = self.connect(disk)
        self.refused("rollback", f"{disk}@base", "--online", says=(disk, f"nbd client pid {os.getpid()}"))
        plain.shutdown()

    def test_a_client_that_comes_back_loses_nothing_while_the_daemon_dies(self):
        disk = self.new_disk("16M")
        client = Client(self.store.uri(self.attach(disk)["export"]))
        stop = threading.Event()
        acknowledged = {}
        failure = []

        def write():
            number = 0
            try:
                while not stop.is_set():
                    number += 1
                    client.pwrite(number.to_bytes(8, "big") * (BLOCK // 8), number % 4096 * BLOCK)
                    acknowledged[number % 4096] = number
            except nbd.Error as error:
                failure.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(int(os.environ.get("COPPICE_ATTACH_KILLS", "5"))):
                time.sleep(0.5)
                self.kill_and_restart()
        finally:
            time.sleep(0.5)
            stop.set()
            thread.join()
        self.assertEqual(failure, [])
        self.assertGreater(client.reconnects, 3)
        content = bytes(client.pread(16 * MIB, 0))
        for block, number in acknowledged.items():
            self.assertEqual(int.from_bytes(content[block * BLOCK : block * BLOCK + 8], "big"), number)


class WithoutDaemon(unittest.TestCase):
    def test_an_attachment_is_made_before_anybody_serves_it(self):
        store = Store("alone")
        self.addCleanup(store.remove)
        store.run("create", "disk", "--size", "4M")
        made = store.json("attach", "disk", "--label", "first")
        self.assertFalse(made["served"])
        self.assertEqual([each["label"] for each in store.json("info", "disk")["attached"]], ["first"])
        done = store.run("rm", "disk", expect=2)
        self.assertIn("first, epoch 1", done.stderr.decode())
        store.serve()
        handle = nbd.NBD()
        handle.connect_uri(store.uri(made["export"]))
        handle.pwrite(b"a" * BLOCK, 0)
        handle.shutdown()
        store.daemon.stop()
        self.assertEqual(len(store.json("fence", "disk")["attachments"]), 1)
        self.assertEqual(store.json("detach", "disk")["attachments"][0]["state"], "fenced")
        store.run("rm", "disk")
        store.run("check")


if __name__ == "__main__":
    unittest.main()
