// The control API of the simulated Event Grid.
#include <fmt/format.h>

#include <algorithm>

#include "sims/event_grid_sim.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

http::ServerResponse answer(const json::value& body, int status = 200) {
  http::ServerResponse r;
  r.status = status;
  r.headers = {{"Content-Type", "application/json"}};
  r.body = json::write(body);
  return r;
}

http::ServerResponse refuse(int status, std::string_view why) { return answer(json::object{{"error", why}}, status); }

}  // namespace

json::object EventGridSim::shown(const Subscription& s) const {
  static constexpr const char* kStates[] = {"Creating", "AwaitingManualAction", "Succeeded", "Failed"};
  json::value handshake_due;  // simulated seconds from now
  if (s.handshake_due && !s.handshaking)
    handshake_due = std::chrono::duration<double>(*s.handshake_due - clock_.steady_now()).count();
  json::object answers;
  for (const auto& [key, n] : s.counts.answers) answers[key] = n;
  const std::string& url = s.settings.endpoint;  // its query is a secret
  return {{"name", s.settings.name},
          {"endpoint", url.substr(0, url.find('?'))},
          {"schema", to_string(s.settings.schema)},
          {"state", kStates[static_cast<size_t>(s.state)]},
          {"handshake", s.handshake},
          {"handshakes", s.handshakes},
          {"handshakeDue", std::move(handshake_due)},
          {"pending", s.queue.size() + s.in_flight},
          {"delivered", s.counts.delivered},
          {"retried", s.counts.retried},
          {"deadLettered", s.counts.dead_lettered},
          {"lost", s.counts.lost},
          {"dropped", s.counts.dropped},
          {"duplicated", s.counts.duplicated},
          {"missed", s.counts.missed},
          {"inProbation", s.held_until > clock_.steady_now()},
          {"answers", std::move(answers)}};
}

json::array EventGridSim::all_shown() const {
  json::array all;
  for (const Shared& s : subscriptions_) all.push_back(shown(*s));
  return all;
}

json::array EventGridSim::subscriptions() const {
  std::scoped_lock lock(mutex_);
  return all_shown();
}

bool EventGridSim::wait_until(const std::function<bool(const json::array&)>& done) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, std::chrono::seconds{30}, [&] { return done(all_shown()); });
}

json::array EventGridSim::dead_letters(const Subscription& s) const {
  const bool cloud = is_cloud_events(s.settings.schema);
  const auto name = [&](const char* grid, const char* lower_case) { return cloud ? lower_case : grid; };
  json::array all;
  for (const auto& [what, reason] : s.dead_letters) {
    json::object event = event_json(*what.event, s.settings.schema, source_);
    event[name("deadLetterReason", "deadletterreason")] = reason;
    event[name("deliveryAttempts", "deliveryattempts")] = what.attempts;
    event[name("lastDeliveryOutcome", "lastdeliveryoutcome")] = what.last_outcome;
    event[name("publishTime", "publishtime")] = format_iso_millis(what.published);
    event[name("lastDeliveryAttemptTime", "lastdeliveryattempttime")] = format_iso_millis(what.last_attempt);
    all.push_back(std::move(event));
  }
  return all;
}

http::ServerResponse EventGridSim::validate_by_hand(std::string_view name, const std::string& code) {
  std::scoped_lock lock(mutex_);
  const Shared s = find(name);
  if (!s) return refuse(404, "no such subscription");
  if (code != s->code) return refuse(400, "the code is not that of this subscription's handshake");
  if (s->state == State::kFailed) return refuse(400, "the time for the validation is over");
  if (s->state != State::kSucceeded) {
    s->state = State::kSucceeded;
    s->handshake = "validated by hand";
    s->handshake_due.reset();
    idle_.notify_all();
  }
  return answer(json::object{{"state", "Succeeded"}});
}

http::ServerResponse EventGridSim::handle(const http::ServerRequest& r) {
  const bool get = r.method == "GET", post = r.method == "POST", remove = r.method == "DELETE";
  const std::string_view path = r.path;
  constexpr std::string_view kRoot = "/subscriptions";
  if (path == kRoot) {
    if (get) return answer(subscriptions());
    if (post) {
      const auto parsed = json::parse(r.body, "request");
      if (!parsed || !parsed->is_object()) return refuse(400, "the request is not a JSON object");
      auto settings = subscription_settings(parsed->as_object());
      if (!settings) return refuse(400, settings.error().what);
      const std::string name = settings->name;
      if (const Status made = subscribe(std::move(*settings)); !made) return refuse(409, made.error().what);
      return answer(json::object{{"name", name}, {"state", "Creating"}}, 201);
    }
    if (remove) {
      std::vector<std::string> names;
      {
        std::scoped_lock lock(mutex_);
        for (const Shared& s : subscriptions_) names.push_back(s->settings.name);
      }
      for (const std::string& name : names) unsubscribe(name);
      return answer(json::object{});
    }
    return refuse(405, "this place does not know the method");
  }
  const std::string_view rest = path.substr(kRoot.size() + 1);
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view name = rest.substr(0, slash), what = rest.substr(slash);
  if (what == "/validate" && (get || post)) return validate_by_hand(name, r.query_value("code"));
  if (what.empty() && remove) return unsubscribe(name) ? answer(json::object{}) : refuse(404, "no such subscription");
  if (!get || (!what.empty() && what != "/dead-letters")) return refuse(404, "no such place; see twinstep-sim --help");
  std::scoped_lock lock(mutex_);
  const Shared s = find(name);
  if (!s) return refuse(404, "no such subscription");
  return what.empty() ? answer(shown(*s)) : answer(dead_letters(*s));
}

}  // namespace twinstep::sims
