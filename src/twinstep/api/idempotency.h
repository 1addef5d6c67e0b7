#pragma once

#include <functional>

#include "twinstep/api/router.h"
#include "twinstep/base/rng.h"
#include "twinstep/store/answer_store.h"

namespace twinstep::api {

/// Honours Idempotency-Key: the same request with the same key is done once and answered the same for a day, also after
/// a restart and by other replicas.
///
///   the stored answer again, with Idempotent-Replayed: true
///   422 "idempotency.other-request"   the key was used for another request
///   409 "idempotency.at-work"         the first request is still being worked on
///   400 "idempotency.bad-key"         no key of 1 to 255 visible ASCII characters
///
/// Only final answers are kept: 2xx, and 4xx but 429, without Retry-After. Answers given to it must hold no secret, and
/// what a request's query may ask must not change what is done.
///
/// Threads   any.
class Repetitions {
 public:
  Repetitions(store::Database& database, Clock& clock, Rng& rng) : answers_(database), clock_(clock), rng_(rng) {}

  /// `work` does the request; without the header nothing else happens. `who` is part of what names the key, so that
  /// callers cannot see each other's answers.
  http::ServerResponse once(const http::ServerRequest& request, const Principal& who,
                            const std::function<http::ServerResponse()>& work);

 private:
  store::AnswerStore answers_;
  Clock& clock_;
  Rng& rng_;
};

}  // namespace twinstep::api
