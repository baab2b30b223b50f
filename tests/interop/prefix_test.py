"""A snapshot of a disk that is being written is a legal point in time of what was acknowledged.

Clients write numbered blocks over NBD and remember, by one clock, when each write was issued and answered; the
snapshots are taken through the command line meanwhile. Then, for each snapshot:
  - a write answered before its command began is in it,
  - a write issued after its command had ended is not,
  - of one place's writes, a snapshot holds exactly one version;
  - if a write was issued after another had been answered, no snapshot has the later one without the earlier
    (a strictly sequential writer's snapshots are exact prefixes), also across the disks of one group snapshot.
"""
import bisect
import os
import random
import select
import struct
import time
import unittest

import nbd

from coppice import MIB, StoreTest

BLOCK = 4096
PLACES = 256  # few, so that each is written often: in place, and redirected after each snapshot
SECONDS = float(os.environ.get("COPPICE_PREFIX_SECONDS", "4"))


class Write:
    __slots__ = ("number", "place", "issued", "answered", "cookie")

    def __init__(self, number, place, issued):
        self.number, self.place, self.issued = number, place, issued
        self.answered = float("inf")


def payload(number, size=BLOCK):
    return struct.pack("<Q", number) * (size // 8)


class Writer:
    """One connection to one disk with up to `depth` writes in flight, each place at most once."""

    def __init__(self, uri, depth, chance):
        self.client = nbd.NBD()
        self.client.connect_uri(uri)
        self.depth, self.chance = depth, chance
        self.writes = []  # all, by number
        self.in_flight = []
        self.busy = set()

    def issue(self):
        place = self.chance.randrange(PLACES)
        if place in self.busy:
            return
        write = Write(len(self.writes) + 1, place, time.monotonic())
        # A flag in some: a write that is made durable at once is ordered no differently.
        flags = nbd.CMD_FLAG_FUA if self.chance.random() < 0.02 else 0
        write.cookie = self.client.aio_pwrite(payload(write.number), place * BLOCK, flags=flags)
        self.writes.append(write)
        self.in_flight.append(write)
        self.busy.add(place)

    def fill(self):
        tries = 0
        while len(self.in_flight) < self.depth and tries < 100:
            self.issue()
            tries += 1

    def reap(self):
        for write in list(self.in_flight):
            if self.client.aio_command_completed(write.cookie):
                write.answered = time.monotonic()
                self.in_flight.remove(write)
                self.busy.discard(write.place)


def turn(writers, milliseconds=10):
    poll = select.poll()
    for writer in writers:
        wanted = writer.client.aio_get_direction()
        poll.register(writer.client.aio_get_fd(),
                      (select.POLLIN if wanted & nbd.AIO_DIRECTION_READ else 0)
                      | (select.POLLOUT if wanted & nbd.AIO_DIRECTION_WRITE else 0))
    ready = dict(poll.poll(milliseconds))
    for writer in writers:
        event = ready.get(writer.client.aio_get_fd(), 0)
        if event & select.POLLOUT and writer.client.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
            writer.client.aio_notify_write()
        elif event:
            writer.client.aio_notify_read()
        writer.reap()


class Taken:
    def __init__(self, name, process):
        self.name, self.process, self.began, self.ended = name, process, time.monotonic(), None


class Prefix(StoreTest):
    def load(self, disks, writers):
        """Writes, taking one snapshot of all disks after the other; returns them."""
        taken = []
        current = None
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or current is not None:
            for writer in writers:
                writer.fill()
            turn(writers)
            if current is not None and current.process.poll() is not None:
                current.ended = time.monotonic()
                self.assertEqual(current.process.returncode, 0, current.process.stderr.read().decode())
                current.process.stderr.close()
                taken.append(current)
                current = None
            if current is None and time.monotonic() < end:
                name = f"p{len(taken)}"
                began = time.monotonic()
                current = Taken(name, self.store.start("snapshot", *[f"{disk}@{name}" for disk in disks]))
                current.began = began
        while any(writer.in_flight for writer in writers):
            turn(writers)
        self.assertGreater(len(taken), 2)
        return taken

    def numbers_in(self, export):
        """The number that stands at each place; a block that is not one number throughout fails."""
        client = nbd.NBD()
        client.connect_uri(self.store.uri(export))
        content = client.pread(PLACES * BLOCK, 0)
        numbers = []
        for place in range(PLACES):
            block = content[place * BLOCK : (place + 1) * BLOCK]
            number = struct.unpack_from("<Q", block)[0]
            self.assertEqual(block, payload(number), f"{export}: place {place} is torn")
            numbers.append(number)
        return numbers

    def check_bounds(self, writer, numbers, snapshot, export):
        by_place = {}
        for write in writer.writes:
            by_place.setdefault(write.place, []).append(write)
        for place, number in enumerate(numbers):
            writes = by_place.get(place, [])
            known = [0] + [write.number for write in writes]
            self.assertIn(number, known, f"{export}: place {place} holds a number never written there")
            for write in writes:
                if write.answered < snapshot.began:
                    self.assertGreaterEqual(number, write.number,
                                            f"{export}: write {write.number}, answered before, is missing")
                if write.issued > snapshot.ended:
                    self.assertLess(number, write.number, f"{export}: write {write.number}, issued after, is in")

    def check_order(self, histories, export):
        """histories: (writes, numbers) of each disk. No write that is in was issued after one that is missing
        had been answered."""
        missing_answered = float("inf")
        newest_in = []
        for writes, numbers in histories:
            for write in writes:
                if numbers[write.place] < write.number:
                    missing_answered = min(missing_answered, write.answered)
                elif numbers[write.place] == write.number:
                    newest_in.append(write.issued)
        newest_in.sort()
        at = bisect.bisect_right(newest_in, missing_answered)
        self.assertEqual(at, len(newest_in), f"{export} has a write without one that was answered before it began")

    def run_case(self, disk_count, depth, seed):
        chance = random.Random(seed)
        disks = [self.new_disk(2 * MIB) for _ in range(disk_count)]
        writers = [Writer(self.store.uri(disk), depth, random.Random(chance.random())) for disk in disks]
        taken = self.load(disks, writers)
        for snapshot in taken:
            histories = []
            for disk, writer in zip(disks, writers):
                export = f"{disk}@{snapshot.name}"
                numbers = self.numbers_in(export)
                self.check_bounds(writer, numbers, snapshot, export)
                histories.append((writer.writes, numbers))
            self.check_order(histories, f"@{snapshot.name}")
            if depth == 1:
                for writes, numbers in histories:
                    last = max(numbers)
                    expected = [0] * PLACES
                    for write in writes[:last]:
                        expected[write.place] = write.number
                    self.assertEqual(numbers, expected, f"@{snapshot.name} is no prefix")
        total = sum(len(writer.writes) for writer in writers)
        print(f"{len(taken)} snapshots among {total} writes at depth {depth} on {disk_count} disks ", end="", flush=True)

    def test_a_sequential_writer_s_snapshots_are_exact_prefixes(self):
        self.run_case(disk_count=1, depth=1, seed=11)

    def test_many_writes_in_flight(self):
        self.run_case(disk_count=1, depth=32, seed=12)

    def test_a_group_of_disks_is_one_point_in_time(self):
        self.run_case(disk_count=3, depth=8, seed=13)

    def test_sequential_writers_on_a_group(self):
        self.run_case(disk_count=3, depth=1, seed=14)


if __name__ == "__main__":
    unittest.main(verbosity=2)
