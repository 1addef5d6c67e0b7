#include "twinstep/azure/key_ring.h"

#include <algorithm>

#include "twinstep/http/text.h"

namespace twinstep::azure {
namespace {

constexpr std::chrono::hours kFresh{24};
constexpr std::chrono::hours kOfUse{7 * 24};  // an issuer that is away for longer signs nothing either
constexpr std::chrono::minutes kBetweenFetches{5};
constexpr std::chrono::seconds kAfterFailure{30};
constexpr std::chrono::seconds kFetchTime{10};
constexpr uint64_t kMaxAnswer = 512u << 10;
constexpr Millis kWhileFetching{10'000};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = http::lower(c);
  return out;
}

/// The host, with a port, of an https address; empty when it is another kind of address or hides something.
std::string https_host(std::string_view url) {
  if (!url.starts_with("https://") || url.find_first_of("@#\\ ") != std::string_view::npos) return {};
  url.remove_prefix(8);
  return lower(url.substr(0, url.find_first_of("/?")));
}

}  // namespace

/// Ends the turn of the one who fetches, however it ends.
struct KeyRing::Turn {
  KeyRing& ring;
  Result<std::vector<JwtKey>> fetched = fail(ErrorKind::kUnavailable, "token.keys-away", "fetching was interrupted");
  ~Turn() { ring.settle(std::move(fetched)); }
};

KeyRing::KeyRing(KeyAddress address, http::Client& client, Clock& clock)
    : address_(std::move(address)), client_(client), clock_(clock) {}

Result<KeyRing::Found> KeyRing::find(const std::string& id, const Call& call) {
  std::unique_lock lock(mutex_);
  while (true) {
    const SteadyTime now = clock_.steady_now();
    if (!keys_.empty() && now - fetched_at_ > kOfUse) keys_.clear();
    const auto found = known(id);
    const bool must_fetch = !found || now - fetched_at_ >= kFresh;
    const auto rest = must_rest(now);
    if (found && (!must_fetch || fetching_ || rest)) return *found;
    if (!found && fetching_) {
      // Whoever names an unknown key may be anybody: he does not get to hold a thread of ours.
      if (!keys_.empty()) return away(kWhileFetching);
      TRY(wait(lock, call));
      continue;
    }
    if (!found && rest) return away(rest);
    fetching_ = true;
    break;
  }
  lock.unlock();
  Status fetched;
  {
    Turn turn{*this};
    turn.fetched = fetch(call);
    if (!turn.fetched) fetched = fail(turn.fetched.error());
  }
  lock.lock();
  if (const auto found = known(id)) return *found;
  if (!fetched && fetched.error().kind == ErrorKind::kCancelled) return fail(fetched.error());
  if (!fetched) return away(must_rest(clock_.steady_now()));
  return fail(ErrorKind::kDenied, "token.unknown-key",
              fmt::format("the token is signed with a key that is not one of {}", address_.issuer));
}

std::optional<KeyRing::Found> KeyRing::known(const std::string& id) const {
  const auto found = std::find_if(keys_.begin(), keys_.end(), [&](const JwtKey& key) { return key.id == id; });
  if (found == keys_.end()) return std::nullopt;
  return Found{*found, edition_};
}

std::optional<Millis> KeyRing::must_rest(SteadyTime now) const {
  if (!next_try_ || now >= *next_try_) return std::nullopt;
  return std::chrono::ceil<Millis>(*next_try_ - now);
}

tl::unexpected<Error> KeyRing::away(std::optional<Millis> retry_after) const {
  Error error;
  error.kind = ErrorKind::kUnavailable;
  error.code = "token.keys-away";
  error.what = trouble_.empty() ? "the token's key is not known, and the keys were fetched just now"
                                : fmt::format("the token's key cannot be had: {}", trouble_);
  error.retry_after = retry_after;
  return fail(std::move(error));
}

Status KeyRing::wait(std::unique_lock<std::mutex>& lock, const Call& call) {
  const auto span = std::min<std::chrono::nanoseconds>(call.deadline - clock_.steady_now(), kFetchTime * 2);
  const bool over = span.count() > 0 && fetched_.wait_for(lock, call.stop, span, [&] { return !fetching_; });
  if (over) return {};
  if (call.stop.stop_requested())
    return fail(ErrorKind::kCancelled, "cancelled", "waiting for the issuer's keys was cancelled");
  return fail(ErrorKind::kTimeout, "token.timeout", "the issuer's keys did not come before the deadline");
}

Result<std::string> KeyRing::get(const std::string& url, const char* operation, const Call& call) const {
  http::Request request;
  request.url = url;
  request.headers = {{"Accept", "application/json"}};
  request.operation = operation;
  request.repeat = http::Repeat::kAlways;
  request.max_response_bytes = kMaxAnswer;
  request.try_timeout = kFetchTime;
  TRY_ASSIGN(http::Response answer, client_.send(request, call));
  if (answer.status == 200) return std::move(answer.body);
  return fail(ErrorKind::kUnavailable, "token.keys-away", fmt::format("{}: answered {}", operation, answer.status));
}

Result<std::vector<JwtKey>> KeyRing::fetch(const Call& call) const {
  const Call limited = call.sooner(clock_.steady_now() + kFetchTime);
  const auto bad = [&](std::string_view why) { return fail(ErrorKind::kCorrupt, "token.bad-keys", std::string(why)); };
  TRY_ASSIGN(const std::string text, get(address_.metadata, "get OpenID metadata", limited));
  const auto parsed = json::parse(text, "the OpenID metadata");
  if (!parsed || !parsed->is_object()) return bad("the OpenID metadata is not a JSON object");
  const json::object& metadata = parsed->as_object();
  if (json::string_or(metadata, "issuer") != address_.issuer)
    return bad("the OpenID metadata is that of another issuer; check tenant and authority");
  const std::string address(json::string_or(metadata, "jwks_uri"));
  if (https_host(address).empty() || https_host(address) != lower(address_.host))
    return bad(fmt::format("the OpenID metadata names a key set that is not at https://{}", address_.host));
  TRY_ASSIGN(const std::string set, get(address, "get signing keys", limited));
  TRY_ASSIGN(auto keys, parse_jwt_keys(set));
  if (keys.empty()) return bad("the key set holds no usable key");
  return keys;
}

void KeyRing::settle(Result<std::vector<JwtKey>> fetched) {
  std::scoped_lock lock(mutex_);
  const SteadyTime now = clock_.steady_now();
  fetching_ = false;
  if (fetched) {
    keys_ = std::move(*fetched);
    fetched_at_ = now;
    ++edition_;
    trouble_.clear();
    next_try_ = now + kBetweenFetches;
  } else if (fetched.error().kind !=
             ErrorKind::kCancelled) {  // that one's caller gave up: it says nothing of the issuer
    trouble_ = fetched.error().what;
    next_try_ = now + kAfterFailure;
  }
  fetched_.notify_all();
}

}  // namespace twinstep::azure
