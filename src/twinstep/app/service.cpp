#include "twinstep/app/service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "twinstep/azure/budget.h"
#include "twinstep/workflows/device_task.h"
#include "twinstep/workflows/link_run.h"

namespace twinstep::app {
namespace {

constexpr int kExternalHands = 16;    // of an external lane; the definition's rate is what limits its calls
constexpr Millis kSharedPoll{5'000};  // hints of other replicas may be lost
constexpr int kMostRunHands = 4;      // of a hub: its runs take turns for the one job and share the budget

std::string temporary_folder() {
  std::error_code ignored;
  const auto folder = std::filesystem::temp_directory_path(ignored);
  return folder.empty() ? std::string("/tmp") : folder.string();
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "unknown";
}

/// Beside the database, so that two daemons of one machine do not meet in it.
std::string buffer_path(const config::Config& config) {
  if (!config.telemetry.buffer_path.empty()) return config.telemetry.buffer_path;
  constexpr std::string_view kSqlite = "sqlite:";
  const Secret store = store_of(config);
  const std::string_view text = store.reveal();
  if (text.starts_with(kSqlite) && !text.ends_with(":memory:"))
    return fmt::format("{}-telemetry", text.substr(kSqlite.size()));
  return config.state_folder.empty() ? std::string() : config.state_folder + "/telemetry";
}

}  // namespace

/// Progress of runs, for the log.
class Service::LogProgress final : public workflows::Progress {
 public:
  explicit LogProgress(std::string link) : link_(std::move(link)) {}
  void counted(std::string_view, uint64_t, std::optional<uint64_t>) override {}
  void note(std::string_view text) override { spdlog::info("run.note link={} text=\"{}\"", link_, text); }

