#include "twinstep/config/telemetry_reader.h"

#include <algorithm>

#include "twinstep/config/key_reader.h"
#include "twinstep/telemetry/app_insights.h"
#include "twinstep/telemetry/notice.h"
#include "twinstep/telemetry/smtp.h"
#include "twinstep/telemetry/web_address.h"

namespace twinstep::config {
namespace {

constexpr Millis kShortestReminder{60'000};
constexpr uint64_t kSmallestBuffer = 64u << 10;

telemetry::EmailOptions read_email(const yaml::Node& node, yaml::Diagnostics& diagnostics,
                                   const EnvironmentLookup& environment) {
  telemetry::EmailOptions out;
  KeyReader map(node, diagnostics, "email", email_keys());
  out.server = map.text("server").value_or("");
  out.from = map.text("from").value_or("");
  out.recipients = map.texts("recipients");
  out.user = map.text("user").value_or("");
  out.password = map.secret("password", environment).value_or(Secret());
  out.starttls = map.boolean("starttls").value_or(true);
  map.finish();
  return out;
}

}  // namespace

telemetry::TelemetryOptions read_telemetry(const yaml::Node& node, yaml::Diagnostics& diagnostics,
                                           const EnvironmentLookup& environment,
                                           const std::function<void(const yaml::Node&)>& read_otlp) {
  telemetry::TelemetryOptions out;
  KeyReader map(node, diagnostics, "telemetry", telemetry_keys());
  if (const yaml::Node* otlp = map.section("otlp")) read_otlp(*otlp);
  if (auto insights = map.secret("application_insights", environment)) {
    if (const auto parsed = telemetry::parse_ingestion(insights->reveal()); !parsed)
      diagnostics.error(*map.at("application_insights"), parsed.error().code, parsed.error().what);
    out.application_insights = std::move(*insights);
  }
  out.file = map.text("file").value_or("");
  if (const yaml::Node* webhooks = map.section_list("webhooks"))
    for (const yaml::Node& one : webhooks->items) {
      KeyReader inner(one, diagnostics, "a webhook", sink_webhook_keys());
      telemetry::WebhookOptions webhook;
      webhook.url = inner.secret("url", environment).value_or(Secret());
      webhook.secret = inner.secret("secret", environment).value_or(Secret());
      if (!webhook.url.empty())
        if (const auto address = telemetry::parse_web_address(webhook.url.reveal()); !address)
          diagnostics.error(*inner.at("url"), address.error().code, address.error().what);
      inner.finish();
      out.webhooks.push_back(std::move(webhook));
    }
  if (const yaml::Node* buffer = map.section("buffer")) {
    KeyReader inner(*buffer, diagnostics, "buffer", buffer_keys());
    out.buffer_path = inner.text("path").value_or("");
    if (const auto size = inner.size("size")) out.buffer_bytes = std::max(*size, kSmallestBuffer);
    inner.finish();
  }
  if (const yaml::Node* backlog = map.section("backlog")) {
    KeyReader inner(*backlog, diagnostics, "backlog", backlog_keys());
    if (const auto tasks = inner.integer("tasks")) out.backlog_tasks = *tasks;
    if (const auto age = inner.duration("age")) out.backlog_age = std::max(*age, Millis{1000});
    inner.finish();
  }
  map.finish();
  return out;
}

telemetry::NoticeOptions read_notice(const yaml::Node& node, yaml::Diagnostics& diagnostics,
                                     const EnvironmentLookup& environment) {
  telemetry::NoticeOptions out;
  KeyReader map(node, diagnostics, "a notice", notice_keys());
  const auto to = map.choice("to");
  out.to = static_cast<telemetry::NoticeTo>(to.value_or(0));
  out.url = map.secret("url", environment).value_or(Secret());
  out.secret = map.secret("secret", environment).value_or(Secret());
  out.routing_key = map.secret("routing_key", environment).value_or(Secret());
  out.body = map.text("body").value_or("");
  if (const yaml::Node* email = map.section("email")) {
    out.email = read_email(*email, diagnostics, environment);
    if (const auto usable = telemetry::check_email(out.email); !usable)
      diagnostics.error(*email, usable.error().code, usable.error().what);
  }
  const auto on = map.choices("on");
  if (map.at("on")) {
    out.blocked = on.contains(0);
    out.alarm = on.contains(1);
    out.recovery = on.contains(2);
    out.backlog = on.contains(3);
  }
  if (const auto remind = map.duration("remind")) out.remind = std::max(*remind, kShortestReminder);
  if (to)
    if (const auto complete = telemetry::check_notice(out); !complete)
      diagnostics.error(map.at("body") && complete.error().code == "notice.template" ? *map.at("body") : node,
                        complete.error().code, complete.error().what);
  map.finish();
  return out;
}

}  // namespace twinstep::config
