// Before the first event: how an endpoint agrees, refuses, is late or lets a person agree. With real sockets.
#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <tuple>

#include "sims/event_grid_sim.h"
#include "sims/sim_clock.h"
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using namespace std::chrono_literals;

/// A webhook on a real port that answers as told, and on which tests wait.
class Webhook {
 public:
  explicit Webhook(http::Handler answer) : answer_(std::move(answer)) {
    server_ = std::move(*http::Server::start({}, [this](const http::ServerRequest& r) {
      http::ServerResponse out = answer_(r);
      std::scoped_lock lock(mutex_);
      requests_.push_back(r);
      arrived_.notify_all();
      return out;
    }));
  }
  std::string address() const { return fmt::format("http://127.0.0.1:{}/hook?code=s", server_->port()); }
  /// The first `count` requests, when they are there.
  std::vector<http::ServerRequest> wait_for(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(arrived_.wait_for(lock, 20s, [&] { return requests_.size() >= count; })) << requests_.size();
    return requests_;
  }
  size_t count() {
    std::scoped_lock lock(mutex_);
    return requests_.size();
  }

 private:
  http::Handler answer_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<http::ServerRequest> requests_;
  std::unique_ptr<http::Server> server_;
};

http::ServerResponse plain(int status, std::string body = "") {
  http::ServerResponse r;
  r.status = status;
  r.body = std::move(body);
  return r;
}

bool is_validation(const http::ServerRequest& r) { return r.header("aeg-event-type") == "SubscriptionValidation"; }

json::object validation_of(const http::ServerRequest& r) {
  return json::parse(r.body, "body")->as_array().at(0).as_object().at("data").as_object();
}

http::ServerResponse agree(const http::ServerRequest& r) {
  if (!is_validation(r)) return plain(200);
  return plain(200, fmt::format(R"({{"validationResponse":"{}"}})", text_of(validation_of(r), "validationCode")));
}

class HandshakeTest : public ::testing::Test {
 protected:
  void subscribe(const Webhook& to, const std::string& more = "") {
    const auto r = grid.handle(make_request("POST", "/subscriptions", "", {},
                                            fmt::format(R"({{"name":"one","endpoint":"{}"{}}})", to.address(), more)));
    ASSERT_EQ(r.status, 201) << r.body;
  }
  void expect_state(const std::string& want) {
    EXPECT_TRUE(grid.wait_until([&](const json::array& all) {
      return text_of(all.at(0).as_object(), "state") == want;
    })) << json::write(grid.subscriptions());
  }
  /// Lets the time to the next handshake pass when `tries` of them have been answered.
  void pass_time_after(int tries) {
    EXPECT_TRUE(grid.wait_until([&](const json::array& all) {
      const json::object& one = all.at(0).as_object();
      return one.at("handshakes") == tries && one.at("handshakeDue").is_double();
    }));
    clock.advance(6s);
  }
  std::string handshake() { return text_of(grid.subscriptions().at(0).as_object(), "handshake"); }
  /// Events that were published now and arrived.
  void expect_delivery(Webhook& at) {
    const size_t before = at.count();
    grid.publish(HubChange::kCreated, "a", Entity{});
    grid.wait_idle();
    EXPECT_EQ(at.count(), before + 1);
  }
  http::ServerResponse visit(const std::string& url) {
    const std::string path = url.substr(url.find("/subscriptions"));
    const size_t mark = path.find('?');
    return grid.handle(make_request("GET", path.substr(0, mark), path.substr(mark + 1)));
  }

  std::unique_ptr<http::Client> client = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
  SimClock clock{1};
  EventGridSim grid{{.answer_timeout = 10s}, clock, *client};
};

