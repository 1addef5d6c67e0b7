#include "twinstep/api/idempotency.h"

#include <algorithm>
#include <iterator>

#include "twinstep/base/encoding.h"
#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

constexpr std::string_view kHeader = "Idempotency-Key";
constexpr size_t kLongest = 255;
constexpr Millis kHold{120'000};  // longer than any request may take
constexpr Millis kStoreTime{10'000};

/// An answer that says when to ask again is none for ever, whatever its status.
bool is_final(const http::ServerResponse& answer) {
  const bool again = std::any_of(answer.headers.begin(), answer.headers.end(),
                                 [](const http::Header& one) { return http::same_name(one.name, "Retry-After"); });
  return !again && answer.status >= 200 && answer.status < 500 && answer.status != 429;
}

/// Length before each part, so that no two lists of parts have one text.
std::string joined(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) {
    out += std::to_string(part.size());
    out += ':';
    out += part;
  }
  return out;
}

std::string head_of(const http::ServerResponse& answer) {
  json::object out;
  for (const http::Header& header : answer.headers) out[header.name] = header.value;
  return json::write(out);
}

http::ServerResponse again(const store::KeptAnswer& kept) {
  http::ServerResponse out;
  out.status = kept.status;
  out.body = kept.body;
  if (const auto head = json::parse(kept.head, "a kept answer"); head && head->is_object())
    for (const auto& [name, value] : head->get_object())
      if (value.is_string()) out.headers.push_back({std::string(name), std::string(value.get_string())});
  out.headers.push_back({"Idempotent-Replayed", "true"});
  return out;
}

http::ServerResponse away(Error error) {
  error.kind = ErrorKind::kUnavailable;
  return problem(error);
}

}  // namespace

http::ServerResponse Repetitions::once(const http::ServerRequest& request, const Principal& who,
                                       const std::function<http::ServerResponse()>& work) {
  const auto is_key = [](const http::Header& one) { return http::same_name(one.name, kHeader); };
  const auto given = std::find_if(request.headers.begin(), request.headers.end(), is_key);
  if (given == request.headers.end()) return work();
  if (std::any_of(std::next(given), request.headers.end(), is_key))
    return problem(400, "idempotency.bad-key", "the request has more than one Idempotency-Key");
  const std::string_view key = given->value;
  const bool visible = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (key.empty() || key.size() > kLongest || !visible)
    return problem(400, "idempotency.bad-key", "Idempotency-Key must have 1 to 255 visible ASCII characters");

  const std::string id = hex_encode(sha256(joined({who.key_id, who.key_id.empty() ? who.name : "", key})));
  // Keyed by the caller's key, which is not stored: the digest tells nothing of secrets in the body. Without the query,
  // which may hold credentials that were renewed meanwhile.
  const std::string digest = hex_encode(hmac_sha256(key, joined({request.method, request.path, request.body})));
  const std::string owner = rng_.hex_id();
  const auto call = [&] { return Call{clock_.steady_now() + kStoreTime, {}}; };
  const auto found = answers_.admit(id, digest, owner, kHold, call());
  if (!found) return away(found.error());
  switch (found->what) {
    case store::Admission::kOurs:
      break;
    case store::Admission::kAnswered:
      return again(found->answer);
    case store::Admission::kAtWork: {
      auto out = problem(409, "idempotency.at-work",
                         "the first request with this Idempotency-Key is still being worked on; ask again");
      out.headers.push_back({"Retry-After", "1"});
      return out;
    }
    case store::Admission::kOther:
      return problem(422, "idempotency.other-request",
                     "this Idempotency-Key was used for another request within the last day; take a new one");
  }
  http::ServerResponse answer;
  try {
    answer = work();
  } catch (...) {
    (void)answers_.forget(id, owner, call());
    throw;
  }
  // What cannot be kept is not given: a repetition would not be answered the same.
  if (!is_final(answer)) {
    (void)answers_.forget(id, owner, call());
  } else if (auto kept = answers_.keep(id, owner, {answer.status, head_of(answer), answer.body}, call()); !kept) {
    return away(kept.error());
  }
  return answer;
}

}  // namespace twinstep::api
