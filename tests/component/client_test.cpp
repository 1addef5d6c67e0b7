#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <future>
#include <thread>

#include "twinstep/http/client.h"
#include "twinstep/http/server.h"
#include "twinstep/http/tls_certificate.h"

namespace twinstep::http {
namespace {

using namespace std::chrono_literals;

/// Client and server of ours over real sockets.
class Sockets : public testing::Test {
 protected:
  void TearDown() override {
    if (server) server->stop(0ms);  // a delayed answer need not be waited for
  }
  void serve(Handler handler, ServerOptions options = {}) {
    auto started = Server::start(std::move(options), std::move(handler));
    ASSERT_TRUE(started) << started.error().what;
    server = std::move(*started);
  }
  std::string url(const char* path = "/", const char* scheme = "http") const {
    return fmt::format("{}://127.0.0.1:{}{}", scheme, server->port(), path);
  }
  Result<Response> get(const char* path = "/", Call call = {}) {
    Request request;
    request.url = url(path);
    return client->send(request, call);
  }
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client =
      make_transport({.ca_file = {}, .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
};

TEST_F(Sockets, MethodBodyAndHeadersArriveAsSent) {
  serve([](const ServerRequest& request) {
    return ServerResponse{201,
                          {{"X-Echo", std::string(request.header("x-mine"))}},
                          request.method + request.target + request.body,
                          {},
                          false};
  });
  for (const char* method : {"GET", "PUT", "POST", "PATCH", "DELETE"}) {
    Request request;
    request.method = method;
    request.url = url("/a%2Fb?x=1");
    request.headers = {{"X-Mine", "v"}};
    if (std::string_view(method) == "PUT") request.body = "text";
    const auto answer = client->send(request, {});
    ASSERT_TRUE(answer) << answer.error().what;
    EXPECT_EQ(answer->status, 201);
    EXPECT_EQ(answer->header("x-echo"), "v");
    EXPECT_EQ(answer->body, fmt::format("{}/a%2Fb?x=1{}", method, request.body));
  }
}

TEST_F(Sockets, StopEndsAWaitingRequestAtOnce) {
  std::promise<void> arrived;
  serve([&](const ServerRequest&) {
    arrived.set_value();
    ServerResponse slow;
    slow.fault.delay = 30s;
    return slow;
  });
  std::stop_source stop;
  const auto start = std::chrono::steady_clock::now();
  std::jthread stopper([&] {
    arrived.get_future().wait();
    stop.request_stop();
  });
  const auto answer = get("/", {SteadyTime::max(), stop.get_token()});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 2s);
}

/// What another process may be at work on already.
struct Lost final : WriteGuard {
  bool holds() const override { return false; }
};

TEST_F(Sockets, WhatIsNotOursAnyMoreIsReadButNotChanged) {
  std::vector<std::string> arrived;
  serve([&](const ServerRequest& request) {
    arrived.push_back(request.method);
    return ServerResponse{};
  });
  const Lost lost;
  const Call call{SteadyTime::max(), {}, &lost};
  Request request;
  request.url = url();
  request.operation = "delete device 'd'";
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    request.method = method;
    const auto answer = client->send(request, call);
    ASSERT_FALSE(answer) << method;
    EXPECT_EQ(answer.error().code, "call.not-ours");
    EXPECT_EQ(answer.error().kind, ErrorKind::kCancelled);
    EXPECT_EQ(answer.error().what.find("delete device 'd' 127.0.0.1"), 0u) << answer.error().what;
  }
  request.method = "POST";
  request.reads_only = true;  // a query
  EXPECT_TRUE(client->send(request, call));
  EXPECT_TRUE(get("/", call));
  EXPECT_EQ(arrived, (std::vector<std::string>{"POST", "GET"}));
}

TEST_F(Sockets, DeadlineDropAndCutBodyAreTimeoutsBecauseTheEffectIsUnknown) {
  serve([](const ServerRequest& request) {
    ServerResponse response{200, {}, std::string(1000, 'x'), {}, false};
    if (request.path == "/slow") response.fault.delay = 30s;
    if (request.path == "/drop") response.fault.drop = true;
    if (request.path == "/cut") response.fault.cut_after = 10;
    return response;
  });
  for (const char* path : {"/slow", "/drop", "/cut"}) {
    const auto answer = get(path, {real_clock().steady_now() + 500ms, {}});
    ASSERT_FALSE(answer) << path;
    EXPECT_EQ(answer.error().kind, ErrorKind::kTimeout) << path << answer.error().what;
  }
}

TEST_F(Sockets, ADeadlineThatIsLessThanAMillisecondAwayEndsItToo) {
  serve([](const ServerRequest&) {
    ServerResponse slow;
    slow.fault.delay = 30s;
    return slow;
  });
  for (int micros = 50; micros <= 1'200; micros += 50) {
    const auto start = std::chrono::steady_clock::now();
    const auto answer = get("/", {start + std::chrono::microseconds{micros}, {}});
    ASSERT_FALSE(answer) << micros;
    EXPECT_LT(std::chrono::steady_clock::now() - start, 5s) << micros;
  }
}

TEST_F(Sockets, RefusedConnectionAndUnknownHostSayWhich) {
  serve([](const ServerRequest&) { return ServerResponse{}; });
  const std::string gone = url();
  server->stop();
  Request request;
  request.url = gone;
  auto answer = client->send(request, {});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kUnavailable);
  request.url = "ftp://127.0.0.1/";
  EXPECT_EQ(client->send(request, {}).error().kind, ErrorKind::kInvalid);
}

class Repeated final : public BodySource {
 public:
  explicit Repeated(uint64_t size) : size_(size) {}
  uint64_t size() const override { return size_; }
  Status rewind() override {
    given_ = 0;
    return {};
  }
  Result<size_t> read(char* into, size_t capacity) override {
    const size_t piece = std::min<uint64_t>(capacity, size_ - given_);
    std::fill(into, into + piece, 'x');
    given_ += piece;
    return piece;
  }

