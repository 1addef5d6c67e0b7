// The client behind a proxy that the usual variables name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "test_proxy.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/http/client.h"
#include "twinstep/http/server.h"
#include "twinstep/http/tls_certificate.h"

namespace twinstep::http {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr const char* kVariables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                      "ALL_PROXY",  "no_proxy",    "NO_PROXY"};

/// A plain and a TLS server of ours. Their host name exists for the proxy alone.
class Proxied : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) before[name] = value;
      unsetenv(name);
    }
    const auto now = real_clock().system_now();
    const auto authority = CertificateAuthority::create("test", now);
    ASSERT_TRUE(authority);
    const auto certificate = authority->issue({"hub.test", "127.0.0.1"}, now);
    ASSERT_TRUE(certificate);
    ca_file = fmt::format("{}proxy_test_ca_{}.pem", testing::TempDir(), ::getpid());
    std::FILE* file = std::fopen(ca_file.c_str(), "w");
    ASSERT_NE(file, nullptr);
    std::fputs(authority->certificate().c_str(), file);
    std::fclose(file);
    const auto serve = [this](ServerOptions options) {
      auto started = Server::start(std::move(options), [this](const ServerRequest& request) {
        const bool told = !request.header("Proxy-Authorization").empty();
        return ServerResponse{
            200, {}, request.method + " " + request.target + (told ? " with a password" : ""), {}, false};
      });
      EXPECT_TRUE(started);
      return std::move(*started);
    };
    plain = serve({});
    ServerOptions options;
    options.tls_certificate = certificate->certificate;
    options.tls_key = certificate->key;
    tls = serve(std::move(options));
  }
  void TearDown() override {
    for (const char* name : kVariables) unsetenv(name);
    for (const auto& [name, value] : before) set(name, value);
    std::remove(ca_file.c_str());
  }

  static void set(const std::string& name, const std::string& value) { setenv(name.c_str(), value.c_str(), 1); }
  static std::string with_password(const TestProxy& proxy) { return with_password(proxy.port()); }
  static std::string with_password(uint16_t port) { return fmt::format("http://me:hush%40hush@127.0.0.1:{}", port); }
  std::string plain_url(const char* host = "hub.test") const {
    return fmt::format("http://{}:{}/a?b=1", host, plain->port());
  }
  std::string tls_url(const char* host = "hub.test") const {
    return fmt::format("https://{}:{}/a?b=1", host, tls->port());
  }
  /// Every request has a client, so a connection, of its own.
  Result<Response> get(const std::string& url, Call call = {}) const {
    Request request;
    request.url = url;
    request.operation = "get device";
    return make_transport({.ca_file = ca_file, .proxy = {}, .connect_timeout = 5s, .user_agent = {}})
        ->send(request, call);
  }
  std::string body(const std::string& url) const {
    const auto answer = get(url);
    return answer ? answer->body : "failed: " + answer.error().what;
  }
  /// The error, which names the proxy and keeps the password.
  Error refused(const std::string& url, uint16_t port, Call call = {}) const {
    auto answer = get(url, std::move(call));
    if (answer) return {ErrorKind::kInvalid, fmt::format("an answer: {}", answer->status), {}, {}, 0, {}, {}};
    EXPECT_THAT(answer.error().what, AllOf(HasSubstr(fmt::format("the proxy 127.0.0.1:{}", port)),
                                           Not(HasSubstr("hush")), Not(HasSubstr("me:")), HasSubstr("hub.test")));
    return answer.error();
  }

  std::map<std::string, std::string> before;
  std::string ca_file;
  std::unique_ptr<Server> plain, tls;
};

/// Lost as soon as the proxy has been asked for a tunnel: a process that is paused while it connects.
struct LostWhileConnecting final : WriteGuard {
  explicit LostWhileConnecting(const TestProxy& proxy_in) : proxy(proxy_in) {}
  bool holds() const override { return proxy.asked().empty(); }
  const TestProxy& proxy;
};

TEST_F(Proxied, WhatIsNotOursAnyMoreWhenTheConnectionStandsIsNotSent) {
  const TestProxy proxy;
  set("https_proxy", fmt::format("http://127.0.0.1:{}", proxy.port()));
  const LostWhileConnecting guard(proxy);
  ASSERT_TRUE(guard.holds());
  Request request;
  request.method = "DELETE";
  request.url = tls_url();
  const auto answer = make_transport({.ca_file = ca_file, .proxy = {}, .connect_timeout = 5s, .user_agent = {}})
                          ->send(request, {SteadyTime::max(), {}, &guard});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "call.not-ours");
  EXPECT_THAT(proxy.asked(), SizeIs(1));
}

