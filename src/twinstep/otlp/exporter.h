#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "twinstep/base/secret.h"
#include "twinstep/http/client.h"
#include "twinstep/obs/metrics.h"
#include "twinstep/obs/trace.h"
#include "twinstep/otlp/span_json.h"

namespace twinstep::otlp {

struct ExportOptions {
  std::string endpoint{};  ///< the whole address: "http://localhost:4318/v1/traces"
  Secret headers{};        ///< "name=value,name=value", values percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS
  std::string service_name = "twinstep";
  std::string instance{};
  std::string ca_file{};
  size_t queue = 4096;  ///< spans; beyond that the oldest go
  size_t batch = 512;   ///< spans of one request
  Millis every{2'000};  ///< a batch that is not full waits so long
  Millis timeout{10'000};
  int tries = 5;  ///< of one batch
};

/// The headers of the option. Errors  kInvalid "otlp.headers"; its text shows no value.
Result<std::vector<http::Header>> parse_headers(const Secret& text);

/// Sends spans to an OpenTelemetry collector: OTLP/HTTP with JSON. Answers 429, 502, 503 and 504, and no answer at all,
/// are tried again, as Retry-After says; any other refusal loses the batch, with a warning. Nobody waits for it: what
/// the queue cannot hold is dropped, the oldest first, and counted (twinstep_spans_total).
///
/// Threads   any method, any thread; one of its own.
class Exporter final : public obs::SpanSink {
 public:
  /// `client`, `metrics`, `clock` and `rng` outlive it. `headers` as parse_headers() gives them.
  Exporter(ExportOptions options, std::vector<http::Header> headers, http::Client& client, obs::Metrics& metrics,
           Clock& clock, Rng& rng);
  /// With a thread and a connection of its own. Errors  those of parse_headers().
  static Result<std::unique_ptr<Exporter>> start(ExportOptions options, obs::Metrics& metrics, Clock& clock, Rng& rng);
  ~Exporter() override;  ///< stop()

  void ended(obs::SpanData&& span) override;
  /// Sends what is queued, within 3 s, and ends. Safe to call twice.
  void stop();

  /// Sends the next batch, tried again as above. Gives how many spans it took from the queue.
  size_t send_batch(const Call& call);

 private:
  void work(std::stop_token stop);
  bool deliver(const std::vector<obs::SpanData>& spans, const Call& call);

  const ExportOptions options_;
  const Resource resource_;
  std::vector<http::Header> headers_;
  std::vector<std::string> hidden_;  ///< what of them the collector's words must not show in the log
  std::unique_ptr<http::Client> owned_;
  http::Client& client_;
  obs::Metrics& metrics_;
  Clock& clock_;
  Rng& rng_;

  std::mutex mutex_;  // guards the three below
  std::condition_variable_any changed_;
  std::deque<obs::SpanData> queue_;
  bool closed_ = false;
  bool complained_ = false;  // of the thread: one warning for an outage
  std::jthread thread_;
};

}  // namespace twinstep::otlp
