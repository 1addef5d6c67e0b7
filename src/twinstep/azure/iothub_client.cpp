#include "twinstep/azure/iothub_client.h"

#include <algorithm>
#include <set>

#include "twinstep/azure/budget.h"
#include "twinstep/azure/iothub_errors.h"
#include "twinstep/azure/iothub_wire.h"
#include "twinstep/base/backoff.h"
#include "twinstep/base/encoding.h"
#include "twinstep/http/client.h"

namespace twinstep::azure {
namespace {

using http::Repeat;

constexpr std::string_view kApiVersion = "2021-04-12";
constexpr int kTries = 5;
// Hubs queue silently for about 40 s before they answer 429, so a shorter limit would give up on accepted work.
constexpr Millis kTryTimeout{100'000};
// 1000 twins, each with three sections and the metadata of every leaf, are far beyond an ordinary answer.
constexpr uint64_t kMaxAnswer = 512ull << 20;
// What the transport says when it never reached the hub.
constexpr std::string_view kNoConnection = "http.no-connection";

/// One operation, as it is sent, paid for and spoken of.
struct Ask {
  std::string_view method;
  std::string path;  // from "/devices"
  std::string what;  // "get device 'x'"
  HubOperation kind = HubOperation::kRegistry;
  HubRight right = HubRight::kRegistryRead;
  Repeat repeat = Repeat::kNever;
  double cost = 1;
  std::vector<http::Header> headers = {};
  Secret body = {};
  bool once = false;            // a second one, even if only the answer to the first was lost, does harm
  bool takes_400 = false;       // a bulk result comes with status 400
  std::string_view label = {};  // http::Request::label
};

bool transient_status(int status) {
  return status == 408 || status == 500 || status == 502 || status == 503 || status == 504;
}

constexpr std::string_view kLeftWithoutTags =
    "the hub made it without its tags, and they could not be written afterwards; give it its tags, or remove it";

bool may_repeat(Repeat repeat, bool surely_not_done) {
  return repeat == Repeat::kAlways || (repeat == Repeat::kIfNotStarted && surely_not_done);
}

class RestIotHubClient final : public IotHubClient {
 public:
  RestIotHubClient(std::string name, std::string host, http::Authenticator& authenticator,
                   std::shared_ptr<HubBudget> budget, http::Client& http, Clock& clock, Rng& rng, Priority priority)
      : name_(std::move(name)),
        host_(std::move(host)),
        authenticator_(authenticator),
        budget_(std::move(budget)),
        http_(http),
        clock_(clock),
        rng_(rng),
        priority_(priority) {}

  const std::string& host() const override { return host_; }

  Result<Identity> get_device(const DeviceId& id, const Call& call) override {
    Ask ask{"GET", "/devices/" + percent_encode(id.value), about("get device", id)};
    TRY(check(id, ask));
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, wire::read_identity);
  }

  Result<Identity> create_device(const DeviceId& id, const Call& call) override {
    Ask ask{"PUT", "/devices/" + percent_encode(id.value), about("create device", id)};
    TRY(check(id, ask));
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kIfNotStarted;
    ask.body = Secret(json::write(json::object{{"deviceId", json::value(id.value)}}));
    return read(send(ask, call), ask, wire::read_identity);
  }

  Result<Identity> update_device(const json::object& document, const Etag& etag, const Call& call) override {
    const DeviceId id{std::string(json::string_or(document, "deviceId"))};
    Ask ask{"PUT", "/devices/" + percent_encode(id.value), about("update device", id)};
    TRY(check(id, ask));
    if (Status safe = wire::keeps_credentials(document); !safe) return fail_within(std::move(safe), label(ask));
    TRY(guard(etag, ask));
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kAlways;
    ask.body = Secret(json::write(document));
    return read(send(ask, call), ask, wire::read_identity);
  }

  Status delete_device(const DeviceId& id, const Etag& etag, const Call& call) override {
    Ask ask{"DELETE", "/devices/" + percent_encode(id.value), about("delete device", id)};
    TRY(check(id, ask));
    TRY(guard(etag, ask));
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kAlways;
    TRY(send(ask, call));
    return {};
  }

  Status create_with_tags(const DeviceId& id, const json::object& tags, const Call& call) override {
    BulkEntry entry;
    entry.id = id;
    entry.tags = tags;
    const std::string context = fmt::format("IoT Hub {}: {}", name_, about("create device", id));
    TRY_ASSIGN(const BulkResult result, bulk_as({entry}, about("create device", id), call));
    if (!result.errors.empty()) {
      const EntryProblem& p = result.errors.front();
      Error error{.kind = p.kind,
                  .what = fmt::format("{} ({})", p.code, p.text),
                  .code = "hub." + p.code,
                  .remote_code = p.code};
      return fail(std::move(error).within(context));
    }
    if (!result.made_without_twin(id) || tags.empty()) return {};
    auto written = patch_tags(id, tags, Etag{}, call);
    if (!written) return fail_within(std::move(written), fmt::format("{}: {}", context, kLeftWithoutTags));
    return {};
  }

  Result<Twin> get_twin(const DeviceId& id, const Call& call) override {
    Ask ask{"GET", "/twins/" + percent_encode(id.value), about("get twin", id)};
    TRY(check(id, ask));
    ask.kind = HubOperation::kTwinRead;
    ask.right = HubRight::kServiceConnect;
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, wire::read_twin);
  }

