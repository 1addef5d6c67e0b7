#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "twinstep/api/key_gate.h"
#include "twinstep/app/certificate_keeper.h"
#include "twinstep/app/service.h"
#include "twinstep/http/server.h"
#include "twinstep/obs/telemetry.h"
#include "twinstep/otlp/exporter.h"
#include "twinstep/store/file_lock.h"

namespace twinstep::app {

/// `twinstep serve`: two listeners that answer from the first moment on, a store that is opened as soon as it can be,
/// and the service of the configuration in force.
///
///   public      everything, for keys; on loopback for everybody until there is a key. Elsewhere it needs one: without
///               any, and without trust in Entra ID tokens, it binds to 127.0.0.1 instead and says so, until the first
///               key is made; then it binds to its address within seconds. Once bound there it stays, also when all
///               keys are revoked: then nobody gets in.
///   operations  everything; on loopback without a key, unless serve.operations_keys is required
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
  /// Reads the files of the certificate again, as also happens by itself soon after they change; what cannot be used is
  /// logged and refused.
  void renew_certificate();
  /// Closes the listeners, lets handlers finish for 5 s, ends work at its next safe point. Safe to call twice.
  void stop();

  uint16_t port() const { return public_port_; }
  /// Why the public listener is not where the configuration says, for people; empty = it is.
  std::string public_trouble() const;
  uint16_t operations_port() const { return operations_->port(); }
  /// The store is open and work goes on.
  bool working();

 private:
  Daemon(std::shared_ptr<const config::Config> config, Clock& clock, Rng& rng);
  Status open_exporter();
  Status open_listeners();
  void bring_up(std::stop_token stop);
  Status try_to_open(const Call& call);
  Status bind_public(const std::string& address);  ///< with listener_mutex_
  void settle_public();
  Status open_keys(const config::Config& config, const Call& call);
  api::KeyDeps key_deps();
  /// answer(), counted, measured and traced.
  http::ServerResponse handle(const http::ServerRequest& request, api::KeyGate& gate);
  /// `route` becomes the pattern of the route that answers.
  http::ServerResponse answer(const http::ServerRequest& request, api::KeyGate& gate, std::string& route);
  http::ServerResponse own_route(const http::ServerRequest& request, api::KeyGate& gate);
  http::ServerResponse ready(bool parts);
  http::ServerResponse health(bool counts);
  http::ServerResponse log_level(const http::ServerRequest& request);
  std::string store_trouble();

  Clock& clock_;
  Rng& rng_;
  // Of the process, not of a configuration: counters outlive a reload. The exporter ends before what it counts in.
  obs::Metrics metrics_;
  std::unique_ptr<otlp::Exporter> exporter_;  // null without an endpoint
  obs::Tracer tracer_;
  api::Router own_;  // answered without a service
  std::optional<store::FileLock> lock_;
  std::unique_ptr<store::Database> database_;  // set once, before service_
  security::KeyCache keys_{clock_};
  api::Authenticator authenticator_{keys_, clock_};
  std::optional<security::KeyStore> key_store_;  // set with database_
  bool addresses_open_ = false;                  // codes of instances' addresses can be made; by try_to_open() only
  std::unique_ptr<api::KeyGate> public_gate_, operations_gate_;  // set once, before the listeners

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
  std::unique_ptr<http::Server> operations_;
  uint16_t public_port_ = 0;               // set once
  bool local_by_choice_ = false;           // likewise: the configuration says loopback
  std::atomic<bool> public_local_{false};  // only this machine reaches the public listener

  std::atomic<bool> public_bound_{false};

  // Guards all below; held while the public listener moves, so that no handler may take it.
  std::mutex listener_mutex_;
  http::ServerOptions public_options_;
  std::unique_ptr<http::Server> public_;
  bool settled_ = false;                            // it was decided at least once where it listens
  std::unique_ptr<CertificateKeeper> certificate_;  // of public_, which it must not outlive; null without TLS
};

}  // namespace twinstep::app
