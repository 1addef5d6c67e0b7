// The registry of the simulated hub as a whole: seeds, dumps, loads.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "sims/hub_twin.h"
#include "sims/iothub_sim.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/ids.h"

namespace twinstep::sims {
namespace {

/// The number behind an ETag of an identity, or nothing.
std::optional<uint64_t> counter_of(std::string_view etag) {
  const auto text = base64_decode(etag);
  uint64_t n = 0;
  if (!text || text->empty()) return std::nullopt;
  const auto [end, bad] = std::from_chars(text->data(), text->data() + text->size(), n);
  return bad == std::errc{} && end == text->data() + text->size() ? std::optional(n) : std::nullopt;
}

std::optional<uint64_t> twin_counter_of(std::string_view etag) {
  const auto bytes = base64_decode(etag);
  if (!bytes || bytes->size() != 8) return std::nullopt;
  uint64_t n = 0;
  for (char c : *bytes) n = n << 8 | static_cast<unsigned char>(c);
  return n;
}

json::object without_own(const json::object& section) {
  json::object out;
  for (const auto& [key, v] : section)
    if (key.empty() || key[0] != '$') out[key] = v;
  return out;
}

}  // namespace

void IotHubSim::seed_device(const std::string& id, bool enabled, bool edge, std::string tags) {
  std::scoped_lock lock(mutex_);
  Entity e = fresh_entity();
  e.enabled = enabled;
  e.edge = edge;
  e.tags = std::move(tags);
  devices_.insert_or_assign(id, std::move(e));
}

size_t IotHubSim::device_count() const {
  std::scoped_lock lock(mutex_);
  return devices_.size();
}

uint64_t IotHubSim::throttled_count() const {
  std::scoped_lock lock(mutex_);
  return throttled_;
}

std::map<std::string, uint64_t> IotHubSim::operations() const {
  std::scoped_lock lock(mutex_);
  std::map<std::string, uint64_t> out;
  for (const auto& [name, bucket] : buckets_) out[name] = bucket.passed;
  return out;
}

double IotHubSim::seconds() const { return std::chrono::duration<double>(clock_.steady_now() - started_).count(); }

std::string IotHubSim::dump(bool keys) const {
  std::scoped_lock lock(mutex_);
  std::string out;
  const auto line = [&](const std::string& id, const std::string& module, const Entity& e) {
    out += json::write(json::value(export_json(id, module, e, keys_, !keys))) + "\n";
  };
  for (const auto& [id, e] : devices_) {
    line(id, "", e);
    if (e.extras)
      for (const auto& [name, module] : e.extras->modules) line(id, name, module);
  }
  return out;
}

Answer<Entity> IotHubSim::entity_of(const std::string& id, const json::object& line) {
  Entity e = fresh_entity();
  // Keys that an export left out are null: then the hub makes some.
  const json::object* given = json::object_at(line, "authentication");
  const json::object* symmetric = given == nullptr ? nullptr : json::object_at(*given, "symmetricKey");
  const bool sas = given == nullptr || json::string_or(*given, "type", "sas") == "sas";
  const bool hidden = sas && (symmetric == nullptr || json::string_or(*symmetric, "primaryKey").empty());
  if (auto good = set_authentication(e, hidden ? nullptr : line.if_contains("authentication"), next_seed_++); !good)
    return tl::unexpected(good.error());
  if (auto good = set_identity(e, id, line, now_us()); !good) return tl::unexpected(good.error());
  e.status_updated_us = 0;
  if (auto good = replace_twin(e, line, now_us(), false, true); !good) return tl::unexpected(good.error());
  if (const json::object* properties = json::object_at(line, "properties")) {
    if (const json::object* desired = json::object_at(*properties, "desired"))
      e.desired_version = static_cast<uint32_t>(json::int_or(*desired, "$version", 1));
    if (const json::object* reported = json::object_at(*properties, "reported")) {
      e.reported_version = static_cast<uint32_t>(json::int_or(*reported, "$version", 1));
      if (const json::object own = without_own(*reported); !own.empty()) {
        if (auto good = check_section(own, "properties.reported"); !good) return tl::unexpected(good.error());
        e.more().reported = json::write(json::value(own));
      }
    }
  }
  e.etag = counter_of(json::string_or(line, "eTag")).value_or(e.etag);
  e.twin_etag = twin_counter_of(json::string_or(line, "twinETag")).value_or(e.twin_etag);
  if (const std::string_view by = json::string_or(line, "managedBy"); !by.empty()) e.more().managed_by = by;
  return e;
}

Result<size_t> IotHubSim::load(std::string_view ndjson, bool replace, bool told) {
  std::scoped_lock lock(mutex_);
  std::map<std::string, Entity, std::less<>> made;
  size_t number = 0, count = 0;
  const auto wrong = [&](std::string_view why) {
    return fail(ErrorKind::kInvalid, "sim.load", fmt::format("line {} is no device: {}", number, why));
  };
  while (!ndjson.empty()) {
    const size_t end = std::min(ndjson.find('\n'), ndjson.size());
    std::string_view text = ndjson.substr(0, end);
    ndjson.remove_prefix(std::min(end + 1, ndjson.size()));
    ++number;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto parsed = json::parse(text, "line");
    if (!parsed) return wrong(parsed.error().what);
    if (!parsed->is_object()) return wrong("not a JSON object");
    const json::object& line = parsed->as_object();
    const std::string id(json::string_or(line, "id")), module(json::string_or(line, "moduleId"));
    if (!is_legal_hub_device_id(id)) return wrong("its id is missing or not legal");
    auto entity = entity_of(id, line);
    if (!entity) return wrong(entity.error().text);
    if (module.empty()) {
      if (!made.emplace(id, std::move(*entity)).second) return wrong(fmt::format("'{}' came before", id));
    } else {
      auto home = made.find(id);
      if (home == made.end() && !replace)
        if (const auto old = devices_.find(id); old != devices_.end()) home = made.emplace(id, old->second).first;
      if (home == made.end()) return wrong(fmt::format("module '{}' comes before its device '{}'", module, id));
      home->second.more().modules.insert_or_assign(module, std::move(*entity));
    }
    ++count;
  }
  if (told) {
    for (const auto& [id, e] : devices_)
      if (replace && !made.contains(id)) tell(HubChange::kDeleted, id, e);
    for (const auto& [id, e] : made)
      if (!devices_.contains(id)) tell(HubChange::kCreated, id, e);
  }
  if (replace) {
    devices_ = std::move(made);
    index_.clear();
  } else {
    for (auto& [id, e] : made) {
      index_.erase(id);
      devices_.insert_or_assign(id, std::move(e));
    }
  }
  modules_ = 0;
  for (const auto& [id, e] : devices_)
    if (e.extras) modules_ += e.extras->modules.size();
  return count;
}

}  // namespace twinstep::sims
