"""Snapshots of several disks together are one point in time: what a client wrote to the second disk only after its write to
the first was acknowledged is in no set without that write. Many sets, under clients that never pause."""
import json
import os
import socket
import threading
import time
import unittest

import nbd

from coppice import StoreTest, wait_until

DISKS = ("first", "second", "third")
CLIENTS = 6
BLOCK = 4096
SETS = int(os.environ.get("COPPICE_GROUP_SETS", "300"))


class Chain(threading.Thread):
    """Writes 1, 2, 3 … to its place on each disk, in this order, each write behind the answer to the one before."""

    def __init__(self, store, number):
        super().__init__(daemon=True)
        self.place = number * 16 * BLOCK
        self.disks = []
        for name in DISKS:
            handle = nbd.NBD()
            handle.connect_uri(store.uri(name))
            self.disks.append(handle)
        self.ends = threading.Event()
        self.written = 0
        self.failure = None

    def run(self):
        try:
            while not self.ends.is_set():
                self.written += 1
                content = self.written.to_bytes(8, "little") * (BLOCK // 8)
                for disk in self.disks:
                    disk.pwrite(content, self.place)
                if self.written % 16 == 0:
                    self.disks[-1].flush()
            for disk in self.disks:
                disk.shutdown()
        except Exception as error:  # the test fails with it
            self.failure = error


class Control:
    """The control socket, so that a set takes one request and no process."""

    def __init__(self, store):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.path.join(store.path, "control.sock"))
        self.reader = self.socket.makefile("rb")

    def call(self, method, **params):
        self.socket.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        while True:
            answer = json.loads(self.reader.readline())
            if "error" in answer:
                raise AssertionError(f"{method}: {answer['error']['message']}")
            if "result" in answer:
                return answer["result"]

    def close(self):
        self.reader.close()
        self.socket.close()


class Together(StoreTest):
    def numbers(self, disk, name):
        handle = nbd.NBD()
        handle.connect_uri(self.store.uri(f"{disk}@{name}"))
        found = []
        for client in range(CLIENTS):
            block = bytes(handle.pread(BLOCK, client * 16 * BLOCK))
            self.assertEqual(block, block[:8] * (BLOCK // 8), f"{disk}@{name}: a torn block")
            found.append(int.from_bytes(block[:8], "little"))
        handle.shutdown()
        return found

    def test_no_set_holds_a_write_without_the_one_before_it(self):
        for disk in DISKS:
            self.store.run("create", disk, "--size", "16M")
        chains = [Chain(self.store, number) for number in range(CLIENTS)]
        control = Control(self.store)
        for chain in chains:
            chain.start()
        while any(chain.written < 10 and chain.failure is None for chain in chains):
            time.sleep(0.01)
        try:
            for number in range(SETS):
                # Named in both orders: neither is the one in which they happen to be handled.
                disks = DISKS if number % 2 else DISKS[::-1]
                control.call("snapshot", specs=[f"{disk}@set{number}" for disk in disks])
                time.sleep(0.004)  # all clients come to something
        finally:
            for chain in chains:
                chain.ends.set()
        for chain in chains:
            chain.join()
            self.assertIsNone(chain.failure)
        control.close()
        uneven = moved = 0
        before = [0] * CLIENTS
        for number in range(SETS):
            sets = [self.numbers(disk, f"set{number}") for disk in DISKS]
            for client, values in enumerate(zip(*sets)):
                self.assertTrue(values[0] >= values[1] >= values[2] >= values[0] - 1,
                                f"set {number}, client {client}: {values}")
                self.assertGreaterEqual(values[2], before[client] - 1, f"set {number}: went back")
                uneven += values[0] != values[2]
                moved += values[0] != before[client]
                before[client] = values[0]
        # Else it would have looked at nothing: most sets fall between two writes of some client.
        self.assertGreater(uneven, SETS // 4)
        self.assertGreater(moved, SETS)
        print(f"{SETS} sets of {len(DISKS)} disks, {sum(chain.written for chain in chains)} rounds, "
              f"{uneven} times a set fell between the writes of a round")

    def fill(self, disks, pattern):
        for disk in disks:
            self.write(disk, f"write -P {pattern} 0 64k")

    def holds(self, disk, pattern):
        self.write(disk, f"read -P {pattern} 0 64k")

    def test_what_was_taken_together_is_listed_rolled_back_and_removed_as_one(self):
        disks = [self.new_disk("1M") for _ in range(3)]
        self.fill(disks, 1)
        names = sorted(f"{disk}@x" for disk in disks)
        self.store.run("snapshot", *names)
        self.store.run("snapshot", f"{disks[0]}@alone")
        self.fill(disks, 2)
        self.assertEqual(sorted(row["name"] for row in self.store.json("ls", "--group", names[1])), names)
        info = self.store.json("info", names[2])["group"]
        self.assertEqual((info["taken"], info["snapshots"]), (3, names))
        self.assertIsNone(self.store.json("info", f"{disks[0]}@alone")["group"])
        self.assertEqual(self.store.json("du", "--group", names[0])["names"], names)
        rehearsed = self.store.json("rollback", "--group", names[0], "--discard", "--dry-run")
        self.assertEqual((rehearsed["frees"], rehearsed["disks"][0]["kept"]), (3 * 65536, None))
        for disk in disks:
            self.holds(disk, 2)
        # None goes back if one can't.
        handle = nbd.NBD()
        handle.connect_uri(self.store.uri(disks[2]))
        self.refused("rollback", "--group", names[0], says=(disks[2],))
        handle.shutdown()
        wait_until(lambda: self.store.json("info", disks[2])["attachments"] == 0, "the client to leave")
        self.holds(disks[0], 2)
        answer = self.store.json("rollback", "--group", names[0], "--keep", "left")
        self.assertEqual(sorted(each["kept"] for each in answer["disks"]), sorted(f"{disk}@left" for disk in disks))
        for disk in disks:
            self.holds(disk, 1)
        # What was left is one, too: forward again by the same verb.
        self.store.run("rollback", "--group", f"{disks[1]}@left", "--discard")
        for disk in disks:
            self.holds(disk, 2)
        self.store.run("rm", names[0])
        self.refused("rollback", "--group", names[1], says=(names[1], "1 are gone", "ls --group"))
        self.assertEqual(self.store.json("rm", "--group", names[1])["removed"], names[1:])
        self.assertEqual(self.store.json("rm", "--group", f"{disks[0]}@left", f"{disks[1]}@left")["removed"],
                         sorted(f"{disk}@left" for disk in disks))
        for empty in (("ls", "--group", ""), ("du", "--group")):
            self.refused(*empty)
        self.refused("rm", "--group", disks[0], says=(f"{disks[0]}@SNAPSHOT",))

    def test_several_go_back_as_one_that_were_taken_apart(self):
        disks = [self.new_disk("1M") for _ in range(2)]
        for disk in disks:
            self.store.run("snapshot", f"{disk}@own-{disk}")
        self.fill(disks, 3)
        self.refused("rollback", f"{disks[0]}@own-{disks[0]}", f"{disks[1]}@none", says=(f"{disks[1]}@none",))
        self.holds(disks[0], 3)
        text = self.store.run("rollback", *(f"{disk}@own-{disk}" for disk in disks)).stdout.decode()
        self.assertEqual(text.count("what it held is kept as"), 2)
        for disk in disks:
            self.holds(disk, 0)
        self.refused("rollback", f"{disks[0]}@own-{disks[0]}", f"{disks[0]}@own-{disks[0]}", says=("twice",))


if __name__ == "__main__":
    unittest.main()
