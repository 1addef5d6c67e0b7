#include "twinstep/http/server.h"

#include <gmock/gmock.h>

#include <future>

#include "raw_connection.h"
#include "twinstep/base/clock.h"

namespace twinstep::http {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
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
  const auto server = serve({.read_timeout = 100ms}, echo);
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
  const auto key = Server::start({.tls_certificate = "no pem", .tls_key = "no pem"}, echo);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().code, "server.bad-certificate");
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
