#include "twinstep/providers/connection.h"

#include <algorithm>
#include <charconv>

#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::providers {

namespace {

constexpr int kTries = 5;
constexpr Millis kLongestWait{300'000};  // a longer wait is the caller's business
constexpr const char* kNoToken = "external.no-token";
constexpr SteadyTime kNever = SteadyTime::max();

bool fits(SteadyTime now, Millis wait, const Call& call) { return call.deadline - now > wait; }

std::string without_query(std::string_view url) { return std::string(url.substr(0, url.find_first_of("?#"))); }

void add_query(std::string& url, std::string_view name, std::string_view encoded_value) {
  url += url.find('?') == std::string::npos ? '?' : '&';
  url += percent_encode(name) + "=" + std::string(encoded_value);
}

}  // namespace

std::string_view to_string(Operation operation) {
  switch (operation) {
    case Operation::kList:
      return "list";
    case Operation::kGet:
      return "get";
    case Operation::kCreate:
      return "create";
    case Operation::kDelete:
      return "delete";
  }
  return "";
}

std::string origin_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  std::string out(url.substr(0, url.find_first_of("/?#", scheme + 3)));
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (out.starts_with("https://") && out.ends_with(":443")) out.resize(out.size() - 4);
  if (out.starts_with("http://") && out.ends_with(":80")) out.resize(out.size() - 3);
  return out.starts_with("http://") || out.starts_with("https://") ? out : std::string{};
}

Outcome classify(const http::Response& response, const std::vector<OutcomeRule>& rules, Operation operation) {
  std::optional<Result<json::value>> body;
  for (const OutcomeRule& rule : rules) {
    if (!rule.status.contains(response.status)) continue;
    if (rule.pointer) {
      if (!body) body = json::parse(response.body, "answer");
      if (!rule.compare.holds(*body ? json::at(**body, *rule.pointer) : nullptr)) continue;
    }
    if (!rule.header.empty()) {
      const json::value header = json::string(response.header(rule.header));
      if (!rule.compare.holds(header.get_string().empty() ? nullptr : &header)) continue;
    }
    if (rule.body_matches && !rule.body_matches->search(response.body)) continue;
    return rule.is;
  }
  const int status = response.status;
  if (status >= 200 && status < 300) return Outcome::kOk;
  switch (status) {
    case 401:
      return Outcome::kRenewAuth;
    case 404:
      return operation == Operation::kCreate ? Outcome::kFatal : Outcome::kMissing;
    case 409:
      return operation == Operation::kCreate ? Outcome::kExists : Outcome::kFatal;
    case 429:
      return Outcome::kThrottled;
    case 408:
    case 425:
    case 500:
    case 502:
    case 503:
    case 504:
      return Outcome::kRetry;
    default:
      // A redirect, or a status that only what stands before the remote gives (520 to 530): no request is at fault.
      return status >= 400 && status < 500 ? Outcome::kInvalid : Outcome::kRetry;
  }
}

Connection::Connection(const Definition& definition, SettingValues settings, http::Client& transport, Clock& clock,
                       Rng& rng)
    : definition_(definition), settings_(std::move(settings)), transport_(transport), clock_(clock), rng_(rng) {
  const auto bucket = [&](const RateSpec& spec) -> std::unique_ptr<TokenBucket> {
    const auto text = spec.per_second.expand(scope());
    double rate = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), rate);
    return rate > 0 ? std::make_unique<TokenBucket>(rate, spec.burst, clock_) : nullptr;
  };
  if (definition_.limits.all) bucket_ = bucket(*definition_.limits.all);
  for (const auto& [name, spec] : definition_.limits.operations) {
    for (Operation operation : {Operation::kList, Operation::kGet, Operation::kCreate, Operation::kDelete}) {
      if (name == to_string(operation)) operation_buckets_.emplace_back(operation, bucket(spec));
    }
  }
}

Scope Connection::scope(const DeviceInput* device) const { return {&settings_, device, {}}; }

