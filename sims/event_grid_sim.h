#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sims/event_retry.h"
#include "sims/event_subscription.h"
#include "sims/hub_event.h"
#include "twinstep/http/client.h"
#include "twinstep/http/server.h"

namespace twinstep::sims {

struct EventGridSimOptions {
  std::string hub_host = "examplehub.azure-devices.net";
  bool created_with_tags = false;      ///< the documentation warns that a created device's event has the default twin
  std::chrono::seconds clock_skew{0};  ///< of the hub
  int threads = 16;                    ///< deliveries at once
  size_t queue = 1'000'000;            ///< events of one subscription; what comes on top is dropped and counted
  std::chrono::milliseconds answer_timeout{30'000};  ///< on the wire, in the machine's time
  uint64_t seed = 1;
};

/// Event Grid between the simulated hub and webhooks: subscriptions with their handshakes, deliveries with retries,
/// dead letters, batches, duplicates and disorder. Where the service's behaviour is not settled it is unkind: an
/// answer after the time-out does not count, 202 is no validation, a refused event is lost.
///
/// Threads   any method, any thread; `threads` of its own once there is a subscription. Order is not kept.
/// Blocking  publish and subscribe never wait for an endpoint. Waits between tries follow the clock.
/// Source    azure.md 2
class EventGridSim {
 public:
  EventGridSim(EventGridSimOptions options, Clock& clock, http::Client& client);
  ~EventGridSim();  ///< gives up what is pending

  /// An event for every subscription whose handshake is done; others miss it, as if they were not there yet.
  void publish(HubChange change, const std::string& device_id, const Entity& entity);

  /// Where handle() can be reached, for the addresses that validate by hand. Before the first subscription.
  void reached_at(std::string control_url);

  /// Begins the handshake. Errors  kConflict: the name is in use (a failed subscription is replaced).
  Status subscribe(SubscriptionSettings settings);
  /// Tells the endpoint, once, and forgets what is pending for it. False = there is none of that name.
  bool unsubscribe(std::string_view name);

  /// The control API below /subscriptions, see docs/simulator.md.
  http::ServerResponse handle(const http::ServerRequest& request);
  json::array subscriptions() const;

  /// Waits until no event is pending and no handshake goes on; one that waits for a person does not go on.
  void wait_idle();
  /// Waits until `done` holds for what subscriptions() shows. False = not within half a minute of the machine's time.
  bool wait_until(const std::function<bool(const json::array& subscriptions)>& done);

 private:
  enum class State : uint8_t { kCreating, kAwaitingManualAction, kSucceeded, kFailed };
  struct Queued {
    std::shared_ptr<const HubEvent> event;
    int attempts = 0;
    SteadyTime expires;
    SystemTime published, last_attempt;
    std::string_view last_outcome;
  };
  struct DeadLetter {
    Queued what;
    std::string_view reason;
  };
  struct Counts {
    uint64_t delivered = 0, retried = 0, dead_lettered = 0, lost = 0, dropped = 0, duplicated = 0, missed = 0;
    std::map<std::string, uint64_t> answers;  ///< of deliveries, by status or by what came instead
  };
  struct Subscription {
    SubscriptionSettings settings;
    State state = State::kCreating;
    std::string code;       ///< of the handshake
    std::string handshake;  ///< how it went, for people
    int handshakes = 0;     ///< tries
    bool handshaking = false;
    std::optional<SteadyTime> handshake_due;  ///< next try, or the end of waiting for a person
    std::multimap<SteadyTime, Queued> queue;  ///< by when it is due
    size_t in_flight = 0;                     ///< events
    int requests = 0;                         ///< that carry them
    int failures = 0;                         ///< in a row
    SteadyTime held_until = SteadyTime::min();
    std::deque<DeadLetter> dead_letters;
    Counts counts;
  };
  using Shared = std::shared_ptr<Subscription>;
  struct Work {
    enum class Kind : uint8_t { kHandshake, kDelivery, kFarewell } kind = Kind::kDelivery;
    Shared to;
    std::vector<Queued> events;
  };

  void run(std::stop_token stop);
  std::optional<Work> take(SteadyTime now);
  std::vector<Queued> take_batch(Subscription& s, SteadyTime now);
  SteadyTime due(const Subscription& s) const;
  SteadyTime next_due() const;
  void carry_out(Work& work, std::unique_lock<std::mutex>& lock, const std::stop_token& stop);
  void deliver(Work& work, std::unique_lock<std::mutex>& lock, const Call& call);
  void settle(Work& work, const Result<http::Response>& answer);
  void shake_hands(Work& work, std::unique_lock<std::mutex>& lock, const Call& call);
  void settle_handshake(Subscription& s, const std::string& code, const Result<http::Response>& answer);
  void give_up(Subscription& s, Queued what, std::string_view reason);
  http::Request request_to(const Subscription& s, EventMessage message, int delivery_count) const;
  Shared find(std::string_view name) const;
  json::object shown(const Subscription& s) const;
  json::array all_shown() const;
  json::array dead_letters(const Subscription& s) const;
  http::ServerResponse validate_by_hand(std::string_view name, const std::string& code);
  void wake();  ///< something to do has come, or is due sooner
  SystemTime hub_now() const { return clock_.system_now() + options_.clock_skew; }

  const EventGridSimOptions options_;
  const EventSource source_;
  Clock& clock_;
  http::Client& client_;
  mutable Rng rng_;
  mutable std::mutex mutex_;  // guards all below
  std::string control_url_;
  std::vector<Shared> subscriptions_;
  std::vector<Shared> farewells_;
  size_t turn_ = 0;         ///< which subscription is asked first
  size_t last_wishes_ = 0;  ///< farewells on their way
  bool watching_ = false;   ///< one idle thread sleeps until the next thing is due
  std::stop_source nap_;    ///< ends that sleep
  uint64_t version_ = 0;    ///< grows whenever there may be something to do
  std::condition_variable_any work_;
  std::condition_variable idle_;
  std::vector<std::jthread> threads_;
};

}  // namespace twinstep::sims
