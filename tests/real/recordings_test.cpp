// Replays recorded traffic of a real IoT Hub against the simulated one and compares what is settled: status, member
// sets at every level, JSON types, headers and the forms of times, ETags, keys and tracking ids. Their values may
// differ.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <thread>

#include "sims/blob_sim.h"
#include "sims/iothub_sim.h"
#include "sims/sim_clock.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

namespace fs = std::filesystem;
using http::ServerRequest;
using http::ServerResponse;

constexpr std::string_view kSanitized = "Sanitized";

fs::path recordings_folder() {
  if (const char* named = std::getenv("TWINSTEP_RECORDINGS"); named != nullptr && *named != '\0') return named;
  return fs::path(TWINSTEP_SOURCE_DIR).parent_path() / "shared" / "reference" / "recorded";
}

std::string_view view(const json::value& v) { return v.as_string(); }

bool matches(std::string_view text, const char* pattern) {
  return std::regex_match(text.begin(), text.end(), std::regex(pattern));
}

enum class Rule { kValue, kTime, kEtag, kKey, kTracking, kOpaque };

Rule rule_of(std::string_view member) {
  if (member == "$lastUpdated" || member.find("Time") != std::string_view::npos) return Rule::kTime;
  if (member == "etag" || member == "deviceEtag") return Rule::kEtag;
  if (member == "primaryKey" || member == "secondaryKey") return Rule::kKey;
  if (member == "ExceptionMessage") return Rule::kTracking;
  if (member == "generationId" || member == "jobId" || member.ends_with("BlobContainerUri")) return Rule::kOpaque;
  return Rule::kValue;
}

void compare_text(std::string_view want, std::string_view got, Rule rule, const std::string& where) {
  static constexpr const char* kTime = R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,6}[1-9])?Z?)";
  static constexpr const char* kTracking = R"(Tracking ID:[0-9a-f]{32}-G:\d+-TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d)";
  switch (rule) {
    case Rule::kValue:
      EXPECT_EQ(want, got) << where;
      break;
    case Rule::kTime:
      EXPECT_TRUE(matches(got, kTime)) << where << ": " << got;
      EXPECT_EQ(want.ends_with('Z'), got.ends_with('Z')) << where << ": " << got;
      EXPECT_EQ(want.starts_with("0001-"), got.starts_with("0001-")) << where << ": " << got;
      break;
    case Rule::kEtag: {
      const auto a = base64_decode(want), b = base64_decode(got);
      ASSERT_TRUE(a && b) << where << ": " << got;
      EXPECT_EQ(matches(*a, R"(\d+)"), matches(*b, R"(\d+)")) << where << ": " << got;
      break;
    }
    case Rule::kKey: {
      const auto key = base64_decode(got);
      EXPECT_TRUE(key && key->size() == 32) << where << " is no key of 32 bytes";
      break;
    }
    case Rule::kTracking:
      EXPECT_TRUE(matches(want, kTracking)) << where << ": " << want;
      EXPECT_TRUE(matches(got, kTracking)) << where << ": " << got;
      break;
    case Rule::kOpaque:
      break;
  }
}

void compare(const json::value& want, const json::value& got, const std::string& where, Rule rule = Rule::kValue) {
  if (want.is_number()) {
    ASSERT_TRUE(got.is_number()) << where;
    EXPECT_EQ(want.to_number<int64_t>(), got.to_number<int64_t>()) << where;
    return;
  }
  ASSERT_EQ(want.kind(), got.kind()) << where << ": " << json::write(got);
  if (want.is_string()) return compare_text(view(want), view(got), rule, where);
  if (want.is_bool()) {
    EXPECT_EQ(want.as_bool(), got.as_bool()) << where;
  }
  if (want.is_array()) {
    ASSERT_EQ(want.as_array().size(), got.as_array().size()) << where << ": " << json::write(got);
    for (size_t i = 0; i < want.as_array().size(); ++i)
      compare(want.as_array()[i], got.as_array()[i], fmt::format("{}/{}", where, i));
  }
  if (want.is_object()) {
    for (const auto& [key, v] : got.as_object())
      EXPECT_TRUE(want.as_object().contains(key)) << where << " has a member more: " << std::string_view(key);
    for (const auto& [key, v] : want.as_object()) {
      const std::string_view name(key.data(), key.size());
      const json::value* other = got.as_object().if_contains(key);
      if (other == nullptr)
        ADD_FAILURE() << where << " lacks the member " << name;
      else
        compare(v, *other, fmt::format("{}/{}", where, name), rule_of(name));
    }
  }
}

