#pragma once

#include <string>

#include "twinstep/store/database.h"

namespace twinstep::store {

/// An answer as it was given.
struct KeptAnswer {
  int status = 0;
  std::string head;  ///< JSON object of headers
  std::string body;
};

/// What a request with an Idempotency-Key finds.
struct Admission {
  enum What {
    kOurs,      ///< nobody did it: do it, then keep() or forget()
    kAnswered,  ///< it was done: `answer`
    kAtWork,    ///< somebody does it now
    kOther,     ///< the key was used for another request
  } what = kOurs;
  KeptAnswer answer{};
};

/// The answers to requests that may come again, kept for a day and shared by all replicas. What is kept must hold no
/// secret.
///
/// Threads   any method, any thread.
/// Blocking  until the commit is on disk. Errors  as Database.
class AnswerStore {
 public:
  static constexpr Millis kKept{24ll * 3600 * 1000};

  explicit AnswerStore(Database& database) : database_(database) {}

  /// `id` names the key, `request` what is asked, `owner` this attempt; the attempt is believed to go on for `hold`.
  Result<Admission> admit(std::string_view id, std::string_view request, std::string_view owner, Millis hold,
                          const Call& call);
  /// Keeps the answer, unless another attempt has taken over meanwhile.
  Status keep(std::string_view id, std::string_view owner, const KeptAnswer& answer, const Call& call);
  /// There is no answer to keep: the key may be used again.
  Status forget(std::string_view id, std::string_view owner, const Call& call);

 private:
  Database& database_;
};

}  // namespace twinstep::store
