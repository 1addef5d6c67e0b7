#pragma once

#include "twinstep/base/clock.h"
#include "twinstep/security/seal.h"
#include "twinstep/store/database.h"

namespace twinstep::security {

/// Secrets of the daemon that its replicas share, each under a name. Only sealed text reaches the database.
///
/// Threads   any method, any thread.
/// Errors    of the database and of Sealer.
class SealedStore {
 public:
  explicit SealedStore(store::Database& database) : database_(database) {}

  /// The secret of that name. The first who asks puts `fresh` there; everybody gets the same.
  Result<Secret> get_or_put(std::string_view name, const Secret& fresh, const Sealer& sealer, const Call& call);

  /// Seals everything with the sealer's first key that another one sealed; gives how many. In transactions of at most
  /// `batch`: what is done stays done, and doing it again goes on from there.
  /// Errors  kDenied when a key is missing; nothing of that batch is changed then.
  Result<uint64_t> rekey(const Sealer& sealer, const Call& call, int batch = 500);

 private:
  store::Database& database_;
};

}  // namespace twinstep::security