/// One recorded file against a fresh hub. Time moves only when an answer is waited for; jobs use a blob service over a
/// real socket.
class Replay {
 public:
  Replay() {
    auto served = http::Server::start({}, [this](const ServerRequest& r) { return blobs_.handle(r); });
    if (!served)
      ADD_FAILURE() << served.error().what;
    else
      server_ = std::move(*served);
    ServerRequest make;
    make.method = "PUT";
    make.path = "/devstoreaccount1/job1";
    make.query = "restype=container";
    make.target = make.path + "?" + make.query;
    make.headers = {{"x-ms-version", "2021-12-02"}, {"Authorization", "Bearer hub-identity"}};
    EXPECT_EQ(blobs_.handle(make).status, 201);
  }

  void exchange(const json::object& recorded) {
    const json::object& request = recorded.at("request").as_object();
    const json::object& response = recorded.at("response").as_object();
    const std::string method(view(request.at("method")));
    const ServerRequest asked = make_request(request, method);
    const json::value& want = response.at("body");
    SCOPED_TRACE(fmt::format("{} {}", method, asked.path));
    ServerResponse got;
    if (asked.path == "/devices/query") {
      got = ask_until(asked, [&](const json::value& body) { return shows_created(body); });
    } else if (method == "GET" && asked.path.starts_with("/jobs/")) {
      const std::string_view status = view(want.as_object().at("status"));
      got = ask_until(asked, [&](const json::value& body) {
        return body.is_object() && json::string_or(body.as_object(), "status") == status;
      });
    } else {
      got = hub_.handle(asked);
    }
    ASSERT_EQ(response.at("status").to_number<int>(), got.status) << got.body;
    compare_headers(response.at("headers").as_object(), got);
    if (got.status == 204) {
      EXPECT_EQ(got.body, "");
      return;
    }
    auto body = json::parse(got.body, "answer");
    ASSERT_TRUE(body) << got.body;
    if (asked.path == "/devices/query") return compare_twins(want.as_array(), body->as_array());
    compare(want, *body, "");
    learn(want, *body);
  }

 private:
  ServerRequest make_request(const json::object& request, const std::string& method) {
    ServerRequest r;
    r.method = method;
    r.target = replaced(std::string(view(request.at("path"))));
    const size_t mark = r.target.find('?');
    r.path = r.target.substr(0, mark);
    r.query = r.target.substr(mark + 1);
    r.headers = {{"Host", "examplehub.azure-devices.net"}, {"Authorization", token()}};
    for (const auto& [name, v] : request.at("headers").as_object())
      r.headers.push_back({std::string(name), replaced(std::string(view(v)))});
    if (const json::value& body = request.at("body"); !body.is_null()) {
      json::value sent = body;
      rewrite(sent, "");
      if (sent.is_array())
        for (const json::value& entry : sent.as_array())
          if (json::string_or(entry.as_object(), "importMode") == "create")
            created_.insert(std::string(view(entry.at("id"))));
      r.body = json::write(sent);
    }
    return r;
  }

  /// ETags, generation and job ids of the recording become those that the simulator gave out.
  std::string replaced(std::string text) const {
    for (const auto& [from, to] : learned_)
      if (const size_t at = text.find(from); at != std::string::npos) return text.replace(at, from.size(), to);
    return text;
  }

  void rewrite(json::value& v, std::string_view member) {
    if (v.is_array())
      for (json::value& item : v.as_array()) rewrite(item, member);
    if (v.is_object())
      for (auto& [key, item] : v.as_object()) rewrite(item, std::string_view(key.data(), key.size()));
    if (!v.is_string()) return;
    if (view(v) != kSanitized)
      v = replaced(std::string(view(v)));
    else if (member.ends_with("BlobContainerUri"))
      v = container_uri();
    else if (const auto key = keys_.find(std::string(member)); key != keys_.end())
      v = key->second;
    else
      ADD_FAILURE() << "nothing known for the sanitized " << member;
  }

  void learn(const json::value& want, const json::value& got) {
    if (!want.is_object() || !got.is_object()) return;
    for (const auto& [key, v] : want.as_object()) {
      const json::value* other = got.as_object().if_contains(key);
      if (other == nullptr) continue;
      learn(v, *other);
      if (!v.is_string() || !other->is_string()) continue;
      const std::string name(key);
      if (rule_of(name) == Rule::kKey)
        keys_[name] = view(*other);
      else if (rule_of(name) == Rule::kEtag || name == "generationId" || name == "jobId")
        learned_[std::string(view(v))] = view(*other);
    }
  }

  ServerResponse ask_until(const ServerRequest& asked, const std::function<bool(const json::value&)>& enough) {
    const SteadyTime limit = real_clock().steady_now() + std::chrono::seconds{60};
    for (;;) {
      ServerResponse got = hub_.handle(asked);
      auto body = json::parse(got.body, "answer");
      if (got.status != 200 || (body && enough(*body))) return got;
      if (real_clock().steady_now() > limit) {
        ADD_FAILURE() << "waited in vain; last answer: " << got.body;
        return got;
      }
      clock_.advance(std::chrono::milliseconds{20});
      std::this_thread::yield();
    }
  }