TEST_F(Proxied, PlainRequestsAreHandedToItWithTheirWholeAddress) {
  TestProxy proxy;
  set("http_proxy", with_password(proxy));
  EXPECT_EQ(body(plain_url()), "GET /a?b=1") << "the password is the proxy's own";
  ASSERT_THAT(proxy.asked(), SizeIs(1));
  EXPECT_THAT(proxy.asked()[0], AllOf(StartsWith("GET " + plain_url() + " HTTP/1.1\r\n"),
                                      HasSubstr("Proxy-Authorization: Basic bWU6aHVzaEBodXNo")));
}

TEST_F(Proxied, TlsGoesThroughATunnelToTheHostByItsName) {
  TestProxy proxy;
  set("https_proxy", with_password(proxy));
  EXPECT_EQ(body(tls_url()), "GET /a?b=1") << "the password stays outside of the tunnel";
  ASSERT_THAT(proxy.asked(), SizeIs(1));
  EXPECT_THAT(proxy.asked()[0], AllOf(StartsWith(fmt::format("CONNECT hub.test:{} HTTP/1.1\r\n", tls->port())),
                                      HasSubstr("Proxy-Authorization: Basic ")));
}

TEST_F(Proxied, CredentialsOfTheRemoteStayInsideOfTheTunnel) {
  TestProxy proxy;
  set("https_proxy", with_password(proxy));
  Request request;
  request.url = tls_url();
  request.headers = {{"Authorization", "Bearer canary"}};
  const auto client = make_transport({.ca_file = ca_file, .proxy = {}, .connect_timeout = 5s, .user_agent = {}});
  EXPECT_TRUE(client->send(request, {}));
  ASSERT_THAT(proxy.asked(), SizeIs(1));
  EXPECT_THAT(proxy.asked()[0], Not(HasSubstr("canary")));
}

TEST_F(Proxied, EachKindOfAddressHasItsVariable) {
  TestProxy proxy;
  set("https_proxy", with_password(proxy));
  EXPECT_EQ(body(plain_url("127.0.0.1")), "GET /a?b=1");
  EXPECT_THAT(proxy.asked(), IsEmpty());
  unsetenv("https_proxy");
  set("HTTPS_PROXY", with_password(proxy));
  EXPECT_EQ(body(tls_url()), "GET /a?b=1");
  unsetenv("HTTPS_PROXY");
  set("all_proxy", with_password(proxy));
  EXPECT_EQ(body(plain_url()), "GET /a?b=1");
  EXPECT_THAT(proxy.asked(), SizeIs(2));
}

TEST_F(Proxied, HostsOfNoProxyAreAskedDirectly) {
  TestProxy proxy;
  set("http_proxy", with_password(proxy));
  set("https_proxy", with_password(proxy));
  for (const char* list : {"127.0.0.1", "example.org, 127.0.0.1", "127.0.0.0/8", "*"}) {
    set("no_proxy", list);
    EXPECT_EQ(body(plain_url("127.0.0.1")), "GET /a?b=1") << list;
    EXPECT_EQ(body(tls_url("127.0.0.1")), "GET /a?b=1") << list;
  }
  unsetenv("no_proxy");
  set("NO_PROXY", "127.0.0.1");
  EXPECT_EQ(body(tls_url("127.0.0.1")), "GET /a?b=1");
  EXPECT_THAT(proxy.asked(), IsEmpty());
  EXPECT_EQ(body(tls_url()), "GET /a?b=1") << "another host is not in the list";
  EXPECT_THAT(proxy.asked(), SizeIs(1));
}

TEST_F(Proxied, AnErrorOfAHostInNoProxyDoesNotBlameTheProxy) {
  TestProxy proxy;
  set("http_proxy", with_password(proxy));
  set("no_proxy", "127.0.0.1");
  const std::string gone = plain_url("127.0.0.1");
  plain->stop();
  const auto answer = get(gone);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, "http.no-connection");
  EXPECT_THAT(answer.error().what, Not(HasSubstr("proxy")));
}