TEST_F(HandshakeTest, TheCodeComesBackAndEventsFlow) {
  Webhook hook(agree);
  subscribe(hook);
  grid.wait_idle();
  const auto asked = hook.wait_for(1);
  EXPECT_EQ(asked[0].method, "POST");
  EXPECT_EQ(asked[0].target, "/hook?code=s");
  EXPECT_EQ(asked[0].header("aeg-subscription-name"), "ONE");
  EXPECT_EQ(asked[0].header("aeg-delivery-count"), "0");
  EXPECT_EQ(asked[0].header("content-type"), "application/json; charset=utf-8");
  EXPECT_EQ(handshake(), "validated by the endpoint's answer");
  expect_delivery(hook);
  EXPECT_EQ(hook.wait_for(2)[1].header("aeg-event-type"), "Notification");
}

TEST_F(HandshakeTest, BeforeItNothingIsDelivered) {
  Webhook hook([](const auto&) { return plain(500); });
  subscribe(hook);
  grid.publish(HubChange::kCreated, "early", Entity{});
  pass_time_after(1);
  expect_state("Failed");
  grid.publish(HubChange::kCreated, "late", Entity{});
  grid.wait_idle();
  EXPECT_EQ(hook.count(), 2u) << "two validations, no event";
  EXPECT_EQ(grid.subscriptions().at(0).as_object().at("missed"), 2);
}

TEST_F(HandshakeTest, OnlyTwoHundredWithTheRightCodeIsAnAgreement) {
  for (const int status : {201, 202, 204, 302, 404}) {
    Webhook hook([&](const auto& r) {
      http::ServerResponse out = agree(r);
      out.status = status;
      return out;
    });
    subscribe(hook);
    pass_time_after(1);
    expect_state("Failed");
    EXPECT_EQ(handshake(), fmt::format("the endpoint answered {}; only 200 is a good answer", status));
    grid.unsubscribe("one");
  }
  Webhook wrong([](const auto&) { return plain(200, R"({"validationResponse":"guess"})"); });
  subscribe(wrong);
  pass_time_after(1);
  expect_state("Failed");
  EXPECT_EQ(handshake(), "validationResponse is not the code that was sent");
}

TEST_F(HandshakeTest, TheSecondTryComesAfterFiveSeconds) {
  std::atomic<int> calls{0};
  Webhook hook([&](const auto& r) { return calls++ == 0 ? plain(503) : agree(r); });
  subscribe(hook);
  pass_time_after(1);
  expect_state("Succeeded");
  expect_delivery(hook);
}

TEST_F(HandshakeTest, ASubscriptionOfTheCommandLineGoesOnAsking) {
  std::atomic<int> calls{0};
  Webhook hook([&](const auto& r) { return calls++ < 4 ? plain(503) : agree(r); });
  subscribe(hook, R"(,"keepTrying":true)");
  for (int tries = 1; tries <= 4; ++tries) pass_time_after(tries);
  expect_state("Succeeded");
}

TEST_F(HandshakeTest, AnAnswerThatComesTooLateIsNone) {
  std::promise<void> release;
  auto released = release.get_future().share();
  Webhook hook([&](const auto& r) {
    released.wait();
    return agree(r);
  });
  EventGridSim hurried{{.answer_timeout = 100ms}, clock, *client};
  ASSERT_TRUE(hurried.subscribe(*subscription_settings({{"name", "one"}, {"endpoint", hook.address()}})));
  EXPECT_TRUE(hurried.wait_until([](const json::array& all) {
    const json::object& one = all.at(0).as_object();
    return text_of(one, "handshake").find("no complete answer in time") != std::string::npos &&
           text_of(one, "state") == "Creating";
  }));
  release.set_value();
}

TEST_F(HandshakeTest, APersonMayVisitTheAddressInstead) {
  Webhook hook([](const auto&) { return plain(200); });
  grid.reached_at("http://control:1");
  subscribe(hook);
  grid.wait_idle();
  expect_state("AwaitingManualAction");
  const std::string url = text_of(validation_of(hook.wait_for(1)[0]), "validationUrl");
  EXPECT_TRUE(url.starts_with("http://control:1/subscriptions/one/validate?code=")) << url;
  EXPECT_EQ(visit("/subscriptions/one/validate?code=wrong").status, 400);
  EXPECT_EQ(visit("/subscriptions/two/validate?code=x").status, 404);
  expect_state("AwaitingManualAction");
  EXPECT_EQ(visit(url).status, 200);
  expect_state("Succeeded");
  expect_delivery(hook);
}

