#include "sims/event_subscription.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "sims/text.h"

namespace twinstep::sims {
namespace {

auto wrong(std::string text) { return fail(ErrorKind::kInvalid, "sim.subscription", std::move(text)); }

Status whole(const json::value& v, std::string_view key, int64_t least, int64_t most, int64_t& into) {
  if (!v.is_int64() || v.as_int64() < least || v.as_int64() > most)
    return wrong(fmt::format("'{}' must be a whole number from {} to {}", key, least, most));
  into = v.as_int64();
  return {};
}

Status share(const json::value& v, std::string_view key, double& into) {
  const double given = v.is_double() ? v.as_double() : v.is_int64() ? static_cast<double>(v.as_int64()) : -1;
  if (given < 0 || given > 1) return wrong(fmt::format("'{}' must be a number from 0 to 1", key));
  into = given;
  return {};
}

Status flag(const json::value& v, std::string_view key, bool& into) {
  if (!v.is_bool()) return wrong(fmt::format("'{}' must be true or false", key));
  into = v.as_bool();
  return {};
}

Status read_name(const json::value& v, SubscriptionSettings& out) {
  const auto legal = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (v.is_string()) out.name = std::string(v.as_string());
  if (out.name.empty() || out.name.size() > 64 || !std::all_of(out.name.begin(), out.name.end(), legal))
    return wrong("'name' must be 1 to 64 letters, digits and hyphens");
  return {};
}

Status read_endpoint(const json::value& v, SubscriptionSettings& out) {
  if (v.is_string()) out.endpoint = std::string(v.as_string());
  if (!out.endpoint.starts_with("http://") && !out.endpoint.starts_with("https://"))
    return wrong("'endpoint' must be an http or https address");
  return {};
}

Status read_types(const json::value& v, SubscriptionSettings& out) {
  if (!v.is_array()) return wrong("'eventTypes' must be an array");
  out.created = out.deleted = false;
  for (const json::value& type : v.as_array()) {
    const std::string_view name = type.is_string() ? std::string_view(type.as_string()) : std::string_view{};
    if (name == event_type(HubChange::kCreated))
      out.created = true;
    else if (name == event_type(HubChange::kDeleted))
      out.deleted = true;
    else
      return wrong(fmt::format("'eventTypes' may name {} and {}", event_type(HubChange::kCreated),
                               event_type(HubChange::kDeleted)));
  }
  return {};
}

Status read_headers(const json::value& v, SubscriptionSettings& out) {
  if (!v.is_object() || v.as_object().size() > 10) return wrong("'headers' must be an object of up to 10 texts");
  for (const auto& [key, text] : v.as_object()) {
    const std::string name = lower(key);
    if (!text.is_string() || text.as_string().size() > 4096)
      return wrong(fmt::format("header '{}' must be a text of up to 4096 bytes", name));
    if (name.starts_with("aeg-") || name.starts_with("ce-") || name == "content-type")
      return wrong(fmt::format("header '{}' belongs to the service", name));
    out.headers.push_back({std::string(key), std::string(text.as_string())});
  }
  return {};
}

Status read_member(std::string_view key, const json::value& v, SubscriptionSettings& out) {
  int64_t n = 0;
  if (key == "name") return read_name(v, out);
  if (key == "endpoint") return read_endpoint(v, out);
  if (key == "eventTypes") return read_types(v, out);
  if (key == "headers") return read_headers(v, out);
  if (key == "deadLetter") return flag(v, key, out.dead_letter);
  if (key == "keepTrying") return flag(v, key, out.keep_trying);
  if (key == "duplicates") return share(v, key, out.duplicates);
  if (key == "reorder") return share(v, key, out.reorder);
  if (key == "schema") {
    const auto schema = v.is_string() ? schema_named(v.as_string()) : std::nullopt;
    if (!schema) return wrong("'schema' must be eventgrid, eventgrid-2018, cloudevents or cloudevents-binary");
    out.schema = *schema;
  } else if (key == "maxEventsPerBatch") {
    TRY(whole(v, key, 1, 5000, n));
    out.batch = static_cast<int>(n);
  } else if (key == "preferredBatchSizeInKilobytes") {
    TRY(whole(v, key, 1, 1024, n));
    out.batch_bytes = static_cast<size_t>(n) << 10;
  } else if (key == "maxDeliveryAttempts") {
    TRY(whole(v, key, 1, 30, n));
    out.attempts = static_cast<int>(n);
  } else if (key == "eventTimeToLiveInMinutes") {
    TRY(whole(v, key, 1, 1440, n));
    out.time_to_live = std::chrono::minutes{n};
  } else if (key == "delayMs") {
    TRY(whole(v, key, 0, 86'400'000, n));
    out.delay = std::chrono::milliseconds{n};
  } else {
    return wrong(fmt::format("a subscription has no member '{}'", key));
  }
  return {};
}

}  // namespace

Result<SubscriptionSettings> subscription_settings(const json::object& given) {
  SubscriptionSettings out;
  for (const auto& [key, v] : given) TRY(read_member(key, v, out));
  if (out.name.empty()) return wrong("a subscription needs a 'name'");
  if (out.endpoint.empty()) return wrong("a subscription needs an 'endpoint'");
  if (out.schema == EventSchema::kCloudEventsBinary && out.batch > 1)
    return wrong("cloudevents-binary has one event a request: 'maxEventsPerBatch' must be 1");
  return out;
}

Result<SubscriptionSettings> subscription_argument(std::string_view text, size_t number) {
  json::object given{{"name", fmt::format("subscription-{}", number)}, {"keepTrying", true}};
  if (text.starts_with('{')) {
    TRY_ASSIGN(const json::value parsed, json::parse(text, "--subscribe"));
    for (const auto& [key, v] : parsed.as_object()) given[key] = v;
    return subscription_settings(given);
  }
  while (!text.starts_with("http")) {
    const size_t end = text.find(','), eq = text.find('=');
    if (end == std::string_view::npos || eq > end)
      return wrong("--subscribe takes an address, schema=...,batch=...,name=... in front of one, or a JSON object");
    const std::string_view key = text.substr(0, eq), value = text.substr(eq + 1, end - eq - 1);
    int64_t n = 0;
    const auto [rest, bad] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (key == "batch" && bad == std::errc{} && rest == value.data() + value.size())
      given["maxEventsPerBatch"] = n;
    else if (key == "schema" || key == "name")
      given[key] = value;
    else
      return wrong(fmt::format("--subscribe does not know '{}'", text.substr(0, end)));
    text.remove_prefix(end + 1);
  }
  given["endpoint"] = text;
  return subscription_settings(given);
}

}  // namespace twinstep::sims
