#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "twinstep/app/service.h"
#include "twinstep/http/server.h"
#include "twinstep/obs/telemetry.h"
#include "twinstep/otlp/exporter.h"
#include "twinstep/store/link_lock.h"

namespace twinstep::app {

/// `twinstep serve`: two listeners that answer from the first moment on, a store that is opened as soon as it can be,
/// and the service of the configuration in force.
///
///   public      webhook and the sample's routes; all others too when it listens on loopback
///   operations  everything, with /healthz, /readyz and /loglevel
///   both        /metrics, also while the store is away, for whoever may read
///
/// Threads   any method, any thread.
class Daemon {
 public:
  /// Binds both listeners and begins to open the store. Returns at once, also while the store is away.
  /// Errors  kInvalid (certificate, remotes of the configuration, a store made by a newer version), kUnavailable (port
  ///         taken), kConflict "store.in-use" (another daemon works on that SQLite file).
  static Result<std::unique_ptr<Daemon>> start(std::shared_ptr<const config::Config> config, Clock& clock, Rng& rng);
  ~Daemon();  ///< stop()

  /// Works by another configuration from now on; listeners and store stay as they are, and `warnings` says so when they
  /// differ. Errors  when the new one cannot be worked by: the old one stays in force.
  Status reload(std::shared_ptr<const config::Config> config, std::vector<std::string>& warnings);
  /// Closes the listeners, lets handlers finish for 5 s, ends work at its next safe point. Safe to call twice.
  void stop();

  uint16_t port() const { return public_->port(); }
  uint16_t operations_port() const { return operations_->port(); }
  /// The store is open and work goes on.
  bool working();

 private:
  Daemon(std::shared_ptr<const config::Config> config, Clock& clock, Rng& rng);
  Status open_exporter();
  Status open_listeners();
  void bring_up(std::stop_token stop);
  Status try_to_open(const Call& call);
  /// answer(), counted, measured and traced.
  http::ServerResponse handle(const http::ServerRequest& request, bool everything);
  /// `route` becomes the pattern of the route that answers.
  http::ServerResponse answer(const http::ServerRequest& request, bool everything, std::string& route);
  http::ServerResponse ready();
  http::ServerResponse health();
  http::ServerResponse log_level(const http::ServerRequest& request);
  std::string store_trouble();

  Clock& clock_;
  Rng& rng_;
  const std::unique_ptr<api::Gate> gate_ = api::open_gate("this machine");
  // Of the process, not of a configuration: counters outlive a reload. The exporter ends before what it counts in.
  obs::Metrics metrics_;
  std::unique_ptr<otlp::Exporter> exporter_;  // null without an endpoint
  obs::Tracer tracer_;
  api::Router own_;  // answered without a service
  std::optional<store::LinkLock> lock_;
  std::unique_ptr<store::Database> database_;  // set once, before service_

  std::mutex mutex_;  // guards the next three; not held while anything waits
  std::shared_ptr<const config::Config> config_;
  std::shared_ptr<Service> service_;  // null while the store is not open
  std::string not_open_;              // why it is not

  std::mutex probe_mutex_;  // guards the two below; one probe of the store at a time
  SteadyTime probed_at_{};
  std::string probe_;

  std::mutex reload_mutex_;  // one reload or stop at a time; guards stopped_
  bool stopped_ = false;
  std::jthread opener_;
  std::unique_ptr<http::Server> public_;
  std::unique_ptr<http::Server> operations_;
};

}  // namespace twinstep::app
