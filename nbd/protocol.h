// The NBD protocol as numbers: magics, flags, commands, errors, and the structs on the wire.
//
// Names follow the protocol's own document (github.com/NetworkBlockDevice/nbd, doc/proto.md), without the
// NBD_ prefix. Pure: nothing here does I/O. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "coppice/result.h"
#include "coppice/types.h"
#include "nbd/wire.h"

namespace coppice::nbd {

inline constexpr std::uint64_t kInitMagic = 0x4e42444d41474943;    // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kStructuredReplyMagic = 0x668e33ef;
inline constexpr std::uint32_t kExtendedRequestMagic = 0x21e41c71;
inline constexpr std::uint32_t kExtendedReplyMagic = 0x6e8a278c;

// What was agreed on for the transmission phase, each more than the one before. Extended headers are the
// protocol's extension of that name: all headers have 32 bytes, and lengths 64 bits.
enum class HeaderForm : std::uint8_t { kSimple, kStructured, kExtended };

// Handshake: the server's 16 bits and the client's 32.
inline constexpr std::uint16_t kFlagFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kFlagNoZeroes = 1 << 1;
inline constexpr std::uint32_t kClientFlagFixedNewstyle = 1 << 0;
inline constexpr std::uint32_t kClientFlagNoZeroes = 1 << 1;

// What an export can do.
inline constexpr std::uint16_t kHasFlags = 1 << 0;
inline constexpr std::uint16_t kReadOnly = 1 << 1;
inline constexpr std::uint16_t kSendFlush = 1 << 2;
inline constexpr std::uint16_t kSendFua = 1 << 3;
inline constexpr std::uint16_t kSendTrim = 1 << 5;
inline constexpr std::uint16_t kSendWriteZeroes = 1 << 6;
inline constexpr std::uint16_t kSendDf = 1 << 7;
inline constexpr std::uint16_t kCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kSendCache = 1 << 10;
inline constexpr std::uint16_t kSendFastZero = 1 << 11;
inline constexpr std::uint16_t kBlockStatusPayload = 1 << 12;

enum class OptionCode : std::uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
  kExtendedHeaders = 11,
};

enum class OptionReplyCode : std::uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrorUnsupported = (1U << 31) + 1,
  kErrorPolicy = (1U << 31) + 2,
  kErrorInvalid = (1U << 31) + 3,
  kErrorTlsRequired = (1U << 31) + 5,
  kErrorUnknown = (1U << 31) + 6,
  kErrorShutdown = (1U << 31) + 7,
  kErrorTooBig = (1U << 31) + 9,
  kErrorExtendedHeadersRequired = (1U << 31) + 10,
};

enum class InfoCode : std::uint16_t { kExport = 0, kName = 1, kDescription = 2, kBlockSize = 3 };

enum class Command : std::uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};

inline constexpr std::uint16_t kCommandFua = 1 << 0;
inline constexpr std::uint16_t kCommandNoHole = 1 << 1;
inline constexpr std::uint16_t kCommandDf = 1 << 2;
inline constexpr std::uint16_t kCommandReqOne = 1 << 3;
inline constexpr std::uint16_t kCommandFastZero = 1 << 4;
inline constexpr std::uint16_t kCommandPayloadLength = 1 << 5;  // the length is that of what follows

enum class ChunkType : std::uint16_t {
  kNone = 0,
  kOffsetData = 1,
  kBlockStatus = 5,
  kBlockStatusExtended = 6,
  kError = (1U << 15) + 1,
};
inline constexpr std::uint16_t kChunkDone = 1 << 0;

// The protocol's own error numbers; they are not the host's errno.
enum class WireError : std::uint32_t {
  kNone = 0,
  kPermission = 1,
  kIo = 5,
  kInvalid = 22,
  kNoSpace = 28,
  kOverflow = 75,
  kNotSupported = 95,
  kShutdown = 108,
};

inline constexpr std::uint32_t kStateHole = 1 << 0;
inline constexpr std::uint32_t kStateZero = 1 << 1;
inline constexpr std::uint32_t kStateDirty = 1 << 0;  // of a dirty bitmap

// Limits. A name is at most 4096 bytes by the protocol; the longest honest option is a list of contexts.
inline constexpr std::uint32_t kMaxNameBytes = 4096;
inline constexpr std::uint32_t kMaxOptionBytes = 64 << 10;      // longer ones are refused
inline constexpr std::uint32_t kMaxOptionDrainBytes = 1 << 20;  // longer ones end the connection
inline constexpr std::uint32_t kMaxRequestPayload = static_cast<std::uint32_t>(kMaxRequestBytes);
inline constexpr std::uint32_t kPreferredBlockBytes = static_cast<std::uint32_t>(kBlockBytes);

inline constexpr std::string_view kBaseNamespace = "base:";
inline constexpr std::string_view kBaseAllocation = "base:allocation";
inline constexpr std::uint32_t kBaseAllocationId = 1;
// QEMU's names (its docs/interop/nbd.rst). How far back what is read was written, in snapshots, is
// `qemu:allocation-depth`; what changed since a snapshot is `qemu:dirty-bitmap:SNAPSHOT`.
inline constexpr std::string_view kQemuNamespace = "qemu:";
inline constexpr std::string_view kAllocationDepth = "qemu:allocation-depth";
inline constexpr std::uint32_t kAllocationDepthId = 2;
inline constexpr std::uint32_t kFirstBitmapId = 3;
inline constexpr std::string_view kDirtyBitmap = "qemu:dirty-bitmap:";
// More contexts than that are refused in one choice, and more bitmaps are not listed unasked.
inline constexpr std::size_t kMaxContexts = 16;
inline constexpr std::size_t kMaxListedBitmaps = 64;

