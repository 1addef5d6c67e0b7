#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/base/backoff.h"
#include "twinstep/base/token_bucket.h"
#include "twinstep/http/client.h"
#include "twinstep/providers/definition.h"

namespace twinstep::providers {

/// Which operation a request belongs to; decides default outcomes and rate limits.
enum class Operation { kList, kGet, kCreate, kDelete };
std::string_view to_string(Operation operation);

/// What an answer means: the step's rules in order, then the defaults (2xx ok; 401 renew-auth; 404 missing, on create
/// fatal; 409 exists on create, else fatal; 408 425 500 502 503 504 retry; 429 throttled; other 4xx invalid).
Outcome classify(const http::Response& response, const std::vector<OutcomeRule>& rules, Operation operation);

/// Sends the requests of one definition to one external system: addresses, bodies, credentials, rate limits, retries.
///
/// Threads   any method, any thread.
/// Blocking  as http::Client; waits for rate limits and between tries end with call.deadline and call.stop.
class Connection {
 public:
  Connection(const Definition& definition, SettingValues settings, http::Client& transport, Clock& clock, Rng& rng);

  Scope scope(const DeviceInput* device = nullptr) const;

  /// Errors  kInvalid: a placeholder has no value, or an address is not usable.
  Result<http::Request> build(const RequestSpec& spec, const Scope& scope) const;

  /// Signs and sends, renewing the token once when the answer asks for it. Answers that mean "later" are repeated with
  /// jittered back-off: throttled ones always, the others only when `repeatable`. The last answer is returned.
  /// Errors  those of http::Client, kDenied when no token can be had.
  Result<http::Response> send(http::Request request, Operation operation, const std::vector<OutcomeRule>& rules,
                              bool repeatable, const Call& call);

  /// The error for an answer that is not the wanted one: status and up to 300 characters of the body, secrets removed.
  Error refusal(const http::Request& request, const http::Response& response, Outcome outcome,
                const DeviceInput* device = nullptr) const;
  /// Removes every known secret from `text` and cuts it to 300 characters.
  std::string redact(std::string_view text, const DeviceInput* device = nullptr) const;
  /// Removes every known secret from `text`.
  std::string hide(std::string_view text, const DeviceInput* device = nullptr) const;
  /// A wait between two tries. False when it does not fit before the deadline or the caller stops.
  bool pause(int attempt, const Call& call);

  const Definition& definition() const { return definition_; }
  /// Other processes spend the rest of the definition's limits: `share` is 0 to 1.
  void set_share(double share);

 private:
  struct Token {
    std::string value;
    uint64_t generation = 0;
    SteadyTime expires = SteadyTime::min();
  };
  bool by_token() const {
    return definition_.auth.kind == AuthKind::kOauth2 || definition_.auth.kind == AuthKind::kLogin;
  }
  Result<Token> token(uint64_t refused_generation, const Call& call);
  Result<Token> fetch_token(bool forced, const Call& call);
  Result<uint64_t> sign(http::Request& request, uint64_t refused_generation, const Call& call);
  Status take_turn(Operation operation, const Call& call);
  Result<http::Response> repeat(const std::function<Result<http::Response>()>& once, Operation operation,
                                const std::vector<OutcomeRule>& rules, bool repeatable, const Call& call);
  std::optional<Millis> told_wait(const http::Response& response) const;

  const Definition& definition_;
  const SettingValues settings_;
  http::Client& transport_;
  Clock& clock_;
  Rng& rng_;
  std::unique_ptr<TokenBucket> bucket_;  // null = no limit, as in the list
  std::vector<std::pair<Operation, std::unique_ptr<TokenBucket>>> operation_buckets_;

  mutable std::mutex mutex_;  // guards the three below; never held while waiting for the network
  std::condition_variable_any fetched_;
  bool fetching_ = false;
  Token token_;
};

/// "https://host:port" of an address; empty when it is not http or https.
std::string origin_of(std::string_view url);

}  // namespace twinstep::providers
