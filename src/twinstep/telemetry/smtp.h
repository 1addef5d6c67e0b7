#pragma once

#include <string>

#include "twinstep/base/clock.h"
#include "twinstep/base/result.h"
#include "twinstep/telemetry/options.h"

namespace twinstep::telemetry {

struct Mail {
  std::string subject, text;  ///< UTF-8
  std::string id;             ///< the same for each try of one message; letters, digits and dots
  SystemTime date{};
};

/// The message as it goes to the server (RFC 5322, 2047, 2045): ASCII only, lines of 76 characters at most, CRLF.
std::string mail_message(const EmailOptions& options, const Mail& mail);

/// Server, sender and recipients are usable. Errors  kInvalid "notice.email".
Status check_email(const EmailOptions& options);

/// Sends one message; to all recipients or, when the server refuses one, to none.
///
/// Threads   any, at the same time.
/// Blocking  returns before call.deadline and within a second of call.stop.
/// Errors    kUnavailable (no connection, TLS, a 4xx answer), kDenied (user or password refused, STARTTLS not offered),
///           kInvalid (a 5xx answer: a recipient, the sender), kTimeout, kCancelled. The text names the server.
Status send_mail(const EmailOptions& options, const Mail& mail, const std::string& ca_file, const Call& call);

}  // namespace twinstep::telemetry
