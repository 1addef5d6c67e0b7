// What Event Grid sends: handshakes, deliveries, farewells.
#include <fmt/format.h>

#include "sims/event_grid_sim.h"
#include "sims/text.h"
#include "twinstep/base/encoding.h"

namespace twinstep::sims {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kOrigin = "eventgrid.azure.net";
constexpr auto kHandshakeAgain = 5s;
constexpr auto kManualTime = 10min;
constexpr int kHandshakeTries = 2;

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

/// The code in a validation's answer, or nothing when there is no such body.
std::optional<std::string> validation_response(const std::string& body) {
  const auto parsed = json::parse(body, "answer");
  if (!parsed || !parsed->is_object()) return std::nullopt;
  const json::value* code = parsed->as_object().if_contains("validationResponse");
  if (code == nullptr || !code->is_string()) return std::nullopt;
  return std::string(code->as_string());
}

}  // namespace

http::Request EventGridSim::request_to(const Subscription& s, EventMessage message, int delivery_count) const {
  http::Request q;
  q.method = "POST";
  q.url = s.settings.endpoint;
  q.headers = std::move(message.headers);
  q.headers.push_back({"aeg-subscription-name", upper(s.settings.name)});
  q.headers.push_back({"aeg-delivery-count", std::to_string(delivery_count)});
  q.headers.push_back({"x-ms-request-id", new_guid()});
  if (is_cloud_events(s.settings.schema)) q.headers.push_back({"Origin", std::string(kOrigin)});
  q.headers.insert(q.headers.end(), s.settings.headers.begin(), s.settings.headers.end());
  q.body = std::move(message.body);
  q.max_response_bytes = 1 << 20;
  q.operation = "event delivery";
  q.try_timeout = options_.answer_timeout;
  return q;
}

void EventGridSim::carry_out(Work& work, std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
  const Call call{real_clock().steady_now() + options_.answer_timeout, stop};
  switch (work.kind) {
    case Work::Kind::kHandshake:
      return shake_hands(work, lock, call);
    case Work::Kind::kDelivery:
      return deliver(work, lock, call);
    case Work::Kind::kFarewell:
      break;
  }
  const http::Request q =
      request_to(*work.to, deletion(source_, hub_now(), work.to->settings.name, work.to->settings.schema), 0);
  lock.unlock();
  (void)client_.send(q, call);  // told once; whether it was heard changes nothing
  lock.lock();
  --last_wishes_;
}

void EventGridSim::deliver(Work& work, std::unique_lock<std::mutex>& lock, const Call& call) {
  const SubscriptionSettings settings = work.to->settings;
  lock.unlock();
  std::vector<std::string> texts;
  size_t bytes = 2;
  for (const Queued& e : work.events) {
    std::string text = json::write(event_json(*e.event, settings.schema, source_));
    // One that is larger than a batch may be goes alone.
    if (!texts.empty() && bytes + text.size() + 1 > settings.batch_bytes) break;
    bytes += text.size() + 1;
    texts.push_back(std::move(text));
  }
  std::vector<Queued> rest;
  while (work.events.size() > texts.size()) {
    rest.push_back(std::move(work.events.back()));
    work.events.pop_back();
  }
  if (!rest.empty()) {
    lock.lock();
    work.to->in_flight -= rest.size();
    for (Queued& e : rest) work.to->queue.emplace(SteadyTime::min(), std::move(e));
    wake();
    lock.unlock();
  }
  const http::Request q =
      request_to(*work.to, notification(texts, settings.schema, settings.batch > 1), work.events.front().attempts);
  const auto answer = client_.send(q, call);
  lock.lock();
  if (!call.stop.stop_requested()) settle(work, answer);
}

void EventGridSim::shake_hands(Work& work, std::unique_lock<std::mutex>& lock, const Call& call) {
  Subscription& s = *work.to;
  if (s.state == State::kAwaitingManualAction && !s.settings.keep_trying) {
    s.state = State::kFailed;
    s.handshake = "nobody visited the validation address within 10 minutes";
    s.handshake_due.reset();
    s.handshaking = false;
    return;
  }
  s.state = State::kCreating;
  ++s.handshakes;
  const std::string code = s.code;
  const std::string url = fmt::format("{}/subscriptions/{}/validate?code={}", control_url_, s.settings.name, code);
  http::Request q;
  if (is_cloud_events(s.settings.schema)) {
    q.method = "OPTIONS";
    q.url = s.settings.endpoint;
    q.headers = {{"WebHook-Request-Origin", std::string(kOrigin)},
                 {"WebHook-Request-Rate", "120"},
                 {"WebHook-Request-Callback", url}};
    q.headers.insert(q.headers.end(), s.settings.headers.begin(), s.settings.headers.end());
    q.max_response_bytes = 1 << 20;
    q.operation = "event handshake";
    q.try_timeout = options_.answer_timeout;
  } else {
    q = request_to(s, validation(source_, hub_now(), code, url), 0);
  }
  lock.unlock();
  const auto answer = client_.send(q, call);
  lock.lock();
  if (!call.stop.stop_requested()) settle_handshake(s, code, answer);
}

void EventGridSim::settle_handshake(Subscription& s, const std::string& code, const Result<http::Response>& answer) {
  s.handshaking = false;
  if (s.state != State::kCreating) return;  // somebody was faster by hand
  wake();
  const SteadyTime now = clock_.steady_now();
  const auto manual = [&](std::string why) {
    s.state = State::kAwaitingManualAction;
    s.handshake = std::move(why) + "; the validation address is open for 10 minutes";
    s.handshake_due = now + kManualTime;
  };
  if (!answer) {
    s.handshake = answer.error().what;
  } else if (answer->status != 200) {
    s.handshake = fmt::format("the endpoint answered {}; only 200 is a good answer", answer->status);
  } else if (is_cloud_events(s.settings.schema)) {
    const std::string_view origin = answer->header("WebHook-Allowed-Origin");
    if (origin.empty()) return manual("the answer has no WebHook-Allowed-Origin");
    if (origin != "*" && lower(origin) != kOrigin)
      s.handshake = fmt::format("WebHook-Allowed-Origin is '{}', not '{}' or '*'", origin, kOrigin);
    else if (answer->header("WebHook-Allowed-Rate").empty())
      s.handshake = "the answer has no WebHook-Allowed-Rate, though a rate was asked for";
    else
      s.state = State::kSucceeded;
  } else {
    const auto given = validation_response(answer->body);
    if (!given) return manual("the answer has no validationResponse");
    if (*given == code)
      s.state = State::kSucceeded;
    else
      s.handshake = "validationResponse is not the code that was sent";
  }
  if (s.state == State::kSucceeded) {
    s.handshake = "validated by the endpoint's answer";
    s.handshake_due.reset();
  } else if (s.settings.keep_trying || s.handshakes < kHandshakeTries) {
    s.handshake_due = now + kHandshakeAgain;
  } else {
    s.state = State::kFailed;
    s.handshake_due.reset();
  }
}

}  // namespace twinstep::sims
