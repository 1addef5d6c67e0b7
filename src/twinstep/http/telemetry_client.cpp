#include <algorithm>

#include "twinstep/http/client.h"
#include "twinstep/obs/metrics.h"
#include "twinstep/obs/trace.h"

namespace twinstep::http {
namespace {

/// "get device" of "get device 'dev-1'": a device's id must not become a label.
std::string_view label_of(const Request& request) {
  if (!request.label.empty()) return request.label;
  const std::string_view text = request.operation;
  const size_t end = std::min(text.find(" '"), text.size());
  return end == 0 ? std::string_view("call") : text.substr(0, end);
}

/// "contoso.azure-devices.net" of an address; a user and password before it are left out.
std::string_view host_of(std::string_view url) {
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  url = url.substr(0, url.find_first_of("/?#"));
  if (const size_t at = url.rfind('@'); at != std::string_view::npos) url.remove_prefix(at + 1);
  return url;
}

class TelemetryClient final : public Client {
 public:
  TelemetryClient(Client& inner, obs::Metrics& metrics, obs::Tracer& tracer, std::string remote, Clock& clock)
      : inner_(inner), metrics_(metrics), tracer_(tracer), remote_(std::move(remote)), clock_(clock) {}

  Result<Response> send(const Request& request, const Call& call) override {
    const std::string_view label = label_of(request);
    obs::Span span = tracer_.begin(label, obs::SpanKind::kClient);
    if (span.recording()) {
      span.set("http.request.method", request.method);
      span.set("server.address", host_of(request.url));
      span.set("twinstep.remote", remote_);
    }
    Request carried = request;
    carried.headers.push_back({"traceparent", obs::format_traceparent(span.context())});
    if (!span.context().state.empty()) carried.headers.push_back({"tracestate", span.context().state});
    const SteadyTime began = clock_.steady_now();
    auto answer = inner_.send(carried, call);
    const std::string_view outcome =
        answer ? obs::outcome_of_status(answer->status) : obs::outcome_of_error(answer.error().kind);
    metrics_.remote_called(remote_, label, outcome, clock_.steady_now() - began);
    if (span.recording()) {
      if (answer) span.set("http.response.status_code", int64_t{answer->status});
      // By the conventions for HTTP clients every 4xx and 5xx is an error.
      if (!answer || answer->status >= 400) {
        span.set("error.type", answer ? std::to_string(answer->status) : answer.error().code);
        span.fail(outcome);
      }
    }
    return answer;
  }

 private:
  Client& inner_;
  obs::Metrics& metrics_;
  obs::Tracer& tracer_;
  const std::string remote_;
  Clock& clock_;
};

}  // namespace

std::unique_ptr<Client> with_telemetry(Client& inner, obs::Metrics& metrics, obs::Tracer& tracer, std::string remote,
                                       Clock& clock) {
  return std::make_unique<TelemetryClient>(inner, metrics, tracer, std::move(remote), clock);
}

}  // namespace twinstep::http
