#include "twinstep/http/server.h"

#include <gmock/gmock.h>

#include <future>

#include "raw_connection.h"
#include "twinstep/base/clock.h"
#include "twinstep/http/tls_certificate.h"

namespace twinstep::http {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

size_t count(std::string_view text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

class ServerTest : public testing::Test {
 protected:
  static std::unique_ptr<Server> serve(ServerOptions options, Handler handler) {
    return Server::start(std::move(options), std::move(handler)).value();
  }
  /// Answers with method, path and body.
  static ServerResponse echo(const ServerRequest& request) {
    ServerResponse response;
    response.body = request.method + " " + request.path + " [" + request.body + "]";
    return response;
  }
  static std::string ask(const Server& server, std::string_view bytes) {
    RawConnection connection(server.port());
    connection.send(bytes);
    return connection.read_all();
  }
};

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrderOnOneConnection) {
  const auto server = serve({}, [](const ServerRequest& request) {
    ServerResponse response = echo(request);
    if (request.path == "/1") response.fault.delay = 50ms;  // the first being slow must not let the second pass
    return response;
  });
  const std::string got = ask(*server,
                              "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
                              "POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
                              "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(count(got, "HTTP/1.1 200 OK"), 3u);
  const size_t first = got.find("GET /1 []");
  const size_t second = got.find("POST /2 [abc]");
  const size_t third = got.find("GET /3 []");
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
  EXPECT_NE(third, std::string::npos);
}

TEST_F(ServerTest, AChunkedBodyArrivesWhole) {
  const auto server = serve({}, echo);
  EXPECT_THAT(ask(*server,
                  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                  "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              HasSubstr("[abcde]"));
}

TEST_F(ServerTest, ABodyWhoseEndTwoReadersCouldSeeDifferentlyIsRefusedAndNothingBehindItIsRead) {
  const auto server = serve({}, echo);
  for (const char* coding :
       {"xchunked", "chunked, identity", "gzip, chunked", "identity", "chunked\r\nTransfer-Encoding: chunked"}) {
    const std::string got = ask(*server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: " + std::string(coding) +
                                             "\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(got, StartsWith("HTTP/1.1 400 ")) << coding;
    EXPECT_EQ(count(got, "HTTP/1.1 400 Bad Request"), 1u) << got;
    EXPECT_THAT(got, Not(HasSubstr("smuggled"))) << coding;
  }
  EXPECT_THAT(ask(*server, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask(*server,
                  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:  Chunked \r\nConnection: close\r\n\r\n"
                  "3\r\nabc\r\n0\r\n\r\n"),
              HasSubstr("[abc]"));
}

TEST_F(ServerTest, HeadHasTheLengthButNoBody) {
  const auto server = serve({}, echo);
  const std::string got = ask(*server, "HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
}

TEST_F(ServerTest, AHeadOverTheLimitIs431) {
  const auto server = serve({.max_header_bytes = 1024}, echo);
  EXPECT_THAT(ask(*server, "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(4000, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
}

TEST_F(ServerTest, ABodyOverTheLimitIs413AndTheClientCanReadThatWhileItIsStillSending) {
  const auto server = serve({.max_body_bytes = 1000}, echo);
  RawConnection connection(server->port());
  connection.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
  connection.send(std::string(5'000'000, 'b'));
  EXPECT_THAT(connection.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, AChunkedBodyOverTheLimitIs413) {
  const auto server = serve({.max_body_bytes = 4}, echo);
  EXPECT_THAT(ask(*server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, ContinueIsSentOnlyForABodyThatIsWanted) {
  const auto server = serve({.max_body_bytes = 10}, echo);
  RawConnection wanted(server->port());
  wanted.send("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(wanted.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wanted.send("abc");
  EXPECT_THAT(wanted.read_all(), HasSubstr("PUT /a [abc]"));

  RawConnection unwanted(server->port());
  unwanted.send("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(unwanted.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
}

TEST_F(ServerTest, ASlowSenderGets408AndAnIdleConnectionIsClosedSilently) {
  const auto server = serve({.read_timeout = 100ms, .idle_timeout = 100ms}, echo);
  EXPECT_THAT(ask(*server, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(ask(*server, ""), "");
}

TEST_F(ServerTest, WhatIsNotHttpIs400) {
  const auto server = serve({}, echo);
  EXPECT_THAT(ask(*server, "\x16\x03\x01 hello\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(ask(*server, "GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ServerTest, AnExceptionInTheHandlerIs500AndTheConnectionGoesOn) {
  const auto server = serve({}, [](const ServerRequest& request) -> ServerResponse {
    if (request.path == "/bug") throw std::logic_error("a bug");
    return echo(request);
  });
  const std::string got = ask(*server,
                              "GET /bug HTTP/1.1\r\nHost: h\r\n\r\n"
                              "GET /fine HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(got, HasSubstr("GET /fine []"));
}

TEST_F(ServerTest, WhenThreadsAndQueueAreFullTheAnswerIs503WithRetryAfter) {
  std::promise<void> entered;
  std::promise<void> go_on;
  std::shared_future<void> allowed = go_on.get_future().share();
  const auto server = serve({.handler_threads = 1, .queue = 0}, [&](const ServerRequest& request) {
    if (request.path == "/hold") {
      entered.set_value();
      allowed.wait();
    }
    return echo(request);
  });
  RawConnection holder(server->port());
  holder.send("GET /hold HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  entered.get_future().wait();
  const std::string busy = ask(*server, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  go_on.set_value();
  EXPECT_THAT(busy, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(busy, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(holder.read_all(), HasSubstr("GET /hold []"));
}

TEST_F(ServerTest, FaultsReachTheWire) {
  const auto server = serve({}, [](const ServerRequest& request) {
    ServerResponse response;
    response.body = "0123456789";
    if (request.path == "/cut") response.fault.cut_after = 4;
    if (request.path == "/drop") response.fault.drop = true;
    return response;
  });
  const std::string cut = ask(*server, "GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(cut, HasSubstr("Content-Length: 10\r\n"));
  EXPECT_TRUE(cut.ends_with("\r\n\r\n0123")) << cut;
  EXPECT_EQ(ask(*server, "GET /drop HTTP/1.1\r\nHost: h\r\n\r\n"), "");
}

TEST_F(ServerTest, ManyDelayedAnswersDoNotHoldHandlerThreads) {
  const auto server = serve({.handler_threads = 1, .queue = 64}, [](const ServerRequest& request) {
    ServerResponse response = echo(request);
    response.fault.delay = 200ms;
    return response;
  });
  const auto start = std::chrono::steady_clock::now();
  std::vector<RawConnection> connections;
  for (int i = 0; i < 30; ++i) {
    connections.emplace_back(server->port());
    connections.back().send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  }
  for (RawConnection& connection : connections) EXPECT_THAT(connection.read_all(), HasSubstr("GET / []"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);  // one after another would take 6 s
}

TEST_F(ServerTest, IdleConnectionsDoNotKeepOthersFromBeingServedAndTheLimitHolds) {
  const auto server = serve({.max_connections = 301}, echo);
  std::vector<RawConnection> idle;
  for (int i = 0; i < 300; ++i) {
    idle.emplace_back(server->port());
    idle.back().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_THAT(idle.back().read_until("[]"), HasSubstr("200 OK"));
  }
  RawConnection last(server->port());
  last.send("GET /last HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(last.read_until("[]"), HasSubstr("/last"));
  RawConnection too_many(server->port());
  EXPECT_THAT(too_many.read_all(), StartsWith("HTTP/1.1 503 "));
  idle.clear();
}

TEST_F(ServerTest, StopLetsARunningHandlerAnswerAndClosesIdleConnections) {
  std::promise<void> entered;
  std::promise<void> go_on;
  auto server = serve({}, [&](const ServerRequest& request) {
    if (request.path == "/slow") {
      entered.set_value();
      go_on.get_future().wait();
    }
    return echo(request);
  });
  RawConnection idle(server->port());
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  idle.read_until("[]");
  RawConnection busy(server->port());
  busy.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  entered.get_future().wait();
  auto stopped = std::async(std::launch::async, [&] { server->stop(10s); });
  EXPECT_EQ(idle.read_all(), "");  // closed while the other is still being answered
  go_on.set_value();
  EXPECT_THAT(busy.read_all(), HasSubstr("GET /slow []"));
  EXPECT_EQ(stopped.wait_for(9s), std::future_status::ready);
}

TEST_F(ServerTest, StopForgetsRequestsThatStillWaitForAThread) {
  std::promise<void> entered;
  std::promise<void> go_on;
  auto server = serve({.handler_threads = 1, .queue = 10}, [&](const ServerRequest& request) {
    if (request.path == "/hold") {
      entered.set_value();
      go_on.get_future().wait();
    }
    return echo(request);
  });
  RawConnection holder(server->port());
  holder.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  entered.get_future().wait();
  std::vector<RawConnection> waiting;
  do {  // until one is refused: then the queue is full
    waiting.emplace_back(server->port());
    waiting.back().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  } while (waiting.back().silent_for(20));
  auto stopped = std::async(std::launch::async, [&] { server->stop(50ms); });
  int forgotten = 0;
  for (RawConnection& connection : waiting) forgotten += connection.read_all().empty() ? 1 : 0;
  EXPECT_EQ(forgotten, 10);
  go_on.set_value();
  stopped.wait();
  EXPECT_EQ(holder.read_all(), "") << "it came after the time to drain";
}

TEST_F(ServerTest, StopDoesNotWaitForADelayedAnswerBeyondTheDrainTime) {
  auto server = serve({}, [](const ServerRequest& request) {
    ServerResponse response = echo(request);
    response.fault.delay = 60s;
    return response;
  });
  RawConnection connection(server->port());
  connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto start = std::chrono::steady_clock::now();
  server->stop(100ms);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_EQ(connection.read_all(), "");
}

TEST_F(ServerTest, ATakenPortAndABadAddressAreClearErrors) {
  const auto server = serve({}, echo);
  const auto taken = Server::start({.port = server->port()}, echo);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, "server.port-taken");
  EXPECT_EQ(taken.error().kind, ErrorKind::kUnavailable);
  const auto bad = Server::start({.address = "not-an-address"}, echo);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, "server.bad-address");
  const auto strangers = Server::start({.address = "192.0.2.1"}, echo);
  ASSERT_FALSE(strangers);
  EXPECT_EQ(strangers.error().code, "server.cannot-listen");
  EXPECT_THAT(strangers.error().what, HasSubstr("this machine has no such address"));
  const auto key = Server::start({.tls_certificate = "no pem", .tls_key = "no pem"}, echo);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, "server.bad-certificate");
}

// --- limits of time: each of these peers stays for as long as it is let

std::chrono::steady_clock::duration since(std::chrono::steady_clock::time_point start) {
  return std::chrono::steady_clock::now() - start;
}

TEST_F(ServerTest, BytesThatTrickleInDoNotExtendTheTimeOfAHead) {
  const auto server = serve({.head_timeout = 150ms}, echo);
  RawConnection slow(server->port());
  EXPECT_TRUE(slow.trickle("GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + std::string(300, 'x')));
  EXPECT_THAT(slow.read_all(), StartsWith("HTTP/1.1 408 "));
}

TEST_F(ServerTest, BytesThatTrickleInDoNotExtendTheTimeOfARequest) {
  const auto server = serve({.read_timeout = 150ms}, echo);
  RawConnection slow(server->port());
  slow.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
  EXPECT_TRUE(slow.trickle(std::string(300, 'x')));
  EXPECT_THAT(slow.read_all(), StartsWith("HTTP/1.1 408 "));
}

TEST_F(ServerTest, ABodyHasMoreTimeThanItsHead) {
  const auto server = serve({.head_timeout = 50ms, .read_timeout = 20s}, echo);
  RawConnection slow(server->port());
  slow.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(slow.silent_for(200));
  slow.send("abc");
  EXPECT_THAT(slow.read_all(), HasSubstr("POST / [abc]"));
}

TEST_F(ServerTest, AConnectionThatIdlesEndsWhileARequestMayStillTakeItsTime) {
  const auto server = serve({.read_timeout = 20s, .idle_timeout = 100ms}, echo);
  const auto start = std::chrono::steady_clock::now();
  RawConnection idle(server->port());
  idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(idle.read_until("[]"), HasSubstr("200 OK"));
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_LT(since(start), 9s);
}

TEST_F(ServerTest, WhoTakesAnAnswerByTheSpoonIsLeft) {
  const std::string body(64u << 20, 'b');
  ServerResponse large;
  large.body = body;
  const auto server =
      serve({.write_timeout = 200ms, .slowest_reader = 1ull << 30}, [&](const ServerRequest&) { return large; });
  RawConnection slow(server->port(), "127.0.0.1", 4096);
  slow.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const size_t sipped = slow.sip(60);
  EXPECT_LT(sipped + slow.read_all().size(), body.size());
}

// --- limits of number

TEST_F(ServerTest, AHeadWithTooManyFieldsIs431) {
  const auto server = serve({.max_headers = 20}, echo);
  std::string fields;
  for (int i = 0; i < 19; ++i) fields += fmt::format("X-{}: 1\r\n", i);
  EXPECT_THAT(ask(*server, "GET / HTTP/1.1\r\nHost: h\r\n" + fields + "Connection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(ask(*server, "GET / HTTP/1.0\r\nHost: h\r\n" + fields + "\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, ConnectionsOfOneAddressAreLimitedAndThoseOfOthersAreNot) {
  const auto server = serve({.connections_per_address = {.most = 2}}, echo);
  const std::string_view question = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  auto first = std::make_unique<RawConnection>(server->port());
  RawConnection second(server->port());
  for (RawConnection* one : {first.get(), &second}) {
    one->send(question);
    ASSERT_THAT(one->read_until("[]"), HasSubstr("200 OK"));
  }
  const std::string refused = RawConnection(server->port()).read_all();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  RawConnection other(server->port(), "127.0.0.2");
  other.send(question);
  EXPECT_THAT(other.read_until("[]"), HasSubstr("200 OK"));
  first.reset();
  for (int tries = 0; tries < 1000; ++tries) {  // until the server has noticed
    RawConnection again(server->port());
    again.send(question);
    if (again.read_until("[]").starts_with("HTTP/1.1 200 ")) return;
  }
  FAIL() << "the place of a connection that ended was not given back";
}

TEST_F(ServerTest, RequestsOfOneAddressAreLimitedAndThoseOfOthersAreNot) {
  std::promise<void> entered;
  std::promise<void> go_on;
  std::shared_future<void> allowed = go_on.get_future().share();
  const auto server = serve({.requests_per_address = {.most = 1}}, [&](const ServerRequest& request) {
    if (request.path == "/hold") {
      entered.set_value();
      allowed.wait();
    }
    return echo(request);
  });
  RawConnection holder(server->port());
  holder.send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
  entered.get_future().wait();
  RawConnection same(server->port());
  same.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string busy = same.read_until("}");
  RawConnection other(server->port(), "127.0.0.2");
  other.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answered = other.read_until("[]");
  go_on.set_value();
  EXPECT_THAT(busy, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(busy, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(answered, HasSubstr("200 OK"));
  EXPECT_THAT(holder.read_until("[]"), HasSubstr("200 OK"));
  same.send("GET /again HTTP/1.1\r\nHost: h\r\n\r\n");  // the connection that was refused goes on
  EXPECT_THAT(same.read_until("[]"), HasSubstr("GET /again []"));
}

TEST_F(ServerTest, ThisMachineCanBeSparedTheLimitsOfAnAddress) {
  const auto server = serve({.connections_per_address = {.most = 1, .spare_local = true}}, echo);
  std::vector<RawConnection> many;
  for (int i = 0; i < 5; ++i) {
    many.emplace_back(server->port());
    many.back().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(many.back().read_until("[]"), HasSubstr("200 OK"));
  }
}

// --- headers

TEST_F(ServerTest, SecurityHeadersAreOnEveryAnswerWhereTheyAreAskedForAndNowhereElse) {
  const Handler handler = [](const ServerRequest& request) {
    ServerResponse response = echo(request);
    if (request.path == "/page") response.headers = {{"content-security-policy", "default-src 'self'"}};
    return response;
  };
  const auto server = serve({.security_headers = true, .max_body_bytes = 5, .max_connections = 1}, handler);
  for (const char* question : {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "no HTTP\r\n\r\n",
                               "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n123456"}) {
    std::string got;
    do got = ask(*server, question);
    while (got.starts_with("HTTP/1.1 503"));  // the connection before has not ended yet
    EXPECT_THAT(got, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
    EXPECT_THAT(got, HasSubstr("Cache-Control: no-store\r\n"));
    EXPECT_THAT(got, HasSubstr("Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"));
    EXPECT_THAT(got, HasSubstr("Referrer-Policy: no-referrer\r\n"));
    EXPECT_THAT(got, Not(HasSubstr("Strict-Transport-Security"))) << "not over TLS";
    EXPECT_THAT(got, Not(HasSubstr("\r\nServer:")));
  }
  RawConnection first(server->port());
  std::string page;
  do {
    first = RawConnection(server->port());
    first.send("GET /page HTTP/1.1\r\nHost: h\r\n\r\n");
    page = first.read_until("[]");
  } while (!page.starts_with("HTTP/1.1 200"));
  EXPECT_THAT(page, HasSubstr("content-security-policy: default-src 'self'\r\n"));
  EXPECT_EQ(count(page, "default-src"), 1u) << "what the handler says wins";
  EXPECT_THAT(RawConnection(server->port()).read_all(), HasSubstr("X-Content-Type-Options: nosniff\r\n"))
      << "also where a connection is turned away";

  const auto bare = serve({}, echo);
  EXPECT_THAT(ask(*bare, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
              Not(testing::AnyOf(HasSubstr("nosniff"), HasSubstr("no-store"), HasSubstr("Policy"))));
}

// --- TLS; what a client sees of versions and ciphers is in tests/peers/system_tls.test.mjs

TEST_F(ServerTest, AHandshakeThatDoesNotComeEndsTheConnection) {
  const auto authority = CertificateAuthority::create("test", real_clock().system_now()).value();
  const auto identity = authority.issue({"localhost"}, real_clock().system_now()).value();
  const auto server = serve({.tls_certificate = identity.certificate,
                             .tls_key = identity.key,
                             .handshake_timeout = 150ms,
                             .read_timeout = 60s,
                             .idle_timeout = 60s},
                            echo);
  EXPECT_EQ(ask(*server, ""), "");
  // The beginning of a handshake record of 512 bytes, and then never the rest in time.
  RawConnection slow(server->port());
  slow.send(std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  EXPECT_TRUE(slow.trickle(std::string(300, '\0')));
  EXPECT_EQ(slow.read_all(), "");
}

TEST_F(ServerTest, ACertificateOfAPlainListenerOrABrokenOneIsRefused) {
  const auto authority = CertificateAuthority::create("test", real_clock().system_now()).value();
  const auto identity = authority.issue({"localhost"}, real_clock().system_now()).value();
  const auto other = authority.issue({"localhost"}, real_clock().system_now()).value();
  const auto plain = serve({}, echo);
  EXPECT_FALSE(plain->use_certificate({identity.certificate, identity.key, {}}));
  const auto tls = serve({.tls_certificate = identity.certificate, .tls_key = identity.key}, echo);
  const Status strangers = tls->use_certificate({identity.certificate, other.key, {}});
  ASSERT_FALSE(strangers);
  EXPECT_EQ(strangers.error().code, "server.bad-certificate");
  EXPECT_TRUE(tls->use_certificate({other.certificate, other.key, authority.certificate()}));
}

TEST_F(ServerTest, TheAbsoluteFormOfAProxyRequestIsUnderstood) {
  const auto server = serve({}, [](const ServerRequest& request) {
    ServerResponse response;
    response.body = request.target + "|" + request.path + "|" + request.query;
    return response;
  });
  EXPECT_THAT(ask(*server, "GET http://far.test/a/b?c=d HTTP/1.1\r\nHost: far.test\r\nConnection: close\r\n\r\n"),
              HasSubstr("http://far.test/a/b?c=d|/a/b|c=d"));
}

}  // namespace
}  // namespace twinstep::http
