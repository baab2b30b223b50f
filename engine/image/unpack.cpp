#include "image/unpack.h"

#include <zlib.h>
#include <zstd.h>

#include <memory>

namespace coppice {

namespace {

constexpr int kRawDeflate = -15;  // no header; the largest window reads all smaller ones

}  // namespace

bool inflate_raw(std::span<const std::byte> packed, std::span<std::byte> into) {
  z_stream stream{};
  if (inflateInit2(&stream, kRawDeflate) != Z_OK) return false;
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(into.data());
  stream.avail_out = static_cast<uInt>(into.size());
  const int status = inflate(&stream, Z_FINISH);
  const bool full = stream.avail_out == 0;
  inflateEnd(&stream);
  return full && (status == Z_STREAM_END || status == Z_BUF_ERROR);
}

bool unpack_zstd(std::span<const std::byte> packed, std::span<std::byte> into) {
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          &ZSTD_freeDStream);
  // No cluster is larger than 2 MiB; a frame that asks for more memory than twice that is none of QEMU's.
  constexpr int kMostWindowBits = 22;
  if (!stream || ZSTD_isError(ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, kMostWindowBits)))
    return false;
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  ZSTD_outBuffer out{into.data(), into.size(), 0};
  while (out.pos < out.size) {
    const std::size_t before = in.pos + out.pos;
    const std::size_t status = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(status) != 0 || in.pos + out.pos == before) return false;
  }
  return true;
}

}  // namespace coppice
