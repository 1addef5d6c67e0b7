#include "sims/thingpark_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "twinstep/base/encoding.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

constexpr size_t kPage = 100;

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

std::string form_value(std::string_view form, std::string_view name) {
  while (!form.empty()) {
    const size_t end = std::min(form.find('&'), form.size());
    const std::string_view pair = form.substr(0, end);
    form.remove_prefix(std::min(end + 1, form.size()));
    const size_t eq = std::min(pair.find('='), pair.size());
    if (percent_decode(pair.substr(0, eq), true) == name && eq < pair.size()) return percent_decode(pair.substr(eq + 1), true);
  }
  return {};
}

ServerResponse answer(const json::value& body, int status = 200) {
  ServerResponse r;
  r.status = status;
  r.headers = {{"Content-Type", "application/json"}};
  r.body = json::write(body);
  return r;
}

}  // namespace

ThingParkSim::ThingParkSim(ThingParkSimOptions options, Clock& clock)
    : options_(std::move(options)), clock_(clock), budget_(options_.rate_per_second), filled_(clock.steady_now()) {}

ServerResponse ThingParkSim::refuse(int status, std::string_view message) const {
  return answer(json::object{{"code", status}, {"message", message}, {"errorId", Rng::real().hex_id()}}, status);
}

ServerResponse ThingParkSim::handle(const ServerRequest& r) {
  ServerResponse out = route(r);
  if (options_.clock_skew.count() != 0)
    out.headers.push_back({"Date", format_http_date(clock_.system_now() + options_.clock_skew)});
  return out;
}

ServerResponse ThingParkSim::route(const ServerRequest& r) {
  std::scoped_lock lock(mutex_);
  if (options_.rate_per_second > 0) {
    const SteadyTime now = clock_.steady_now();
    const double seconds = std::chrono::duration<double>(now - filled_).count();
    budget_ = std::min(std::max(1.0, options_.rate_per_second), budget_ + seconds * options_.rate_per_second);
    filled_ = now;
    if (budget_ < 1) {
      ServerResponse out = refuse(429, "Too many requests");
      out.headers.push_back({"Retry-After", "1"});
      return out;
    }
    budget_ -= 1;
  }
  if (r.path.ends_with("/oauth/token")) return token_call(r);
  constexpr std::string_view kDevices = "/devices";
  const size_t at = r.path.rfind(kDevices);
  if (at == std::string::npos) return refuse(404, "No such resource");
  const std::string_view given = r.header("Authorization");
  if (!given.starts_with("Bearer ")) return refuse(401, "Unauthorized: no bearer token");
  const auto token = tokens_.find(std::string(given.substr(7)));
  if (token == tokens_.end() || token->second.expires <= clock_.system_now() + options_.clock_skew)
    return refuse(401, "Unauthorized: the token is unknown or has expired");
  const std::string rest = percent_decode(r.path.substr(at + kDevices.size()));
  if (rest.empty() && r.method == "GET") return list(r);
  if (rest.empty() && r.method == "POST") return create(r);
  uint64_t ref = 0;
  const auto [end, bad] = std::from_chars(rest.data() + std::min<size_t>(1, rest.size()), rest.data() + rest.size(), ref);
  const auto found = bad == std::errc{} && end == rest.data() + rest.size() ? devices_.find(ref) : devices_.end();
  if (found == devices_.end()) return refuse(404, "Device not found");
  json::object device = json::parse(found->second, "device")->as_object();
  if (r.method == "GET") return answer(device);
  if (r.method == "DELETE") {
    by_eui_.erase(std::string(json::string_or(device, "EUI")));
    devices_.erase(found);
    ServerResponse out;
    out.status = 204;
    return out;
  }
  if (r.method != "PUT") return refuse(405, "Method not allowed");
  auto body = json::parse(r.body, "device");
  if (!body || !body->is_object()) return refuse(400, "The body is not a JSON object");
  for (const auto& [key, v] : body->as_object()) {
    const std::string_view name(key.data(), key.size());
    if ((name == "EUI" && upper(std::string(json::string_or(body->as_object(), "EUI"))) != json::string_or(device, "EUI")) ||
        name == "applicationKey")
      return refuse(400, "A change of key or EUI means delete and create");
    if (name != "ref" && name != "EUI" && name != "activationType") device[key] = v;  // other fields are ignored
  }
  found->second = json::write(json::value(device));
  return answer(device);
}

