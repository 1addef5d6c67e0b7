#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "twinstep/http/address_counts.h"
#include "twinstep/http/handler_pool.h"
#include "twinstep/http/server.h"

/// Inside of the server: what it knows of a connection, and a connection of it. Asio types stay in these files.
namespace twinstep::http {

/// One accepted connection. It keeps itself alive while something is under way.
///
/// Threads   the io thread only, where it also ends.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  /// The server stops: what waits for a request ends now, what is being answered may finish.
  virtual void wind_up() = 0;
  virtual void close() = 0;
};

/// What the connections of one server share.
///
/// Threads   the io thread only, except where said.
class Edge {
 public:
  virtual const ServerOptions& options() const = 0;  ///< any thread
  virtual boost::asio::io_context& io() = 0;         ///< any thread
  virtual HandlerPool& pool() = 0;
  virtual AddressCounts& requests() = 0;  ///< being handled, of each address
  virtual bool stopping() const = 0;
  virtual void ended(Connection& connection, const AddressBlock& from) = 0;
  virtual ServerResponse handle(const ServerRequest& request) noexcept = 0;  ///< any thread

 protected:
  ~Edge() = default;
};

/// A connection over plain TCP, or TLS where `tls` is set. Call start().
std::shared_ptr<Connection> open_connection(Edge& edge, boost::asio::ip::tcp::socket socket,
                                            const boost::asio::ip::tcp::endpoint& from, const TlsContext& tls);

}  // namespace twinstep::http
