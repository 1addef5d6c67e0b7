#include "twinstep/app/listeners.h"

#include <algorithm>

#include "twinstep/azure/event_grid.h"

namespace twinstep::app {
namespace {

/// Each waits for its commit; many that wait together share one flush. More than callers of the façade may hold while
/// they wait for a hub (FacadeDeps::most_at_work), so that deliveries of events are taken meanwhile.
constexpr int kPublicHands = 96;
constexpr int kPublicQueue = 2048;
constexpr int kOperationsHands = 8;
constexpr int kOperationsConnections = 512;
constexpr Millis kHeadTime{10'000};
/// Open files of the store, of the lanes' connections to the remotes, of runs.
constexpr int kOwnFiles = 400;

http::AddressLimit limit(const std::optional<int>& set, int otherwise) {
  return {.most = set.value_or(otherwise), .spare_local = !set};
}

}  // namespace

http::ServerOptions public_options(const config::Serve& serve, const config::ListenAddress& where, int open_files) {
  http::ServerOptions out;
  out.address = where.address;
  out.port = where.port;
  out.security_headers = true;
  out.handler_threads = kPublicHands;
  out.queue = kPublicQueue;
  out.max_body_bytes = azure::kMaxDeliveryBytes;
  out.max_connections =
      std::min(serve.max_connections, std::max(open_files - kOwnFiles - kOperationsConnections, open_files / 2));
  out.connections_per_address = limit(serve.max_connections_per_address, config::Serve::kConnectionsPerAddress);
  out.requests_per_address = limit(serve.max_requests_per_address, config::Serve::kRequestsPerAddress);
  out.idle_timeout = serve.idle_timeout;
  out.read_timeout = serve.request_timeout;
  out.head_timeout = std::min(kHeadTime, serve.request_timeout);
  out.handshake_timeout = out.head_timeout;
  return out;
}

http::ServerOptions operations_options(const config::ListenAddress& where, int open_files) {
  http::ServerOptions out;
  out.address = where.address;
  out.port = where.port;
  out.security_headers = true;
  out.handler_threads = kOperationsHands;
  out.max_connections = std::min(kOperationsConnections, open_files / 10);
  return out;
}

}  // namespace twinstep::app
