#include "twinstep/azure/token_source.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace twinstep::azure {
namespace {

constexpr std::chrono::seconds kRenewAgain{30};
constexpr std::chrono::minutes kFresh{5};

class CachedTokens final : public TokenSource {
 public:
  CachedTokens(std::unique_ptr<TokenSource> source, Clock& clock) : source_(std::move(source)), clock_(clock) {}

  Result<AccessToken> token(const Call& call) override {
    {
      std::unique_lock lock(mutex_);
      while (true) {
        const SteadyTime now = clock_.steady_now();
        const bool alive = kept_ && now < kept_->expires;
        if (alive && (now < kept_->renew_at || fetching_)) return *kept_;
        if (!fetching_) break;
        TRY(wait_for_fetch(lock, now, call));
      }
      fetching_ = true;
    }
    return fetch(call);
  }

  bool discard() override {
    std::scoped_lock lock(mutex_);
    if (!kept_ || clock_.steady_now() - fetched_at_ < kFresh) return false;
    kept_.reset();
    return true;
  }

 private:
  /// Ends the turn of the one who fetches, however it ends.
  struct Turn {
    CachedTokens& cache;
    Result<AccessToken> result = fail(ErrorKind::kUnavailable, "entra.interrupted", "fetching a token was interrupted");
    ~Turn() { cache.settle(result); }
  };

  Result<AccessToken> fetch(const Call& call) {
    Result<AccessToken> result;
    {
      Turn turn{*this};
      turn.result = source_->token(call);
      result = turn.result;
    }
    if (result) return result;
    std::scoped_lock lock(mutex_);
    if (kept_ && clock_.steady_now() < kept_->expires) return *kept_;
    return result;
  }

  void settle(const Result<AccessToken>& result) {
    std::scoped_lock lock(mutex_);
    const SteadyTime now = clock_.steady_now();
    fetching_ = false;
    ++fetches_;
    last_error_.reset();
    if (result) {
      kept_ = *result;
      fetched_at_ = now;
    } else {
      last_error_ = result.error();
      if (kept_) kept_->renew_at = now + kRenewAgain;
    }
    fetched_.notify_all();
  }

  /// Success means: look again. A failure that would meet us too is passed on; that of a caller who gave up is not.
  Status wait_for_fetch(std::unique_lock<std::mutex>& lock, SteadyTime now, const Call& call) {
    if (call.stop.stop_requested())
      return fail(ErrorKind::kCancelled, "cancelled", "waiting for a token was cancelled");
    const auto span = std::min<std::chrono::nanoseconds>(call.deadline - now, std::chrono::hours{1});
    const uint64_t before = fetches_;
    const bool over = span.count() > 0 && fetched_.wait_for(lock, call.stop, span, [&] { return fetches_ != before; });
    if (!over) {
      if (call.stop.stop_requested())
        return fail(ErrorKind::kCancelled, "cancelled", "waiting for a token was cancelled");
      return fail(ErrorKind::kTimeout, "entra.timeout", "no token came before the deadline");
    }
    if (last_error_ && last_error_->kind != ErrorKind::kCancelled && last_error_->kind != ErrorKind::kTimeout) {
      return fail(*last_error_);
    }
    return {};
  }

  const std::unique_ptr<TokenSource> source_;
  Clock& clock_;
  std::mutex mutex_;  // guards all below
  std::condition_variable_any fetched_;
  std::optional<AccessToken> kept_;
  SteadyTime fetched_at_{};
  bool fetching_ = false;
  uint64_t fetches_ = 0;
  std::optional<Error> last_error_;  // of the last fetch
};

class Bearer final : public http::Authenticator {
 public:
  explicit Bearer(std::shared_ptr<TokenSource> tokens) : tokens_(std::move(tokens)) {}

  Status sign(http::Request& request, const Call& call) override {
    TRY_ASSIGN(const AccessToken token, tokens_->token(call));
    std::erase_if(request.headers, [](const http::Header& h) { return h.name == "Authorization"; });
    request.headers.push_back({"Authorization", fmt::format("Bearer {}", token.value.reveal())});
    return {};
  }
  Result<bool> renew(const http::Response&, const Call&) override { return tokens_->discard(); }

 private:
  const std::shared_ptr<TokenSource> tokens_;
};

}  // namespace

std::unique_ptr<TokenSource> make_cached_token_source(std::unique_ptr<TokenSource> source, Clock& clock) {
  return std::make_unique<CachedTokens>(std::move(source), clock);
}

std::unique_ptr<http::Authenticator> make_bearer_authenticator(std::shared_ptr<TokenSource> tokens) {
  return std::make_unique<Bearer>(std::move(tokens));
}

}  // namespace twinstep::azure