TEST_F(HandshakeTest, AfterTenMinutesTheAddressIsClosed) {
  Webhook hook([](const auto&) { return plain(200); });
  subscribe(hook);
  grid.wait_idle();
  expect_state("AwaitingManualAction");
  clock.advance(11min);
  expect_state("Failed");
  EXPECT_EQ(visit(text_of(validation_of(hook.wait_for(1)[0]), "validationUrl")).status, 400);
  expect_state("Failed");
}

http::ServerResponse allow(const http::ServerRequest& r, const char* origin, const char* rate) {
  http::ServerResponse out = plain(200);
  if (r.method == "OPTIONS" && origin != nullptr) out.headers.push_back({"WebHook-Allowed-Origin", origin});
  if (r.method == "OPTIONS" && rate != nullptr) out.headers.push_back({"WebHook-Allowed-Rate", rate});
  return out;
}

TEST_F(HandshakeTest, CloudEventsAskByOptions) {
  for (const char* origin : {"*", "eventgrid.azure.net"}) {
    Webhook hook([&](const auto& r) { return allow(r, origin, "*"); });
    subscribe(hook, R"(,"schema":"cloudevents")");
    expect_state("Succeeded");
    const auto asked = hook.wait_for(1)[0];
    EXPECT_EQ(asked.method, "OPTIONS");
    EXPECT_EQ(asked.target, "/hook?code=s");
    EXPECT_EQ(asked.body, "");
    EXPECT_EQ(asked.header("WebHook-Request-Origin"), "eventgrid.azure.net");
    EXPECT_EQ(asked.header("WebHook-Request-Rate"), "120");
    EXPECT_EQ(asked.header("aeg-event-type"), "") << "this schema knows no validation event";
    expect_delivery(hook);
    EXPECT_EQ(hook.wait_for(2)[1].header("content-type"), "application/cloudevents+json; charset=utf-8");
    grid.unsubscribe("one");
    grid.wait_idle();
  }
}

TEST_F(HandshakeTest, CloudEventsTakeNoOtherOriginNoMissingRateAndNoOtherStatus) {
  const std::tuple<int, const char*, const char*> bad[] = {
      {200, "somebody.else", "*"}, {200, "*", nullptr}, {204, "*", "*"}, {405, nullptr, nullptr}};
  for (const auto& [status, origin, rate] : bad) {
    Webhook hook([&, status = status, origin = origin, rate = rate](const auto& r) {
      http::ServerResponse out = allow(r, origin, rate);
      out.status = status;
      return out;
    });
    subscribe(hook, R"(,"schema":"cloudevents")");
    pass_time_after(1);
    expect_state("Failed");
    grid.unsubscribe("one");
  }
}

TEST_F(HandshakeTest, CloudEventsMayBeAgreedToByTheCallback) {
  Webhook hook([](const auto&) { return plain(200); });
  subscribe(hook, R"(,"schema":"cloudevents-binary")");
  expect_state("AwaitingManualAction");
  EXPECT_EQ(visit(std::string(hook.wait_for(1)[0].header("WebHook-Request-Callback"))).status, 200);
  expect_delivery(hook);
  EXPECT_EQ(hook.wait_for(2)[1].header("ce-type"), "Microsoft.Devices.DeviceCreated");
}

TEST_F(HandshakeTest, ANameIsUsedOnceUnlessItsHandshakeFailed) {
  Webhook bad([](const auto&) { return plain(403); }), good(agree);
  subscribe(bad);
  EXPECT_EQ(grid.handle(make_request("POST", "/subscriptions", "", {},
                                     fmt::format(R"({{"name":"ONE","endpoint":"{}"}})", good.address())))
                .status,
            409);
  pass_time_after(1);
  expect_state("Failed");
  subscribe(good);
  expect_state("Succeeded");
  EXPECT_EQ(grid.subscriptions().size(), 1u);
}

