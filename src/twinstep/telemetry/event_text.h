#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "twinstep/json/json.h"
#include "twinstep/obs/event.h"

namespace twinstep::telemetry {

/// Well-formed UTF-8 of at most `most` UTF-16 units, which is how Application Insights counts characters; what is no
/// UTF-8 becomes U+FFFD, and no character is cut in two.
std::string cut_text(std::string_view text, size_t most);

/// {"time":"...","name":"...","operation":"...","properties":{...},"measurements":{...}}: what files and webhooks get.
json::object event_object(const obs::Event& event);

}  // namespace twinstep::telemetry
