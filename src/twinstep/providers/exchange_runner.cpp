#include "twinstep/providers/exchange_runner.h"

#include <algorithm>

#include "twinstep/json/canonical.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/mapper.h"

namespace twinstep::providers {

namespace {

using Exchange = DefinitionTest::Exchange;

/// Waiting moves the time and nothing else.
class SkippingClock final : public Clock {
 public:
  SystemTime system_now() const override { return start_ + std::chrono::duration_cast<SystemTime::duration>(passed_); }
  SteadyTime steady_now() const override { return SteadyTime{std::chrono::hours{1}} + passed_; }
  bool sleep_until(SteadyTime when, std::stop_token stop) override {
    if (stop.stop_requested()) return false;
    passed_ += std::max(SteadyTime::duration{0}, when - steady_now());
    return true;
  }

 private:
  const SystemTime start_{std::chrono::seconds{1'700'000'000}};
  SteadyTime::duration passed_{0};
};

class RecordedRemote final : public http::Client {
 public:
  explicit RecordedRemote(const std::vector<Exchange>& exchanges) : exchanges_(exchanges) {}

  Result<http::Response> send(const http::Request& request, const Call&) override {
    const std::string line = request.method + " " + request.url;
    if (next_ == exchanges_.size()) return differs(fmt::format("request {} was not expected: {}", next_ + 1, line));
    const Exchange& wanted = exchanges_[next_++];
    if (line != wanted.method + " " + wanted.url) {
      return differs(fmt::format("request {} is '{}', expected '{} {}'", next_, line, wanted.method, wanted.url));
    }
    http::Response sent;
    sent.headers = request.headers;
    for (const auto& [name, value] : wanted.headers) {
      const std::string_view there = sent.header(name);
      if (there == (value == "-" ? std::string_view{} : std::string_view(value))) continue;
      return differs(fmt::format("request {} has the header {} '{}', expected '{}'", next_, name, there, value));
    }
    if (wanted.body && request.body != *wanted.body) {
      return differs(fmt::format("request {} has the body '{}', expected '{}'", next_, request.body, *wanted.body));
    }
    if (wanted.body_json) {
      const auto body = json::parse(request.body, "body");
      if (!body || json::canonical(*body) != json::canonical(*wanted.body_json)) {
        return differs(fmt::format("request {} has the body '{}', expected the JSON {}", next_, request.body,
                                   json::canonical(*wanted.body_json)));
      }
    }
    http::Response answer;
    answer.status = wanted.status;
    answer.body = wanted.answer;
    for (const auto& [name, value] : wanted.answer_headers) answer.headers.push_back({name, value});
    return answer;
  }

  /// What differed first, or what was never asked for.
  std::string verdict() const {
    if (!differs_.empty() || next_ == exchanges_.size()) return differs_;
    return fmt::format("request {} was never sent: {} {}", next_ + 1, exchanges_[next_].method, exchanges_[next_].url);
  }

 private:
  tl::unexpected<Error> differs(std::string what) {
    if (differs_.empty()) differs_ = std::move(what);
    return fail(ErrorKind::kInvalid, "definition.test", "the request is not the recorded one");
  }

  const std::vector<Exchange>& exchanges_;
  size_t next_ = 0;
  std::string differs_;
};

std::string joined(const std::vector<std::string>& ids) {
  std::string out;
  for (const std::string& id : ids) out += (out.empty() ? "" : ", ") + id;
  return "[" + out + "]";
}

std::string outcome_of(const Result<WriteOutcome>& result) {
  if (!result) return result.error().code;
  return *result == WriteOutcome::kDone           ? "done"
         : *result == WriteOutcome::kAlreadyThere ? "already-there"
                                                  : "already-gone";
}

std::string run_list(ExternalRegistry& registry, const DefinitionTest& test) {
  std::vector<std::string> ids;
  const auto mapper = registry.mapper();
  const auto proof = registry.list(
      [&](std::string_view item, const ItemPlace& place) -> Status {
        const auto mapped = mapper->map(item);
        if (!mapped) return fail(Error(mapped.error()).within(to_string(place)));
        if (mapper->selected()) ids.emplace_back(mapped->id);
        return {};
      },
      [](std::string_view, const ItemPlace&, std::string_view) -> Status { return {}; }, {});
  if (!proof) {
    if (proof.error().code == test.outcome) return {};
    return fmt::format("the list failed: {}", proof.error().what);
  }
  if (!test.outcome.empty()) return fmt::format("the list was read, expected '{}'", test.outcome);
  if (ids != test.ids) return fmt::format("the list has the ids {}, expected {}", joined(ids), joined(test.ids));
  if (test.complete && *test.complete != proof->complete) {
    return proof->complete ? "the list is complete, expected an incomplete one"
                           : "the list is incomplete: " + proof->why_incomplete;
  }
  return {};
}

std::string run_one(const Definition& definition, const DefinitionTest& test) {
  RecordedRemote remote(test.exchanges);
  SkippingClock clock;
  Rng rng(1);
  std::map<std::string, Secret> settings;
  for (const auto& [name, value] : test.settings) settings[name] = Secret(value);
  auto opened = open(definition, std::move(settings), remote, clock, rng);
  if (!opened) return opened.error().what;
  ExternalRegistry& registry = **opened;

  std::string failed;
  std::string outcome;
  std::string why;
  if (test.run == "list") {
    failed = run_list(registry, test);
  } else {
    if (test.run == "get") {
      const auto found = registry.look_up(test.device, {});
      outcome = found ? "found" : found.error().code;
      if (!found) why = found.error().what;
      if (found && !test.ids.empty() && test.ids != std::vector{found->id}) failed = "the look-up found " + found->id;
    } else {
      const auto done = test.run == "create" ? registry.create(test.device, {}) : registry.remove(test.device, {});
      outcome = outcome_of(done);
      if (!done) why = done.error().what;
    }
    if (outcome != test.outcome) {
      failed =
          fmt::format("the outcome is '{}', expected '{}'{}", outcome, test.outcome, why.empty() ? "" : ": " + why);
    }
  }
  // A request that differs is the cause of whatever came after it.
  const std::string requests = remote.verdict();
  return requests.empty() ? failed : requests;
}

}  // namespace

std::vector<ExchangeResult> run_definition_tests(const Definition& definition) {
  std::vector<ExchangeResult> out;
  for (const DefinitionTest& test : definition.tests) {
    out.push_back({test.name, fmt::format("{}:{}", definition.file, test.line), run_one(definition, test)});
  }
  return out;
}

}  // namespace twinstep::providers
