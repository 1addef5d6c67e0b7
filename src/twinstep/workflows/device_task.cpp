#include "twinstep/workflows/device_task.h"

#include <algorithm>
#include <array>

#include "twinstep/base/units.h"

namespace twinstep::workflows {
namespace {

constexpr std::array<std::string_view, 3> kWhat{"created", "deleted", "changed"};

/// Copies what `path` leads to, with the objects on the way.
void copy_path(const json::object& from, const std::vector<std::string>& path, size_t at, json::object& to) {
  const json::value* there = from.if_contains(path[at]);
  if (!there) return;
  if (at + 1 == path.size()) {
    to[path[at]] = *there;
    return;
  }
  const json::object* inner = there->if_object();
  if (!inner) return;
  json::value& target = to[path[at]];
  if (!target.is_object()) target = json::object{};
  copy_path(*inner, path, at + 1, target.get_object());
}

json::object parsed_object(const std::string& text) {
  if (text.empty()) return {};
  auto value = json::parse(text, "the hint");
  return value && value->is_object() ? std::move(value->get_object()) : json::object{};
}

bool says_deleted(const json::object& input) {
  const json::value* merged = input.if_contains("deleted");
  return json::string_or(input, "what") == kWhat[static_cast<size_t>(DeviceHint::What::kDeleted)] ||
         (merged && merged->is_bool() && merged->get_bool());
}

}  // namespace

void HintMemory::put(const store::WorkflowId& id, std::string tags, std::string desired) {
  std::scoped_lock lock(mutex_);
  held_[id.value] = {std::move(tags), std::move(desired)};
  order_.push_back(id.value);
  // What was taken meanwhile still stands in the order, so this also bounds the order itself.
  while (order_.size() > most_) {
    held_.erase(order_.front());
    order_.pop_front();
  }
}

std::optional<std::pair<json::object, json::object>> HintMemory::take(const store::WorkflowId& id) {
  std::pair<std::string, std::string> texts;
  {
    std::scoped_lock lock(mutex_);
    const auto found = held_.find(id.value);
    if (found == held_.end()) return std::nullopt;
    texts = std::move(found->second);
    held_.erase(found);
  }
  return std::pair{parsed_object(texts.first), parsed_object(texts.second)};
}

std::string external_lane(std::string_view external) { return fmt::format("external/{}", external); }

std::string device_key(std::string_view link, const DeviceId& device) {
  return fmt::format("device/{}/{}", link, canonical_device_id(device.value));
}

json::object kept_tags(const providers::ExternalRegistry& external, const json::object& tags) {
  json::object out;
  for (const providers::TagSpec& spec : external.known_tags())
    if (!spec.secret && !spec.path.empty()) copy_path(tags, spec.path, 0, out);
  return out;
}

store::NewWorkflow device_task(const config::Link& link, const providers::ExternalRegistry& external,
                               const DeviceHint& hint, Rng& rng) {
  store::NewWorkflow out;
  out.id = store::WorkflowId(rng.hex_id());
  out.kind = "device";
  out.lane = external_lane(link.external);
  out.key = device_key(link.name, hint.device);
  json::object tags = kept_tags(external, parsed_object(hint.tags));
  json::object input{{"link", link.name},
                     {"device", hint.device.value},
                     {"what", kWhat[static_cast<size_t>(hint.what)]},
                     {"source", hint.source}};
  if (!tags.empty()) input["tags"] = std::move(tags);
  out.input = json::write(input);
  // A newer hint must not forget that the device was deleted, and one without tags not how it can be found.
  out.merge = [input = out.input](std::string_view active) {
    json::object merged = parsed_object(input);
    const json::object before = parsed_object(std::string(active));
    if (const json::value* known = before.if_contains("tags"); known && !merged.contains("tags"))
      merged["tags"] = *known;
    if (says_deleted(before)) merged["deleted"] = true;
    return json::write(merged);
  };
  out.status = hint.source;
  if (!hint.event_id.empty()) out.seen_id = fmt::format("{}/{}", link.name, hint.event_id);
  return out;
}

Result<DeviceTaskInput> device_task_input(std::string_view input) {
  TRY_ASSIGN(const json::value value, json::parse(input, "the task's input"));
  const json::object* o = value.if_object();
  if (!o) return fail(ErrorKind::kCorrupt, "task.input", "the task's input is not a JSON object");
  DeviceTaskInput out;
  TRY_ASSIGN(out.link, json::need_string(*o, "link"));
  TRY_ASSIGN(std::string device, json::need_string(*o, "device"));
  if (!is_legal_hub_device_id(device))  // an event that could not be used, retried by a person
    return fail(ErrorKind::kInvalid, "event.unusable", "the event names no device that a hub could have");
  out.device = DeviceId(std::move(device));
  const auto what = std::find(kWhat.begin(), kWhat.end(), json::string_or(*o, "what", "changed"));
  if (what != kWhat.end()) out.what = static_cast<DeviceHint::What>(what - kWhat.begin());
  out.deleted = says_deleted(*o);
  if (const json::object* tags = json::object_at(*o, "tags")) out.tags = *tags;
  out.source = json::string_or(*o, "source");
  return out;
}

}  // namespace twinstep::workflows