Result<http::Request> Connection::build(const RequestSpec& spec, const Scope& scope) const {
  http::Request out;
  out.method = spec.method;
  std::string base;
  if (spec.url) {
    TRY_ASSIGN(base, spec.url->expand(scope, TextTemplate::Into::kAddress));
  } else {
    for (const auto& [name, address] : definition_.endpoints) {
      if (name != spec.endpoint) continue;
      TRY_ASSIGN(base, address.expand(scope, TextTemplate::Into::kAddress));
    }
  }
  base = base.substr(0, base.find('#'));
  if (origin_of(base).size() < 9) {
    return fail(
        ErrorKind::kInvalid, "external.bad-address",
        fmt::format("{}: '{}' is not an http or https address; check the setting behind {}", definition_.name,
                    redact(without_query(base)), spec.url ? spec.url->text() : "endpoint '" + spec.endpoint + "'"));
  }
  const size_t mark = base.find('?');
  const std::string given_query = mark == std::string::npos ? "" : base.substr(mark + 1);
  out.url = base.substr(0, mark);
  while (out.url.ends_with('/')) out.url.pop_back();
  if (spec.path) {
    TRY_ASSIGN(const std::string path, spec.path->expand(scope, TextTemplate::Into::kPath));
    if (!path.empty() && path.front() != '/') out.url += '/';
    out.url += path;
  }
  std::string query;
  for (size_t from = 0; from < given_query.size();) {
    const size_t end = std::min(given_query.find('&', from), given_query.size());
    const std::string pair = given_query.substr(from, end - from);
    const std::string name = percent_decode(pair.substr(0, pair.find('=')), true);
    const bool replaced =
        std::any_of(spec.query.begin(), spec.query.end(), [&](const NamedTemplate& q) { return q.name == name; });
    if (!replaced && !pair.empty()) query += (query.empty() ? "" : "&") + pair;
    from = end + 1;
  }
  if (!query.empty()) out.url += "?" + query;
  for (const NamedTemplate& item : spec.query) {
    TRY_ASSIGN(const std::optional<std::string> value, item.value.expand_optional(scope, TextTemplate::Into::kQuery));
    if (value) {
      add_query(out.url, item.name, *value);
    } else if (!item.optional) {
      TRY(item.value.expand(scope));
    }
  }
  for (const NamedTemplate& item : spec.headers) {
    TRY_ASSIGN(const std::optional<std::string> value, item.value.expand_optional(scope));
    if (!value && !item.optional) TRY(item.value.expand(scope));
    if (!value) continue;
    if (value->find_first_of("\r\n") != std::string::npos) {
      return fail(ErrorKind::kInvalid, "template.bad-value",
                  fmt::format("the header {} would hold a line break", item.name));
    }
    out.headers.push_back({item.name, *value});
  }
  if (!spec.form.empty()) {
    for (const NamedTemplate& item : spec.form) {
      TRY_ASSIGN(const std::optional<std::string> value, item.value.expand_optional(scope));
      if (!value && !item.optional) TRY(item.value.expand(scope));
      if (value) out.body += (out.body.empty() ? "" : "&") + percent_encode(item.name) + "=" + percent_encode(*value);
    }
    out.headers.push_back({"Content-Type", "application/x-www-form-urlencoded"});
  }
  if (spec.json) {
    TRY_ASSIGN(const std::optional<json::value> body, spec.json->render(scope));
    if (body) out.body = json::write(*body);
    out.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
  }
  return out;
}

