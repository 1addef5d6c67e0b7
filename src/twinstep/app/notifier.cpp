#include "twinstep/app/notifier.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <typeinfo>

#include "twinstep/base/backoff.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/units.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/smtp.h"
#include "twinstep/telemetry/webhook_sink.h"
#include "twinstep/workflows/device_task.h"

namespace twinstep::app {
namespace {

using telemetry::Notice;
using telemetry::NoticeOptions;
using telemetry::NoticeTo;

constexpr Millis kLook{2'000};
constexpr Millis kStoreTime{10'000};
constexpr Millis kBacklogEvery{10'000};
constexpr Millis kSayTime{20'000};
constexpr Millis kLease{60'000};  // of a notice that is being said; longer than kSayTime
constexpr Backoff kAgain{.first = Millis{5'000}, .cap = Millis{3'600'000}};
constexpr Millis kRunPause{15'000};           // the pause of a lane is written a moment after we hear of it
constexpr Millis kTooLate{24ll * 3'600'000};  // the end of a condition need not be said for ever
constexpr int64_t kTriesOfUnknown = 50;       // of a channel that no configuration has any more
constexpr int kMostBlocked = 200;
constexpr int kAtOnce = 20;
constexpr std::string_view kPagerDutyUrl = "https://events.pagerduty.com/v2/enqueue";
constexpr size_t kMostUnknownHubs = 100;

/// Which entry it is, whatever its place in the list; no secret can be read from it.
std::string id_of(const NoticeOptions& options) {
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}{}{}{}", static_cast<int>(options.to), options.url.reveal(),
                                 options.routing_key.reveal(), options.email.server, options.blocked, options.alarm,
                                 options.recovery, options.backlog);
  for (const std::string& one : options.email.recipients) text += "\n" + one;
  return hex_encode(sha256(text)).substr(0, 16);
}

std::string_view name_of(NoticeTo to) {
  constexpr std::array<std::string_view, 5> kNames{"webhook", "teams", "slack", "pagerduty", "email"};
  return kNames[static_cast<size_t>(to)];
}

std::string key_of(std::string_view kind, std::string_view of) { return fmt::format("{}/{}", kind, of); }

}  // namespace

Notifier::Notifier(const config::Config& config, store::Database& database, EventMaker& events, http::Client& client,
                   std::string instance, Clock& clock, Rng& rng)
    : config_(config),
      notices_(database),
      workflows_(database),
      events_(events),
      client_(client),
      instance_(std::move(instance)),
      clock_(clock),
      rng_(rng) {
  for (const NoticeOptions& one : config.notices) {
    const std::string id = id_of(one);
    if (std::none_of(channels_.begin(), channels_.end(), [&](const Channel& c) { return c.id == id; }))
      channels_.push_back({id, &one});
  }
}

Notifier::~Notifier() { stop(); }

void Notifier::start(Unknown unknown) {
  unknown_ = std::move(unknown);
  if (channels_.empty() && !config_.telemetry.any()) return;
  thread_ = std::jthread([this](std::stop_token stop) { run(std::move(stop)); });
}

void Notifier::stop() { thread_ = {}; }

void Notifier::rested(const engine::LaneRest& rest) {
  {
    std::scoped_lock lock(mutex_);
    if (channels_.empty()) return;
    rests_.push_back(rest);
    kicked_ = true;
  }
  changed_.notify_all();
}

void Notifier::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    {
      std::scoped_lock lock(mutex_);
      kicked_ = false;
    }
    try {
      look({clock_.steady_now() + kStoreTime, stop});
      tell({SteadyTime::max(), stop});
    } catch (const std::exception& bug) {
      spdlog::error("notices.bug type={} what=\"{}\"", typeid(bug).name(), bug.what());
    }
    std::unique_lock lock(mutex_);
    // Real time: what lanes say is told at once, the store is looked at every other second.
    changed_.wait_for(lock, stop, kLook, [&] { return kicked_; });
  }
}

Status Notifier::raise(const Notice& notice, const std::vector<store::NoticeOpen>& open, const Call& call) {
  const bool known = std::any_of(open.begin(), open.end(), [&](const auto& one) { return one.key == notice.key; });
  if (known && raised_.contains(notice.key)) return {};
  std::vector<std::string> channels;
  for (const Channel& channel : channels_)
    if (telemetry::wanted(*channel.options, notice)) channels.push_back(channel.id);
  if (channels.empty()) return {};
  TRY(notices_.raise(notice.key, channels, notice.to_json(), call));
  raised_.insert(notice.key);
  return {};
}

Status Notifier::resolve(Notice notice, const Call& call) {
  notice.resolved = true;
  raised_.erase(notice.key);
  return notices_.resolve(notice.key, notice.to_json(), call);
}

Notice Notifier::lane_notice(std::string_view kind, std::string_view lane) const {
  Notice out;
  out.key = key_of(kind, lane);
  out.kind = kind;
  out.lane = lane;
  out.since = clock_.system_now();
  return out;
}

void Notifier::look_at_lanes(const std::vector<store::NoticeOpen>& open, const Call& call) {
  for (;;) {
    engine::LaneRest rest;
    {
      std::scoped_lock lock(mutex_);
      if (rests_.empty()) return;
      rest = rests_.front();
    }
    Notice notice = lane_notice("alarm", rest.lane);
    Status kept;
    if (rest.rests && rest.alarm) {
      notice.title = fmt::format("twinstep: {} refuses our credentials", rest.lane);
      notice.text = fmt::format(
          "{}. Nothing fails: tasks wait and one of them tries again from time to time. Mend the credentials, reload, "
          "and resume the lane.",
          rest.reason);
      kept = raise(notice, open, call);
    } else if (!rest.rests) {
      notice.title = fmt::format("twinstep: {} works again", rest.lane);
      notice.text = "Its credentials are accepted again; the tasks that waited go on.";
      kept = resolve(std::move(notice), call);
    }
    if (!kept) return;  // the store is away: at the next look
    std::scoped_lock lock(mutex_);
    rests_.pop_front();
  }
}

void Notifier::look_at_runs(const std::vector<store::NoticeOpen>& open, const Call& call) {
  const auto blocked = notices_.blocked(kMostBlocked, call);
  if (!blocked) return;
  std::set<std::string> keys;
  for (const store::Workflow& run : *blocked) {
    Notice notice;
    notice.key = key_of("blocked", run.id.value);
    notice.kind = "blocked";
    const auto input = json::parse(run.input, "the input");
    notice.link = input && input->is_object() ? json::string_or(input->get_object(), "link") : "";
    notice.run = run.id.value;
    notice.title = fmt::format("twinstep: run of link {} is blocked", notice.link);
    notice.text = run.status;
    notice.since = run.updated;
    keys.insert(notice.key);
    if (!raise(notice, open, call)) return;
  }
  if (blocked->size() == static_cast<size_t>(kMostBlocked)) return;  // who is not among them may be blocked too
  for (const store::NoticeOpen& one : open) {
    if (!one.key.starts_with("blocked/") || keys.contains(one.key)) continue;
    Notice notice;
    notice.key = one.key;
    notice.kind = "blocked";
    notice.run = one.key.substr(std::string_view("blocked/").size());
    notice.since = clock_.system_now();
    const auto run = workflows_.find(store::WorkflowId(notice.run), call);
    if (!run && run.error().kind != ErrorKind::kNotFound) continue;
    if (run) {
      const auto input = json::parse(run->input, "the input");
      notice.link = input && input->is_object() ? json::string_or(input->get_object(), "link") : "";
    }
    notice.title = fmt::format("twinstep: run of link {} is not blocked any more", notice.link);
    notice.text = !run ? "It is gone." : fmt::format("It is {} now. {}", store::to_string(run->state), run->status);
    if (!resolve(std::move(notice), call)) return;
  }
}

/// Lanes of other replicas, and of an earlier process: the alarm is over when nobody rests the lane any more.
void Notifier::look_at_pauses(const std::vector<store::NoticeOpen>& open, const Call& call) {
  const auto old = [](const store::NoticeOpen& one) { return one.key.starts_with("alarm/") && one.age > kRunPause; };
  if (std::none_of(open.begin(), open.end(), old)) return;
  const auto pauses = workflows_.pauses(call);
  if (!pauses) return;
  for (const store::NoticeOpen& one : open) {
    if (!old(one)) continue;
    const std::string lane = one.key.substr(std::string_view("alarm/").size());
    if (std::any_of(pauses->begin(), pauses->end(), [&](const store::Pause& pause) { return pause.lane == lane; }))
      continue;
    Notice notice = lane_notice("alarm", lane);
    notice.title = fmt::format("twinstep: {} works again", lane);
    notice.text = "It does not rest any more; the tasks that waited go on.";
    if (!resolve(std::move(notice), call)) return;
  }
}

void Notifier::look_at_backlog(const std::vector<store::NoticeOpen>& open, const Call& call) {
  if (clock_.steady_now() < backlog_at_) return;
  backlog_at_ = clock_.steady_now() + kBacklogEvery;
  const auto known = [&](const std::string& lane) {
    return std::any_of(open.begin(), open.end(), [&](const auto& one) { return one.key == key_of("backlog", lane); });
  };
  std::set<std::string> lanes, now;
  for (const config::Link& link : config_.links) lanes.insert(workflows::external_lane(link.external));
  const auto& limits = config_.telemetry;
  for (const std::string& lane : lanes) {
    const auto one = notices_.backlog(lane, call);
    if (!one) return;
    // Twice as many begin it as end it, so that a lane at the limit is not told of at every look.
    const bool was = backlogged_.contains(lane) || known(lane);
    const int64_t divisor = was ? 2 : 1;
    if (one->tasks < std::max<int64_t>(1, limits.backlog_tasks / divisor) &&
        (one->tasks == 0 || one->oldest < limits.backlog_age / divisor))
      continue;
    now.insert(lane);
    if (!backlogged_.contains(lane)) events_.backlog(lane, one->tasks, one->oldest);
    Notice notice = lane_notice("backlog", lane);
    notice.title =
        fmt::format("twinstep: {} tasks of {} are waiting", format_count(static_cast<uint64_t>(one->tasks)), lane);
    notice.text = fmt::format(
        "They are due and not begun, the oldest for {}. The remote is slow, limited or away, or "
        "the store is; see the lane's state and `twinstep tasks`.",
        format_duration(one->oldest));
    if (!raise(notice, open, call)) return;
  }
  backlogged_ = now;
  for (const store::NoticeOpen& one : open) {
    if (!one.key.starts_with("backlog/")) continue;
    const std::string lane = one.key.substr(std::string_view("backlog/").size());
    if (now.contains(lane)) continue;
    Notice notice = lane_notice("backlog", lane);
    notice.title = fmt::format("twinstep: {} has caught up", lane);
    notice.text = "No more tasks are waiting than usual.";
    if (!resolve(std::move(notice), call)) return;
  }
}

void Notifier::look_at_unknown_hubs() {
  if (!unknown_) return;
  for (const auto& [hub, events] : unknown_()) {
    if (unknown_told_.size() >= kMostUnknownHubs && !unknown_told_.contains(hub)) continue;
    // The first one at once, then each time there are twice as many: who sends garbage must not fill the sinks.
    uint64_t& told = unknown_told_[hub];
    if (events == 0 || (told != 0 && events < 2 * told)) continue;
    events_.unknown_hub(hub, events - told);
    told = events;
  }
}

void Notifier::look(const Call& call) {
  look_at_unknown_hubs();
  const auto open = notices_.open(call);
  if (!open) return;  // the store is away: those who need it say so
  if (!channels_.empty()) {
    look_at_lanes(*open, call);
    look_at_runs(*open, call);
    look_at_pauses(*open, call);
  }
  look_at_backlog(*open, call);
}

Status Notifier::say(const Channel& channel, const Notice& notice, const std::string& id, const Call& call) {
  const NoticeOptions& options = *channel.options;
  if (options.to == NoticeTo::kEmail) {
    std::string text = notice.text + "\n\n";
    if (!notice.link.empty()) text += fmt::format("Link: {}\n", notice.link);
    if (!notice.run.empty()) text += fmt::format("Run: {}\n", notice.run);
    text += fmt::format("Host: {}\n", instance_);
    return telemetry::send_mail(options.email, {notice.title, text, id, clock_.system_now()}, config_.ca_file, call);
  }
  const Secret url = options.url.empty() ? Secret(std::string(kPagerDutyUrl)) : options.url;
  return telemetry::post_json(client_, url, options.to == NoticeTo::kWebhook ? options.secret : Secret(),
                              telemetry::notice_body(options, notice, instance_), clock_,
                              fmt::format("send a notice to {}", name_of(options.to)), call);
}

void Notifier::tell(const Call& call) {
  if (channels_.empty()) return;
  for (int round = 0; round < kAtOnce && !call.stop.stop_requested(); ++round) {
    const Call store_call = call.sooner(clock_.steady_now() + kStoreTime);
    // One at a time: its lease is for one that hangs.
    const auto due = notices_.claim(1, kLease, store_call);
    if (!due || due->empty()) return;
    const store::NoticeDue& one = due->front();
    const auto channel =
        std::find_if(channels_.begin(), channels_.end(), [&](const Channel& c) { return c.id == one.channel; });
    const auto notice = Notice::from_json(one.body);
    Status kept;
    const Call after{clock_.steady_now() + kSayTime + kStoreTime, {}};
    if (!notice || (channel == channels_.end() && one.tries > kTriesOfUnknown)) {
      kept = notices_.drop(one, after);
    } else if (channel == channels_.end()) {
      kept = notices_.again(one, kAgain.after(static_cast<int>(one.tries), rng_), after);  // another replica's
    } else if (one.resolved && !channel->options->recovery) {
      kept = notices_.drop(one, after);
    } else {
      const std::string id = hex_encode(sha256(fmt::format("{}\n{}\n{}\n{}", one.key, one.channel, one.resolved,
                                                           notice->since.time_since_epoch().count())))
                                 .substr(0, 32);
      const Status said = say(*channel, *notice, id, call.sooner(clock_.steady_now() + kSayTime));
      if (said) {
        spdlog::info("notice.said key={} to={} over={}", one.key, name_of(channel->options->to), one.resolved);
        kept = notices_.said(one, channel->options->remind, after);
      } else {
        spdlog::warn("notice.not_said key={} to={} tries={} reason=\"{}\"", one.key, name_of(channel->options->to),
                     one.tries, said.error().what);
        kept = one.resolved && one.age > kTooLate
                   ? notices_.drop(one, after)
                   : notices_.again(one,
                                    std::min(kAgain.cap, said.error().retry_after.value_or(
                                                             kAgain.after(static_cast<int>(one.tries), rng_))),
                                    after);
      }
    }
    if (!kept) {
      spdlog::warn("notice.not_kept key={} reason=\"{}\"", one.key, kept.error().what);
      return;
    }
  }
}

}  // namespace twinstep::app
