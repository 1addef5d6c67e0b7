#include "twinstep/api/key_gate.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "twinstep/api/router.h"
#include "twinstep/api/v1.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/redact.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

using security::Verdict;

constexpr Millis kCurable{24 * 3600 * 1000};  // as long as Event Grid tries again
constexpr Millis kAskAgain{60'000};           // after which somebody may have changed something
constexpr Millis kSoon{1'000};
constexpr Millis kTokenPatience{5'000};
constexpr Millis kLogEvery{1'000};
constexpr size_t kMostAddresses = 1'000;

/// All that a request shows, each once.
std::set<std::string> credentials_of(const http::ServerRequest& request) {
  std::set<std::string> out;
  const auto add = [&](std::string_view text) {
    if (const auto value = http::trimmed(text); !value.empty()) out.emplace(value);
  };
  for (const http::Header& one : request.headers) {
    if (http::same_name(one.name, "x-functions-key")) add(one.value);
    if (!http::same_name(one.name, "Authorization")) continue;
    const std::string_view value = http::trimmed(one.value);
    // Other schemes are for somebody before us: a proxy that asks for names and passwords.
    if (value.size() > 7 && http::same_name(value.substr(0, 7), "Bearer ")) add(value.substr(7));
  }
  for (std::string_view rest = request.query; !rest.empty();) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    if (http::same_name(percent_decode(pair.substr(0, equals), true), "code"))
      add(percent_decode(pair.substr(equals + 1), true));
  }
  return out;
}

/// Three parts with dots between them; a key of ours has none.
bool is_token(std::string_view text) { return std::count(text.begin(), text.end(), '.') == 2; }

http::ServerResponse with_retry(http::ServerResponse answer, Millis wait) {
  answer.headers.push_back({"Retry-After", std::to_string(std::max<Millis::rep>(1, (wait.count() + 999) / 1000))});
  return answer;
}

Principal principal_of(const security::Key& key) {
  Principal out;
  out.name = key.name;
  out.key_id = key.id;
  out.scopes = key.rights.scopes;
  out.hubs = key.rights.hubs;
  out.ids = key.rights.ids;
  out.actions = key.rights.actions;
  return out;
}

/// What an instance's address is for: /runtime/webhooks/durabletask/instances/{id} and what follows it.
struct InstancePath {
  std::string id;
  bool operates = false;
};
std::optional<InstancePath> instance_path(const http::ServerRequest& request) {
  const auto parts = path_segments(request.path);
  constexpr std::array<std::string_view, 4> kInstances{"runtime", "webhooks", "durabletask", "instances"};
  if (parts.size() < 5) return {};
  for (size_t i = 0; i < kInstances.size(); ++i)
    if (!http::same_name(parts[i], kInstances[i])) return {};
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (parts.size() == 5 && (get || request.method == "DELETE")) return InstancePath{parts[4], !get};
  if (request.method != "POST") return {};
  if (parts.size() == 6 && http::same_name(parts[5], "terminate")) return InstancePath{parts[4], true};
  if (parts.size() == 7 && http::same_name(parts[5], "raiseEvent")) return InstancePath{parts[4], true};
  return {};
}

}  // namespace

Authenticator::Authenticator(security::KeyCache& keys, Clock& clock) : keys_(keys), clock_(clock) {}

void Authenticator::trust(std::shared_ptr<azure::TokenVerifier> verifier) {
  std::scoped_lock lock(mutex_);
  verifier_ = std::move(verifier);
}

bool Authenticator::trusts() const {
  std::scoped_lock lock(mutex_);
  return verifier_ != nullptr;
}

void Authenticator::use(std::shared_ptr<const security::InstanceKeys> keys) {
  std::scoped_lock lock(mutex_);
  instances_ = std::move(keys);
}

std::string Authenticator::address_key(const Principal& who, std::string_view instance, bool operate) const {
  if (who.key_id.empty()) return {};
  std::scoped_lock lock(mutex_);
  return instances_ ? instances_->make(who.key_id, instance, operate) : std::string();
}

GateCounts Authenticator::counts() const { return {admitted_, open_, denied_, forbidden_, limited_, unknowable_}; }

bool Authenticator::lately(SystemTime when) const { return clock_.system_now() - when < kCurable; }

http::ServerResponse Authenticator::refuse(const http::ServerRequest& request, http::ServerResponse answer,
                                           std::string_view code) {
  ++(answer.status == 403 ? forbidden_ : denied_);
  uint64_t others = 0;
  {
    std::scoped_lock lock(log_mutex_);
    const SteadyTime now = clock_.steady_now();
    if (seen_.size() >= kMostAddresses && !seen_.contains(request.remote_address))
      std::erase_if(seen_, [&](const auto& one) { return now - one.second.logged >= kLogEvery; });
    // More addresses than that within a second: the flood is counted, and in the log already.
    if (seen_.size() >= kMostAddresses && !seen_.contains(request.remote_address)) return answer;
    Seen& seen = seen_[request.remote_address];
    if (seen.logged != SteadyTime{} && now - seen.logged < kLogEvery) {
      ++seen.since;
      return answer;
    }
    seen.logged = now;
    others = std::exchange(seen.since, 0);
  }
  spdlog::warn("auth.refused code={} address={} method={} path=\"{}\" status={} unlogged={}", code,
               request.remote_address, for_log(request.method), for_log(request.path), answer.status, others);
  return answer;
}

Authenticator::Admitted Authenticator::denied(const http::ServerRequest& request, std::string_view code,
                                              std::string_view detail) {
  auto answer = problem(401, code, detail);
  answer.headers.push_back({"WWW-Authenticate", "Bearer"});
  return tl::unexpected(refuse(request, std::move(answer), code));
}

Authenticator::Admitted Authenticator::not_now(std::string_view code, std::string_view detail, Millis again) {
  ++unknowable_;
  return tl::unexpected(with_retry(problem(503, code, detail), again));
}

Authenticator::Admitted Authenticator::admit(const http::ServerRequest& request, Scope scope) {
  auto shown = credentials_of(request);
  const bool events = scope == Scope::kEvents;
  if (events && shown.size() == 2) std::erase_if(shown, [](const std::string& one) { return is_token(one); });
  if (shown.size() > 1)
    return tl::unexpected(refuse(request,
                                 problem(400, "auth.two-credentials",
                                         "the request shows two different credentials; show one, in x-functions-key, "
                                         "code or Authorization"),
                                 "auth.two-credentials"));
  if (shown.empty()) {
    if (!keys_.known())
      return not_now("auth.keys-away", "whether a key is needed cannot be told now: the store is away", kAskAgain / 6);
    const auto first = keys_.first_made();
    if (events && first && lately(*first))
      return not_now("auth.no-key-yet",
                     "the webhook needs a key since a short while; add ?code= with a key of the scope events to the "
                     "address of the Event Grid subscription",
                     kAskAgain);
    return denied(request, "auth.no-key",
                  "a key is needed: in the header x-functions-key, as the parameter code, or as Authorization: Bearer");
  }
  const std::string& text = *shown.begin();
  if (is_token(text)) {
    if (events) return by_token(request, text);
    return denied(request, "auth.unknown", "tokens are taken at the webhook only; show a key");
  }
  return security::InstanceKeys::looks_like(text) ? by_instance_key(request, scope, text)
                                                  : by_key(request, scope, text);
}

Authenticator::Admitted Authenticator::by_key(const http::ServerRequest& request, Scope scope, std::string_view text) {
  const Verdict verdict = keys_.look_up(text);
  const bool events = scope == Scope::kEvents;
  switch (verdict.what) {
    case Verdict::kGood:
      return enter(request, scope, verdict.key, principal_of(verdict.key->key));
    case Verdict::kNotKnowable:
      return not_now("auth.keys-away", "whether this key may do that cannot be told now: the store is away",
                     kAskAgain / 6);
    case Verdict::kUnknown:
      if (events && !verdict.certain)
        return not_now("auth.unknown-yet", "this key is not known here yet; ask again in a moment", kSoon);
      return denied(request, "auth.unknown", "this key is not known; `twinstep key list` names those that are");
    case Verdict::kRevoked:
    case Verdict::kExpired:
    case Verdict::kReplaced:
      break;
  }
  const std::string_view how = verdict.what == Verdict::kRevoked   ? "was revoked"
                               : verdict.what == Verdict::kExpired ? "has expired"
                                                                   : "was replaced by a rotation";
  const std::string detail = fmt::format("the key '{}' {}; ask for another one", verdict.key->key.name, how);
  if (events && lately(verdict.since)) {
    spdlog::debug("auth.ended_lately key={}", verdict.key->key.id);
    return not_now("auth.ended-lately", detail, kAskAgain);
  }
  return denied(request, "auth.ended", detail);
}

Authenticator::Admitted Authenticator::by_instance_key(const http::ServerRequest& request, Scope scope,
                                                       std::string_view text) {
  std::shared_ptr<const security::InstanceKeys> instances;
  {
    std::scoped_lock lock(mutex_);
    instances = instances_;
  }
  if (!keys_.known() || !instances)
    return not_now("auth.keys-away", "whether this address may be used cannot be told now", kAskAgain / 6);
  const auto path = instance_path(request);
  const auto grant = path ? instances->check(text, path->id) : std::nullopt;
  if (!grant)
    return denied(request, "auth.unknown",
                  "this code is not for this address; it is taken at the addresses that it came with, until twinstep "
                  "restarts when no store_key is set");
  const auto key = keys_.by_id(grant->key_id);
  if (!key || security::state_of(key->key, clock_.system_now()) != "active")
    return denied(request, "auth.ended", "the key with which this was started has ended");
  Principal who;
  who.name = key->key.name;
  who.key_id = key->key.id;
  if (grant->operate || !path->operates) who.scopes.push_back(Scope::kRead);
  if (grant->operate && path->operates) who.scopes.push_back(Scope::kOperate);
  return enter(request, scope, key, std::move(who));
}

Authenticator::Admitted Authenticator::by_token(const http::ServerRequest& request, std::string_view token) {
  std::shared_ptr<azure::TokenVerifier> verifier;
  {
    std::scoped_lock lock(mutex_);
    verifier = verifier_;
  }
  if (!verifier)
    return denied(request, "auth.no-trust", "no tokens are taken here; serve.webhook.entra says whose are");
  const auto verified = verifier->verify(token, {clock_.steady_now() + kTokenPatience, {}});
  if (!verified && verified.error().kind == ErrorKind::kDenied)
    return denied(request, verified.error().code, verified.error().what);
  if (!verified)
    return not_now(verified.error().code, verified.error().what, verified.error().retry_after.value_or(kAskAgain / 6));
  ++admitted_;
  Principal who;
  who.name = "entra/" + for_log(verified->app_id);
  who.key_id = who.name;
  who.scopes = {Scope::kEvents};
  return std::make_shared<const Principal>(std::move(who));
}

Authenticator::Admitted Authenticator::enter(const http::ServerRequest& request, Scope scope,
                                             const security::CachedKeyPtr& key, Principal who) {
  if (const auto wait = key->use->take(); wait.count() > 0) {
    ++limited_;
    return tl::unexpected(with_retry(
        problem(429, "auth.rate", fmt::format("the key '{}' asks more often than {}", who.name, key->key.rights.rate)),
        std::chrono::ceil<Millis>(wait)));
  }
  if (!who.has(scope))
    return tl::unexpected(refuse(
        request,
        problem(403, "auth.scope",
                fmt::format("the key '{}' does not have the scope {}, which this needs", who.name, to_string(scope))),
        "auth.scope"));
  if (key->use->bucket)
    who.charge = [use = key->use, &clock = clock_](size_t more) { use->charge(more, clock.steady_now()); };
  ++admitted_;
  return std::make_shared<const Principal>(std::move(who));
}

KeyGate::KeyGate(Authenticator& authenticator, std::function<bool()> open, std::vector<std::string> host_names)
    : authenticator_(authenticator),
      open_(std::move(open)),
      host_names_(std::move(host_names)),
      this_machine_(std::make_shared<const Principal>(Principal::everything("this machine"))) {}

bool KeyGate::is_ours(std::string_view host) const {
  if (const size_t colon = host.rfind(':'); colon != std::string_view::npos && !host.ends_with(']'))
    host = host.substr(0, colon);
  if (host.ends_with('.')) host.remove_suffix(1);
  if (http::same_name(host, "localhost") || host == "[::1]") return true;
  // 127.0.0.0/8 as numbers: "127.0.0.1.example" is somebody's name.
  if (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos) return true;
  return std::any_of(host_names_.begin(), host_names_.end(),
                     [&](const std::string& one) { return http::same_name(one, host); });
}

tl::expected<PrincipalPtr, http::ServerResponse> KeyGate::admit(const http::ServerRequest& request, Scope scope) {
  if (!open_()) return authenticator_.admit(request, scope);
  if (!is_ours(request.header("Host")))
    return tl::unexpected(authenticator_.refuse(
        request,
        problem(403, "auth.host",
                "this listener needs no key and so answers to the names of this machine only (localhost, 127.0.0.1, "
                "[::1]); make a key, or name the host in serve.host_names"),
        "auth.host"));
  // A browser shows no key by itself; here none is asked for, so any page could start a run or invent events.
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool only_looks = scope == Scope::kRead || (scope == Scope::kFacade && reads);
  if (!only_looks && cross_site(request))
    return tl::unexpected(authenticator_.refuse(
        request, problem(403, "api.cross-site", "a page of another site may not change anything here"),
        "api.cross-site"));
  authenticator_.count_open();
  return this_machine_;
}

void KeyGate::answered(const http::ServerRequest& request, const Principal& who, Scope scope, int status) {
  const bool reads = request.method == "GET" || request.method == "HEAD";
  // Deliveries of events are counted, not written down one by one. The sample starts its run by GET too.
  if (scope == Scope::kEvents || scope == Scope::kRead || (reads && scope != Scope::kOperate)) return;
  spdlog::info("audit.request who=\"{}\" key={} method={} path=\"{}\" status={} address={}", for_log(who.name),
               who.key_id.empty() ? "-" : who.key_id, for_log(request.method), for_log(request.path), status,
               request.remote_address);
}

bool shows_credentials(const http::ServerRequest& request) { return !credentials_of(request).empty(); }

void audit_key(std::string_view what, const security::Key& key, const Principal& who) {
  std::string scopes;
  for (const Scope scope : key.rights.scopes)
    scopes += fmt::format("{}{}", scopes.empty() ? "" : ",", to_string(scope));
  spdlog::info("audit.key what={} key={} name=\"{}\" scopes={} who=\"{}\" by_key={}", what, key.id, key.name, scopes,
               for_log(who.name), who.key_id.empty() ? "-" : who.key_id);
}

}  // namespace twinstep::api