std::optional<Millis> Connection::told_wait(const http::Response& response) const {
  const auto as_number = [](std::string_view text) -> std::optional<double> {
    double number = 0;
    const auto r = std::from_chars(text.data(), text.data() + text.size(), number);
    if (r.ec != std::errc{} || r.ptr != text.data() + text.size() || number < 0 || number > 4e12) return {};
    return number;
  };
  const auto now_ms = std::chrono::duration_cast<Millis>(clock_.system_now().time_since_epoch()).count();
  for (const WaitHeader& header : definition_.limits.wait_headers) {
    const auto number = as_number(response.header(header.name));
    if (!number) continue;
    switch (header.unit) {
      case TimeUnit::kSeconds:
        return Millis{static_cast<int64_t>(*number * 1000)};
      case TimeUnit::kMillis:
        return Millis{static_cast<int64_t>(*number)};
      case TimeUnit::kEpochSeconds:
        return Millis{std::max<int64_t>(0, static_cast<int64_t>(*number * 1000) - now_ms)};
      case TimeUnit::kEpochMillis:
        return Millis{std::max<int64_t>(0, static_cast<int64_t>(*number) - now_ms)};
    }
  }
  const std::string_view plain = response.header("Retry-After");
  if (const auto seconds = as_number(plain)) return Millis{static_cast<int64_t>(*seconds * 1000)};
  if (const auto date = parse_http_date(plain)) {
    return std::max(Millis{0}, std::chrono::duration_cast<Millis>(*date - clock_.system_now()));
  }
  return {};
}

bool Connection::pause(int attempt, const Call& call) {
  const Millis wait = Backoff{}.after(attempt, rng_);
  return fits(clock_.steady_now(), wait, call) && clock_.sleep_for(wait, call.stop);
}

Status Connection::take_turn(Operation operation, const Call& call) {
  if (bucket_) TRY(bucket_->acquire(1, call));
  for (const auto& [which, bucket] : operation_buckets_) {
    if (which == operation && bucket) TRY(bucket->acquire(1, call));
  }
  return {};
}

Result<http::Response> Connection::repeat(const std::function<Result<http::Response>()>& once, Operation operation,
                                          const std::vector<OutcomeRule>& rules, bool repeatable, const Call& call) {
  for (int attempt = 1;; ++attempt) {
    TRY(take_turn(operation, call));
    Result<http::Response> answer = once();
    if (!answer) answer.error().what = hide(answer.error().what);
    Millis wait = Backoff{}.after(attempt, rng_);
    if (answer) {
      const Outcome outcome = classify(*answer, rules, operation);
      const bool patience = outcome == Outcome::kThrottled || answer->status == 503;
      if (outcome != Outcome::kRetry && outcome != Outcome::kThrottled) return answer;
      if (!patience && !repeatable) return answer;
      if (outcome == Outcome::kThrottled) wait = Backoff{Millis{2'000}, Millis{60'000}}.after(attempt, rng_);
      if (const auto told = told_wait(*answer)) wait = *told;
      if (patience && bucket_ && wait <= kLongestWait) bucket_->pause_until(clock_.steady_now() + wait);
    } else {
      const ErrorKind kind = answer.error().kind;
      if (answer.error().code == kNoToken) return answer;  // was tried often enough where it was asked for
      if (!repeatable || (kind != ErrorKind::kUnavailable && kind != ErrorKind::kTimeout)) return answer;
    }
    if (attempt == kTries || wait > kLongestWait || !fits(clock_.steady_now(), wait, call)) return answer;
    if (!clock_.sleep_for(wait, call.stop)) {
      return fail(ErrorKind::kCancelled, "external.cancelled",
                  definition_.name + ": stopped while waiting to try again");
    }
  }
}

Result<http::Response> Connection::send(http::Request request, Operation operation,
                                        const std::vector<OutcomeRule>& rules, bool repeatable, const Call& call) {
  request.operation = fmt::format("{}: {}", definition_.name, to_string(operation));
  request.label = to_string(operation);
  request.repeat = http::Repeat::kNever;  // repeated here, where the rules of the definition are known
  request.reads_only = operation == Operation::kList || operation == Operation::kGet;
  const auto once = [&]() -> Result<http::Response> {
    http::Request signed_request = request;
    TRY_ASSIGN(const uint64_t generation, sign(signed_request, 0, call));
    Result<http::Response> answer = transport_.send(signed_request, call);
    if (!answer || !by_token()) return answer;
    const auto& renew_on = definition_.auth.renew_on;
    const bool refused = std::find(renew_on.begin(), renew_on.end(), answer->status) != renew_on.end();
    if (!refused && classify(*answer, rules, operation) != Outcome::kRenewAuth) return answer;
    signed_request = request;
    TRY(sign(signed_request, generation, call));
    return transport_.send(signed_request, call);
  };
  return repeat(once, operation, rules, repeatable, call);
}