TEST_F(HandshakeTest, WhoIsDeletedIsTold) {
  Webhook hook(agree);
  subscribe(hook);
  grid.wait_idle();
  EXPECT_EQ(grid.handle(make_request("DELETE", "/subscriptions/one")).status, 200);
  EXPECT_EQ(grid.handle(make_request("DELETE", "/subscriptions/one")).status, 404);
  grid.wait_idle();
  EXPECT_EQ(hook.wait_for(2)[1].header("aeg-event-type"), "SubscriptionDeletion");
  grid.publish(HubChange::kCreated, "a", Entity{});
  grid.wait_idle();
  EXPECT_EQ(hook.count(), 2u);
  subscribe(hook);
  grid.wait_idle();
  EXPECT_EQ(grid.handle(make_request("DELETE", "/subscriptions")).status, 200);
  grid.wait_idle();
  EXPECT_EQ(hook.count(), 4u);
}

TEST_F(HandshakeTest, AdvancingTheClockBringsRetriesForward) {
  std::atomic<int> deliveries{0};
  Webhook hook([&](const auto& r) { return is_validation(r) || deliveries++ == 2 ? agree(r) : plain(500); });
  subscribe(hook);
  grid.wait_idle();
  grid.publish(HubChange::kCreated, "a", Entity{});
  hook.wait_for(2);
  // What is due is known only after the answer was looked at.
  const auto retried = [&](int n) {
    EXPECT_TRUE(grid.wait_until([&](const json::array& all) { return all.at(0).as_object().at("retried") == n; }));
  };
  retried(1);
  clock.advance(12s);
  hook.wait_for(3);
  retried(2);
  clock.advance(36s);
  grid.wait_idle();
  const auto all = hook.wait_for(4);
  EXPECT_EQ(all[3].header("aeg-delivery-count"), "2");
  EXPECT_EQ(all[1].body, all[3].body);
}

TEST_F(HandshakeTest, WhatIsDueSoonDoesNotWaitForWhatIsDueLate) {
  std::atomic<int> calls{0};
  Webhook hook([&](const auto& r) { return calls++ == 1 ? plain(503) : agree(r); });
  SimClock fast{100};
  EventGridSim one{{}, fast, *client};
  const auto subscribe_as = [&](const char* name) {
    return one.subscribe(
        *subscription_settings({{"name", name}, {"endpoint", hook.address()}, {"delayMs", 86'400'000}}));
  };
  ASSERT_TRUE(subscribe_as("first"));
  one.wait_idle();
  one.publish(HubChange::kCreated, "a", Entity{});  // within the next day
  ASSERT_TRUE(subscribe_as("second"));              // agrees at its second try, five seconds later
  EXPECT_TRUE(
      one.wait_until([](const json::array& all) { return text_of(all.at(1).as_object(), "state") == "Succeeded"; }));
  EXPECT_EQ(one.subscriptions().at(0).as_object().at("pending"), 1);
}

TEST_F(HandshakeTest, AnEndpointThatHangsHoldsUpNeitherTheHubNorOthers) {
  std::promise<void> release;
  auto released = release.get_future().share();
  Webhook slow([&](const auto& r) {
    if (!is_validation(r)) released.wait();
    return agree(r);
  });
  Webhook quick(agree);
  subscribe(slow);
  ASSERT_TRUE(grid.subscribe(*subscription_settings({{"name", "two"}, {"endpoint", quick.address()}})));
  grid.wait_idle();
  for (int i = 0; i < 100; ++i) grid.publish(HubChange::kCreated, fmt::format("d{}", i), Entity{});
  quick.wait_for(101);
  EXPECT_LE(slow.count(), 1u) << "only its validation has been answered";
  release.set_value();
  grid.wait_idle();
  EXPECT_EQ(slow.count(), 101u);
}

}  // namespace
}  // namespace twinstep::sims
