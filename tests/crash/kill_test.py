"""kill -9 of the daemon, over and over, under clients that behave as QEMU does.

Each round: the daemon serves several disks; asynchronous clients keep many requests in flight (4 KiB, unaligned,
64 KiB, zeroes, trims, some with FUA, some flushes); the daemon is killed at a random moment (sometimes while it
still recovers), started again, and everything is compared:
  - what was acknowledged, flushed or not, is there;
  - a request that was in flight left each 512-byte sector old or new;
  - snapshots are what they were; one that was being taken is a point in time, or is not there.
As QEMU does, clients send unanswered requests again after half of the restarts.

COPPICE_KILL_ROUNDS (50), COPPICE_KILL_SEED (random, printed).
"""
import os
import random
import shutil
import select
import sys
import time

import nbd

from coppice import MIB, Store

SECTOR = 512
DISKS = 3
DISK_BYTES = 4 * MIB
DEPTH = 16
PIECE = 256 * 1024
MOST_SNAPSHOTS = 8


class Lost(Exception):
    pass


class Request:
    def __init__(self, kind, offset, length, data, flags):
        self.kind, self.offset, self.length, self.data, self.flags = kind, offset, length, data, flags
        self.cookie = None

    def sectors(self):
        return range(self.offset // SECTOR, (self.offset + self.length + SECTOR - 1) // SECTOR)

    def __str__(self):
        return f"{self.kind} {self.offset}+{self.length}"


class Window:
    """While a snapshot is being taken: every content that a sector may have in it."""

    def __init__(self, disks):
        self.start = {disk.name: bytes(disk.content) for disk in disks}
        self.candidates = {disk.name: {} for disk in disks}
        for disk in disks:
            for request in disk.in_flight:
                self.note(disk, request)

    def note(self, disk, request):
        if request.kind == "flush":
            return
        for sector in request.sectors():
            self.candidates[disk.name].setdefault(sector, []).append(disk.after(request, sector))


class Disk:
    """A disk, what it must hold, and the client on it."""

    def __init__(self, name, chance):
        self.name, self.chance = name, chance
        self.content = bytearray(DISK_BYTES)
        self.in_flight = []
        self.busy = set()  # sectors
        self.unanswered = []  # of the last run, to be sent again
        self.client = None
        self.acknowledged = 0

    def after(self, request, sector):
        """What a sector holds once the request is done."""
        start = sector * SECTOR
        old = self.content[start : start + SECTOR]
        low = max(request.offset, start)
        high = min(request.offset + request.length, start + SECTOR)
        new = request.data[low - request.offset : high - request.offset] if request.data else bytes(high - low)
        return bytes(old[: low - start] + new + old[high - start :])

    def apply(self, request):
        if request.kind != "flush":
            data = request.data if request.data else bytes(request.length)
            self.content[request.offset : request.offset + request.length] = data

    def new_request(self):
        chance = self.chance
        if chance.random() < 0.04:
            return Request("flush", 0, 0, None, 0)
        for _ in range(20):
            shape = chance.random()
            if shape < 0.5:
                length = 4096
                offset = chance.randrange(DISK_BYTES // 4096) * 4096
            elif shape < 0.75:
                length = chance.randrange(1, 20000)
                offset = chance.randrange(DISK_BYTES - length)
            else:
                length = 65536
                offset = chance.randrange((DISK_BYTES - length) // SECTOR) * SECTOR
            if chance.random() < 0.3:  # a hot region: overwritten in place, over and over
                offset %= 256 * 1024
            kind = chance.choices(["write", "zero", "trim"], [85, 8, 7])[0]
            data = chance.randbytes(length) if kind == "write" else None
            flags = nbd.CMD_FLAG_FUA if chance.random() < 0.08 else 0
            request = Request(kind, offset, length, data, flags)
            if self.busy.isdisjoint(request.sectors()):
                return request
        return None

    def connect(self, uri):
        self.client = nbd.NBD()
        self.client.connect_uri(uri)

    def issue(self, request):
        self.in_flight.append(request)
        self.busy.update(request.sectors())
        client = self.client
        if request.kind == "write":
            # Not an nbd.Buffer: Debian's libnbd never frees one that a command was given.
            request.cookie = client.aio_pwrite(request.data, request.offset, flags=request.flags)
        elif request.kind == "zero":
            request.cookie = client.aio_zero(request.length, request.offset, flags=request.flags)
        elif request.kind == "trim":
            request.cookie = client.aio_trim(request.length, request.offset, flags=request.flags)
        else:
            request.cookie = client.aio_flush()

    def reap(self):
        """Answers that have come. Raises nbd.Error when the connection broke."""
        for request in list(self.in_flight):
            if self.client.aio_command_completed(request.cookie):
                self.apply(request)
                self.in_flight.remove(request)
                self.busy.difference_update(request.sectors())
                self.acknowledged += 1

    # The same ones each time, as they are never freed either.
    buffers = [nbd.Buffer(PIECE) for _ in range(DISK_BYTES // PIECE)]

    def read_all(self, client):
        waiting = [client.aio_pread(buffer, number * PIECE) for number, buffer in enumerate(self.buffers)]
        while waiting:
            client.poll(1000)
            waiting = [cookie for cookie in waiting if not client.aio_command_completed(cookie)]
        return b"".join(buffer.to_bytearray() for buffer in self.buffers)

    def compare_after_kill(self, found):
        """Takes over what requests in flight made of their sectors; anything else is a loss."""
        open_sectors = {}
        for request in self.in_flight:
            for sector in request.sectors():
                open_sectors[sector] = self.after(request, sector)
        first = first_difference(self.content, found, open_sectors)
        if first is not None:
            raise Lost(f"{self.name}: an acknowledged write is lost at byte {first}")
        for sector in open_sectors:
            self.content[sector * SECTOR : (sector + 1) * SECTOR] = found[sector * SECTOR : (sector + 1) * SECTOR]
        self.unanswered, self.in_flight = self.in_flight, []
        self.busy.clear()


def first_difference(expected, found, candidates):
    """Of sectors that are neither as expected nor what `candidates` allows there."""
    if found == expected:
        return None
    step = 64 * 1024
    for at in range(0, len(expected), step):
        if found[at : at + step] == expected[at : at + step]:
            continue
        for sector in range(at // SECTOR, (at + step) // SECTOR):
            piece = found[sector * SECTOR : (sector + 1) * SECTOR]
            if piece == expected[sector * SECTOR : (sector + 1) * SECTOR]:
                continue
            allowed = candidates.get(sector, [])
            if piece != allowed and piece not in (allowed if isinstance(allowed, list) else [allowed]):
                return sector * SECTOR
    return None


class KillTest:
    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.store = Store("kill")
        self.disks = []
        self.snapshots = {}  # (disk, name) -> content
        self.count = 0
        self.windows = []  # (name, window, whether the command said it was done)
        self.recoveries_killed = 0
        self.maps_lost = 0
        for number in range(DISKS):
            disk = Disk(f"disk{number}", random.Random(self.chance.random()))
            self.store.run("create", disk.name, "--size", str(DISK_BYTES))
            self.disks.append(disk)

    def load(self, seconds):
        """Keeps the clients busy for a while; takes a snapshot of all disks somewhere in it."""
        end = time.monotonic() + seconds
        snapshot_at = time.monotonic() + self.chance.random() * seconds * 1.2
        snapshot = None
        while time.monotonic() < end:
            self.turn()
            if snapshot is None and time.monotonic() >= snapshot_at:
                self.count += 1
                name = f"s{self.count}"
                window = Window(self.disks)
                snapshot = self.store.start("snapshot", *[f"{disk.name}@{name}" for disk in self.disks])
                self.windows.append([name, window, False])
            if snapshot is not None and self.windows and not self.windows[-1][2] and snapshot.poll() is not None:
                if snapshot.returncode != 0:
                    raise Lost(f"snapshot: {snapshot.stderr.read().decode()}")
                self.windows[-1][2] = True
        return snapshot

    def turn(self):
        """One turn of the clients' loop."""
        for disk in self.disks:
            while len(disk.in_flight) < DEPTH:
                request = disk.unanswered.pop() if disk.unanswered else disk.new_request()
                if request is None:
                    break
                if not disk.busy.isdisjoint(request.sectors()):
                    continue
                disk.issue(request)
                if self.windows and not self.windows[-1][2]:
                    self.windows[-1][1].note(disk, request)
        poll = select.poll()
        by_descriptor = {}
        for disk in self.disks:
            wanted = disk.client.aio_get_direction()
            events = (select.POLLIN if wanted & nbd.AIO_DIRECTION_READ else 0) | (
                select.POLLOUT if wanted & nbd.AIO_DIRECTION_WRITE else 0)
            descriptor = disk.client.aio_get_fd()
            by_descriptor[descriptor] = disk
            poll.register(descriptor, events)
        for descriptor, event in poll.poll(20):
            disk = by_descriptor[descriptor]
            if event & select.POLLOUT and disk.client.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
                disk.client.aio_notify_write()
            elif event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                disk.client.aio_notify_read()
        for disk in self.disks:
            disk.reap()

    def drain_after_kill(self):
        """Answers that were on their way when the daemon died count: the client saw them."""
        for disk in self.disks:
            try:
                while disk.in_flight:
                    if not disk.client.aio_get_direction() & nbd.AIO_DIRECTION_READ:
                        break
                    disk.client.aio_notify_read()
                    disk.reap()
            except nbd.Error:
                pass
            for request in list(disk.in_flight):
                try:
                    done = disk.client.aio_command_completed(request.cookie)
                except nbd.Error:
                    done = False
                if done:
                    disk.apply(request)
                    disk.in_flight.remove(request)
            disk.client = None

    def restart(self):
        # Now and then recovery itself is killed.
        while self.chance.random() < 0.15:
            daemon = self.store.serve(wait=False)
            time.sleep(self.chance.random() * 0.15)
            daemon.kill()
            self.recoveries_killed += 1
        if self.chance.random() < 0.25:
            self.lose_map()
        self.store.serve()

    def lose_map(self):
        """The map goes, or a part of it; what the pool has of it makes up for that."""
        folder = os.path.join(self.store.path, "map")
        tables = [name for name in os.listdir(folder) if name.endswith(".sst")]
        how = self.chance.choice(["all", "CURRENT", "table" if tables else "all"])
        if how == "all":
            shutil.rmtree(folder)
        elif how == "CURRENT":
            os.remove(os.path.join(folder, how))
        else:
            path = os.path.join(folder, self.chance.choice(tables))
            with open(path, "r+b") as table:
                table.seek(self.chance.randrange(max(os.path.getsize(path) // 2, 1)))
                table.write(self.chance.randbytes(600))
        done = self.store.run("check", "--repair").stdout.decode()
        if how != "table" and "made anew" not in done:
            raise Lost(f"the map is damaged ({how}), and was not made anew: {done}")
        self.maps_lost += 1
        for name in os.listdir(self.store.path):
            if name.startswith("map.damaged"):
                shutil.rmtree(os.path.join(self.store.path, name))

    def compare(self, everything=False):
        for disk in self.disks:
            disk.connect(self.store.uri(disk.name))
            disk.compare_after_kill(disk.read_all(disk.client))
            if self.chance.random() < 0.5:
                disk.unanswered = []
        self.settle_snapshots()
        # Some of the snapshots each time, all of them at the end.
        chosen = sorted(self.snapshots) if everything else self.chance.sample(sorted(self.snapshots), min(4, len(self.snapshots)))
        for disk_name, name in chosen:
            content = self.snapshots[(disk_name, name)]
            found = self.read_snapshot(disk_name, name)
            at = first_difference(content, found, {})
            if at is not None:
                raise Lost(f"{disk_name}@{name} has changed at byte {at}")

    def read_snapshot(self, disk_name, name):
        client = nbd.NBD()
        client.connect_uri(self.store.uri(f"{disk_name}@{name}"))
        return self.disks[0].read_all(client)

    def settle_snapshots(self):
        """What was being taken when the daemon died is there for all disks or for none."""
        if not self.windows:
            return
        listed = {row["name"] for row in self.store.json("ls")}
        for name, window, said_done in self.windows:
            there = [f"{disk.name}@{name}" in listed for disk in self.disks]
            if said_done and not all(there):
                raise Lost(f"snapshot @{name} was taken and is not there")
            if any(there) and not all(there):
                raise Lost(f"snapshot @{name} is there for some disks only")
            for disk in self.disks if all(there) else []:
                content = self.read_snapshot(disk.name, name)
                at = first_difference(window.start[disk.name], content, window.candidates[disk.name])
                if at is not None:
                    raise Lost(f"{disk.name}@{name} is no point in time: byte {at}")
                self.snapshots[(disk.name, name)] = content
        self.windows = []

    def tidy(self):
        names = sorted({name for _, name in self.snapshots}, key=lambda name: int(name[1:]))
        while len(names) * len(self.disks) > MOST_SNAPSHOTS:
            name = names.pop(self.chance.randrange(len(names)))
            self.store.run("rm", *[f"{disk.name}@{name}" for disk in self.disks])
            for disk in self.disks:
                del self.snapshots[(disk.name, name)]

    def check(self):
        self.store.run("check", *(["--data"] if self.chance.random() < 0.3 else []))

    def round(self, number):
        snapshot = None
        try:
            snapshot = self.load(0.05 + self.chance.random() * 0.35)
        except nbd.Error as error:
            raise Lost(f"a request failed with the daemon alive ({self.store.daemon.alive()}): {error}")
        self.store.daemon.kill()
        if snapshot is not None:
            snapshot.wait(timeout=60)
            snapshot.stderr.close()
            if snapshot.returncode == 0 and self.windows:
                self.windows[-1][2] = True
        self.drain_after_kill()
        self.restart()
        self.compare()
        self.tidy()
        if number % 8 == 7:
            self.check()

    def finish(self):
        self.compare(everything=True)
        for disk in self.disks:
            disk.client = None
        self.store.daemon.stop()
        self.check()
        self.store.remove()


def main():
    rounds = int(os.environ.get("COPPICE_KILL_ROUNDS", "50"))
    seed = int(os.environ.get("COPPICE_KILL_SEED", str(random.SystemRandom().randrange(1 << 32))))
    test = KillTest(seed)
    test.store.serve()
    for disk in test.disks:
        disk.connect(test.store.uri(disk.name))
    began = time.monotonic()
    number = 0
    try:
        for number in range(rounds):
            test.round(number)
            if (number + 1) % 100 == 0:
                print(f"{number + 1} rounds, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        test.finish()
    except BaseException as error:
        print(f"FAILED in round {number + 1} of seed {seed}: {error}")
        print(f"the store is kept: {test.store.folder}; again: COPPICE_KILL_SEED={seed} (timing is not replayed)")
        if test.store.daemon.alive():
            test.store.daemon.kill()
        if isinstance(error, (Lost, AssertionError)):
            return 1
        raise
    acknowledged = sum(disk.acknowledged for disk in test.disks)
    print(f"kill -9: {rounds} rounds, seed {seed}: {acknowledged} acknowledged requests, none lost; {test.count} snapshots "
          f"taken under load, {test.recoveries_killed} recoveries killed, {test.maps_lost} maps lost and made anew; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