 private:
  const std::string link_;
};

struct Service::LinkWork {
  LinkWork(const config::Config& config, const config::Link& link_in, const Remotes& remotes, store::StateFile& state,
           store::LinkLocks& locks, obs::EventSink* events, Clock& clock, Rng& rng)
      : link(link_in), progress(link.name), context{config,
                                                    link,
                                                    *config.find_hub(link.hub),
                                                    remotes.hub(link),
                                                    remotes.blobs(),
                                                    remotes.external(link),
                                                    state,
                                                    clock,
                                                    rng,
                                                    progress,
                                                    temporary_folder()} {
    context.locks = &locks;
    context.events = events;
  }
  const config::Link& link;
  LogProgress progress;
  workflows::LinkContext context;
};

Service::Service(std::shared_ptr<const config::Config> config, store::Database& database,
                 const obs::Telemetry& telemetry, Clock& clock, Rng& rng)
    : config_(std::move(config)),
      database_(database),
      telemetry_(telemetry),
      clock_(clock),
      rng_(rng),
      state_(database),
      runs_(database),
      locks_(database, std::string(store_of(*config_).reveal()), config_->serve.lease, clock, rng) {}

Service::~Service() { stop(); }

Result<std::unique_ptr<Service>> Service::open(std::shared_ptr<const config::Config> config, store::Database& database,
                                               const obs::Telemetry& telemetry, Clock& clock, Rng& rng,
                                               api::KeyDeps keys) {
  std::unique_ptr<Service> out(new Service(std::move(config), database, telemetry, clock, rng));
  TRY_ASSIGN(out->remotes_, Remotes::open(*out->config_, clock, rng, telemetry));
  out->figures_ = std::make_unique<Figures>(*out->config_, database, telemetry.metrics, clock);
  engine::EngineOptions options;
  options.owner = rng.hex_id();
  options.history = out->config_->serve.history;
  options.lease = out->config_->serve.lease;
  if (database.shared()) options.poll = kSharedPoll;
  options.on_replicas = [remotes = out->remotes_.get(), &metrics = telemetry.metrics](int replicas) {
    spdlog::info("replicas.counted count={}", replicas);
    remotes->share_between(replicas);
    metrics.replicas(replicas);
  };
  options.tracer = &telemetry.tracer;
  TRY(out->open_telemetry(options));
  out->figures_->listen_to(options);
  out->engine_ = std::make_unique<engine::Engine>(database, options, clock, rng);
  for (const config::Link& link : out->config_->links)
    out->links_
        .emplace_back(*out->config_, link, *out->remotes_, out->state_, out->locks_, out->sinks_.get(), clock, rng)
        .context.spared = [store = &out->engine_->store(), &link, grace = out->config_->facade.grace, &clock](
                              const DeviceId& id, const Call& call) {
      return workflows::why_spared(*store, link, id, grace, clock, call);
    };
  out->scheduler_ = std::make_unique<workflows::Scheduler>(out->engine_->store(), clock, rng);
  out->add_routes(std::move(keys));
  out->add_lanes();
  return out;
}

Status Service::open_telemetry(engine::EngineOptions& ears) {
  telemetry::TelemetryOptions options = config_->telemetry;
  options.buffer_path = buffer_path(*config_);
  TRY_ASSIGN(sinks_, telemetry::Telemetry::open(std::move(options), config_->ca_file, host_name(), clock_, rng_));
  events_ = std::make_unique<EventMaker>(*config_, *sinks_, clock_);
  notice_client_ = http::make_transport({.ca_file = config_->ca_file, .proxy = {}, .user_agent = {}});
  notifier_ = std::make_unique<Notifier>(*config_, database_, *events_, *notice_client_, host_name(), clock_, rng_);
  ears.on_recorded = [events = events_.get()](const store::Workflow& claim, const store::Finish& finish,
                                              store::State state) { events->recorded(claim, finish, state); };
  ears.on_rest = [this](const engine::LaneRest& rest) {
    events_->rested(rest);
    notifier_->rested(rest);
  };
  return {};
}

Service::LinkWork* Service::find(std::string_view link) {
  const auto found =
      std::find_if(links_.begin(), links_.end(), [&](const LinkWork& one) { return one.link.name == link; });
  return found == links_.end() ? nullptr : &*found;
}

void Service::add_lanes() {
  const auto of_link = [this](engine::Attempt& attempt, const auto& work) -> store::Finish {
    const auto input = json::parse(attempt.workflow().input, "the input");
    const std::string name(input && input->is_object() ? json::string_or(input->get_object(), "link") : "");
    if (LinkWork* link = find(name)) return work(link->context);
    return attempt.failed(fmt::format("link '{}' is not in the configuration any more; put it back and retry", name),
                          "task.no-link");
  };
  std::map<std::string, int> externals, hubs;  // lane, and how many links work in it
  for (const LinkWork& one : links_) {
    ++externals[workflows::external_lane(one.link.external)];
    ++hubs[workflows::run_lane(one.link.hub)];
  }
  for (const auto& [lane, links] : externals)
    engine_->add_lane({lane, kExternalHands, [this, of_link](engine::Attempt& attempt) {
                         return of_link(attempt, [&](workflows::LinkContext& context) {
                           return workflows::converge_device(context, attempt, engine_->store(), hints_);
                         });
                       }});
  for (const auto& [lane, links] : hubs)
    engine_->add_lane({lane, std::min(links, kMostRunHands), [this, of_link](engine::Attempt& attempt) {
                         events_->begun(attempt.workflow());
                         return of_link(attempt, [&](workflows::LinkContext& context) {
                           return context.link.master == config::Master::kHub
                                      ? workflows::sweep_link(context, attempt, engine_->store(), runs_)
                                      : workflows::run_link(context, attempt, runs_);
                         });
                       }});
}

void Service::add_routes(api::KeyDeps keys) {
  std::vector<std::pair<const config::Link*, const providers::ExternalRegistry*>> listening;
  for (const config::Link& link : config_->links) listening.emplace_back(&link, &remotes_->external(link));
  intake_ = std::make_unique<api::EventIntake>(*config_, std::move(listening), engine_->store(), hints_, clock_, rng_,
                                               [this](const api::IntakeCounts& more) { figures_->taken_in(more); });
  intake_->add_routes(router_);
  facade_ = std::make_unique<api::Facade>(api::FacadeDeps{
      *config_, database_, engine_->store(), clock_, rng_,
      [this](const config::Link& link) {
        azure::HubBudget& budget = remotes_->budget(link);
        return workflows::FacadeTarget{link, remotes_->interactive_hub(link), remotes_->external(link),
                                       [&budget] { return budget.most_at_once(azure::HubOperation::kRegistry); }};
      },
      stopping_.get_token(),
      [events = events_.get(), figures = figures_.get()](const store::NewWorkflow& task) {
        events->done_by_facade(task);
        figures->done_by_facade(task);
      }});
  facade_->add_routes(router_);
  api::ApiDeps deps{
      *config_,
      engine_->store(),
      api::stored_runs(runs_),
      clock_,
      rng_,
      [this](const config::Link& link, const DeviceId& device, const json::object& remembered, const Call& call) {
        return api::look_at_device(remotes_->hub(link), remotes_->external(link), device, remembered, call);
      },
      stopping_.get_token()};
  deps.keys = std::move(keys);
  deps.answered = [events = events_.get()](std::string_view event, const store::Workflow& run, std::string_view by) {
    events->answered(event, run, by);
  };
  api::add_api_routes(router_, deps);
}

/// A hub or an external system may have another name than when work was begun.
Status Service::take_along(const Call& call) {
  for (const LinkWork& one : links_) {
    TRY_ASSIGN(const int64_t tasks, engine_->store().move_to_lane(fmt::format("device/{}/", one.link.name),
                                                                  workflows::external_lane(one.link.external), call));
    TRY_ASSIGN(const int64_t runs, engine_->store().move_to_lane(fmt::format("run/{}", one.link.name),
                                                                 workflows::run_lane(one.link.hub), call));
    if (tasks + runs > 0)
      spdlog::info("workflows.moved link={} tasks={} runs={} reason=\"begun under another name of hub or external\"",
                   one.link.name, tasks, runs);
  }
  return {};
}

Status Service::start(const Call& call) {
  TRY(take_along(call));
  TRY(engine_->start(call));
  sinks_->start();
  notifier_->start([intake = intake_.get()] { return intake->counts().unknown_hubs; });
  scheduler_->start(config_->links);
  figures_->start(*engine_);
  return {};
}

void Service::stop() {
  stopping_.request_stop();
  if (figures_) figures_->stop();
  if (scheduler_) scheduler_->stop();
  if (engine_) engine_->stop();
  if (notifier_) notifier_->stop();
  if (sinks_) sinks_->stop();
}

}  // namespace twinstep::app
