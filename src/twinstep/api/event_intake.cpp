#include "twinstep/api/event_intake.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "twinstep/base/crash_point.h"
#include "twinstep/base/redact.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

constexpr Millis kStoreTime{20'000};     // Event Grid waits 30 s for an answer
constexpr Millis kComeBack{30'000};      // what Event Grid waits after a 503 at least
constexpr size_t kMostTagText = 16'384;  // IoT Hub allows 8 KB of names and values; quotes and escapes come on top
constexpr size_t kMostHubNames = 100;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = http::lower(c);
  return out;
}

/// "contoso" of "contoso.azure-devices.net"; empty for addresses, which have no name.
std::string hub_label(std::string_view host) {
  host = host.substr(0, host.rfind(':'));
  const std::string_view label = host.substr(0, host.find('.'));
  const bool digits = label.find_first_not_of("0123456789") == std::string_view::npos;
  if (digits || host.starts_with('[') || label.size() == host.size()) return {};
  return lower(label);
}

http::ServerResponse later(const Error& error) {
  Error again = error;
  again.retry_after = kComeBack;
  again.kind = ErrorKind::kUnavailable;
  return problem(again);
}

}  // namespace

EventIntake::EventIntake(const config::Config& config,
                         std::vector<std::pair<const config::Link*, const providers::ExternalRegistry*>> links,
                         store::WorkflowStore& store, workflows::HintMemory& hints, Clock& clock, Rng& rng,
                         OnCounted on_counted)
    : queue_(store), hints_(hints), clock_(clock), rng_(rng), on_counted_(std::move(on_counted)) {
  for (const auto& [link, external] : links) {
    if (!link->events) continue;
    const std::string host = lower(config.find_hub(link->hub)->host);
    std::vector<std::string> names;
    // Two names of one address are one hub: events may come by either.
    for (const config::Hub& hub : config.hubs)
      if (lower(hub.host) == host) names.push_back(lower(hub.name));
    if (std::string label = hub_label(host); !label.empty()) names.push_back(std::move(label));
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    for (const std::string& name : names) by_hub_[name].push_back({link, external});
  }
}

const std::vector<EventIntake::Target>* EventIntake::targets_of(std::string_view hub) const {
  const auto found = by_hub_.find(lower(hub));
  return found == by_hub_.end() ? nullptr : &found->second;
}

void EventIntake::count(const std::function<void(IntakeCounts&)>& change) {
  std::scoped_lock lock(mutex_);
  change(counts_);
}

IntakeCounts EventIntake::counts() const {
  std::scoped_lock lock(mutex_);
  return counts_;
}

void EventIntake::refuse(std::string_view hub) {
  const std::string name(hub.empty() ? "(none)" : hub.substr(0, 64));
  uint64_t times = 0;
  count([&](IntakeCounts& counts) {
    if (counts.unknown_hubs.size() < kMostHubNames || counts.unknown_hubs.contains(name))
      times = ++counts.unknown_hubs[name];
  });
  if (times == 1)
    spdlog::warn("event.unknown_hub hub=\"{}\" reason=\"no link listens to events of a hub of that name\"",
                 for_log(name));
}

store::NewWorkflow EventIntake::unusable(const Target* target, std::string_view device, std::string_view id,
                                         std::string_view hash, std::string reason) const {
  store::NewWorkflow out;
  out.id = store::WorkflowId(rng_.hex_id());
  out.kind = "device";
  out.lane = target ? workflows::external_lane(target->link->external) : "events";
  const std::string link = target ? target->link->name : "";
  // Found among the tasks, also when it names no device that a task could be of; no device id holds a space.
  out.key = target && is_legal_hub_device_id(device)
                ? workflows::device_key(link, DeviceId(std::string(device)))
                : workflows::device_key(link, DeviceId(fmt::format("event {}", hash.substr(0, 16))));
  out.input = json::write(
      json::object{{"link", link}, {"device", device}, {"what", "changed"}, {"source", fmt::format("event {}", id)}});
  out.status = std::move(reason);
  out.error_code = "event.unusable";
  out.state = store::State::kFailed;
  out.seen_id = fmt::format("{}/{}:{}", link, id, hash);
  return out;
}

