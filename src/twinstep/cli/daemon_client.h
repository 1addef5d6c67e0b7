#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/cli/command_line.h"
#include "twinstep/http/client.h"
#include "twinstep/json/json.h"

namespace twinstep::cli {

/// Asks a running daemon by its API (docs/http-api.md).
///
/// Blocking  at most 30 s for one request.
/// Errors    what the daemon answered, with its code and detail; kUnavailable "daemon.not-reachable" with what to do;
///           kCorrupt "daemon.answer" when something else than a daemon answers.
class DaemonClient {
 public:
  /// Finds the daemon: --url, else TWINSTEP_URL, else serve.operations of the configuration. The key to show it comes
  /// from --key, else TWINSTEP_KEY.
  /// Errors  kInvalid "usage.url", "usage.key", those of the configuration.
  static Result<DaemonClient> open(const CommandLine& line, std::stop_token stop);

  Result<json::value> get(const std::string& path);
  Result<json::value> post(const std::string& path, const json::object& body);
  /// A list from its first page on; `all` follows the links to the next ones. Gives {"items":[...],"next":...}.
  Result<json::value> list(std::string path, bool all);

  const std::string& url() const { return url_; }

 private:
  DaemonClient(std::string url, std::string ca_file, Secret key, std::stop_token stop);
  Result<json::value> send(http::Request request);

  std::string url_;
  Secret key_;  // shown with every request; empty = none
  std::unique_ptr<http::Client> http_;
  std::stop_token stop_;
};

/// The daemon's listener that answers everything (serve.operations), as this machine reaches it. Empty for port 0.
std::string client_url(const config::Serve& serve);

/// "?link=a&state=b" of what is not empty.
std::string query_of(const std::vector<std::pair<std::string_view, std::string>>& parameters);

}  // namespace twinstep::cli
