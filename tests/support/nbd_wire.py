"""An NBD client that speaks the wire itself, for what Debian's clients don't speak.

libnbd 1.14 and QEMU 7.2 know nothing of extended headers; and no honest client says what a hostile one would.
Every wait has a limit. Numbers and names are those of the protocol's document, without NBD_.
"""
import socket
import struct

PATIENCE = 60.0

OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_INFO, OPT_GO = 1, 2, 3, 6, 7
OPT_STRUCTURED_REPLY, OPT_LIST_META_CONTEXT, OPT_SET_META_CONTEXT, OPT_EXTENDED_HEADERS = 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT = 1, 2, 3, 4
REP_ERR_UNSUP, REP_ERR_INVALID, REP_ERR_UNKNOWN = (1 << 31) + 1, (1 << 31) + 3, (1 << 31) + 6
REP_ERR_TOO_BIG, REP_ERR_EXT_HEADER_REQD = (1 << 31) + 9, (1 << 31) + 10
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = 0, 1, 2, 3
FLAG_READ_ONLY, FLAG_SEND_DF, FLAG_CAN_MULTI_CONN, FLAG_BLOCK_STATUS_PAYLOAD = 1 << 1, 1 << 7, 1 << 8, 1 << 12
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS = range(8)
FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO, FLAG_PAYLOAD_LEN = (1 << bit for bit in range(6))
TYPE_NONE, TYPE_DATA, TYPE_STATUS, TYPE_STATUS_EXT, TYPE_ERROR = 0, 1, 5, 6, 32769
REQUEST, EXTENDED_REQUEST = 0x25609513, 0x21E41C71
SIMPLE_REPLY, STRUCTURED_REPLY, EXTENDED_REPLY = 0x67446698, 0x668E33EF, 0x6E8A278C


class Ended(Exception):
    """The server has hung up."""


