// Deliveries on an injected clock against a scripted endpoint: what arrives, and when.
#include "sims/event_grid_sim.h"

#include <algorithm>
#include <numeric>

#include "sims/sim_clock.h"
#include "sims/test_support.h"

namespace twinstep::sims {
namespace {

using namespace std::chrono_literals;

/// An endpoint that agrees to every handshake and answers deliveries as told.
class Endpoint final : public http::Client {
 public:
  struct Seen {
    http::Request request;
    SteadyTime when;
    std::string header(std::string_view name) const {
      for (const auto& h : request.headers)
        if (h.name == name) return h.value;
      return "(none)";
    }
    std::vector<std::string> devices() const {
      std::vector<std::string> out;
      const auto body = json::parse(request.body, "body");
      for (const json::value& e : body->as_array())
        out.push_back(std::string(e.as_object().at("data").as_object().at("deviceId").as_string()));
      return out;
    }
    json::object event(size_t at = 0) const { return json::parse(request.body, "body")->as_array().at(at).as_object(); }
  };
  explicit Endpoint(Clock& clock) : clock_(clock) {}

  Result<http::Response> send(const http::Request& q, const Call&) override {
    std::scoped_lock lock(mutex_);
    const Seen seen{q, clock_.steady_now()};
    if (q.method == "OPTIONS") {
      handshakes.push_back(seen);
      return handshake ? handshake(seen)
                       : http::Response{200, {{"WebHook-Allowed-Origin", "*"}, {"WebHook-Allowed-Rate", "*"}}, ""};
    }
    if (seen.header("aeg-event-type") == "SubscriptionValidation") {
      handshakes.push_back(seen);
      return handshake ? handshake(seen) : agree(seen);
    }
    if (seen.header("aeg-event-type") == "SubscriptionDeletion") {
      farewells.push_back(seen);
      return http::Response{200, {}, ""};
    }
    deliveries.push_back(seen);
    return answer ? answer(seen) : http::Response{200, {}, ""};
  }
  static std::string code(const Seen& seen) { return text_of(seen.event().at("data").as_object(), "validationCode"); }
  static http::Response agree(const Seen& seen) {
    return {200, {}, fmt::format(R"({{"validationResponse":"{}"}})", code(seen))};
  }

  std::function<Result<http::Response>(const Seen&)> handshake, answer;  ///< empty = agrees
  std::vector<Seen> handshakes, deliveries, farewells;

