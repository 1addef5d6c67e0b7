#pragma once

#include "twinstep/config/config.h"
#include "twinstep/config/values.h"
#include "twinstep/http/server.h"

/// What each of the daemon's two listeners allows. Certificates are not part of it.
namespace twinstep::app {

/// The one that strangers may reach: limits as configured.
http::ServerOptions public_options(const config::Serve& serve, const config::ListenAddress& where);

/// The one for this machine's operators: few hands, few connections, plain HTTP.
http::ServerOptions operations_options(const config::ListenAddress& where);

}  // namespace twinstep::app
