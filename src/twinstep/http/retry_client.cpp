#include "twinstep/base/backoff.h"
#include "twinstep/base/time_format.h"
#include "twinstep/http/client.h"

#include <charconv>

namespace twinstep::http {
namespace {

/// Did the remote surely do nothing with the request?
bool surely_not_done(const Result<Response>& answer) {
  if (answer) return answer->status == 429 || answer->status == 503;
  return answer.error().kind == ErrorKind::kUnavailable;  // no connection was made
}

bool transient(const Result<Response>& answer) {
  if (!answer) return answer.error().kind == ErrorKind::kUnavailable || answer.error().kind == ErrorKind::kTimeout;
  switch (answer->status) {
    case 408:
    case 425:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return true;
    default:
      return false;
  }
}

/// Watches a request's sink: once it has been given bytes, the try cannot be repeated.
struct WatchedSink {
  BodySink inner;
  bool used = false;
};

class RetryingClient final : public Client {
 public:
  RetryingClient(Client& inner, RetryOptions options, Clock& clock, Rng& rng)
      : inner_(inner), options_(options), clock_(clock), rng_(rng) {}

  Result<Response> send(const Request& request, const Call& call) override {
    WatchedSink watched{request.sink, false};
    Request copy = request;
    if (request.sink)
      copy.sink = [&watched](std::string_view piece) {
        watched.used = true;
        return watched.inner(piece);
      };
    const Backoff backoff{.first = options_.first, .cap = options_.cap};
    const Backoff throttle{.first = options_.throttle_first, .cap = options_.throttle_cap};
    for (int attempt = 1;; ++attempt) {
      auto answer = inner_.send(copy, call);
      if (attempt >= options_.tries || !transient(answer) || watched.used) return answer;
      const bool may =
          request.repeat == Repeat::kAlways || (request.repeat == Repeat::kIfNotStarted && surely_not_done(answer));
      if (!may) return answer;
      const bool throttled = answer && answer->status == 429;
      Millis wait = (throttled ? throttle : backoff).after(attempt, rng_);
      if (answer)
        if (const auto told = retry_after(*answer, clock_.system_now())) wait = *told;
      const auto until = clock_.steady_now() + wait;
      if (until >= call.deadline) return answer;
      if (!clock_.sleep_until(until, call.stop))
        return fail(ErrorKind::kCancelled, "cancelled", "stopped while waiting to try again");
    }
  }

 private:
  Client& inner_;
  const RetryOptions options_;
  Clock& clock_;
  Rng& rng_;
};

class AuthenticatingClient final : public Client {
 public:
  AuthenticatingClient(Client& inner, Authenticator& authenticator) : inner_(inner), authenticator_(authenticator) {}

  Result<Response> send(const Request& request, const Call& call) override {
    Request signed_request = request;
    TRY(authenticator_.sign(signed_request, call));
    auto answer = inner_.send(signed_request, call);
    if (!answer || answer->status != 401) return answer;
    TRY_ASSIGN(const bool renewed, authenticator_.renew(*answer, call));
    if (!renewed) return answer;
    signed_request = request;
    TRY(authenticator_.sign(signed_request, call));
    return inner_.send(signed_request, call);
  }

 private:
  Client& inner_;
  Authenticator& authenticator_;
};

}  // namespace

std::optional<Millis> retry_after(const Response& response, SystemTime now) {
  const std::string_view text = response.header("Retry-After");
  if (text.empty()) return {};
  int64_t seconds = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (read.ec == std::errc{} && read.ptr == text.data() + text.size())
    return seconds < 0 || seconds > 30 * 86'400 ? std::optional<Millis>{} : Millis{seconds * 1000};
  const auto when = parse_http_date(text);
  if (!when) return {};
  return std::max(Millis{0}, std::chrono::ceil<Millis>(*when - now));
}

std::unique_ptr<Client> with_retry(Client& inner, RetryOptions options, Clock& clock, Rng& rng) {
  return std::make_unique<RetryingClient>(inner, options, clock, rng);
}

std::unique_ptr<Client> with_auth(Client& inner, Authenticator& authenticator) {
  return std::make_unique<AuthenticatingClient>(inner, authenticator);
}

}  // namespace twinstep::http