 private:
  Clock& clock_;
  std::mutex mutex_;
};

class EventGridSimTest : public ::testing::Test {
 protected:
  static EventGridSimOptions options() {
    EventGridSimOptions o;
    o.threads = 1;  // the fake clock moves when a thread sleeps: one alone makes a plain order
    return o;
  }
  void subscribe(const std::string& more = "", const std::string& name = "one") {
    const auto r = post(R"({"name":")" + name + R"(","endpoint":"http://endpoint/hook?code=secret")" + more + "}");
    ASSERT_EQ(r.status, 201) << r.body;
    grid.wait_idle();
  }
  http::ServerResponse post(const std::string& body) {
    return grid.handle(make_request("POST", "/subscriptions", "", {}, body));
  }
  json::object state(const std::string& name = "one") {
    return body_of(grid.handle(make_request("GET", "/subscriptions/" + name)));
  }
  void publish(const std::string& id, HubChange change = HubChange::kCreated) { grid.publish(change, id, Entity{}); }
  void answer_always(int status) {
    endpoint.answer = [status](const auto&) { return http::Response{status, {}, ""}; };
  }
  json::array dead_letters() { return list_of(grid.handle(make_request("GET", "/subscriptions/one/dead-letters"))); }
  std::vector<std::chrono::nanoseconds> gaps() const {
    std::vector<std::chrono::nanoseconds> out;
    for (size_t i = 1; i < endpoint.deliveries.size(); ++i)
      out.push_back(endpoint.deliveries[i].when - endpoint.deliveries[i - 1].when);
    return out;
  }

  FakeClock clock;
  Endpoint endpoint{clock};
  EventGridSim grid{options(), clock, endpoint};
};

TEST_F(EventGridSimTest, AnEventArrivesOnceWithItsHeaders) {
  subscribe(R"(,"headers":{"X-Mine":"yes"})", "my-Sub");
  publish("a");
  grid.wait_idle();
  ASSERT_EQ(endpoint.deliveries.size(), 1u);
  const auto& d = endpoint.deliveries[0];
  EXPECT_EQ(d.request.method, "POST");
  EXPECT_EQ(d.request.url, "http://endpoint/hook?code=secret");
  EXPECT_EQ(d.header("aeg-event-type"), "Notification");
  EXPECT_EQ(d.header("aeg-subscription-name"), "MY-SUB");
  EXPECT_EQ(d.header("aeg-delivery-count"), "0");
  EXPECT_EQ(d.header("x-ms-request-id").size(), 36u);
  EXPECT_EQ(d.header("X-Mine"), "yes");
  EXPECT_EQ(text_of(d.event(), "subject"), "devices/a");
  EXPECT_EQ(text_of(d.event(), "id").size(), 36u);
  EXPECT_EQ(state("my-sub").at("delivered"), 1);
  EXPECT_EQ(state("my-sub").at("endpoint"), "http://endpoint/hook") << "the query is a secret";
}

TEST_F(EventGridSimTest, AFailedDeliveryIsRetriedOnTheScheduleWithTheSameEventAndACount) {
  subscribe();
  answer_always(500);
  publish("a");
  grid.wait_idle();
  ASSERT_EQ(endpoint.deliveries.size(), 10u) << "a day is over before the attempts are";
  const std::chrono::seconds want[] = {10s, 30s, 1min, 5min, 10min, 30min, 1h, 3h, 6h};
  const auto waited = gaps();
  for (size_t i = 0; i < std::size(want); ++i) {
    EXPECT_GE(waited[i], want[i]) << i;
    EXPECT_LE(waited[i], want[i] * 1.2) << i;
  }
  for (size_t i = 0; i < endpoint.deliveries.size(); ++i) {
    EXPECT_EQ(endpoint.deliveries[i].header("aeg-delivery-count"), std::to_string(i));
    EXPECT_EQ(endpoint.deliveries[i].request.body, endpoint.deliveries[0].request.body);
  }
}

TEST_F(EventGridSimTest, BusyNotFoundAndTimeOutWaitLonger) {
  subscribe(R"(,"maxDeliveryAttempts":2)");
  for (const auto& [status, least] : std::initializer_list<std::pair<int, std::chrono::seconds>>{
           {503, 30s}, {408, 2min}, {404, 5min}, {429, 10s}, {302, 10s}}) {
    endpoint.deliveries.clear();
    answer_always(status);
    publish("a");
    grid.wait_idle();
    ASSERT_EQ(gaps().size(), 1u) << status;
    EXPECT_GE(gaps()[0], least) << status;
    EXPECT_LE(gaps()[0], least * 1.2) << status;
  }
}

TEST_F(EventGridSimTest, AnEventThatIsRefusedForGoodIsLostOrADeadLetter) {
  subscribe();
  for (const int status : {400, 401, 403, 413}) {
    answer_always(status);
    publish("a");
    grid.wait_idle();
  }
  EXPECT_EQ(endpoint.deliveries.size(), 4u);
  EXPECT_EQ(state().at("lost"), 4);
  EXPECT_EQ(dead_letters().size(), 0u);
  grid.unsubscribe("one");
  subscribe(R"(,"deadLetter":true)");
  answer_always(403);
  publish("b");
  grid.wait_idle();
  EXPECT_EQ(state().at("lost"), 0);
  EXPECT_EQ(state().at("deadLettered"), 1);
  ASSERT_EQ(dead_letters().size(), 1u);
  const json::object dead = dead_letters()[0].as_object();
  EXPECT_EQ(text_of(dead, "subject"), "devices/b");
  EXPECT_EQ(text_of(dead, "deadLetterReason"), "NotRetried");
  EXPECT_EQ(text_of(dead, "lastDeliveryOutcome"), "Forbidden");
  EXPECT_EQ(dead.at("deliveryAttempts"), 1);
}

TEST_F(EventGridSimTest, AttemptsEndInADeadLetter) {
  subscribe(R"(,"deadLetter":true,"maxDeliveryAttempts":3,"schema":"cloudevents")");
  answer_always(404);
  publish("a");
  grid.wait_idle();
  EXPECT_EQ(endpoint.deliveries.size(), 3u);
  const json::object dead = dead_letters().at(0).as_object();
  EXPECT_EQ(text_of(dead, "deadletterreason"), "MaxDeliveryAttemptsExceeded");
  EXPECT_EQ(text_of(dead, "lastdeliveryoutcome"), "NotFound");
  EXPECT_EQ(dead.at("deliveryattempts"), 3);
  EXPECT_TRUE(parse_iso(text_of(dead, "publishtime")) && parse_iso(text_of(dead, "lastdeliveryattempttime")));
  EXPECT_EQ(state().at("retried"), 2);
  EXPECT_EQ(state().at("answers").as_object().at("404"), 3);
}

TEST_F(EventGridSimTest, TimeToLiveEndsInADeadLetter) {
  subscribe(R"(,"deadLetter":true,"eventTimeToLiveInMinutes":1)");
  answer_always(500);
  publish("a");
  grid.wait_idle();
  EXPECT_EQ(endpoint.deliveries.size(), 3u) << "at 0, 10 and 40 seconds";
  EXPECT_EQ(text_of(dead_letters().at(0).as_object(), "deadLetterReason"), "TimeToLiveExceeded");
  EXPECT_EQ(state().at("pending"), 0);
}

TEST_F(EventGridSimTest, AnEndpointThatIsNotThereOrDoesNotAnswerIsTriedAgain) {
  subscribe();
  endpoint.answer = [&](const auto&) -> Result<http::Response> {
    if (endpoint.deliveries.size() == 1) return fail(ErrorKind::kUnavailable, "http.no-connection", "no connection");
    if (endpoint.deliveries.size() == 2) return fail(ErrorKind::kTimeout, "http.timeout", "no answer");
    return http::Response{204, {}, ""};
  };
  publish("a");
  grid.wait_idle();
  EXPECT_EQ(endpoint.deliveries.size(), 3u);
  EXPECT_EQ(json::write(state().at("answers")), R"({"204":1,"SocketError":1,"TimedOut":1})");
}

TEST_F(EventGridSimTest, AfterTenFailuresInARowNewEventsWaitToo) {
  subscribe();
  answer_always(403);  // not retried, so that nothing else is pending
  for (int i = 0; i < 10; ++i) publish("a");
  grid.wait_idle();
  EXPECT_TRUE(state().at("inProbation").as_bool());
  answer_always(200);
  publish("b");
  grid.wait_idle();
  EXPECT_GE(gaps().back(), 5min);
  EXPECT_FALSE(state().at("inProbation").as_bool());
  publish("c");
  grid.wait_idle();
  EXPECT_EQ(gaps().back(), 0s);
}

TEST_F(EventGridSimTest, WantedEventTypesOnly) {
  subscribe(R"(,"eventTypes":["Microsoft.Devices.DeviceDeleted"])");
  publish("a");
  publish("b", HubChange::kDeleted);
  grid.wait_idle();
  ASSERT_EQ(endpoint.deliveries.size(), 1u);
  EXPECT_EQ(text_of(endpoint.deliveries[0].event(), "eventType"), "Microsoft.Devices.DeviceDeleted");
}

TEST_F(EventGridSimTest, DuplicatesAreTheSameEventAgain) {
  subscribe(R"(,"duplicates":1)");
  publish("a");
  grid.wait_idle();
  ASSERT_EQ(endpoint.deliveries.size(), 2u);
  EXPECT_EQ(endpoint.deliveries[0].request.body, endpoint.deliveries[1].request.body);
  EXPECT_EQ(state().at("duplicated"), 1);
}

TEST_F(EventGridSimTest, DelaysAndDisorderLoseNothing) {
  subscribe(R"(,"reorder":0.5,"delayMs":10000)");
  std::vector<std::string> sent, arrived;
  for (int i = 0; i < 200; ++i) publish(sent.emplace_back(fmt::format("d{:03}", i)));
  grid.wait_idle();
  for (const auto& d : endpoint.deliveries) arrived.push_back(d.devices().at(0));
  EXPECT_NE(arrived, sent);
  EXPECT_THAT(arrived, ::testing::UnorderedElementsAreArray(sent));
}

TEST_F(EventGridSimTest, AFullQueueDropsAndCounts) {
  EventGridSimOptions o = options();
  o.queue = 3;
  SimClock still(1);  // no time passes while the events wait for their delay
  EventGridSim small(o, still, endpoint);
  ASSERT_TRUE(
      small.subscribe(*subscription_settings({{"name", "one"}, {"endpoint", "http://h"}, {"delayMs", 86'400'000}})));
  small.wait_idle();
  for (int i = 0; i < 5; ++i) small.publish(HubChange::kCreated, "a", Entity{});
  const json::object s = small.subscriptions().at(0).as_object();
  EXPECT_EQ(s.at("pending"), 3);
  EXPECT_EQ(s.at("dropped"), 2);
}

class EventBatchTest : public EventGridSimTest {
 protected:
  /// Publishes while the one thread is busy with a first event, so that the others wait together.
  void publish_together(int events, const Entity& entity = {}) {
    endpoint.answer = [&, events, first = true](const auto&) mutable {
      if (std::exchange(first, false))
        for (int i = 0; i < events; ++i) grid.publish(HubChange::kDeleted, fmt::format("d{}", i), entity);
      return http::Response{200, {}, ""};
    };
    publish("first");
    grid.wait_idle();
  }
  std::vector<size_t> sizes() {
    std::vector<size_t> out;
    for (const auto& d : endpoint.deliveries) out.push_back(d.devices().size());
    return out;
  }
};

TEST_F(EventBatchTest, WithoutBatchingEveryEventGoesAlone) {
  subscribe();
  publish_together(3);
  EXPECT_EQ(sizes(), (std::vector<size_t>{1, 1, 1, 1}));
}

TEST_F(EventBatchTest, ABatchEndsAtItsCount) {
  subscribe(R"(,"maxEventsPerBatch":4)");
  publish_together(10);
  EXPECT_EQ(sizes(), (std::vector<size_t>{1, 4, 4, 2}));
  EXPECT_EQ(state().at("delivered"), 11);
}

TEST_F(EventBatchTest, ABatchEndsAtItsSizeAndALargeEventGoesAlone) {
  subscribe(R"(,"maxEventsPerBatch":100,"preferredBatchSizeInKilobytes":3)");
  publish_together(9);
  const auto counts = sizes();
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), size_t{0}), 10u);
  for (const auto& d : endpoint.deliveries) EXPECT_LE(d.request.body.size(), 3u << 10);
  EXPECT_GT(*std::max_element(counts.begin(), counts.end()), 1u);
  endpoint.deliveries.clear();
  Entity large;
  large.tags = json::write(json::object{{"t", std::string(4000, 'x')}});
  publish_together(2, large);
  EXPECT_EQ(sizes(), (std::vector<size_t>{1, 1, 1}));
}

TEST_F(EventBatchTest, OneStatusAnswersForTheWholeBatch) {
  subscribe(R"(,"maxEventsPerBatch":10,"maxDeliveryAttempts":2)");
  endpoint.answer = [&](const auto&) {
    if (endpoint.deliveries.size() == 1) {
      for (int i = 0; i < 3; ++i) publish(fmt::format("d{}", i));
      return http::Response{200, {}, ""};
    }
    return http::Response{endpoint.deliveries.size() == 2 ? 503 : 202, {}, ""};
  };
  publish("first");
  grid.wait_idle();
  EXPECT_EQ(sizes(), (std::vector<size_t>{1, 3, 3}));
  EXPECT_EQ(endpoint.deliveries[2].header("aeg-delivery-count"), "1");
  EXPECT_EQ(endpoint.deliveries[1].request.body, endpoint.deliveries[2].request.body);
  EXPECT_EQ(state().at("delivered"), 4);
  EXPECT_EQ(state().at("retried"), 3);
}

}  // namespace
}  // namespace twinstep::sims