  bool shows_created(const json::value& body) const {
    std::set<std::string> missing = created_;
    for (const json::value& twin : body.as_array()) missing.erase(std::string(view(twin.at("deviceId"))));
    return missing.empty();
  }

  static void compare_headers(const json::object& want, const ServerResponse& got) {
    for (const char* name : {"Content-Type", "ETag", "iothub-errorcode", "x-ms-item-type", "x-ms-continuation"}) {
      std::vector<std::string> values;
      for (const http::Header& h : got.headers)
        if (h.name == name) values.push_back(h.value);
      const json::value* expected = want.if_contains(name);
      ASSERT_EQ(expected == nullptr ? 0u : 1u, values.size()) << name;
      if (expected == nullptr) continue;
      if (std::string_view(name) != "ETag") {
        EXPECT_EQ(view(*expected), values[0]) << name;
      } else {
        auto body = json::parse(got.body, "answer");
        ASSERT_TRUE(body && body->is_object());
        EXPECT_EQ(values[0], fmt::format("\"{}\"", json::string_or(body->as_object(), "etag")));
      }
    }
  }

  /// Others used the recorded hub too; the untouched twins give the shape.
  void compare_twins(const json::array& want, const json::array& got) const {
    const auto plain = std::find_if(want.begin(), want.end(), [](const json::value& twin) {
      return twin.at("version") == 2 && twin.at("status") == "enabled";
    });
    ASSERT_NE(plain, want.end()) << "the recording holds no plain twin";
    EXPECT_EQ(got.size(), created_.size());
    for (const json::value& twin : got) {
      json::value shape = *plain;
      shape.as_object()["deviceId"] = twin.at("deviceId");
      compare(shape, twin, "");
    }
  }

  static IotHubSimOptions unthrottled() {
    IotHubSimOptions o;
    o.throttle = false;
    return o;
  }
  int64_t seconds_from_now(int64_t seconds) const {
    return std::chrono::duration_cast<std::chrono::seconds>(clock_.system_now().time_since_epoch()).count() + seconds;
  }
  std::string token() const {
    const IotHubSimOptions o;
    const std::string signed_text = fmt::format("{}\n{}", o.name, seconds_from_now(3600));
    const std::string sig = base64_encode(hmac_sha256(*base64_decode(o.policy_key), signed_text));
    return fmt::format("SharedAccessSignature sr={}&sig={}&se={}&skn=iothubowner", o.name, percent_encode(sig),
                       seconds_from_now(3600));
  }
  std::string container_uri() const {
    const std::string se = format_iso_seconds(clock_.system_now() + std::chrono::hours{24});
    const std::string text = "racwdl\n\n" + se + "\n/blob/devstoreaccount1/job1\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n";
    const std::string sig = base64_encode(hmac_sha256(*base64_decode(BlobSimOptions{}.key), text));
    return fmt::format("http://127.0.0.1:{}/devstoreaccount1/job1?sv=2021-12-02&sr=c&sp=racwdl&se={}&sig={}",
                       server_->port(), percent_encode(se), percent_encode(sig));
  }

  SimClock clock_{1e-6};
  BlobSim blobs_{BlobSimOptions{.identity_token = "hub-identity"}, clock_};
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<http::Client> storage_ = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
  IotHubSim hub_{unthrottled(), clock_, *storage_};  // polls here come faster than a hub would let them
  std::map<std::string, std::string> learned_, keys_;
  std::set<std::string> created_;
};

TEST(Recordings, TheSimulatedHubAnswersAsTheRealOneDid) {
  const fs::path folder = recordings_folder();
  if (!fs::is_directory(folder)) {
    const std::string note =
        fmt::format("no recordings at {}; name their folder in TWINSTEP_RECORDINGS", folder.string());
    std::cout << note << '\n';
    GTEST_SKIP() << note;
  }
  int files = 0, exchanges = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    std::ifstream in(entry.path());
    std::stringstream text;
    text << in.rdbuf();
    auto recording = json::parse(text.str(), entry.path().filename().string());
    ASSERT_TRUE(recording) << recording.error().what;
    ASSERT_TRUE(recording->is_object() && recording->as_object().contains("exchanges"));
    Replay replay;
    for (const json::value& exchange : recording->at("exchanges").as_array()) {
      replay.exchange(exchange.as_object());
      ++exchanges;
      if (::testing::Test::HasFatalFailure()) return;
    }
    ++files;
  }
  std::cout << fmt::format("{} exchanges of {} files compared\n", exchanges, files);
  EXPECT_GT(files, 0) << "the folder holds no recording";
}

}  // namespace
}  // namespace twinstep::sims
