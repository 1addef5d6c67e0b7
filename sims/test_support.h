#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "sims/blob_sim.h"
#include "sims/iothub_sim.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/time_format.h"

/// What the simulators' tests share: requests without sockets, tokens, a hub with its storage.
namespace twinstep::sims {

inline http::ServerRequest make_request(std::string method, std::string path, std::string query = "",
                                        std::vector<http::Header> headers = {}, std::string body = "") {
  http::ServerRequest r;
  r.method = std::move(method);
  r.path = std::move(path);
  r.query = std::move(query);
  r.target = r.query.empty() ? r.path : r.path + "?" + r.query;
  r.headers = std::move(headers);
  r.body = std::move(body);
  return r;
}

inline std::string header(const http::ServerResponse& r, std::string_view name) {
  for (const auto& h : r.headers)
    if (h.name == name) return h.value;
  return {};
}

inline json::object body_of(const http::ServerResponse& r) {
  auto parsed = json::parse(r.body, "answer");
  if (parsed && parsed->is_object()) return parsed->as_object();
  ADD_FAILURE() << "no JSON object: " << r.status << " " << r.body;
  return {};
}

inline json::array list_of(const http::ServerResponse& r) {
  auto parsed = json::parse(r.body, "answer");
  if (parsed && parsed->is_array()) return parsed->as_array();
  ADD_FAILURE() << "no JSON array: " << r.status << " " << r.body;
  return {};
}

inline std::string text_of(const json::object& o, std::string_view key) { return std::string(json::string_or(o, key)); }

/// Reaches a BlobSim without sockets.
class BlobDirect final : public http::Client {
 public:
  explicit BlobDirect(BlobSim& blobs) : blobs_(blobs) {}
  Result<http::Response> send(const http::Request& q, const Call&) override {
    const std::string target = q.url.substr(q.url.find('/', 8));
    const size_t mark = std::min(target.find('?'), target.size());
    http::ServerResponse a = blobs_.handle(make_request(
        q.method, target.substr(0, mark), mark < target.size() ? target.substr(mark + 1) : "", q.headers, q.body));
    http::Response out{a.status, a.headers, a.body};
    if (q.sink && out.ok()) {
      TRY(q.sink(out.body));
      out.body.clear();
    }
    return out;
  }

 private:
  BlobSim& blobs_;
};

class HubTest : public ::testing::Test {
 protected:
  static constexpr const char* kHost = "examplehub.azure-devices.net";
  static constexpr const char* kKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

  static IotHubSimOptions options() {
    IotHubSimOptions o;
    o.throttle = false;
    o.index_lag = o.ghost_time = std::chrono::milliseconds{0};
    o.identity_token = "hub-identity";
    return o;
  }
  std::string token(const std::string& policy = "iothubowner", int64_t seconds = 3600) {
    const std::string sr = kHost;
    const auto now = std::chrono::duration_cast<std::chrono::seconds>(clock.system_now().time_since_epoch()).count();
    const std::string se = std::to_string(now + seconds);
    const std::string sig = base64_encode(hmac_sha256(*base64_decode(kKey), sr + "\n" + se));
    return fmt::format("SharedAccessSignature skn={}&se={}&sig={}&sr={}", policy, se, percent_encode(sig), sr);
  }
  http::ServerResponse ask(IotHubSim& at, const std::string& method, const std::string& path,
                           const std::string& body = "", const std::string& match = "",
                           const std::string& policy = "iothubowner", std::vector<http::Header> more = {}) {
    more.push_back({"Host", kHost});
    more.push_back({"Authorization", token(policy)});
    if (!match.empty()) more.push_back({"If-Match", match});
    return at.handle(make_request(method, path, "api-version=2021-04-12", std::move(more), body));
  }
  http::ServerResponse ask(const std::string& method, const std::string& path, const std::string& body = "",
                           const std::string& match = "", const std::string& policy = "iothubowner") {
    return ask(hub, method, path, body, match, policy);
  }
  std::string error_of(const http::ServerResponse& r) {
    return fmt::format("{} {}", r.status, header(r, "iothub-errorcode"));
  }
  void create(const std::string& id) {
    ASSERT_EQ(ask("PUT", "/devices/" + id, fmt::format(R"({{"deviceId":"{}"}})", id)).status, 200);
  }
  http::ServerResponse query(IotHubSim& at, const std::string& text, std::vector<http::Header> more = {}) {
    return ask(at, "POST", "/devices/query", R"({"query":")" + text + "\"}", "", "iothubowner", std::move(more));
  }

  std::string sas(const std::string& permissions) {
    const std::string se = format_iso_seconds(clock.system_now() + std::chrono::hours{1});
    const std::string text =
        permissions + "\n\n" + se + "\n/blob/devstoreaccount1/job1\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n";
    const std::string sig = base64_encode(hmac_sha256(*base64_decode(BlobSimOptions{}.key), text));
    return fmt::format("http://storage/devstoreaccount1/job1?sv=2021-12-02&sr=c&sp={}&se={}&sig={}", permissions,
                       percent_encode(se), percent_encode(sig));
  }
  http::ServerResponse storage(const std::string& method, const std::string& path, const std::string& query = "",
                               const std::string& body = "", std::vector<http::Header> more = {}) {
    more.push_back({"x-ms-version", "2021-12-02"});
    more.push_back({"Authorization", "Bearer hub-identity"});
    if (method == "PUT") more.push_back({"x-ms-blob-type", "BlockBlob"});
    return blobs.handle(make_request(method, path, query, std::move(more), body));
  }
  /// Runs an import of `lines` and gives importErrors.log.
  std::string import(IotHubSim& at, const std::string& lines) {
    storage("PUT", "/devstoreaccount1/job1", "restype=container");
    EXPECT_EQ(storage("PUT", "/devstoreaccount1/job1/devices.txt", "", lines).status, 201);
    const auto made =
        ask(at, "POST", "/jobs/create",
            fmt::format(R"({{"type":"import","inputBlobContainerUri":"{0}","outputBlobContainerUri":"{0}"}})",
                        sas("racwdl")));
    EXPECT_EQ(made.status, 200) << made.body;
    at.wait_for_jobs();
    EXPECT_EQ(text_of(body_of(ask(at, "GET", "/jobs/" + text_of(body_of(made), "jobId"))), "status"), "completed");
    const auto log = storage("GET", "/devstoreaccount1/job1/importErrors.log");
    EXPECT_EQ(log.status, 200);
    return log.body;
  }

  FakeClock clock;
  BlobSim blobs{BlobSimOptions{.identity_token = "hub-identity"}, clock};
  BlobDirect direct{blobs};
  IotHubSim hub{options(), clock, direct};
};

}  // namespace twinstep::sims
