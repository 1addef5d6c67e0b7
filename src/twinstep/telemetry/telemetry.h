#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "twinstep/http/client.h"
#include "twinstep/obs/event.h"
#include "twinstep/telemetry/courier.h"
#include "twinstep/telemetry/options.h"

namespace twinstep::telemetry {

/// Every sink of a configuration. An event whose name is not in the table is a bug and goes nowhere; a property that
/// the table does not name is left out, so that nothing gets out by accident.
///
/// Threads   emit(), counts() any; start(), stop() from one.
/// Blocking  stop() for some two seconds.
class Telemetry final : public obs::EventSink {
 public:
  /// Contacts nothing. `instance` is this host's name. `clock` and `rng` outlive the sinks.
  /// Errors  kInvalid "telemetry.connection-string", "telemetry.address".
  static Result<std::unique_ptr<Telemetry>> open(TelemetryOptions options, std::string ca_file, std::string instance,
                                                 Clock& clock, Rng& rng);
  ~Telemetry() override;  ///< stop()

  void emit(const obs::Event& event) noexcept override;
  /// Begins to deliver; what an earlier process left on disk comes first. Without a usable disk it goes on in memory.
  void start();
  void stop();
  /// By sink: "application_insights", "file", "webhook 1".
  std::vector<std::pair<std::string, CourierCounts>> counts() const;

 private:
  struct Sink {
    std::string name;
    std::function<std::string(const obs::Event&)> line;
    std::unique_ptr<Courier> courier;
    bool buffered = false;
  };
  Telemetry(TelemetryOptions options, std::string ca_file);
  void add(CourierOptions options, std::function<std::string(const obs::Event&)> line, Courier::Deliver deliver,
           Clock& clock, Rng& rng);

  const TelemetryOptions options_;
  const std::unique_ptr<http::Client> client_;
  std::vector<Sink> sinks_;
};

}  // namespace twinstep::telemetry