TEST_F(Proxied, AProxyThatWantsAPasswordIsDeniedAndSaysHowToGiveIt) {
  TestProxy proxy(TestProxy::Mood::kServes, "407 Proxy Authentication Required");
  set("http_proxy", with_password(proxy));
  set("https_proxy", with_password(proxy));
  for (const std::string& url : {plain_url(), tls_url()}) {
    const Error error = refused(url, proxy.port());
    EXPECT_EQ(error.kind, ErrorKind::kDenied) << error.what;
    EXPECT_EQ(error.code, "http.proxy-denied");
    EXPECT_THAT(error.what, AllOf(HasSubstr(url[4] == 's' ? "https_proxy" : "http_proxy"), HasSubstr("407"),
                                  HasSubstr("http://user:password@host:port")));
  }
}

TEST_F(Proxied, ATunnelThatIsRefusedSentNothing) {
  for (const char* refusal : {"503 Service Unavailable", "403 Forbidden", "502 Bad Gateway", "302 Found"}) {
    TestProxy proxy(TestProxy::Mood::kServes, refusal);
    set("https_proxy", with_password(proxy));
    const Error error = refused(tls_url(), proxy.port());
    EXPECT_EQ(error.kind, ErrorKind::kUnavailable) << error.what;
    EXPECT_EQ(error.code, "http.no-connection");
    EXPECT_THAT(error.what, HasSubstr(std::string(refusal).substr(0, 3)));
  }
}

TEST_F(Proxied, AProxyThatClosesOrIsSilentBeforeTheTunnelSentNothing) {
  for (const auto mood : {TestProxy::Mood::kCloses, TestProxy::Mood::kIsSilent}) {
    TestProxy proxy(mood);
    set("https_proxy", with_password(proxy));
    const Error error = refused(tls_url(), proxy.port(), {real_clock().steady_now() + 500ms, {}});
    EXPECT_EQ(error.kind, ErrorKind::kUnavailable) << error.what;
    EXPECT_EQ(error.code, "http.no-connection");
    EXPECT_THAT(error.what, HasSubstr(mood == TestProxy::Mood::kCloses ? "closed" : "in time"));
  }
}

TEST_F(Proxied, APlainRequestThatAProxySwallowedMayHaveArrived) {
  TestProxy proxy(TestProxy::Mood::kCloses);
  set("http_proxy", with_password(proxy));
  const Error error = refused(plain_url(), proxy.port());
  EXPECT_EQ(error.kind, ErrorKind::kTimeout) << error.what;
}

TEST_F(Proxied, AProxyThatIsNotThereIsNamed) {
  uint16_t closed = 0;
  {
    TestProxy proxy;
    closed = proxy.port();
  }
  set("http_proxy", with_password(closed));
  set("https_proxy", with_password(closed));
  for (const std::string& url : {plain_url(), tls_url()}) {
    const Error error = refused(url, closed);
    EXPECT_EQ(error.kind, ErrorKind::kUnavailable) << error.what;
    EXPECT_EQ(error.code, "http.no-connection");
    EXPECT_THAT(error.what, AllOf(HasSubstr("refused"), HasSubstr("no_proxy")));
  }
  set("https_proxy", "http://me:hush@proxy.invalid:3128");
  const auto unknown = get(tls_url());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, "http.no-connection");
  EXPECT_THAT(unknown.error().what,
              AllOf(HasSubstr("the proxy proxy.invalid:3128 (https_proxy)"), Not(HasSubstr("hush"))));
}

TEST_F(Proxied, ARefusedTunnelIsTriedAgainEvenForWhatMustNotBeRepeated) {
  TestProxy proxy(TestProxy::Mood::kServes, "503 Service Unavailable");
  set("https_proxy", with_password(proxy));
  FakeClock clock;
  Rng rng(1);
  const auto transport = make_transport({.ca_file = ca_file, .proxy = {}, .connect_timeout = 5s, .user_agent = {}});
  const auto client = with_retry(*transport, {.tries = 3}, clock, rng);
  Request request;
  request.method = "POST";
  request.url = tls_url();
  request.repeat = Repeat::kIfNotStarted;
  EXPECT_FALSE(client->send(request, {}));
  EXPECT_THAT(proxy.asked(), SizeIs(3));
}

TEST_F(Proxied, TheTransportMayBeToldToUseNone) {
  TestProxy proxy;
  set("http_proxy", with_password(proxy));
  Request request;
  request.url = plain_url("127.0.0.1");
  const auto direct = make_transport({.ca_file = {}, .proxy = "-", .connect_timeout = 5s, .user_agent = {}});
  EXPECT_TRUE(direct->send(request, {}));
  EXPECT_THAT(proxy.asked(), IsEmpty());
}

}  // namespace
}  // namespace twinstep::http
