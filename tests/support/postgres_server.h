#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace twinstep::testing {

/// A PostgreSQL server of our own in a scratch folder, on a free port of 127.0.0.1, that goes with its folder when the
/// test program ends, however it ends. Where the tests run as root, it runs as the user `postgres` or `nobody`.
///
/// Needs    the Debian package `postgresql` (found in /usr/lib/postgresql/*/bin, the newest one, or on PATH); no
/// service. Errors   std::runtime_error with what the server said: without it a test cannot go on. Threads  one at a
/// time.
class PostgresServer {
 public:
  struct Options {
    bool fsync = false;  ///< for measurements: as a real one
  };
  PostgresServer() : PostgresServer(Options{}) {}
  explicit PostgresServer(const Options& options);
  ~PostgresServer();
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// The one that the tests of this program share; made at first use.
  static PostgresServer& shared();

  /// A connection URI with the user's password, of a new and empty schema of its own.
  std::string fresh();
  /// The same of the database itself.
  std::string uri() const;
  /// The password that is in the URIs.
  static std::string password() { return "pa55%word"; }

  /// Runs statements by psql, as the database's owner; gives what it prints, cells apart by '|'.
  std::string sql(const std::string& statements) const;

  void stop();  ///< at once, as if it had crashed; its clients are cut off
  void start();
  void restart() { stop(), start(); }
  void freeze();  ///< stops all its processes: connections stay, nobody answers
  void thaw();
  int port() const { return port_; }

 private:
  void make_cluster(const Options& options);
  pid_t spawn(const std::vector<std::string>& command, const std::string& output) const;
  std::string run(const std::vector<std::string>& command) const;
  std::vector<pid_t> processes() const;
  void watch_over();

  std::string bin_, folder_;
  uid_t user_ = 0;
  gid_t group_ = 0;
  int port_ = 0;
  pid_t postmaster_ = 0;
  int lifeline_ = -1;  // its other end is the guard's, which acts when this one closes
  pid_t guard_ = 0;
  int schemas_ = 0;
};

}  // namespace twinstep::testing
