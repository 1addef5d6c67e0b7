#include "twinstep/config/keys.h"
#include "twinstep/telemetry/options.h"

namespace twinstep::config {

const Section& telemetry_keys() {
  static const Section section{{
      {.name = "application_insights",
       .type = KeyType::kSecret,
       .description = "connection string or instrumentation key"},
      {.name = "file", .description = "NDJSON file of events, or stdout"},
      {.name = "webhooks",
       .type = KeyType::kSectionList,
       .description = "get events as signed JSON arrays",
       .section = &sink_webhook_keys()},
      {.name = "buffer",
       .type = KeyType::kSection,
       .description = "what Application Insights does not take for now",
       .section = &buffer_keys()},
      {.name = "backlog",
       .type = KeyType::kSection,
       .description = "when waiting tasks are a backlog",
       .section = &backlog_keys()},
      {.name = "otlp", .type = KeyType::kSection, .description = "traces to a collector", .section = &otlp_keys()},
  }};
  return section;
}

const Section& sink_webhook_keys() {
  static const Section section{{
      {.name = "url", .type = KeyType::kSecret, .required = true},
      {.name = "secret", .type = KeyType::kSecret, .description = "signs each delivery"},
  }};
  return section;
}

const Section& buffer_keys() {
  static const Section section{{
      {.name = "path", .description = "folder; of each process another one"},
      {.name = "size", .type = KeyType::kSize, .description = "the oldest go for the newest", .otherwise = "64MiB"},
  }};
  return section;
}

const Section& backlog_keys() {
  static const telemetry::TelemetryOptions defaults;
  static const Section section{{
      {.name = "tasks",
       .type = KeyType::kInteger,
       .description = "so many due tasks of a lane that are not begun",
       .least = 1,
       .most = 1'000'000'000,
       .otherwise = json::value(defaults.backlog_tasks)},
      {.name = "age", .type = KeyType::kDuration, .description = "or one that is due for so long", .otherwise = "15m"},
  }};
  return section;
}

const Section& notice_keys() {
  static const Section section{{
      {.name = "to",
       .type = KeyType::kChoice,
       .choices = {"webhook", "teams", "slack", "pagerduty", "email"},
       .required = true},
      {.name = "url", .type = KeyType::kSecret, .description = "where it is posted"},
      {.name = "secret", .type = KeyType::kSecret, .description = "webhook: signs each delivery"},
      {.name = "routing_key", .type = KeyType::kSecret, .description = "pagerduty"},
      {.name = "body", .description = "webhook: a JSON template with {{title}}, {{text}}, ..."},
      {.name = "email", .type = KeyType::kSection, .section = &email_keys()},
      {.name = "on",
       .type = KeyType::kChoices,
       .description = "else all of them",
       .choices = {"blocked", "alarm", "recovery", "backlog"}},
      {.name = "remind", .type = KeyType::kDuration, .description = "said again while it lasts", .otherwise = "1d"},
  }};
  return section;
}

const Section& email_keys() {
  static const Section section{{
      {.name = "server", .description = "smtp://HOST:PORT or smtps://HOST:PORT", .required = true},
      {.name = "from", .required = true},
      {.name = "recipients", .type = KeyType::kTexts, .required = true},
      {.name = "user"},
      {.name = "password", .type = KeyType::kSecret},
      {.name = "starttls",
       .type = KeyType::kBoolean,
       .description = "with smtp://: nothing is said before the connection is secured",
       .otherwise = json::value(true)},
  }};
  return section;
}

}  // namespace twinstep::config