  Result<Twin> patch_tags(const DeviceId& id, const json::object& tags, const Etag& etag, const Call& call) override {
    Ask ask{"PATCH", "/twins/" + percent_encode(id.value), about("write tags of", id)};
    TRY(check(id, ask));
    if (!etag.empty()) TRY(guard(etag, ask));
    ask.kind = HubOperation::kTwinUpdate;
    ask.right = HubRight::kServiceConnect;
    ask.repeat = Repeat::kAlways;
    ask.body = Secret(json::write(json::object{{"tags", tags}}));
    return read(send(ask, call), ask, wire::read_twin);
  }

  Result<BulkResult> bulk(const std::vector<BulkEntry>& entries, const Call& call) override {
    return bulk_as(entries, fmt::format("bulk call for {} devices", entries.size()), call);
  }

  Result<QueryPage> query(std::string_view text, int page_size, std::string_view continuation,
                          const Call& call) override {
    Ask ask{"POST", "/devices/query", "query"};
    ask.kind = HubOperation::kQuery;
    ask.right = HubRight::kServiceConnect;
    ask.repeat = Repeat::kAlways;
    ask.body = Secret(json::write(json::object{{"query", json::value(std::string(text))}}));
    ask.headers.push_back({"x-ms-max-item-count", std::to_string(std::clamp(page_size, 1, kMaxQueryPage))});
    if (!continuation.empty()) ask.headers.push_back({"x-ms-continuation", std::string(continuation)});
    TRY_ASSIGN(http::Response response, send(ask, call));
    QueryPage page;
    page.item_type = std::string(response.header("x-ms-item-type"));
    page.continuation = std::string(response.header("x-ms-continuation"));
    const size_t first = response.body.find_first_not_of(" \t\r\n");
    if (first == std::string::npos || response.body[first] != '[')
      return bad_answer(ask, "the answer is not a list of rows");
    page.body = std::move(response.body);
    return page;
  }

  Result<uint64_t> about_devices(const Call& call) override {
    Ask ask{"GET", "/statistics/devices", "read statistics"};
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, wire::read_device_count);
  }

