#pragma once

#include <memory>

#include "twinstep/providers/connection.h"

namespace twinstep::providers {

/// The registry behind a definition with a `list`. `settings` are complete; see open() in builtin.h.
std::unique_ptr<ExternalRegistry> make_http_registry(Definition definition, SettingValues settings,
                                                     http::Client& transport, Clock& clock, Rng& rng);

}  // namespace twinstep::providers
