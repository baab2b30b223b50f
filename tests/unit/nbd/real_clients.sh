#!/bin/bash
# The NBD room against real clients, with disks in memory behind it: nbdinfo, libnbd, nbdcopy, qemu-img,
# qemu-io and fio. Usage: real_clients.sh PATH/TO/nbd_memory_server
set -euo pipefail

server=$1
folder=$(mktemp -d /tmp/nbd-clients-XXXXXX)
mebibytes=256
pid=

finish() {
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

start_server() {  # URI → $uri
  rm -f "$folder/uri"  # of the server before
  "$server" "$1" "$mebibytes" >"$folder/uri" &
  pid=$!
  for _ in $(seq 200); do
    [ -s "$folder/uri" ] && break
    sleep 0.05
  done
  uri=$(cat "$folder/uri")
  [ -n "$uri" ] || fail "the server did not start on $1"
}

stop_server() {
  kill -TERM "$pid"
  wait "$pid" || fail "the server ended with $?"
  pid=
}

expect() {  # FILE WORD…: each word is in the file
  local file=$1 word
  shift
  for word in "$@"; do
    grep -qF -- "$word" "$file" || { cat "$file"; fail "'$word' is missing"; }
  done
}

information() {
  nbdinfo --list "${uri/\/disk?//?}" >"$folder/list"
  expect "$folder/list" 'export="disk"' 'export="disk@snap"' 'base:allocation' 'block_size_maximum: 33554432' \
    'description: disk disk in memory'
  nbdinfo --json "$uri" >"$folder/json"
  expect "$folder/json" '"structured": true' '"is_read_only": false' '"can_flush": true' '"can_fua": true' \
    '"can_trim": true' '"can_zero": true' '"can_fast_zero": true' '"can_multi_conn": true' '"can_df": true' \
    '"block_size_minimum": 1,' '"block_size_preferred": 4096,'
  nbdinfo --is read-only "${uri/disk/disk@snap}" || fail 'a snapshot is not read-only'
  ! nbdinfo "${uri/disk/nothing}" >/dev/null 2>"$folder/error" || fail 'an export that is not there was opened'
  expect "$folder/error" 'nothing'
}

libnbd() {
  /usr/bin/python3 - "$uri" <<'PYTHON'
import errno, os, sys
import nbd

h = nbd.NBD()
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
assert h.get_structured_replies_negotiated() and h.can_meta_context("base:allocation")
h.set_strict_mode(0)  # the server's own checks are asked, not the library's
data = os.urandom(100001)
h.pwrite(data, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(len(data), 12345) == data
assert h.pread(len(data), 12345, nbd.CMD_FLAG_DF) == data
h.zero(50000, 20000, nbd.CMD_FLAG_FAST_ZERO)
h.trim(1000, 80001)
data = data[:7655] + bytes(50000) + data[57655:]
data = data[:67656] + bytes(1000) + data[68656:]
assert h.pread(len(data), 12345) == data
h.flush()
h.cache(1 << 20, 0)
big = os.urandom(32 << 20)
h.pwrite(big, 64 << 20)
assert h.pread(len(big), 64 << 20) == big

def number(call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        return error.errnum
    return 0

size = h.get_size()
assert number(h.pwrite, b"xx", size - 1) == errno.ENOSPC
assert number(h.pread, 2, size - 1) == errno.EINVAL
assert number(h.zero, 2, size - 1) == errno.ENOSPC
assert number(h.trim, 2, size - 1) == errno.EINVAL
assert number(h.zero, 4096, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE) == errno.ENOTSUP
assert number(h.pread, (32 << 20) + 1, 0) == errno.EINVAL

found = []
h.block_status(1 << 20, 64 << 20, lambda context, offset, entries, error: found.append((context, offset, entries)))
assert found == [("base:allocation", 64 << 20, [1 << 20, 0])], found
found.clear()
h.block_status(size - (128 << 20), 128 << 20,
               lambda context, offset, entries, error: found.append(entries), nbd.CMD_FLAG_REQ_ONE)
assert found == [[size - (128 << 20), 3]], found

# Many commands at once, completed as they come.
buffers = [nbd.Buffer.from_bytearray(bytearray([i % 256]) * 4096) for i in range(2000)]
done = 0
cookies = set()
for i, buffer in enumerate(buffers):
    cookies.add(h.aio_pwrite(buffer, i * 4096))
while cookies:
    h.poll(1000)
    cookies -= {c for c in cookies if h.aio_command_completed(c)}
everything = h.pread(2000 * 4096, 0)
assert all(everything[i * 4096:(i + 1) * 4096] == bytes([i % 256]) * 4096 for i in range(2000))
h.shutdown()

for modern in (True, False):  # without structured replies; and the oldest handshake
    h = nbd.NBD()
    h.set_request_structured_replies(False)
    if not modern:
        h.set_handshake_flags(0)
    h.connect_uri(sys.argv[1])
    assert h.pread(4096, 4096) == bytes([1]) * 4096
    assert number(h.pread, 4096, size) != 0
    h.pwrite(b"q" * 10, 1)
    assert h.pread(12, 0) == b"\0" + b"q" * 10 + b"\0"
    h.pwrite(bytes(10), 1)
    h.shutdown()
PYTHON
}

copies() {
  head -c "${mebibytes}M" /dev/urandom >"$folder/image"
  nbdcopy "$folder/image" "$uri"
  nbdcopy "$uri" "$folder/copy"
  cmp "$folder/image" "$folder/copy" || fail 'nbdcopy in and out differs'
  [ "$(qemu-img compare -f raw -F raw "$folder/image" "$uri")" = 'Images are identical.' ] || fail 'qemu-img compare'
  head -c 1M /dev/zero | tr '\0' x >"$folder/small"
  truncate -s "${mebibytes}M" "$folder/small"
  qemu-img convert -n -f raw -O raw "$folder/small" "$uri"
  qemu-img compare -q -f raw -F raw "$folder/small" "$uri" || fail 'qemu-img convert'
  qemu-img map -f raw --output=json "$uri" >"$folder/map"
  expect "$folder/map" '"length": 1048576' '"data": true' '"zero": true' '"data": false'
  nbdcopy --connections=4 --requests=64 --request-size=65536 "$folder/image" "$uri"
  qemu-img compare -q -f raw -F raw "$folder/image" "$uri" || fail 'nbdcopy over four connections'
}

qemu() {
  qemu-io -f raw -t none -c 'write -P 0xa5 1001 70003' -c 'read -P 0xa5 1001 70003' -c 'write -f -P 0x5a 0 512' \
    -c 'write -z 4096 8192' -c 'write -z -u 65536 1M' -c 'read -P 0 65536 1M' -c 'discard 1M 1M' -c 'read -P 0 1M 1M' \
    -c 'read -P 0x5a 0 512' -c 'aio_write -P 7 2M 64k' -c 'aio_flush' -c 'read -P 7 2M 64k' -c flush "$uri" >"$folder/qemu"
  ! grep -qiE 'fail|error|mismatch' "$folder/qemu" || { cat "$folder/qemu"; fail qemu-io; }
  ! qemu-io -f raw -c 'write 0 512' "${uri/disk/disk@snap}" >"$folder/qemu" 2>&1 || fail 'a snapshot was written'
}

fio_verify() {
  (cd "$folder" && fio --name=verify --ioengine=nbd --uri="$uri" --rw=randwrite --bsrange=512-128k --bs_unaligned \
    --iodepth=32 --size=64M --verify=xxhash --verify_fatal=1 --do_verify=1 --output="$folder/fio") ||
    { cat "$folder/fio"; fail fio; }
}

for listen in "$folder/socket" nbd://127.0.0.1:0; do
  start_server "$listen"
  for part in information libnbd copies qemu fio_verify; do
    echo "$part over $uri"
    "$part"
  done
  stop_server
done
[ ! -e "$folder/socket" ] || fail 'the socket was left behind'
echo passed