ServerResponse ThingParkSim::token_call(const ServerRequest& r) {
  if (r.method != "POST") return refuse(405, "Method not allowed");
  const auto field = [&](std::string_view name) {
    const std::string v = form_value(r.body, name);
    return v.empty() ? r.query_value(name) : v;
  };
  if (field("grant_type") != "client_credentials") return refuse(400, "grant_type must be client_credentials");
  if (field("client_id") != options_.client_id || field("client_secret") != options_.client_secret)
    return refuse(401, "Unknown client or wrong secret");
  const SystemTime now = clock_.system_now();
  const auto old = tokens_.find(current_token_);
  if (old == tokens_.end() || old->second.expires <= now + options_.clock_skew || r.query_value("renewToken") == "true") {
    current_token_ = Rng::real().hex_id() + Rng::real().hex_id();
    tokens_[current_token_] = {now + options_.token_lifetime};
  }
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(tokens_[current_token_].expires - now).count();
  return answer(json::object{{"access_token", current_token_}, {"token_type", "bearer"}, {"expires_in", left},
                             {"scope", "SUBSCRIBER:1000"}, {"jti", Rng::real().hex_id()}, {"client_id", options_.client_id}});
}

ServerResponse ThingParkSim::list(const ServerRequest& r) {
  const bool extended = r.query_value("extendedInfo") == "true";
  const auto shown = [&](const std::string& text) {
    json::object device = json::parse(text, "device")->as_object();
    json::object out;
    for (const auto& [key, v] : device) {
      const std::string_view name(key.data(), key.size());
      const bool brief = name == "ref" || name == "name" || name == "EUI" || name == "networkAddress";
      const bool secret = name == "applicationKey" || name == "networkSessionKey" || name == "applicationSessionKeyRules";
      if (brief || (extended && (!secret || options_.show_keys))) out[key] = v;
    }
    return out;
  };
  json::array page;
  if (const std::string eui = r.query_value("deviceEUI"); !eui.empty()) {
    if (const auto at = by_eui_.find(upper(eui)); at != by_eui_.end()) page.push_back(shown(devices_[at->second]));
    return answer(page);
  }
  uint64_t index = 0;
  if (const std::string text = r.query_value("pageIndex"); !text.empty()) {
    const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (bad != std::errc{} || end != text.data() + text.size() || index == 0) return refuse(400, "pageIndex counts from 1");
  }
  auto it = devices_.begin();
  if (index > 0) {
    if ((index - 1) > devices_.size() / kPage || (index - 1) * kPage >= devices_.size())
      return options_.end_is_404 ? refuse(404, "No more devices") : answer(json::array{});
    std::advance(it, static_cast<std::ptrdiff_t>((index - 1) * kPage));
  }
  for (; it != devices_.end() && (index == 0 || page.size() < kPage); ++it) page.push_back(shown(it->second));
  return answer(page);
}

ServerResponse ThingParkSim::create(const ServerRequest& r) {
  auto body = json::parse(r.body, "device");
  if (!body || !body->is_object()) return refuse(400, "The body is not a JSON object");
  const json::object& d = body->as_object();
  const auto text = [&](std::string_view key) { return json::string_or(d, key); };
  for (const char* needed : {"name", "EUI", "activationType", "deviceProfileId"})
    if (text(needed).empty()) return refuse(400, fmt::format("{} is required", needed));
  if (text("activationType") == "OTAA") {
    if (!is_hex(text("applicationEUI"), 16)) return refuse(400, "applicationEUI must be 16 hex digits");
    if (!is_hex(text("applicationKey"), 32)) return refuse(400, "applicationKey must be 32 hex digits");
  } else if (text("activationType") == "ABP") {
    if (!is_hex(text("networkAddress"), 8)) return refuse(400, "networkAddress must be 8 hex digits");
    if (!is_hex(text("networkSessionKey"), 32)) return refuse(400, "networkSessionKey must be 32 hex digits");
    if (const auto* rules = json::array_at(d, "applicationSessionKeyRules"); rules == nullptr || rules->empty())
      return refuse(400, "applicationSessionKeyRules must be a list");
  } else {
    return refuse(400, "activationType must be OTAA or ABP");
  }
  auto made = add_locked(d);
  if (!made) return refuse(made.error().kind == ErrorKind::kConflict ? options_.duplicate_status : 400, made.error().what);
  ServerResponse out;
  out.status = 201;
  out.headers = {{"Content-Type", "application/json"}};
  out.body = std::move(*made);
  return out;
}

