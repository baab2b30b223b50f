#include "cli/rpc.h"

namespace coppice::cli {
namespace {

constexpr int kFailureBase = -32000;

// Nothing that is said here is nested deeper. The library walks a document recursively, so a line of a
// million brackets would exhaust the stack.
constexpr int kMaxDepth = 16;

bool is_too_deep(const std::string& line) {
  int depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < line.size() && depth <= kMaxDepth; ++i) {
    const char byte = line[i];
    if (in_text && byte == '\\') {
      ++i;
    } else if (byte == '"') {
      in_text = !in_text;
    } else if (!in_text && (byte == '[' || byte == '{')) {
      ++depth;
    } else if (!in_text && (byte == ']' || byte == '}')) {
      --depth;
    }
  }
  return depth > kMaxDepth;
}

Json parse(const std::string& line) {
  if (is_too_deep(line)) return Json(Json::value_t::discarded);
  return Json::parse(line, nullptr, false);
}

std::string with_id(const Json& id, const char* key, const Json& value) {
  return to_line({{"jsonrpc", "2.0"}, {"id", id}, {key, value}}) + "\n";
}

RpcReply not_understood() {
  return {std::nullopt, refuse(ErrorKind::kIo,
                               "the daemon's answer is not understood: is another program "
                               "listening on the control socket?")};
}

Failure failure_of(const Json& error) {
  Failure failure{ErrorKind::kIo, "the daemon failed without saying why: look at its log"};
  const auto message = error.find("message");
  if (message != error.end() && message->is_string()) failure.message = message->get<std::string>();
  const Json kind = error.value(Json::json_pointer("/data/kind"), Json());
  if (kind.is_string()) failure.kind = kind_from_name(kind.get<std::string>());
  return failure;
}

}  // namespace

std::string encode_request(std::uint64_t id, const std::string& method, const Json& params) {
  return to_line({{"jsonrpc", "2.0"}, {"id", id}, {"method", method}, {"params", params}}) + "\n";
}

std::expected<RpcRequest, RpcRefusal> decode_request(const std::string& line) {
  const Json document = parse(line);
  if (document.is_discarded()) {
    return std::unexpected(
        RpcRefusal{kParseError, "this line is not JSON, or nested too deep: send one request a line", {}});
  }
  const auto refuse_it = [](const char* why, Json id) {
    return std::unexpected(RpcRefusal{kInvalidRequest, why, std::move(id)});
  };
  if (!document.is_object()) return refuse_it("a request is an object", {});
  const auto id = document.find("id");
  if (id == document.end() || !(id->is_string() || id->is_number())) {
    return refuse_it("a request needs an 'id', a number or a text", {});
  }
  const auto version = document.find("jsonrpc");
  if (version == document.end() || *version != "2.0") return refuse_it("'jsonrpc' is not \"2.0\"", *id);
  const auto method = document.find("method");
  if (method == document.end() || !method->is_string()) return refuse_it("'method' is not a text", *id);
  const auto params = document.find("params");
  return RpcRequest{*id, method->get<std::string>(), params == document.end() ? Json::object() : *params};
}

std::string encode_result(const Json& id, const Json& result) {
  return with_id(id, "result", result);
}

std::string encode_failure(const Json& id, const Failure& failure) {
  return with_id(id, "error",
                 {{"code", kFailureBase - static_cast<int>(failure.kind)},
                  {"message", failure.message},
                  {"data", {{"kind", kind_name(failure.kind)}}}});
}

std::string encode_refusal(const RpcRefusal& refusal) {
  return with_id(refusal.id, "error", {{"code", refusal.code}, {"message", refusal.message}});
}

std::string encode_progress(std::uint64_t done_bytes, std::uint64_t total_bytes) {
  return to_line({{"jsonrpc", "2.0"},
                  {"method", "progress"},
                  {"params", {{"done", done_bytes}, {"total", total_bytes}}}}) +
         "\n";
}

RpcReply decode_reply(const std::string& line) {
  Json document = parse(line);
  if (!document.is_object()) return not_understood();
  if (document.value("method", Json()) == "progress") {
    const Json done = document.value(Json::json_pointer("/params/done"), Json());
    const Json total = document.value(Json::json_pointer("/params/total"), Json());
    if (!done.is_number_unsigned() || !total.is_number_unsigned()) return not_understood();
    return {RpcProgress{done.get<std::uint64_t>(), total.get<std::uint64_t>()}, Json()};
  }
  if (document.contains("result")) return {std::nullopt, std::move(document["result"])};
  const auto error = document.find("error");
  if (error == document.end() || !error->is_object()) return not_understood();
  return {std::nullopt, std::unexpected(failure_of(*error))};
}

}  // namespace coppice::cli