struct Greeting {
  Big64 init_magic = kInitMagic;
  Big64 option_magic = kOptionMagic;
  Big16 flags = kFlagFixedNewstyle | kFlagNoZeroes;
};
static_assert(WireStruct<Greeting> && sizeof(Greeting) == 18 && offsetof(Greeting, flags) == 16);

struct OptionHeader {
  Big64 magic;
  Big32 code;
  Big32 length_bytes;
};
static_assert(WireStruct<OptionHeader> && sizeof(OptionHeader) == 16 &&
              offsetof(OptionHeader, length_bytes) == 12);

struct OptionReplyHeader {
  Big64 magic = kOptionReplyMagic;
  Big32 option;
  Big32 code;
  Big32 length_bytes;
};
static_assert(WireStruct<OptionReplyHeader> && sizeof(OptionReplyHeader) == 20);

// The answer to EXPORT_NAME; 124 zeroes follow unless NO_ZEROES was agreed on.
struct ExportNameReply {
  Big64 size_bytes;
  Big16 flags;
};
static_assert(WireStruct<ExportNameReply> && sizeof(ExportNameReply) == 10);
inline constexpr std::size_t kExportNameZeroes = 124;

struct InfoExport {
  Big16 code = static_cast<std::uint16_t>(InfoCode::kExport);
  Big64 size_bytes;
  Big16 flags;
};
static_assert(WireStruct<InfoExport> && sizeof(InfoExport) == 12 && offsetof(InfoExport, flags) == 10);

struct InfoBlockSize {
  Big16 code = static_cast<std::uint16_t>(InfoCode::kBlockSize);
  Big32 minimum = 1;
  Big32 preferred = kPreferredBlockBytes;
  Big32 maximum = kMaxRequestPayload;
};
static_assert(WireStruct<InfoBlockSize> && sizeof(InfoBlockSize) == 14);

struct RequestHeader {
  Big32 magic;
  Big16 flags;
  Big16 command;
  Big64 cookie;
  Big64 offset_bytes;
  Big32 length_bytes;
};
static_assert(WireStruct<RequestHeader> && sizeof(RequestHeader) == 28 &&
              offsetof(RequestHeader, cookie) == 8 && offsetof(RequestHeader, length_bytes) == 24);

struct ExtendedRequestHeader {
  Big32 magic;
  Big16 flags;
  Big16 command;
  Big64 cookie;
  Big64 offset_bytes;
  Big64 length_bytes;  // of the payload, with kCommandPayloadLength; else of what it is about
};
static_assert(WireStruct<ExtendedRequestHeader> && sizeof(ExtendedRequestHeader) == 32 &&
              offsetof(ExtendedRequestHeader, length_bytes) == 24);

// The payload that BLOCK_STATUS may have: this, and the ids of the contexts that are asked for.
struct StatusPayload {
  Big64 length_bytes;
};
static_assert(WireStruct<StatusPayload> && sizeof(StatusPayload) == 8);

struct SimpleReply {
  Big32 magic = kSimpleReplyMagic;
  Big32 error;
  Big64 cookie;
};
static_assert(WireStruct<SimpleReply> && sizeof(SimpleReply) == 16);

struct ChunkHeader {
  Big32 magic = kStructuredReplyMagic;
  Big16 flags;
  Big16 type;
  Big64 cookie;
  Big32 length_bytes;
};
static_assert(WireStruct<ChunkHeader> && sizeof(ChunkHeader) == 20 && offsetof(ChunkHeader, cookie) == 8);

struct ExtendedChunkHeader {
  Big32 magic = kExtendedReplyMagic;
  Big16 flags;
  Big16 type;
  Big64 cookie;
  Big64 offset_bytes;  // that of the request
  Big64 length_bytes;
};
static_assert(WireStruct<ExtendedChunkHeader> && sizeof(ExtendedChunkHeader) == 32 &&
              offsetof(ExtendedChunkHeader, length_bytes) == 24);

struct ErrorChunk {
  Big32 error;
  Big16 text_bytes;
};
static_assert(WireStruct<ErrorChunk> && sizeof(ErrorChunk) == 6);

struct StatusDescriptor {
  Big32 length_bytes;
  Big32 state;
};
static_assert(WireStruct<StatusDescriptor> && sizeof(StatusDescriptor) == 8);

struct ExtendedStatusHead {
  Big32 context;
  Big32 count;
};
static_assert(WireStruct<ExtendedStatusHead> && sizeof(ExtendedStatusHead) == 8);

struct ExtendedStatusDescriptor {
  Big64 length_bytes;
  Big64 state;
};
static_assert(WireStruct<ExtendedStatusDescriptor> && sizeof(ExtendedStatusDescriptor) == 16);

// What the engine's kinds of failure are called on the wire.
WireError wire_error(const Error& error);

}  // namespace coppice::nbd