Result<uint64_t> Connection::sign(http::Request& request, uint64_t refused_generation, const Call& call) {
  const AuthSpec& auth = definition_.auth;
  const Scope plain = scope();
  std::string value;
  uint64_t generation = 0;
  if (auth.kind == AuthKind::kNone) return generation;
  if (auth.kind == AuthKind::kBasic) {
    TRY_ASSIGN(const std::string user, auth.user.expand(plain));
    TRY_ASSIGN(const std::string password, auth.password.expand(plain));
    request.headers.push_back({"Authorization", "Basic " + base64_encode(user + ":" + password)});
    return generation;
  }
  TRY_ASSIGN(const std::string prefix, auth.prefix.expand(plain));
  if (by_token()) {
    TRY_ASSIGN(const Token current, token(refused_generation, call));
    value = current.value;
    generation = current.generation;
  } else {
    TRY_ASSIGN(value, auth.value.expand(plain));
  }
  if (auth.kind == AuthKind::kQuery || auth.in_query) {
    add_query(request.url, auth.name, percent_encode(value));
  } else {
    if (value.find_first_of("\r\n") != std::string::npos) {
      return fail(ErrorKind::kInvalid, "external.bad-credential",
                  definition_.name + ": the credential holds a line break");
    }
    request.headers.push_back({auth.name, prefix + value});
  }
  return generation;
}

Result<Connection::Token> Connection::token(uint64_t refused_generation, const Call& call) {
  {
    std::unique_lock lock(mutex_);
    const auto usable = [&] { return token_.generation > refused_generation && clock_.steady_now() < token_.expires; };
    while (!usable()) {
      if (!fetching_) break;
      // One renewal serves all who wait.
      const auto changed = [&] { return !fetching_; };
      const bool came = call.deadline == kNever ? fetched_.wait(lock, call.stop, changed)
                                                : fetched_.wait_until(lock, call.stop, call.deadline, changed);
      if (!came) {
        return fail(call.stop.stop_requested() ? ErrorKind::kCancelled : ErrorKind::kTimeout, "external.token-wait",
                    definition_.name + ": no access token in time");
      }
    }
    if (usable()) return token_;
    fetching_ = true;
  }
  Result<Token> fresh = fetch_token(refused_generation > 0, call);
  std::scoped_lock lock(mutex_);
  fetching_ = false;
  if (fresh) {
    fresh->generation = token_.generation + 1;
    token_ = *fresh;
  }
  fetched_.notify_all();
  return fresh;
}