 private:
  uint64_t size_;
  uint64_t given_ = 0;
};

TEST_F(Sockets, BodiesStreamBothWays) {
  constexpr uint64_t kSize = 10'000'000;
  ServerOptions options;
  options.max_body_bytes = kSize;
  serve([](const ServerRequest& request) { return ServerResponse{200, {}, request.body, {}, false}; }, options);
  Request request;
  request.method = "PUT";
  request.url = url();
  request.body_source = std::make_shared<Repeated>(kSize);
  uint64_t got = 0;
  request.sink = [&](std::string_view piece) -> Status {
    got += piece.size();
    return {};
  };
  ASSERT_TRUE(client->send(request, {}));
  EXPECT_EQ(got, kSize);
  request.sink = nullptr;
  request.max_response_bytes = 1000;
  EXPECT_EQ(client->send(request, {}).error().code, "http.too-large");
}

TEST_F(Sockets, TlsNeedsTheRightAuthority) {
  const auto authority = CertificateAuthority::create("test", real_clock().system_now());
  const auto other = CertificateAuthority::create("other", real_clock().system_now());
  ASSERT_TRUE(authority && other);
  const auto certificate = authority->issue({"localhost", "127.0.0.1"}, real_clock().system_now());
  ASSERT_TRUE(certificate);
  ServerOptions options;
  options.tls_certificate = certificate->certificate;
  options.tls_key = certificate->key;
  serve(
      [](const ServerRequest& request) {
        return ServerResponse{200, {}, request.tls ? "tls" : "plain", {}, false};
      },
      options);
  const std::string folder = testing::TempDir();
  const auto write = [&](const char* name, const std::string& text) {
    const std::string path = folder + name;
    FILE* file = std::fopen(path.c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), file);
    std::fclose(file);
    return path;
  };
  Request request;
  request.url = url("/", "https");
  auto trusting = make_transport(
      {.ca_file = write("right.pem", authority->certificate()), .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
  const auto answer = trusting->send(request, {});
  ASSERT_TRUE(answer) << answer.error().what;
  EXPECT_EQ(answer->body, "tls");
  auto wary = make_transport(
      {.ca_file = write("wrong.pem", other->certificate()), .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
  EXPECT_EQ(wary->send(request, {}).error().code, "http.tls");
  auto missing =
      make_transport({.ca_file = folder + "nowhere.pem", .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
  EXPECT_EQ(missing->send(request, {}).error().code, "http.ca-file");
}

TEST_F(Sockets, ANewCertificateIsShownToNewConnectionsWhileOpenOnesGoOn) {
  const SystemTime now = real_clock().system_now();
  const auto before = CertificateAuthority::create("before", now).value();
  const auto after = CertificateAuthority::create("after", now).value();
  const auto first = before.issue({"127.0.0.1"}, now).value();
  const auto second = after.issue({"127.0.0.1"}, now).value();
  ServerOptions options;
  options.tls_certificate = first.certificate;
  options.tls_key = first.key;
  serve([](const ServerRequest&) { return ServerResponse{200, {}, "served", {}, false}; }, options);
  const auto trusting = [](const char* name, const CertificateAuthority& authority) {
    const std::string path = testing::TempDir() + name;
    FILE* file = std::fopen(path.c_str(), "w");
    std::fputs(authority.certificate().c_str(), file);
    std::fclose(file);
    return make_transport({.ca_file = path, .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
  };
  Request request;
  request.url = url("/", "https");
  const auto old_friend = trusting("before.pem", before);
  const auto new_friend = trusting("after.pem", after);
  ASSERT_TRUE(old_friend->send(request, {}));
  EXPECT_FALSE(new_friend->send(request, {}));
  ASSERT_TRUE(server->use_certificate({second.certificate, second.key, {}}));
  EXPECT_TRUE(new_friend->send(request, {}));
  EXPECT_TRUE(old_friend->send(request, {})) << "its connection is open, so it sees no other certificate";
  EXPECT_FALSE(trusting("before.pem", before)->send(request, {}));
  ASSERT_TRUE(server->use_certificate({first.certificate, first.key, after.certificate()}));
  EXPECT_FALSE(trusting("before.pem", before)->send(request, {})) << "it has no certificate to show";
}

}  // namespace
}  // namespace twinstep::http
