#include "twinstep/telemetry/notice.h"

#include <algorithm>

#include "twinstep/base/time_format.h"
#include "twinstep/http/text.h"
#include "twinstep/json/json.h"
#include "twinstep/telemetry/event_text.h"
#include "twinstep/telemetry/smtp.h"
#include "twinstep/telemetry/web_address.h"

namespace twinstep::telemetry {
namespace {

constexpr size_t kLongestSummary = 1024;  // PagerDuty: payload.summary
constexpr size_t kLongestText = 4000;

constexpr std::string_view kGeneric =
    R"({"action":"{{action}}","kind":"{{kind}}","key":"{{key}}","severity":"{{severity}}","title":"{{title}}",)"
    R"("text":"{{text}}","link":"{{link}}","lane":"{{lane}}","run":"{{run}}","since":"{{since}}",)"
    R"("source":"{{source}}"})";
// https://api.slack.com/messaging/webhooks
constexpr std::string_view kSlack = R"({"text":"*{{title}}*\n{{text}}"})";
// An Adaptive Card in a message, as webhooks of Teams workflows take it.
constexpr std::string_view kTeams =
    R"({"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,)"
    R"("content":{"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard",)"
    R"("version":"1.4","body":[{"type":"TextBlock","size":"Medium","weight":"Bolder","wrap":true,)"
    R"("text":"{{title}}"},{"type":"TextBlock","wrap":true,"text":"{{text}}"},{"type":"FactSet","facts":[)"
    R"({"title":"What","value":"{{kind}}, {{action}}"},{"title":"Since","value":"{{since}}"},)"
    R"({"title":"Host","value":"{{source}}"}]}]}}]})";
// https://developer.pagerduty.com/docs/events-api-v2
constexpr std::string_view kPagerDuty =
    R"({"routing_key":"{{routing_key}}","event_action":"{{action}}","dedup_key":"twinstep/{{key}}",)"
    R"("client":"twinstep","payload":{"summary":"{{summary}}","source":"{{source}}","severity":"{{severity}}",)"
    R"("timestamp":"{{since}}","component":"{{lane}}","group":"{{link}}","class":"{{kind}}",)"
    R"("custom_details":{"text":"{{text}}","run":"{{run}}"}}})";

std::string_view template_of(const NoticeOptions& options) {
  switch (options.to) {
    case NoticeTo::kSlack:
      return kSlack;
    case NoticeTo::kTeams:
      return kTeams;
    case NoticeTo::kPagerDuty:
      return kPagerDuty;
    case NoticeTo::kWebhook:
    case NoticeTo::kEmail:
      break;
  }
  return options.body.empty() ? kGeneric : std::string_view(options.body);
}

/// https://api.slack.com/reference/surfaces/formatting#escaping: or a device's name becomes a link or calls a channel.
std::string slack_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

std::map<std::string, std::string> values_of(const Notice& notice, std::string_view source) {
  return {{"action", notice.resolved ? "resolve" : "trigger"},
          {"kind", notice.kind},
          {"key", notice.key},
          {"severity", notice.resolved          ? "info"
                       : notice.kind == "alarm" ? "critical"
                                                : "warning"},
          {"title", notice.title},
          {"text", notice.text},
          {"summary", cut_text(fmt::format("{}: {}", notice.title, notice.text), kLongestSummary)},
          {"link", notice.link},
          {"lane", notice.lane},
          {"run", notice.run},
          {"since", format_iso_millis(notice.since)},
          {"source", std::string(source)}};
}

std::string escaped(std::string_view text) {
  const std::string quoted = json::write(json::value(cut_text(text, kLongestText)));
  return quoted.substr(1, quoted.size() - 2);
}

tl::unexpected<Error> bad(std::string what) { return fail(ErrorKind::kInvalid, "notice.template", std::move(what)); }

}  // namespace

std::string Notice::to_json() const {
  return json::write(json::object{{"key", key},
                                  {"kind", kind},
                                  {"resolved", resolved},
                                  {"title", title},
                                  {"text", text},
                                  {"link", link},
                                  {"lane", lane},
                                  {"run", run},
                                  {"since", since.time_since_epoch().count()}});
}

Result<Notice> Notice::from_json(std::string_view text) {
  TRY_ASSIGN(const json::value value, json::parse(text, "a notice"));
  if (!value.is_object()) return fail(ErrorKind::kCorrupt, "notice.stored", "a stored notice is no object");
  const json::object& o = value.get_object();
  const auto read = [&](std::string_view name) { return std::string(json::string_or(o, name)); };
  return Notice{read("key"),   read("kind"), json::bool_or(o, "resolved", false),
                read("title"), read("text"), read("link"),
                read("lane"),  read("run"),  SystemTime{std::chrono::microseconds{json::int_or(o, "since", 0)}}};
}

bool wanted(const NoticeOptions& options, const Notice& notice) {
  if (notice.resolved && !options.recovery) return false;
  return (notice.kind == "blocked" && options.blocked) || (notice.kind == "alarm" && options.alarm) ||
         (notice.kind == "backlog" && options.backlog);
}

Result<std::string> render_template(std::string_view text, const std::map<std::string, std::string>& values) {
  std::string out;
  for (size_t at = 0;;) {
    const size_t begin = text.find("{{", at);
    out += text.substr(at, begin - std::min(at, begin));
    if (begin == std::string_view::npos) return out;
    const size_t end = text.find("}}", begin);
    if (end == std::string_view::npos) return bad("'{{' without '}}'; write {{title}}");
    const std::string name(http::trimmed(text.substr(begin + 2, end - begin - 2)));
    const auto found = values.find(name);
    if (found == values.end()) {
      std::string known;
      for (const auto& [one, value] : values) known += (known.empty() ? "" : ", ") + one;
      return bad(fmt::format("there is no '{}'; known are {}", cut_text(name, 40), known));
    }
    out += escaped(found->second);
    at = end + 2;
  }
}

Status check_template(std::string_view text) {
  Notice sample{"blocked/1", "blocked", false, "a \"title\"", "a\ntext", "link", "lane", "run", {}};
  TRY_ASSIGN(const std::string body, render_template(text, values_of(sample, "host")));
  if (const auto parsed = json::parse(body, "it"); !parsed)
    return bad(fmt::format("with values in it, {}; names stand inside of quotes", parsed.error().what));
  return {};
}

std::string notice_body(const NoticeOptions& options, const Notice& notice, std::string_view source) {
  auto values = values_of(notice, source);
  values["routing_key"] = options.routing_key.reveal();
  if (options.to == NoticeTo::kSlack)
    for (const char* name : {"title", "text"}) values[name] = slack_text(values[name]);
  auto body = render_template(template_of(options), values);
  return body ? std::move(*body) : render_template(kGeneric, values).value();
}

Status check_notice(const NoticeOptions& options) {
  const auto missing = [](const char* what) {
    return fail(ErrorKind::kInvalid, "notice.incomplete", fmt::format("this notice needs {}", what));
  };
  if (options.to == NoticeTo::kEmail) return check_email(options.email);
  if (options.to == NoticeTo::kPagerDuty && options.routing_key.empty()) return missing("routing_key");
  if (options.url.empty() && options.to != NoticeTo::kPagerDuty) return missing("url");
  if (!options.url.empty())
    if (auto address = parse_web_address(options.url.reveal()); !address) return fail_within(std::move(address), "url");
  if (!options.body.empty()) return check_template(options.body);
  return {};
}

}  // namespace twinstep::telemetry
