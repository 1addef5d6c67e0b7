#pragma once

#include "twinstep/config/config.h"
#include "twinstep/config/values.h"
#include "twinstep/http/server.h"

/// What each of the daemon's two listeners allows. Certificates are not part of it.
namespace twinstep::app {

/// What raise_open_files() gives on a system that knows no limit.
constexpr int kManyFiles = 1'000'000;

/// The one that strangers may reach: limits as configured. Of the process's open files connections take so many that
/// the store and the remotes keep what they need.
http::ServerOptions public_options(const config::Serve& serve, const config::ListenAddress& where,
                                   int open_files = kManyFiles);

/// The one for this machine's operators: few hands, few connections, plain HTTP.
http::ServerOptions operations_options(const config::ListenAddress& where, int open_files = kManyFiles);

}  // namespace twinstep::app
