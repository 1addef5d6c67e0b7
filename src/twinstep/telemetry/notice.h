#pragma once

#include <map>
#include <string>
#include <string_view>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/telemetry/options.h"

namespace twinstep::telemetry {

/// A condition that somebody should know of, as it stands now.
struct Notice {
  std::string key;   ///< of the condition, the same when it is resolved: "blocked/<run>", "alarm/<lane>"
  std::string kind;  ///< "blocked", "alarm", "backlog"
  bool resolved = false;
  std::string title, text;
  std::string link{}, lane{}, run{};
  SystemTime since{};

  std::string to_json() const;
  /// Errors  kCorrupt.
  static Result<Notice> from_json(std::string_view text);
};

/// Does this channel want it?
bool wanted(const NoticeOptions& options, const Notice& notice);

/// The body of the request: the channel's template with the notice in it. `source` is this host's name.
/// Not for kEmail.
std::string notice_body(const NoticeOptions& options, const Notice& notice, std::string_view source);

/// Replaces each {{name}} by its value, escaped for a JSON string.
/// Errors  kInvalid "notice.template": an unknown name, with the known ones; braces that are not closed.
Result<std::string> render_template(std::string_view text, const std::map<std::string, std::string>& values);

/// Is it a template that makes JSON? For the check of a configuration. Errors  kInvalid "notice.template".
Status check_template(std::string_view text);

/// A channel is complete and its address usable. Errors  kInvalid "notice.*", naming what is missing.
Status check_notice(const NoticeOptions& options);

}  // namespace twinstep::telemetry
