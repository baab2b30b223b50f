// JSON-RPC 2.0 as the control socket speaks it: one document a line, each way.
//
// Pure. A request may carry descriptors beside it (SCM_RIGHTS). Between a request and its answer the daemon
// may send notifications {"method":"progress","params":{"done","total"}}. A Failure travels as
// {"code":-32000-kind,"message":line,"data":{"kind":name}}.
#pragma once

#include <optional>
#include <string>

#include "cli/node_json.h"
#include "coppice/result.h"

namespace coppice::cli {

inline constexpr std::size_t kMaxRequestLineBytes = std::size_t{1} << 20;
inline constexpr unsigned kControlProtocol = 2;  // what "hello" answers; changes with the meaning of a method

struct RpcRequest {
  Json id;  // a number or a text
  std::string method;
  Json params;
};

// Why a line is no request. `id` is what could be read of it, else null.
struct RpcRefusal {
  int code = 0;
  std::string message;
  Json id;
};
inline constexpr int kParseError = -32700;
inline constexpr int kInvalidRequest = -32600;

std::string encode_request(std::uint64_t id, const std::string& method, const Json& params);
std::expected<RpcRequest, RpcRefusal> decode_request(const std::string& line);

std::string encode_result(const Json& id, const Json& result);
std::string encode_failure(const Json& id, const Failure& failure);
std::string encode_refusal(const RpcRefusal& refusal);
std::string encode_progress(std::uint64_t done_bytes, std::uint64_t total_bytes);

struct RpcProgress {
  std::uint64_t done_bytes = 0;
  std::uint64_t total_bytes = 0;
};
struct RpcReply {
  std::optional<RpcProgress> progress;  // else the answer
  Outcome<Json> answer;
};
RpcReply decode_reply(const std::string& line);

}  // namespace coppice::cli