class Wire:
    """A connection; `form` is what the transmission phase will have: simple, structured or extended."""

    def __init__(self, path, greet=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.form = "simple"
        self.cookie = 0
        self.contexts = {}
        self.size = self.flags = None
        if greet:
            magic, option_magic, flags = struct.unpack(">8s8sH", self.receive(18))
            assert (magic, option_magic, flags) == (b"NBDMAGIC", b"IHAVEOPT", 3)
            self.send(struct.pack(">I", 3))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def __del__(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(min(count - len(data), 1 << 20))
            if not piece:
                raise Ended(f"after {len(data)} of {count} bytes")
            data += piece
        return bytes(data)

    def ended(self):
        """Whether the server hangs up without saying anything more."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    # The handshake.
    def option(self, code, payload=b"", length=None):
        """Its replies, each (code, payload); the last one is no INFO, SERVER or META_CONTEXT."""
        self.send(b"IHAVEOPT" + struct.pack(">II", code, len(payload) if length is None else length) + payload)
        replies = []
        while not replies or replies[-1][0] in (REP_SERVER, REP_INFO, REP_META_CONTEXT):
            magic, option, reply, count = struct.unpack(">QIII", self.receive(20))
            assert (magic, option) == (0x3E889045565A9, code), (hex(magic), option)
            replies.append((reply, self.receive(count)))
        return replies

    def agree(self, form):
        code = {"structured": OPT_STRUCTURED_REPLY, "extended": OPT_EXTENDED_HEADERS}[form]
        assert self.option(code) == [(REP_ACK, b"")]
        self.form = form
        return self

    def meta_context(self, code, export, queries):
        """The contexts by name, with their ids; or the error's number."""
        payload = text(export) + struct.pack(">I", len(queries)) + b"".join(text(query) for query in queries)
        *found, last = self.option(code, payload)
        if last[0] != REP_ACK:
            return last[0]
        return {data[4:].decode(): struct.unpack(">I", data[:4])[0] for _, data in found}

    def list_contexts(self, export, *queries):
        return self.meta_context(OPT_LIST_META_CONTEXT, export, queries)

    def set_contexts(self, export, *queries):
        self.contexts = self.meta_context(OPT_SET_META_CONTEXT, export, queries)
        return self

    def info(self, export, *wanted, go=False):
        """What is told, by its number, as bytes; or the error's number."""
        payload = text(export) + struct.pack(f">H{len(wanted)}H", len(wanted), *wanted)
        *found, last = self.option(OPT_GO if go else OPT_INFO, payload)
        if last[0] != REP_ACK:
            return last[0]
        told = {struct.unpack(">H", data[:2])[0]: data[2:] for _, data in found}
        self.size, self.flags = struct.unpack(">QH", told[INFO_EXPORT])
        return told

    def go(self, export):
        told = self.info(export, go=True)
        assert isinstance(told, dict), hex(told)
        return self

    # The transmission phase.
    def header(self, command, offset=0, length=0, flags=0, magic=None):
        self.cookie += 1
        extended = self.form == "extended"
        magic = magic or (EXTENDED_REQUEST if extended else REQUEST)
        return struct.pack(">IHHQQQ" if extended else ">IHHQQI", magic, flags, command, self.cookie, offset, length)

    def reply(self, offset, length=0):
        """(error, text or data or statuses by context) of the last request, whatever its form."""
        statuses, data = {}, b""
        while True:
            magic = struct.unpack(">I", self.receive(4))[0]
            if magic == SIMPLE_REPLY:
                assert self.form != "extended"
                error, cookie = struct.unpack(">IQ", self.receive(12))
                assert cookie == self.cookie
                return error, self.receive(length) if length and not error else b""
            if magic == EXTENDED_REPLY:
                assert self.form == "extended"
                flags, kind, cookie, echoed, count = struct.unpack(">HHQQQ", self.receive(28))
                assert echoed == offset, (echoed, offset)
            else:
                assert (magic, self.form) == (STRUCTURED_REPLY, "structured"), hex(magic)
                flags, kind, cookie, count = struct.unpack(">HHQI", self.receive(16))
            assert cookie == self.cookie
            payload = self.receive(count)
            if kind == TYPE_ERROR:
                error, told = struct.unpack(">IH", payload[:6])
                assert told == count - 6 and flags & 1
                return error, payload[6:].decode()
            if kind == TYPE_DATA:
                assert struct.unpack(">Q", payload[:8])[0] == offset
                data += payload[8:]
            elif kind in (TYPE_STATUS, TYPE_STATUS_EXT):
                context, stretches = self.status(kind, payload)
                assert context not in statuses
                statuses[context] = stretches
            else:
                assert (kind, count) == (TYPE_NONE, 0)
            if flags & 1:
                return 0, statuses or data

    def status(self, kind, payload):
        if kind == TYPE_STATUS_EXT:
            assert self.form == "extended"
            context, count = struct.unpack(">II", payload[:8])
            assert count and len(payload) == 8 + 16 * count
            return context, list(struct.iter_unpack(">QQ", payload[8:]))
        assert self.form == "structured" and len(payload) > 4
        return struct.unpack(">I", payload[:4])[0], list(struct.iter_unpack(">II", payload[4:]))

    def ask(self, command, offset=0, length=0, flags=0, payload=b""):
        self.send(self.header(command, offset, length, flags) + payload)
        return self.reply(offset, length if command == CMD_READ else 0)

    def read(self, offset, length, flags=0):
        return self.ask(CMD_READ, offset, length, flags)

    def write(self, offset, data, flags=0):
        if self.form == "extended":
            flags |= FLAG_PAYLOAD_LEN
        return self.ask(CMD_WRITE, offset, len(data), flags, data)

    def block_status(self, offset, length, flags=0, only=None):
        """By the names of the contexts. `only` names those that are asked for in a payload."""
        payload = b""
        if only is not None:
            payload = struct.pack(f">Q{len(only)}I", length, *(self.contexts.get(name, name) for name in only))
            flags, length = flags | FLAG_PAYLOAD_LEN, len(payload)
        error, told = self.ask(CMD_BLOCK_STATUS, offset, length, flags, payload)
        if error:
            return error
        names = {number: name for name, number in self.contexts.items()}
        return {names[number]: stretches for number, stretches in told.items()}

    def leave(self):
        self.send(self.header(CMD_DISC))
        return self.ended()


def text(value):
    data = value.encode()
    return struct.pack(">I", len(data)) + data
