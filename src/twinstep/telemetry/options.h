#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twinstep/base/error.h"
#include "twinstep/base/secret.h"

/// What a user can set about events and notices: `telemetry:` and `notices:` of the configuration.
namespace twinstep::telemetry {

struct WebhookOptions {
  Secret url;     ///< most webhooks carry their password in it
  Secret secret;  ///< signs each delivery; empty = unsigned
};

struct TelemetryOptions {
  Secret application_insights;  ///< connection string or instrumentation key; empty = none
  std::string file;             ///< NDJSON; "stdout" = standard output; empty = none
  std::vector<WebhookOptions> webhooks;
  std::string buffer_path;  ///< what Application Insights does not take for now; empty = beside the state
  uint64_t buffer_bytes = 64ull << 20;
  int64_t backlog_tasks = 1'000;    ///< so many tasks that are due and not begun are a backlog
  Millis backlog_age{15 * 60'000};  ///< and so is one that has been due for so long

  bool any() const { return !application_insights.empty() || !file.empty() || !webhooks.empty(); }
};

struct EmailOptions {
  std::string server;  ///< "smtp://mail.example.org:587", "smtps://mail.example.org"
  std::string from;
  std::vector<std::string> recipients;
  std::string user;
  Secret password;
  bool starttls = true;  ///< with smtp://: nothing is said before the connection is secured
};

enum class NoticeTo { kWebhook, kTeams, kSlack, kPagerDuty, kEmail };

struct NoticeOptions {
  NoticeTo to = NoticeTo::kWebhook;
  Secret url;
  Secret secret;       ///< kWebhook: signs each delivery
  Secret routing_key;  ///< kPagerDuty
  std::string body;    ///< kWebhook: template; empty = the generic one
  EmailOptions email;
  bool blocked = true, alarm = true, recovery = true, backlog = true;
  Millis remind{24ll * 3'600'000};  ///< said again while it lasts
};

}  // namespace twinstep::telemetry
