#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "child.h"
#include "network_server.h"
#include "postgres_server.h"
#include "temp_folder.h"
#include "twinstep/http/client.h"
#include "twinstep/store/database.h"

namespace twinstep::bench {

enum class StoreKind { kSqlite, kPostgresql };
inline const char* to_string(StoreKind kind) { return kind == StoreKind::kSqlite ? "sqlite" : "postgresql"; }

/// The PostgreSQL server of a whole run, with fsync, made at first use.
class Stores {
 public:
  /// Errors  kUnavailable "bench.postgresql".
  Result<testing::PostgresServer*> postgresql();

 private:
  std::unique_ptr<testing::PostgresServer> server_;
};

/// A `twinstep serve` that runs.
struct Daemon {
  std::unique_ptr<Server> process;
  uint16_t listen = 0, operations = 0;
  std::chrono::steady_clock::time_point started;  ///< before its exec
  double ready_seconds = 0;                       ///< from there until /readyz answered 200
};

/// What a process uses at one moment.
struct Usage {
  double cpu_seconds = 0;
  double resident_mb = 0;   ///< MiB
  double anonymous_mb = 0;  ///< of these what no file backs
};
Usage usage_of(pid_t pid);

/// A new store, a simulated hub without throttle, a network server, and the configuration that names them.
class Stage {
 public:
  struct Options {
    StoreKind store = StoreKind::kSqlite;
    std::chrono::milliseconds network_delay{100};
    uint64_t requests_per_second = 10;  ///< to the network server; 10 is what the definition has
    uint64_t hub_devices = 0;           ///< with complete tags, from 0 on
    bool facade = false;                ///< the link's master is the external system
  };
  /// `stores` outlives the stage. Errors  kUnavailable.
  static Result<std::unique_ptr<Stage>> open(Stores& stores, const Options& options);

  /// Starts a daemon and waits until it is ready. Errors  kUnavailable, with what it said.
  Result<Daemon> daemon();
  /// Makes a key of that scope in the store, with the command, before the daemon starts. Errors  kUnavailable.
  Result<std::string> make_key(const std::string& scope) const;
  NetworkServer& network() { return *network_; }
  /// Where the hub is, "https://localhost:PORT", and whom its clients trust.
  const std::string& hub() const { return hub_url_; }
  std::string ca_file() const { return path("ca.pem"); }
  const std::string& store() const { return store_; }
  /// A connection of our own to the store. Errors  of open_database().
  Result<std::unique_ptr<store::Database>> database() const;
  std::string path(std::string_view name) const { return folder_.path(name); }

 private:
  Stage() = default;
  Status start_hub(const Options& options);
  std::vector<std::string> command(const std::vector<std::string>& arguments) const;
  void write_config(const Options& options) const;

  TempFolder folder_;
  std::string store_, hub_url_;
  std::unique_ptr<NetworkServer> network_;
  std::unique_ptr<Server> hub_;
  std::unique_ptr<http::Client> http_ = http::make_transport({.ca_file = {}, .proxy = "-", .user_agent = {}});
};

}  // namespace twinstep::bench
