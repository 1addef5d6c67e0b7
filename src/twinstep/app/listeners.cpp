#include "twinstep/app/listeners.h"

#include <algorithm>

#include "twinstep/azure/event_grid.h"

namespace twinstep::app {
namespace {

constexpr int kPublicHands = 64;  // each waits for its commit; many that wait together share one flush
constexpr int kPublicQueue = 2048;
constexpr int kOperationsHands = 8;
constexpr int kOperationsConnections = 512;
constexpr Millis kHeadTime{10'000};

http::AddressLimit limit(const std::optional<int>& set, int otherwise) {
  return {.most = set.value_or(otherwise), .spare_local = !set};
}

}  // namespace

http::ServerOptions public_options(const config::Serve& serve, const config::ListenAddress& where) {
  http::ServerOptions out;
  out.address = where.address;
  out.port = where.port;
  out.security_headers = true;
  out.handler_threads = kPublicHands;
  out.queue = kPublicQueue;
  out.max_body_bytes = azure::kMaxDeliveryBytes;
  out.max_connections = serve.max_connections;
  out.connections_per_address = limit(serve.max_connections_per_address, config::Serve::kConnectionsPerAddress);
  out.requests_per_address = limit(serve.max_requests_per_address, config::Serve::kRequestsPerAddress);
  out.idle_timeout = serve.idle_timeout;
  out.read_timeout = serve.request_timeout;
  out.head_timeout = std::min(kHeadTime, serve.request_timeout);
  out.handshake_timeout = out.head_timeout;
  return out;
}

http::ServerOptions operations_options(const config::ListenAddress& where) {
  http::ServerOptions out;
  out.address = where.address;
  out.port = where.port;
  out.security_headers = true;
  out.handler_threads = kOperationsHands;
  out.max_connections = kOperationsConnections;
  return out;
}

}  // namespace twinstep::app