  Result<std::vector<std::string>> modules_of(const DeviceId& id, const Call& call) override {
    Ask ask{"GET", fmt::format("/devices/{}/modules", percent_encode(id.value)), about("list modules of", id)};
    TRY(check(id, ask));
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, [](const json::value& answer) -> Result<std::vector<std::string>> {
      const json::array* items = answer.if_array();
      if (!items) return fail(ErrorKind::kCorrupt, "hub.bad-answer", "the answer is not a list of modules");
      std::vector<std::string> names;
      for (const json::value& item : *items) {
        const json::object* module = item.if_object();
        if (!module) return fail(ErrorKind::kCorrupt, "hub.bad-answer", "the answer is not a list of modules");
        TRY_ASSIGN(names.emplace_back(), json::need_string(*module, "moduleId"));
      }
      return names;
    });
  }

  Result<Job> create_export_job(const ExportJob& job, const Call& call) override {
    return create_job("create export job", wire::write_job(job), job.identity_based, call);
  }
  Result<Job> create_import_job(const ImportJob& job, const Call& call) override {
    return create_job("create import job", wire::write_job(job), job.identity_based, call);
  }

  Result<Job> get_job(const JobId& id, const Call& call) override {
    Ask ask{"GET", "/jobs/" + percent_encode(id.value), fmt::format("get job '{}'", id.value)};
    TRY(check(id, ask));
    ask.kind = HubOperation::kJob;
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, wire::read_job);
  }

  Result<std::vector<Job>> list_jobs(const Call& call) override {
    Ask ask{"GET", "/jobs", "list jobs"};
    ask.kind = HubOperation::kJob;
    ask.repeat = Repeat::kAlways;
    return read(send(ask, call), ask, [](const json::value& answer) -> Result<std::vector<Job>> {
      const json::array* items = answer.if_array();
      if (!items) return fail(ErrorKind::kCorrupt, "hub.bad-answer", "the answer is not a list of jobs");
      std::vector<Job> jobs;
      for (const json::value& item : *items) {
        TRY_ASSIGN(jobs.emplace_back(), wire::read_job(item));
      }
      return jobs;
    });
  }

  // Hubs answer 500 to the cancellation of a job that has ended, so look first, and once more after a refusal.
  Status cancel_job(const JobId& id, const Call& call) override {
    TRY_ASSIGN(const Job before, get_job(id, call));
    if (is_final(before.state)) return {};
    Ask ask{"DELETE", "/jobs/" + percent_encode(id.value), fmt::format("cancel job '{}'", id.value)};
    ask.kind = HubOperation::kJob;
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kIfNotStarted;
    auto cancelled = send(ask, call);
    if (cancelled) return {};
    if (cancelled.error().remote_status >= 500) {
      if (const auto after = get_job(id, call); after && is_final(after->state)) return {};
    }
    return fail(std::move(cancelled).error());
  }

 private:
  static std::string about(std::string_view verb, const DeviceId& id) { return fmt::format("{} '{}'", verb, id.value); }
  std::string label(const Ask& ask) const { return fmt::format("IoT Hub {}: {}", name_, ask.what); }

  tl::unexpected<Error> bad_answer(const Ask& ask, std::string_view why) const {
    return fail(ErrorKind::kCorrupt, "hub.bad-answer", fmt::format("{}: {}", label(ask), why));
  }

  tl::unexpected<Error> stopped(const Ask& ask) const {
    return fail(ErrorKind::kCancelled, "cancelled", fmt::format("{}: stopped between two tries", label(ask)));
  }

  Status check(const DeviceId& id, const Ask& ask) const {
    // Dots alone are legal ids, but no path can carry them: "/devices/.." means "/".
    if (is_legal_hub_device_id(id.value) && id.value != "." && id.value != "..") return {};
    return fail(ErrorKind::kInvalid, "hub.bad-device-id",
                fmt::format("{}: IoT Hub takes no such id; 1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ ' "
                            "are allowed",
                            label(ask)));
  }

  Status check(const JobId& id, const Ask& ask) const {
    if (!id.empty() && id.value != "." && id.value != "..") return {};
    return fail(ErrorKind::kInvalid, "hub.bad-job-id", fmt::format("{}: a job id is needed", label(ask)));
  }

  Status guard(const Etag& etag, Ask& ask) const {
    auto value = wire::if_match(etag);
    if (!value) return fail_within(std::move(value), label(ask));
    ask.headers.push_back({"If-Match", std::move(*value)});
    return {};
  }

  Result<BulkResult> bulk_as(const std::vector<BulkEntry>& entries, std::string what, const Call& call) {
    Ask ask{"POST", "/devices", std::move(what)};
    ask.label = "bulk call";
    if (entries.empty()) return BulkResult{};
    if (entries.size() > kMaxBulkEntries)
      return fail(ErrorKind::kInvalid, "hub.bulk-too-many",
                  fmt::format("{}: a bulk call takes at most {} devices", label(ask), kMaxBulkEntries));
    std::set<std::string_view> seen;
    for (const BulkEntry& e : entries) {
      TRY(check(e.id, ask));
      if (!seen.insert(e.id.value).second)
        return fail(ErrorKind::kInvalid, "hub.bulk-twice",
                    fmt::format("{}: device '{}' is named twice", label(ask), e.id.value));
      // The hub takes a missing etag for "whatever is there"; the caller asked for the opposite.
      if ((e.mode == BulkMode::kDeleteIfMatchEtag && e.etag.empty()) ||
          (e.mode == BulkMode::kUpdateTwinIfMatchEtag && e.twin_etag.empty()))
        return fail(ErrorKind::kInvalid, "hub.no-etag",
                    fmt::format("{}: device '{}' needs an etag", label(ask), e.id.value));
    }
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kIfNotStarted;
    ask.cost = static_cast<double>(entries.size());
    ask.body = Secret(wire::write_bulk(entries));
    ask.takes_400 = true;
    const DeviceId only = entries.size() == 1 ? entries.front().id : DeviceId{};
    return read(send(ask, call), ask, [&](const json::value& answer) { return wire::read_bulk(answer, only); });
  }

  Result<Job> create_job(std::string what, Secret body, bool identity_based, const Call& call) {
    Ask ask{"POST", "/jobs/create", std::move(what)};
    ask.kind = HubOperation::kJob;
    ask.right = HubRight::kRegistryWrite;
    ask.repeat = Repeat::kIfNotStarted;
    ask.once = true;
    ask.body = std::move(body);
    Result<Job> job = read(send(ask, call), ask, wire::read_job);
    if (job) return job;
    Error error = std::move(job).error();
    const bool refused = error.remote_status != 0 && !transient_status(error.remote_status);
    const bool never_sent = error.code == kNoConnection || error.remote_status == 503 ||
                            error.kind == ErrorKind::kThrottled || error.kind == ErrorKind::kInvalid ||
                            error.kind == ErrorKind::kDenied || error.kind == ErrorKind::kCancelled;
    if (error.remote_code == "BlobContainerValidationError" && identity_based) {
      // For half a minute after a role assignment the hub does not see it yet.
      error.kind = ErrorKind::kUnavailable;
      error.retry_after = Millis{15'000};
    } else if (!refused && !never_sent) {
      error.kind = ErrorKind::kTimeout;
      error.code = "hub.job-unsure";
      error.what +=
          "; the job may have been created all the same: look for it in the hub's list of jobs before asking again";
    }
    return fail(std::move(error));
  }

  template <class Reader>
  auto read(Result<http::Response> response, const Ask& ask, Reader reader)
      -> decltype(reader(std::declval<json::value>())) {
    if (!response) return fail(std::move(response).error());
    auto parsed = json::parse(response->body, "the answer");
    if (!parsed) return fail_within(std::move(parsed), label(ask));
    auto out = reader(std::move(*parsed));
    if (!out) return fail_within(std::move(out), label(ask));
    return out;
  }

  http::Request request_for(const Ask& ask) const {
    http::Request request;
    request.method = std::string(ask.method);
    request.url = fmt::format("https://{}{}?api-version={}", host_, ask.path, kApiVersion);
    request.headers = ask.headers;
    request.headers.push_back({"Accept", "application/json"});
    if (!ask.body.empty()) {
      request.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
      request.body = std::string(ask.body.reveal());
    }
    request.operation = ask.what;
    request.label = ask.label;
    request.try_timeout = kTryTimeout;
    request.max_response_bytes = kMaxAnswer;
    // Repeating is done here: every try must be paid from the budget, and a refusal must hold up all other callers.
    request.repeat = Repeat::kNever;
    request.once = ask.once;
    request.reads_only = ask.kind == HubOperation::kQuery;
    return request;
  }

  bool wait(Millis span, const Call& call) {
    const SteadyTime until = clock_.steady_now() + span;
    return until < call.deadline && clock_.sleep_until(until, call.stop);
  }

  /// The 2xx answer to `ask`, or the error that is left after all repeats.
  Result<http::Response> send(const Ask& ask, const Call& call) {
    const Backoff backoff;
    std::optional<Error> refused;  // by the hub, at the last try
    bool renewed = false;
    for (int attempt = 1;; ++attempt) {
      if (Status paid = budget_->acquire(ask.kind, ask.cost, call, priority_); !paid) {
        if (refused && paid.error().kind != ErrorKind::kCancelled) {
          refused->retry_after = paid.error().retry_after;
          return fail(std::move(*refused));
        }
        return fail_within(std::move(paid), label(ask));
      }
      http::Request request = request_for(ask);
      if (Status is_signed = authenticator_.sign(request, call); !is_signed)
        return fail_within(std::move(is_signed), label(ask));
      const SteadyTime sent = clock_.steady_now();
      auto response = http_.send(request, call);
      const bool last = attempt >= kTries;

      if (!response) {
        const bool transient = response.error().transient();
        const bool repeat = transient && may_repeat(ask.repeat, response.error().code == kNoConnection);
        if (repeat && !last && wait(backoff.after(attempt, rng_), call)) continue;
        if (repeat && call.stop.stop_requested()) return stopped(ask);
        return fail_within(std::move(response), label(ask));
      }
      if (response->status == 401 && !renewed) {
        renewed = true;
        auto fresh = authenticator_.renew(*response, call);
        if (!fresh) return fail_within(std::move(fresh), label(ask));
        if (*fresh) {
          --attempt;
          continue;
        }
      }
      if (response->status != 429) budget_->succeeded(ask.kind, sent);
      if (response->ok()) return std::move(*response);
      if (ask.takes_400 && response->status == 400) {
        const auto parsed = json::parse(response->body, "the answer");
        if (parsed && wire::is_bulk_result(*parsed)) return std::move(*response);
      }

      Error error = hub_error(*response, ask.right, clock_.system_now()).within(label(ask));
      if (error.kind == ErrorKind::kThrottled) {
        error.retry_after = budget_->throttled(ask.kind, error.retry_after, sent);
        if (last || ask.repeat == Repeat::kNever) return fail(std::move(error));
        refused = std::move(error);  // the budget now waits for as long as the hub asked
        continue;
      }
      if (last || !transient_status(response->status) || !may_repeat(ask.repeat, response->status == 503))
        return fail(std::move(error));
      const Millis pause = std::max(backoff.after(attempt, rng_), error.retry_after.value_or(Millis{0}));
      if (wait(pause, call)) continue;
      if (call.stop.stop_requested()) return stopped(ask);
      return fail(std::move(error));
    }
  }

  const std::string name_;
  const std::string host_;
  http::Authenticator& authenticator_;
  const std::shared_ptr<HubBudget> budget_;
  http::Client& http_;
  Clock& clock_;
  Rng& rng_;
  const Priority priority_;
};

}  // namespace

bool BulkResult::made_without_twin(const DeviceId& id) const {
  return std::any_of(warnings.begin(), warnings.end(), [&](const EntryProblem& one) {
    return one.id == id && one.code == "DeviceRegisteredWithoutTwin";
  });
}

std::unique_ptr<IotHubClient> make_iothub_client(std::string name, std::string host, http::Authenticator& authenticator,
                                                 std::shared_ptr<HubBudget> budget, http::Client& http, Clock& clock,
                                                 Rng& rng) {
  return make_iothub_client(std::move(name), std::move(host), authenticator, std::move(budget), http, clock, rng,
                            Priority::kBackground);
}

std::unique_ptr<IotHubClient> make_iothub_client(std::string name, std::string host, http::Authenticator& authenticator,
                                                 std::shared_ptr<HubBudget> budget, http::Client& http, Clock& clock,
                                                 Rng& rng, Priority priority) {
  return std::make_unique<RestIotHubClient>(std::move(name), std::move(host), authenticator, std::move(budget), http,
                                            clock, rng, priority);
}

}  // namespace twinstep::azure
