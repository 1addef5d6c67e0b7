#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "twinstep/api/principal.h"
#include "twinstep/azure/token_verifier.h"
#include "twinstep/security/instance_keys.h"
#include "twinstep/security/key_cache.h"

namespace twinstep::api {

/// What became of requests at the gates, since the start.
struct GateCounts {
  uint64_t admitted = 0;  ///< with credentials
  uint64_t open = 0;      ///< without, because none were needed
  uint64_t denied = 0;    ///< 400 and 401
  uint64_t forbidden = 0;
  uint64_t limited = 0;
  uint64_t unknowable = 0;  ///< 503
};

/// Looks at credentials, for every listener of the daemon. A key works in `x-functions-key`, in the query parameter
/// `code` and as `Authorization: Bearer`; the webhook takes Event Grid's Entra ID tokens too.
///
///   400  two different credentials
///   401  none, an unknown one, one that has ended; WWW-Authenticate: Bearer
///   403  one that lacks the scope
///   429  one that asks more often than its rate allows; Retry-After
///   503  it cannot be told now
///
/// For Scope::kEvents 401 is final: Event Grid drops the event. So whatever an operator may cure within the day for
/// which Event Grid tries again is 503: no key within a day after the very first one was made, one that ended less than
/// a day ago, one that another replica may have made a moment ago. There a key beside a token counts alone, because a
/// subscription that was moved from one to the other may carry both.
///
/// Threads   any method, any thread.
/// Source    azure.md 2.4, 2.5.
class Authenticator {
 public:
  Authenticator(security::KeyCache& keys, Clock& clock);

  tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest& request, Scope scope);
  /// Counts a request that needed no credentials, or that was refused for another reason than those.
  void count_open() { ++open_; }
  http::ServerResponse refuse(const http::ServerRequest& request, http::ServerResponse answer, std::string_view code);

  /// Whose tokens the webhook believes from now on; null = nobody's.
  void trust(std::shared_ptr<azure::TokenVerifier> verifier);
  bool trusts() const;
  /// What addresses of instances carry from now on; until then they can be neither made nor used.
  void use(std::shared_ptr<const security::InstanceKeys> keys);
  /// The `code` of an instance's address for who came with a key; empty for who needed none.
  std::string address_key(const Principal& who, std::string_view instance, bool operate) const;

  security::KeyCache& keys() { return keys_; }
  GateCounts counts() const;

 private:
  using Admitted = tl::expected<PrincipalPtr, http::ServerResponse>;
  Admitted by_key(const http::ServerRequest& request, Scope scope, std::string_view text);
  Admitted by_instance_key(const http::ServerRequest& request, Scope scope, std::string_view text);
  Admitted by_token(const http::ServerRequest& request, std::string_view token);
  Admitted enter(const http::ServerRequest& request, Scope scope, const security::CachedKeyPtr& key, Principal who);
  Admitted denied(const http::ServerRequest& request, std::string_view code, std::string_view detail);
  Admitted not_now(std::string_view code, std::string_view detail, Millis again);
  bool lately(SystemTime when) const;

  security::KeyCache& keys_;
  Clock& clock_;
  mutable std::mutex mutex_;  // guards the next two
  std::shared_ptr<azure::TokenVerifier> verifier_;
  std::shared_ptr<const security::InstanceKeys> instances_;

  std::mutex log_mutex_;  // guards the next
  struct Seen {
    SteadyTime logged{};
    uint64_t since = 0;
  };
  std::map<std::string, Seen> seen_;  // by address; at most kMostAddresses

  std::atomic<uint64_t> admitted_{0}, open_{0}, denied_{0}, forbidden_{0}, limited_{0}, unknowable_{0};
};

/// A listener's gate.
class KeyGate final : public Gate {
 public:
  /// `open` says whether this listener needs no credentials at the moment, because only this machine reaches it; then
  /// the Host header must name this machine, by a loopback name or one of `host_names`: a page of another site that had
  /// its own name resolved to 127.0.0.1 does not get in.
  KeyGate(Authenticator& authenticator, std::function<bool()> open, std::vector<std::string> host_names);

  bool open() const { return open_(); }
  tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest& request, Scope scope) override;
  /// Writes changes down: `audit.request` with who, method, path without query, status.
  void answered(const http::ServerRequest& request, const Principal& who, Scope scope, int status) override;

 private:
  bool is_ours(std::string_view host) const;

  Authenticator& authenticator_;
  const std::function<bool()> open_;
  const std::vector<std::string> host_names_;
  const PrincipalPtr this_machine_;
};

/// True when the request carries anything that means to be a credential.
bool shows_credentials(const http::ServerRequest& request);

/// `audit.key`: who made, revoked or rotated a key.
void audit_key(std::string_view what, const security::Key& key, const Principal& who);

}  // namespace twinstep::api
