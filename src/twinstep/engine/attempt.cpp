#include "twinstep/engine/attempt.h"

#include <algorithm>

#include "twinstep/base/backoff.h"

namespace twinstep::engine {

using store::Finish;
using store::State;

const std::string* Attempt::saved(std::string_view step) const {
  const auto found = claimed_.steps.find(std::string(step));
  return found == claimed_.steps.end() ? nullptr : &found->second;
}

bool Attempt::cancel_asked(const Call& call) const {
  const auto now = store_.find(claimed_.workflow.id, call);
  return now && now->cancel_asked;
}

Status Attempt::save(std::string_view step, std::string output, std::string_view what) {
  TRY(store_.save_step(claimed_.workflow, step, output, what, call_));
  claimed_.steps.insert_or_assign(std::string(step), std::move(output));
  return {};
}

void Attempt::note(std::string what, std::string detail) {
  history_.push_back({{}, std::move(what), std::move(detail)});
}

Finish Attempt::end(State state, std::string status, std::string code) {
  Finish out;
  out.state = state;
  out.attempt = claimed_.workflow.attempt;
  out.waited = claimed_.workflow.waited;
  out.status = std::move(status);
  out.error_code = std::move(code);
  out.history = std::move(history_);
  out.ledger = std::move(ledger_);
  return out;
}

Finish Attempt::done(std::string status) { return end(State::kDone, std::move(status)); }

Finish Attempt::failed(std::string status, std::string code) {
  return end(State::kFailed, std::move(status), std::move(code));
}

Finish Attempt::cancelled(std::string status) { return end(State::kCancelled, std::move(status)); }

Finish Attempt::blocked(std::string status, std::string code, Millis expires) {
  Finish out = end(State::kBlocked, std::move(status), std::move(code));
  out.due_in = expires;
  return out;
}

Finish Attempt::again(Millis wait, std::string status) {
  Finish out = end(State::kWaiting, std::move(status));
  out.due_in = wait;
  return out;
}

std::optional<Finish> Attempt::retry(const config::RetrySettings& policy, const Error& error, std::string status,
                                     bool anew) {
  const int tries = (anew ? 0 : claimed_.workflow.attempt) + 1;
  const Backoff backoff{.first = policy.first, .cap = policy.cap, .jitter = 0.1};
  const Millis wait =
      error.retry_after ? std::clamp(*error.retry_after, Millis{1000}, kLongestTold) : backoff.after(tries, rng_);
  const Millis waited = (anew ? Millis{0} : claimed_.workflow.waited) + wait;
  if (tries >= policy.attempts || waited > policy.total) return std::nullopt;
  Finish out = end(State::kWaiting, std::move(status), error.code);
  out.due_in = wait;
  out.attempt = tries;
  out.waited = waited;
  return out;
}

}  // namespace twinstep::engine
