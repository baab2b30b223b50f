#include <catch2/catch.hpp>

#include "cli/node_json.h"
#include "cli/params.h"
#include "cli/rpc.h"

namespace coppice::cli {
namespace {

TEST_CASE("a request comes back as it was sent, on one line") {
  const std::string line = encode_request(7, "create", {{"disk", "we\nb"}, {"size", 1024}});
  CHECK(std::count(line.begin(), line.end(), '\n') == 1);
  CHECK(line.ends_with('\n'));
  const auto request = decode_request(line);
  REQUIRE(request.has_value());
  CHECK(request->id == 7);
  CHECK(request->method == "create");
  CHECK(request->params == Json{{"disk", "we\nb"}, {"size", 1024}});
}

TEST_CASE("what is no request is refused with its code") {
  CHECK(decode_request("{").error().code == kParseError);
  CHECK(decode_request("\xff\xfe").error().code == kParseError);
  for (const char* line :
       {"[]", "7", "{}", R"({"jsonrpc":"2.0","method":"ls"})", R"({"jsonrpc":"1.0","id":1,"method":"ls"})",
        R"({"jsonrpc":"2.0","id":1})", R"({"jsonrpc":"2.0","id":1,"method":2})",
        R"({"jsonrpc":"2.0","id":{"a":1},"method":"ls"})", R"({"id":1,"method":"ls"})"}) {
    CHECK(decode_request(line).error().code == kInvalidRequest);
  }
  CHECK(decode_request(R"({"jsonrpc":"2.0","id":"x","method":2})").error().id == "x");
  CHECK(decode_request(std::string(100'000, '[')).error().code == kParseError);
}

TEST_CASE("every kind of failure arrives as what it was") {
  for (int number = 1; number <= 9; ++number) {
    const Failure failure{static_cast<ErrorKind>(number), "disk web: it is so"};
    const RpcReply reply = decode_reply(encode_failure(3, failure));
    REQUIRE_FALSE(reply.progress.has_value());
    REQUIRE_FALSE(reply.answer.has_value());
    CHECK(reply.answer.error().kind == failure.kind);
    CHECK(reply.answer.error().message == failure.message);
  }
}

TEST_CASE("results, refusals and progress") {
  CHECK(*decode_reply(encode_result(1, {{"a", 1}})).answer == Json{{"a", 1}});
  const auto refused = decode_reply(encode_refusal({kInvalidRequest, "no id", {}}));
  CHECK(refused.answer.error().message == "no id");
  const auto progress = decode_reply(encode_progress(5, 10));
  REQUIRE(progress.progress.has_value());
  CHECK(progress.progress->done_bytes == 5);
  CHECK(progress.progress->total_bytes == 10);
}

TEST_CASE("a daemon that answers nonsense is told apart from one that fails") {
  for (const char* line : {"", "{}", "[]", "hello", R"({"error":7})", R"({"method":"progress"})"}) {
    const auto reply = decode_reply(line);
    CHECK_FALSE(reply.progress.has_value());
    CHECK_FALSE(reply.answer.has_value());
  }
}

TEST_CASE("text that is not UTF-8 is no reason to die") {
  CHECK(to_line({{"a", "\xff"}}).find("a") != std::string::npos);
}

TEST_CASE("parameters are taken by name and type") {
  const Json json{{"disk", "web"}, {"size", 5}, {"yes", true}, {"to", "web@s1"}, {"list", {"a", "b@c"}}};
  Params params(json);
  CHECK(params.text("disk") == "web");
  CHECK(params.number("size") == 5);
  CHECK(params.flag("yes"));
  CHECK_FALSE(params.flag("absent"));
  CHECK(params.spec("to") == Spec{"web", "s1"});
  CHECK(params.specs("list") == std::vector<Spec>{{"a", ""}, {"b", "c"}});
  CHECK(params.number_or("offset", 9) == 9);
  CHECK(params.finish().has_value());
}

TEST_CASE("a parameter that is missing, wrong or unknown is refused") {
  const auto refused = [](const Json& json, auto take) {
    Params params(json);
    take(params);
    const auto finished = params.finish();
    return !finished && finished.error().kind == ErrorKind::kInvalid;
  };
  CHECK(refused({{"disk", 1}}, [](Params& params) { params.text("disk"); }));
  CHECK(refused(Json::object(), [](Params& params) { params.text("disk"); }));
  CHECK(refused({{"size", -1}}, [](Params& params) { params.number("size"); }));
  CHECK(refused({{"size", 1.5}}, [](Params& params) { params.number("size"); }));
  CHECK(refused({{"size", "1"}}, [](Params& params) { params.number("size"); }));
  CHECK(refused({{"flag", 1}}, [](Params& params) { params.flag("flag"); }));
  CHECK(refused({{"to", "a b"}}, [](Params& params) { params.spec("to"); }));
  CHECK(refused({{"list", Json::array()}}, [](Params& params) { params.specs("list"); }));
  CHECK(refused({{"list", {1}}}, [](Params& params) { params.specs("list"); }));
  CHECK(refused({{"dsik", "web"}}, [](Params& params) { params.optional_text("disk"); }));
  CHECK(refused(Json::array(), [](Params&) {}));
}

TEST_CASE("a node survives its document") {
  NodeInfo node;
  node.id = 5;
  node.parent = 3;
  node.kind = NodeInfo::Kind::kSnapshot;
  node.disk = "web";
  node.snapshot = "s1";
  node.note = "a note";
  node.size_bytes = 4096;
  node.created_unix_ms = 1'795'341'015'007;
  node.clones = {"x", "y"};
  node.attachments = 2;
  const Json document = node_to_json(node);
  CHECK(document["name"] == "web@s1");
  CHECK(document["kind"] == "snapshot");
  CHECK(document["created"] == "2026-11-22T09:50:15.007Z");
  const auto back = node_from_json(document);
  REQUIRE(back.has_value());
  CHECK(node_to_json(*back) == document);
  CHECK(document["strict"] == false);
  node.kind = NodeInfo::Kind::kHead;
  node.policy.strict = true;
  CHECK(node_to_json(node)["strict"] == true);
  CHECK(node_from_json(node_to_json(node))->policy.strict);
  CHECK_FALSE(node_from_json(Json::object()).has_value());
  CHECK_FALSE(node_from_json(Json{{"id", "x"}}).has_value());
}

TEST_CASE("listings name what the contract names") {
  NodeInfo snapshot;
  snapshot.id = 1;
  snapshot.kind = NodeInfo::Kind::kSnapshot;
  snapshot.disk = "web";
  snapshot.snapshot = "s1";
  NodeInfo head;
  head.id = 2;
  head.parent = 1;
  head.disk = "web";
  NodeInfo deleted;
  deleted.id = 3;
  deleted.kind = NodeInfo::Kind::kDeleted;
  deleted.disk = "web";
  const Json listing = listing_to_json({snapshot, head, deleted});
  REQUIRE(listing.size() == 2);
  CHECK(listing[0]["name"] == "web");
  CHECK(listing[0]["kind"] == "disk");
  CHECK(listing[1]["name"] == "web@s1");
  CHECK(listing[1]["kind"] == "snapshot");
  const Json tree = tree_to_json({snapshot, head, deleted});
  CHECK(tree["heads"] == Json::parse(R"([{"disk":"web","at":1,"id":2}])"));
  CHECK(tree["nodes"][2]["kind"] == "deleted");
  CHECK(tree["nodes"][2]["name"] == "");
  CHECK(diff_to_json({{4096, 8192, true}}) == Json::parse(R"([{"offset":4096,"length":8192,"zero":true}])"));
  CHECK(space_to_json({{{"web", ""}, 1, 2, 3, {}}}) ==
        Json::parse(R"([{"name":"web","own":1,"shared":2,"frees":3,"disk":null}])"));
}

TEST_CASE("a line of brackets is refused before it is walked") {
  const std::string deep = std::string(400'000, '[') + std::string(400'000, ']');
  const auto request = decode_request(R"({"jsonrpc":"2.0","id":1,"method":"list","params":)" + deep + "}");
  REQUIRE_FALSE(request.has_value());
  CHECK(request.error().code == kParseError);
  CHECK_FALSE(decode_reply(R"({"result":)" + deep + "}").answer.has_value());
  // Brackets in a text nest nothing.
  const auto text = decode_request(R"({"jsonrpc":"2.0","id":1,"method":"[[[[[[[[[[[[[[[[[[[[\\\"[["})");
  REQUIRE(text.has_value());
  CHECK(text->method.ends_with("\\\"[["));
}

}  // namespace
}  // namespace coppice::cli
