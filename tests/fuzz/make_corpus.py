#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets: the golden files' structures, and what honest clients send.

The output is committed (tests/fuzz/corpus); run this again when a golden file or a protocol changes.
"""
import json
import pathlib
import shutil
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "layout"
CORPUS = HERE / "corpus"


def golden(name):
    """A golden file's bytes, without the zeroes at its end."""
    content = bytearray()
    for line in (GOLDEN / f"{name}.hex").read_text().splitlines():
        if line.startswith("size"):
            continue
        address, data = line.split(":")
        content = content.ljust(int(address, 16), b"\0") + bytes.fromhex(data)
    return bytes(content)


def put(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def layout():
    put("superblock", "sample", golden("superblock"))
    put("slab", "header", b"\x05" + golden("slab_header"))
    put("slab", "page", b"\x09" + golden("page"))
    frame = golden("meta_frame")
    payload_bytes = struct.unpack_from("<I", frame, 40)[0]
    put("meta_copy", "segment", b"\0" + golden("meta_segment"))
    put("meta_copy", "frame", b"\1" + frame)
    put("meta_copy", "entries", b"\2" + frame[64:].ljust(payload_bytes, b"\0")[:payload_bytes])
    for name in ("leaf", "leaf_empty", "key_leaf", "key_change"):
        put("leaf", name, golden(name))
    kinds = ("branch", "node", "disk", "counters", "applied", "store")
    for kind, name in enumerate(kinds):
        put("tree_values", name, bytes([kind]) + golden(f"value_{name}"))
    put("tree_values", "disk_strict", bytes([kinds.index("disk")]) + golden("value_disk_strict"))
    put("tree_values", "node_policies", b"\x01" + golden("value_node_policies"))
    put("tree_values", "node_group", b"\x01" + golden("value_node_group"))
    put("tree_values", "trash", b"\x09" + golden("value_trash"))
    put("tree_values", "schedule", b"\x0a" + golden("value_schedule"))
    put("tree_values", "attachments", b"\x0b" + golden("value_attachments"))
    put("tree_values", "base", b"\x0c" + golden("value_base"))
    put("tree_values", "quota", b"\x0d" + golden("value_quota"))
    put("tree_values", "bookmark", b"\x0e" + golden("value_bookmark"))
    put("tree_values", "mask", b"\x07" + golden("mask"))
    put("tree_values", "key", b"\x08node/" + bytes(8))


def journal():
    batch = golden("batch")
    put("batch", "whole", b"\0" + batch.ljust(4096, b"\0"))
    put("batch", "payload", b"\1" + batch[96:])
    row = b""
    for kind, name in enumerate(("map", "checksum", "meta", "reclaim"), start=1):
        record = golden(f"record_{name}")
        length = struct.unpack_from("<I", record)[0]
        body = record.ljust(length, b"\0")[16:length - 8]
        put("batch", name, bytes([2 + kind]) + body)
        row += bytes([kind, len(body) // 8]) + body
    put("staging", "records", b"\3\2" + row)
    put("staging", "released", b"\1\0" + struct.pack("<Q", 1 << 20))
    put("staging", "slots", b"\2\0" + struct.pack("<QQ", 12345, 2) * 3)
    put("staging", "noise", b"\0\1" + bytes(range(200)))


def option(code, payload=b""):
    return b"IHAVEOPT" + struct.pack(">II", code, len(payload)) + payload


def text(value):
    return struct.pack(">I", len(value)) + value


def request(command, offset, length, flags=0, payload=b""):
    return struct.pack(">IHHQQI", 0x25609513, flags, command, 77, offset, length) + payload


def extended(command, offset, length, flags=0, payload=b""):
    return struct.pack(">IHHQQQ", 0x21e41c71, flags, command, 77, offset, length) + payload


def nbd():
    hello = struct.pack(">I", 3)
    context = text(b"disk") + struct.pack(">I", 1) + text(b"base:allocation")
    go = text(b"disk") + struct.pack(">HHH", 2, 1, 3)
    for code, payload in ((1, b"disk"), (6, go), (7, go), (9, text(b"disk") + bytes(4)), (10, context)):
        put("nbd", f"option_{code}", bytes([0, code]) + payload)
    put("nbd", "list", b"\1" + hello + option(3) + option(8) + option(9, context) + option(6, go) + option(2))
    put("nbd", "old", b"\1" + bytes(4) + option(1, b"disk") + request(0, 0, 512) + request(2, 0, 0))
    put("nbd", "unknown", b"\1" + hello + option(99, b"?") + option(7, go) + request(2, 0, 0))
    put("nbd", "reads", b"\2" + request(0, 0, 4096) + request(0, 1, 1, 4) + request(7, 0, 65536, 8))
    put("nbd", "writes", b"\2" + request(1, 513, 5, 1, b"hello") + request(6, 0, 8192, 2) + request(4, 1, 9999) +
        request(3, 0, 0) + request(5, 0, 4096))
    put("nbd", "past_the_end", b"\2" + request(0, 1 << 40, 1) + request(1, 65536, 4096, 0, bytes(4096)))
    put("nbd", "too_long", b"\2" + request(0, 0, (32 << 20) + 1, 4) + request(1, 0, 0xffffffff))
    put("nbd", "read_only", b"\3" + request(1, 0, 4, 0, b"nope") + request(6, 0, 512) + request(9, 0, 0))
    put("nbd", "option_11", bytes([0, 11]))
    put("nbd", "headers", b"\1" + hello + option(11) + option(8) + option(9, context) + option(6, go) + option(1, b"disk"))
    put("nbd", "extended_reads", b"\4" + extended(0, 0, 4096) + extended(0, 1, 1, 4) + extended(7, 0, 65536, 8) +
        extended(2, 0, 0))
    put("nbd", "extended_writes", b"\4" + extended(1, 513, 5, 33, b"hello") + extended(6, 0, 8192, 2) +
        extended(4, 1, 9999) + extended(3, 0, 0) + extended(5, 0, 4096) + extended(1, 0, 5))
    ids = struct.pack(">QII", 65536, 1, 3)
    put("nbd", "extended_status", b"\4" + extended(7, 0, len(ids), 32, ids) + extended(7, 0, 8, 32, bytes(8)) +
        extended(7, 0, 200, 32, bytes(200)) + extended(7, 4096, 1 << 40))
    put("nbd", "extended_payload", b"\5" + extended(4, 0, 3, 32, b"no!") + extended(1, 0, 4, 32, b"nope") +
        extended(0, 0, 512) + extended(4, 0, 1 << 50, 32))


def control():
    verbs = {
        "hello": {}, "list": {"groups": ["web@a"]}, "pools": {}, "check": {"data": True}, "dump": {}, "tree": {"disk": "web"},
        "space": {}, "info": {"spec": "web@a"}, "create": {"disk": "b", "size": 4096}, "remove": {"specs": ["web@a"], "group": True},
        "snapshot": {"specs": ["web@b"], "note": "x"}, "rollback": {"specs": ["web@a"], "group": True, "discard": True},
        "clone": {"from": "web@a", "disk": "c"}, "rename": {"from": "web", "to": "d"},
        "resize": {"disk": "web", "size": 8192}, "set": {"disk": "web", "strict": True}, "diff": {"from": "web@a", "to": "web", "offset": 4096},
        "import": {"disk": "e", "stream": True}, "export": {"from": "web"}, "fullness": {},
        "space-of": {"specs": ["web@a%b", "web@%"], "own_only": True}, "quota": {"disk": "web", "size": 1 << 30},
    }
    for method, params in verbs.items():
        line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        put("control", method, json.dumps(line).encode())
    put("control", "progress", b'{"jsonrpc":"2.0","method":"progress","params":{"done":1,"total":2}}')
    put("control", "result", b'{"jsonrpc":"2.0","id":1,"result":[]}')
    put("control", "error", b'{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"x","data":{"kind":"busy"}}}')
    put("control", "deep", b'{"jsonrpc":"2.0","id":1,"method":"list","params":' + b"[" * 40 + b"]" * 40 + b"}")


def qcow2():
    """Images of clusters of 512 bytes: header, reference tables left out, first table, second table, data."""

    def image(entries, version=3, features=0, compression=0, size=64 * 512, tail=b""):
        header = struct.pack(">IIQIIQIIQQIIQ", 0x514649FB, version, 0, 0, 9, size, 0, 2, 512 * 2, 512, 1, 0, 0)
        header += struct.pack(">QQQIIB", features, 0, 0, 4, 112, compression)
        first = struct.pack(">QQ", 512 * 3 | 1 << 63, 0)
        second = b"".join(struct.pack(">Q", entry) for entry in entries)
        return b"".join(part.ljust(512, b"\0") for part in (header, b"", first, second)) + tail

    data = bytes(range(256)) * 2
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    deflated = packer.compress(b"abc" * 170 + b"de") + packer.flush()
    zstd = b"\x28\xb5\x2f\xfd\x60\x00\x01\x03\x10\x00z"  # one frame: 512 times "z"
    put("qcow2", "empty", image([]))
    put("qcow2", "data", image([2048 | 1 << 63, 2560 | 1 << 63, 0, 2048 | 1, 1 << 20], tail=data * 2))
    put("qcow2", "version2", image([2048, 2049], version=2, tail=data))
    put("qcow2", "zlib", image([1 << 62 | 2048, 0, 1 << 62 | 1 << 61 | 2051], tail=deflated.ljust(512, b"\0")))
    put("qcow2", "zstd", image([1 << 62 | 2048, 1 << 62 | 2050], features=8, compression=1, tail=zstd))
    put("qcow2", "large", image([2048], size=2 * 64 * 512, tail=data))
    put("qcow2", "dirty", image([2048], features=1, tail=data[:100]))


if __name__ == "__main__":
    shutil.rmtree(CORPUS, ignore_errors=True)
    for make in (layout, journal, qcow2, nbd, control):
        make()
