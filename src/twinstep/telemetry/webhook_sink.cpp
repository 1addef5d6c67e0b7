#include "twinstep/telemetry/webhook_sink.h"

#include "twinstep/base/encoding.h"

namespace twinstep::telemetry {

std::string webhook_signature(const Secret& secret, SystemTime now, std::string_view body) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  const std::string text = fmt::format("{}.{}", seconds, body);
  return fmt::format("t={},v1={}", seconds, hex_encode(hmac_sha256(secret.reveal(), text)));
}

Status post_json(http::Client& client, const Secret& url, const Secret& secret, const std::string& body, Clock& clock,
                 std::string operation, const Call& call) {
  http::Request request;
  request.method = "POST";
  request.url = url.reveal();
  request.headers = {{"Content-Type", "application/json"}};
  if (!secret.empty())
    request.headers.push_back({"X-Twinstep-Signature", webhook_signature(secret, clock.system_now(), body)});
  request.body = body;
  request.operation = std::move(operation);
  request.max_response_bytes = 1u << 20;
  const auto answer = client.send(request, call);
  if (!answer) {
    // The client's text may show host and path; of the path the last part is the secret of most webhooks.
    Error error = answer.error();
    error.what = fmt::format("{}: {}", request.operation,
                             error.kind == ErrorKind::kTimeout     ? "no answer in time"
                             : error.kind == ErrorKind::kCancelled ? "stopped"
                             : error.kind == ErrorKind::kInvalid   ? "its address or the CA file is not usable"
                                                                   : "it cannot be reached");
    return fail(std::move(error));
  }
  if (answer->ok()) return {};
  const int status = answer->status;
  const bool later = status == 408 || status == 425 || status == 429 || status >= 500;
  Error error{.kind = status == 429                    ? ErrorKind::kThrottled
                      : later                          ? ErrorKind::kUnavailable
                      : status == 401 || status == 403 ? ErrorKind::kDenied
                                                       : ErrorKind::kInvalid,
              .what = fmt::format("{}: it answered {}", request.operation, status),
              .code = "telemetry.webhook",
              .retry_after = http::retry_after(*answer, clock.system_now()),
              .remote_status = status};
  return fail(std::move(error));
}

Outcome Webhook::deliver(const std::vector<std::string>& lines, const Call& call) {
  std::string body = "[";
  for (const std::string& line : lines) {
    if (body.size() > 1) body += ',';
    body += line;
  }
  body += ']';
  const Status done = post_json(client_, url_, secret_, body, clock_, "send events to the webhook", call);
  Outcome out;
  if (done) return out;
  out.why = done.error().what;
  out.wait = done.error().retry_after;
  if (done.error().transient() || done.error().kind == ErrorKind::kCancelled)
    out.again = lines;
  else
    out.refused = lines.size();
  return out;
}

}  // namespace twinstep::telemetry
