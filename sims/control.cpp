#include "sims/control.h"

#include "twinstep/json/json.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

ServerResponse answer(const json::object& body, int status = 200) {
  ServerResponse r;
  r.status = status;
  r.headers = {{"Content-Type", "application/json"}};
  r.body = json::write(json::value(body));
  return r;
}

ServerResponse refuse(std::string_view why) { return answer({{"error", why}}, 400); }

ServerResponse lines(std::string text) {
  ServerResponse r;
  r.headers = {{"Content-Type", "application/x-ndjson"}};
  r.body = std::move(text);
  return r;
}

Result<json::object> object_of(const ServerRequest& r) {
  auto parsed = json::parse(r.body, "request");
  if (!parsed) return fail(std::move(parsed).error());
  if (!parsed->is_object()) return fail(ErrorKind::kInvalid, "sim.control", "the request is not a JSON object");
  return std::move(parsed->as_object());
}

}  // namespace

Control::Control(IotHubSim& hub, ThingParkSim& thingpark, EventGridSim& events, FaultBox& faults,
                 std::function<void(std::chrono::nanoseconds)> advance, Grant grant)
    : hub_(hub),
      thingpark_(thingpark),
      events_(events),
      faults_(faults),
      advance_(std::move(advance)),
      grant_(std::move(grant)) {}

ServerResponse Control::handle(const ServerRequest& r) {
  const bool get = r.method == "GET", put = r.method == "PUT", post = r.method == "POST", remove = r.method == "DELETE";
  const auto loaded = [](const Result<size_t>& count) {
    return count ? answer({{"devices", *count}}) : refuse(count.error().what);
  };
  if (r.path == "/hub/devices") {
    if (get) return lines(hub_.dump(r.query_value("keys") == "true"));
    if (put || post) return loaded(hub_.load(r.body, put, r.query_value("events") == "true"));
  } else if (r.path == "/thingpark/devices") {
    if (get) return lines(thingpark_.dump());
    if (put || post) return loaded(thingpark_.load(r.body, put));
  } else if (r.path == "/subscriptions" || r.path.starts_with("/subscriptions/")) {
    return events_.handle(r);
  } else if (r.path == "/stats") {
    if (get) {
      json::object operations;
      for (const auto& [kind, count] : hub_.operations()) operations[kind] = count;
      return answer({{"seconds", hub_.seconds()},
                     {"hubDevices", hub_.device_count()},
                     {"thingparkDevices", thingpark_.device_count()},
                     {"operations", operations},
                     {"throttled", hub_.throttled_count()},
                     {"calls", faults_.counts()}});
    }
  } else if (r.path == "/requests") {
    if (get) return answer(faults_.requests());
    if (remove) {
      faults_.reset_requests();
      return answer({});
    }
  } else if (r.path == "/faults") {
    if (remove) {
      faults_.clear();
      return answer({});
    }
    if (post) {
      const auto fault = object_of(r);
      if (!fault) return refuse(fault.error().what);
      const Status added = faults_.add(*fault);
      return added ? answer({}) : refuse(added.error().what);
    }
  } else if (r.path == "/storage/identities") {
    if (put) {
      auto parsed = json::parse(r.body, "request");
      std::vector<std::string> names;
      bool good = parsed && parsed->is_array();
      if (good)
        for (const json::value& name : parsed->as_array()) {
          good = good && name.is_string();
          if (name.is_string()) names.emplace_back(name.as_string());
        }
      if (!good) return refuse("give a JSON array of texts: \"system\" and resource ids of user-assigned identities");
      grant_(names);
      return answer({});
    }
  } else if (r.path == "/advance") {
    if (post) {
      const auto body = object_of(r);
      const int64_t seconds = body ? json::int_or(*body, "seconds", -1) : -1;
      if (seconds < 0 || seconds > 10'000'000) return refuse("give {\"seconds\":N}, N from 0 to 10000000");
      advance_(std::chrono::seconds{seconds});
      return answer({});
    }
  } else {
    return answer({{"error", "no such place; see twinstep-sim --help"}}, 404);
  }
  return answer({{"error", "this place does not know the method"}}, 405);
}

}  // namespace twinstep::sims