void EventIntake::add_event(const azure::RegistryEvent& event, const std::vector<Target>& targets,
                            std::vector<store::NewWorkflow>& out) {
  for (const Target& target : targets) {
    if (event.tags.size() > kMostTagText) {
      out.push_back(unusable(&target, event.device.value, event.id, event.hash,
                             fmt::format("the event's tags have {} bytes; IoT Hub allows 8 KB", event.tags.size())));
      continue;
    }
    const bool created = event.kind == azure::RegistryEvent::Kind::kCreated;
    workflows::DeviceHint hint;
    hint.what = created ? workflows::DeviceHint::What::kCreated : workflows::DeviceHint::What::kDeleted;
    hint.device = event.device;
    hint.tags = event.tags;
    hint.desired = event.desired;
    hint.event_id = fmt::format("{}:{}", event.id, event.hash);
    hint.source = fmt::format("event {}", event.id);
    store::NewWorkflow& task = out.emplace_back(workflows::device_task(*target.link, *target.external, hint, rng_));
    // Before the commit: a lane may claim the task at that very moment.
    if (created && !event.tags.empty()) hints_.put(task.id, event.tags, event.desired);
  }
}

http::ServerResponse EventIntake::post(const http::ServerRequest& request) {
  auto delivery = azure::read_delivery(request);
  if (!delivery) {
    const bool large = delivery.error().code != "events.malformed";
    return problem(large ? 413 : 400, delivery.error().code, delivery.error().what);
  }
  if (delivery->purpose == azure::EventDelivery::Purpose::kValidate) {
    spdlog::info("subscription.validated name=\"{}\"", for_log(request.header("aeg-subscription-name")));
    return reply(200, json::object{{"validationResponse", delivery->validation_code}});
  }
  if (delivery->purpose == azure::EventDelivery::Purpose::kUnsubscribe) {
    spdlog::info("subscription.deleted name=\"{}\"", for_log(request.header("aeg-subscription-name")));
    return reply(200, json::object{});
  }

  std::vector<store::NewWorkflow> tasks;
  uint64_t ignored = 0, refused = 0;
  std::string refused_hub;
  for (const azure::RegistryEvent& event : delivery->events) {
    if (event.kind == azure::RegistryEvent::Kind::kOther) {
      ++ignored;
    } else if (const auto* targets = targets_of(event.hub)) {
      add_event(event, *targets, tasks);
    } else {
      ++refused;
      refused_hub = event.hub;
      refuse(event.hub);
    }
  }
  for (const azure::BadEvent& bad : delivery->bad) {
    const auto* targets = targets_of(bad.hub);
    tasks.push_back(unusable(targets ? &targets->front() : nullptr, bad.device, bad.id, bad.hash, bad.reason));
  }

  json::object answer{{"received", delivery->events.size() + delivery->bad.size()}};
  IntakeCounts now;
  if (!tasks.empty()) {
    const auto started = queue_.start(tasks, {clock_.steady_now() + kStoreTime, {}});
    if (!started) {
      for (const store::NewWorkflow& task : tasks) (void)hints_.take(task.id);
      spdlog::warn("delivery.not_accepted events={} reason=\"{}\"", tasks.size(), started.error().what);
      return later(started.error());
    }
    crash_point("intake.after-commit");
    for (size_t i = 0; i < tasks.size(); ++i) {
      const auto what = (*started)[i].what;
      if (what != store::Started::kStarted) (void)hints_.take(tasks[i].id);
      if (what == store::Started::kKnown)
        ++now.known;
      else if (tasks[i].state == store::State::kFailed)
        ++now.failed;
      else
        ++(what == store::Started::kStarted ? now.started : now.joined);
    }
  }
  now.deliveries = 1;
  now.events = delivery->events.size() + delivery->bad.size();
  now.ignored = ignored;
  count([&](IntakeCounts& counts) {
    counts.deliveries += now.deliveries;
    counts.events += now.events;
    counts.started += now.started;
    counts.joined += now.joined;
    counts.known += now.known;
    counts.ignored += now.ignored;
    counts.failed += now.failed;
  });
  if (refused > 0) now.unknown_hubs[refused_hub] = refused;
  if (on_counted_) on_counted_(now);
  if (refused > 0 && refused == delivery->events.size() && delivery->bad.empty())
    return problem(400, "event.unknown-hub",
                   fmt::format("no link listens to events of the hub '{}'; check hubs and links of the configuration, "
                               "or the Event Grid subscription",
                               refused_hub));
  answer["started"] = now.started;
  answer["joined"] = now.joined;
  answer["known"] = now.known;
  answer["ignored"] = ignored;
  answer["failed"] = now.failed;
  answer["refused"] = refused;
  return reply(200, answer);
}

http::ServerResponse EventIntake::options(const http::ServerRequest& request) const {
  return azure::answer_delivery_options(request);
}

void EventIntake::add_routes(Router& router) {
  constexpr const char* kPath = "/api/ExternalRegistrySynchronizer_EventGridListener";
  router.add("POST", kPath, Scope::kEvents,
             [this](const http::ServerRequest& request, const RouteMatch&) { return post(request); });
  router.add("OPTIONS", kPath, Scope::kEvents,
             [this](const http::ServerRequest& request, const RouteMatch&) { return options(request); });
}

}  // namespace twinstep::api