Result<Connection::Token> Connection::fetch_token(bool forced, const Call& call) {
  const AuthSpec& auth = definition_.auth;
  RequestSpec spec = auth.request;
  if (forced) {
    spec.query.insert(spec.query.end(), auth.renew_query.begin(), auth.renew_query.end());
    spec.form.insert(spec.form.end(), auth.renew_form.begin(), auth.renew_form.end());
  }
  TRY_ASSIGN(http::Request request, build(spec, scope()));
  request.operation = definition_.name + ": token";
  request.label = "token";
  request.reads_only = true;
  if (auth.basic_client) {
    TRY_ASSIGN(const std::string user, auth.user.expand(scope()));
    TRY_ASSIGN(const std::string password, auth.password.expand(scope()));
    request.headers.push_back({"Authorization", "Basic " + base64_encode(user + ":" + password)});
  }
  const std::string where =
      fmt::format("{}: obtaining an access token at {}", definition_.name, hide(without_query(request.url)));
  auto answer = repeat([&] { return transport_.send(request, call); }, Operation::kGet, {}, true, call);
  if (!answer) {
    answer.error().code = kNoToken;
    return fail_within(std::move(answer), where);
  }
  if (!answer->ok()) {
    Error error = refusal(request, *answer, classify(*answer, {}, Operation::kGet));
    const bool credentials = answer->status == 400 || answer->status == 401 || answer->status == 403;
    if (credentials)
      error.kind = ErrorKind::kDenied;
    else if (error.kind != ErrorKind::kThrottled)
      error.kind = ErrorKind::kUnavailable;  // above all not "not found": it says nothing about any device
    error.code = kNoToken;
    error.what = fmt::format("{} failed: {} {}{}", where, answer->status, redact(answer->body),
                             credentials ? "; check the client id, its secret and the address" : "");
    return fail(std::move(error));
  }
  const auto body = json::parse(answer->body, "token answer");
  const json::value* found = body ? json::at(*body, auth.token) : nullptr;
  const std::string value = found ? as_text(*found).value_or("") : "";
  const bool success = !auth.success_pointer || (body && auth.success.holds(json::at(*body, *auth.success_pointer)));
  if (value.empty() || !success) {
    return fail(success ? ErrorKind::kCorrupt : ErrorKind::kDenied, kNoToken,
                fmt::format("{}: the answer holds no token at '{}'", where, auth.token));
  }
  const Lifetime& life = auth.lifetime;
  Millis span = life.fallback;
  if (!life.pointer.empty()) {
    const json::value* told = json::at(*body, life.pointer);
    const auto text = told ? as_text(*told) : std::nullopt;
    double number = 0;
    if (text && std::from_chars(text->data(), text->data() + text->size(), number).ec == std::errc{} && number > 0 &&
        number < 1e15) {
      const double unit = life.unit == TimeUnit::kSeconds || life.unit == TimeUnit::kEpochSeconds ? 1000.0 : 1.0;
      span = Millis{static_cast<int64_t>(std::min(number * unit, 1e15))};
      if (life.unit == TimeUnit::kEpochSeconds || life.unit == TimeUnit::kEpochMillis) {
        span -= std::chrono::duration_cast<Millis>(clock_.system_now().time_since_epoch());
      }
    }
  }
  // A token that lives shorter than twice the margin is used for half its life: never thrown away unused.
  span = std::min(span, Millis{3'650LL * 24 * 3600 * 1000});
  span -= std::min(life.margin, span / 2);
  if (life.ceiling) span = std::min(span, *life.ceiling);
  return Token{value, 0, clock_.steady_now() + span};
}

Error Connection::refusal(const http::Request& request, const http::Response& response, Outcome outcome,
                          const DeviceInput* device) const {
  Error out;
  out.remote_status = response.status;
  out.retry_after = told_wait(response);
  switch (outcome) {
    case Outcome::kMissing:
      out.kind = ErrorKind::kNotFound;
      break;
    case Outcome::kExists:
      out.kind = ErrorKind::kConflict;
      break;
    case Outcome::kRetry:
      out.kind = ErrorKind::kUnavailable;
      break;
    case Outcome::kThrottled:
      out.kind = ErrorKind::kThrottled;
      break;
    case Outcome::kRenewAuth:
      out.kind = ErrorKind::kDenied;
      break;
    default:
      out.kind = response.status == 401 || response.status == 403 ? ErrorKind::kDenied : ErrorKind::kInvalid;
  }
  out.code = fmt::format("external.{}", response.status);
  const std::string body = redact(response.body, device);
  out.what = fmt::format("{}: {} {} answered {}{}", definition_.name, request.method,
                         hide(without_query(request.url), device), response.status, body.empty() ? "" : ": " + body);
  return out;
}

void Connection::set_share(double share) {
  if (bucket_) bucket_->set_share(share);
  for (auto& [operation, bucket] : operation_buckets_)
    if (bucket) bucket->set_share(share);
}

}  // namespace twinstep::providers
