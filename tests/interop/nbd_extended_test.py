"""Extended headers, and contexts side by side, by a client that speaks the wire: Debian's don't know the former."""
import os
import struct
import unittest

from coppice import MIB, StoreTest, run, tool
from nbd_wire import *

GIB = 1 << 30
TIB = 1 << 40
HOLE = 3
BASE, DEPTH = "base:allocation", "qemu:allocation-depth"


class Extended(StoreTest):
    def wire(self):
        client = Wire(self.store.daemon.socket)
        self.addCleanup(client.socket.close)
        return client

    def enter(self, export, *contexts, form="extended"):
        client = self.wire().agree(form)
        if contexts:
            client.set_contexts(export, *contexts)
            self.assertEqual(set(client.contexts), set(contexts))
        return client.go(export)

    def test_each_command(self):
        client = self.enter(self.new_disk("64M"))
        data = os.urandom(MIB + 17)
        self.assertEqual(client.write(4095, data), (0, b""))
        self.assertEqual(client.read(4095, len(data)), (0, data))
        self.assertEqual(client.read(4095, len(data), FLAG_DF), (0, data))
        big = os.urandom(32 * MIB)
        self.assertEqual(client.write(8 * MIB, big, FLAG_FUA), (0, b""))
        self.assertEqual(client.read(8 * MIB, len(big)), (0, big))
        for command, flags in ((CMD_FLUSH, 0), (CMD_CACHE, 0), (CMD_TRIM, FLAG_FUA), (CMD_WRITE_ZEROES, FLAG_FUA),
                               (CMD_WRITE_ZEROES, FLAG_NO_HOLE), (CMD_WRITE_ZEROES, FLAG_FAST_ZERO)):
            length = 0 if command == CMD_FLUSH else 8192
            self.assertEqual(client.ask(command, 0, length, flags), (0, b""), (command, flags))
        self.assertEqual(client.read(0, 8192), (0, bytes(8192)))
        self.assertEqual(client.write(0, b""), (0, b""))
        self.assertTrue(client.leave())

    def test_a_structured_client_reads_what_an_extended_one_wrote(self):
        disk = self.new_disk("8M")
        self.assertEqual(self.enter(disk).write(4096, b"extended")[0], 0)
        self.assertEqual(self.enter(disk, form="structured").read(4096, 8), (0, b"extended"))
        self.assertEqual(self.wire().go(disk).read(4096, 8), (0, b"extended"))
        run(tool("qemu-io"), "-f", "raw", "-c", "read -P 101 4096 1", self.store.uri(disk))

    def test_lengths_beyond_four_gibibytes(self):
        disk = self.new_disk("16T")
        client = self.enter(disk, BASE, DEPTH)
        self.assertEqual(client.size, 16 * TIB)
        self.assertEqual(client.block_status(0, 16 * TIB), {BASE: [(16 * TIB, HOLE)], DEPTH: [(16 * TIB, 0)]})
        for at in (0, 5 * GIB, 9 * TIB + 4096):
            self.assertEqual(client.write(at, b"x" * 4096)[0], 0)
        stretches = [(4096, 0), (5 * GIB - 4096, HOLE), (4096, 0), (9 * TIB - 5 * GIB, HOLE), (4096, 0),
                     (7 * TIB - 8192, HOLE)]
        self.assertEqual(client.block_status(0, 16 * TIB)[BASE], stretches)
        self.assertEqual(client.block_status(0, 16 * TIB, FLAG_REQ_ONE)[BASE], stretches[:1])
        self.assertEqual(client.block_status(4096, 16 * TIB - 4096, FLAG_REQ_ONE)[BASE], stretches[1:2])
        self.assertEqual(client.ask(CMD_CACHE, 0, 16 * TIB), (0, b""))
        self.assertEqual(client.ask(CMD_TRIM, 2 * GIB, 8 * GIB), (0, b""))
        self.assertEqual(client.read(5 * GIB, 4096), (0, bytes(4096)))
        self.assertEqual(client.read(0, 4096), (0, b"x" * 4096))
        self.assertEqual(client.ask(CMD_WRITE_ZEROES, 0, 16 * TIB, FLAG_FAST_ZERO | FLAG_FUA), (0, b""))
        self.assertEqual(client.block_status(0, 16 * TIB)[BASE], [(16 * TIB, HOLE)])
        self.assertEqual(client.read(9 * TIB + 4096, 4096), (0, bytes(4096)))
        for command, error in ((CMD_TRIM, 22), (CMD_CACHE, 22), (CMD_WRITE_ZEROES, 28), (CMD_BLOCK_STATUS, 22)):
            for offset, length in ((1, 16 * TIB), (0, 16 * TIB + 1), (1 << 63, 1 << 63), (0, (1 << 64) - 1)):
                self.assertEqual(client.ask(command, offset, length)[0], error, (command, offset, length))
        self.assertEqual(client.read(0, 4 * GIB)[0], 75)
        # A compact client goes through the same disk in pieces.
        compact = self.enter(disk, BASE, form="structured")
        self.assertEqual(compact.block_status(0, (1 << 32) - 4096)[BASE], [((1 << 32) - 4096, HOLE)])

    def test_payloads_where_they_are_not_taken(self):
        client = self.enter(self.new_disk("1M"))
        for command in (CMD_READ, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS, 77):
            self.assertEqual(client.ask(command, 0, 1000, FLAG_PAYLOAD_LEN, bytes(1000))[0], 22, command)
        self.assertEqual(client.ask(CMD_WRITE, 0, 512)[0], 22)  # without the flag there is none
        self.assertEqual(client.write(MIB, b"past the end")[0], 28)
        self.assertEqual(client.write(0, b"in step")[0], 0)
        # A longer payload than any may be is not taken off the wire.
        client.send(client.header(CMD_WRITE, 0, 32 * MIB + 1, FLAG_PAYLOAD_LEN))
        self.assertTrue(client.ended())

    def test_extended_headers_in_the_handshake(self):
        disk = self.new_disk("1M")
        client = self.wire()
        self.assertEqual(client.option(OPT_EXTENDED_HEADERS, b"x")[0][0], REP_ERR_INVALID)
        client.agree("structured")
        client.info(disk)
        self.assertFalse(client.flags & FLAG_BLOCK_STATUS_PAYLOAD)
        client.agree("extended")
        self.assertEqual(client.option(OPT_STRUCTURED_REPLY)[0][0], REP_ERR_EXT_HEADER_REQD)
        self.assertEqual(client.option(OPT_EXTENDED_HEADERS), [(REP_ACK, b"")])
        client.info(disk)
        self.assertFalse(client.flags & FLAG_BLOCK_STATUS_PAYLOAD)  # no context was chosen
        client.set_contexts(disk, BASE).info(disk)
        self.assertTrue(client.flags & FLAG_BLOCK_STATUS_PAYLOAD)
        flags = client.flags
        self.assertEqual(client.go(disk).flags, flags)
        late = self.wire().agree("extended")
        late.send(b"IHAVEOPT" + struct.pack(">II", OPT_EXPORT_NAME, len(disk)) + disk.encode())
        self.assertTrue(late.ended())
        # Compact headers behind that are noise.
        confused = self.enter(disk)
        confused.form = "structured"
        confused.send(confused.header(CMD_READ, 0, 512) + bytes(4))
        self.assertTrue(confused.ended())

    def test_contexts_are_listed_by_their_namespace(self):
        disk = self.new_disk("1M")
        self.store.run("snapshot", f"{disk}@one")
        bitmap = "qemu:dirty-bitmap:one"
        for form in ("structured", "extended"):
            client = self.wire().agree(form)
            self.assertEqual(set(client.list_contexts(disk)), {BASE, DEPTH, bitmap})
            self.assertEqual(set(client.list_contexts(disk, "qemu:")), {DEPTH, bitmap})
            self.assertEqual(set(client.list_contexts(disk, "base:")), {BASE})
            self.assertEqual(set(client.list_contexts(disk, "qemu:dirty-bitmap:")), {bitmap})
            self.assertEqual(set(client.list_contexts(disk, "qemu:allocation-depth", "x-other:")), {DEPTH})
            self.assertEqual(client.list_contexts(disk, "base:none", "qemu:none", "x-other:", "bare"), {})
            for queries in ((), ("base:", "qemu:", "qemu:dirty-bitmap:")):
                self.assertEqual(client.set_contexts(disk, *queries).contexts, {})
            ids = client.set_contexts(disk, bitmap, DEPTH, BASE, DEPTH).contexts
            self.assertEqual(set(ids), {BASE, DEPTH, bitmap})
            self.assertEqual(len(set(ids.values())), 3)
            self.assertEqual(client.list_contexts("none"), REP_ERR_UNKNOWN)
        self.assertEqual(self.wire().set_contexts(disk, BASE).contexts, REP_ERR_INVALID)

    def test_contexts_side_by_side_and_one_alone(self):
        disk = self.new_disk("16M")
        writer = self.enter(disk)
        self.assertEqual(writer.write(0, bytes(range(1, 256)) * 4112)[0], 0)  # 1 MiB and a bit
        self.store.run("snapshot", f"{disk}@one")
        self.assertEqual(writer.write(2 * MIB, b"z" * MIB)[0], 0)
        self.store.run("snapshot", f"{disk}@two")
        self.assertEqual(writer.write(0, b"z" * 4096)[0], 0)
        one, two = "qemu:dirty-bitmap:one", "qemu:dirty-bitmap:two"
        data = -(-255 * 4112 // 4096) * 4096
        expected = {
            BASE: [(data, 0), (2 * MIB - data, HOLE), (MIB, 0), (13 * MIB, HOLE)],
            DEPTH: [(4096, 1), (data - 4096, 3), (2 * MIB - data, 0), (MIB, 2), (13 * MIB, 0)],
            one: [(4096, 1), (2 * MIB - 4096, 0), (MIB, 1), (13 * MIB, 0)],
            two: [(4096, 1), (16 * MIB - 4096, 0)],
        }
        for form in ("structured", "extended"):
            client = self.enter(disk, BASE, DEPTH, one, two, form=form)
            self.assertEqual(client.block_status(0, 16 * MIB), expected)
            first = {name: stretches[:1] for name, stretches in expected.items()}
            self.assertEqual(client.block_status(0, 16 * MIB, FLAG_REQ_ONE), first)
        for only in ([DEPTH], [two, BASE], [BASE, DEPTH, one, two]):
            self.assertEqual(client.block_status(0, 16 * MIB, only=only), {name: expected[name] for name in only})
        self.assertEqual(client.block_status(0, 16 * MIB, FLAG_REQ_ONE, only=[DEPTH]), {DEPTH: [(4096, 1)]})
        for wrong in ([BASE, BASE], [99], [BASE, 99], [], list(range(20)), list(range(20000))):
            self.assertEqual(client.block_status(0, 16 * MIB, only=wrong), 22, wrong[:3])
        self.assertEqual(client.block_status(0, 16 * MIB + 1, only=[BASE]), 22)
        self.assertEqual(client.ask(CMD_BLOCK_STATUS, 0, 11, FLAG_PAYLOAD_LEN, bytes(11))[0], 22)
        self.assertEqual(client.block_status(0, 4096)[DEPTH], [(4096, 1)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