Result<std::string> ThingParkSim::add_locked(json::object device) {
  const std::string eui = upper(std::string(json::string_or(device, "EUI")));
  if (!is_hex(eui, 16)) return fail(ErrorKind::kInvalid, "sim.eui", "EUI must be 16 hex digits");
  if (by_eui_.contains(eui)) return fail(ErrorKind::kConflict, "sim.duplicate", "A device with this EUI already exists");
  const uint64_t ref = next_ref_++;
  device["EUI"] = eui;
  device["ref"] = std::to_string(ref);
  by_eui_[eui] = ref;
  return devices_[ref] = json::write(json::value(device));
}

Result<std::string> ThingParkSim::add(json::object device) {
  std::scoped_lock lock(mutex_);
  return add_locked(std::move(device));
}

void ThingParkSim::remove_first() {
  std::scoped_lock lock(mutex_);
  if (devices_.empty()) return;
  by_eui_.erase(std::string(json::string_or(json::parse(devices_.begin()->second, "device")->as_object(), "EUI")));
  devices_.erase(devices_.begin());
}

size_t ThingParkSim::device_count() const {
  std::scoped_lock lock(mutex_);
  return devices_.size();
}

std::string ThingParkSim::dump() const {
  std::scoped_lock lock(mutex_);
  std::string out;
  for (const auto& [ref, text] : devices_) out += text + "\n";
  return out;
}

Result<size_t> ThingParkSim::load(std::string_view ndjson, bool replace) {
  std::scoped_lock lock(mutex_);
  std::map<uint64_t, std::string> devices;
  std::map<std::string, uint64_t> by_eui;
  if (!replace) devices = devices_, by_eui = by_eui_;
  uint64_t next = next_ref_;
  size_t number = 0, count = 0;
  const auto wrong = [&](std::string_view why) {
    return fail(ErrorKind::kInvalid, "sim.load", fmt::format("line {} is no device: {}", number, why));
  };
  while (!ndjson.empty()) {
    const size_t end = std::min(ndjson.find('\n'), ndjson.size());
    const std::string_view text = ndjson.substr(0, end);
    ndjson.remove_prefix(std::min(end + 1, ndjson.size()));
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto parsed = json::parse(text, "line");
    if (!parsed) return wrong(parsed.error().what);
    if (!parsed->is_object()) return wrong("not a JSON object");
    json::object& device = parsed->as_object();
    uint64_t ref = next;
    if (const std::string_view given = json::string_or(device, "ref"); !given.empty()) {
      const auto [last, bad] = std::from_chars(given.data(), given.data() + given.size(), ref);
      if (bad != std::errc{} || last != given.data() + given.size()) return wrong("its ref is not made of digits");
    }
    device["ref"] = std::to_string(ref);
    next = std::max(next, ref + 1);
    const auto old = devices.find(ref);
    if (old != devices.end()) {  // the same ref again is the same device
      by_eui.erase(std::string(json::string_or(json::parse(old->second, "device")->as_object(), "EUI")));
      devices.erase(old);
    }
    if (const std::string eui = upper(std::string(json::string_or(device, "EUI"))); !eui.empty()) {
      device["EUI"] = eui;
      if (!by_eui.emplace(eui, ref).second) return wrong(fmt::format("EUI {} came before", eui));
    }
    devices[ref] = json::write(json::value(device));
    ++count;
  }
  devices_.swap(devices);
  by_eui_.swap(by_eui);
  next_ref_ = next;
  return count;
}

}  // namespace twinstep::sims
