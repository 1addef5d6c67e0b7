#include "twinstep/otlp/span_json.h"

#include <charconv>

#include "twinstep/base/encoding.h"

namespace twinstep::otlp {
namespace {

constexpr int kStatusError = 2;
constexpr size_t kMostMessage = 200;
constexpr std::string_view kHidden = "***";

/// JSON and protobuf strings are UTF-8; what is none came from outside.
json::string text(std::string_view from) {
  std::string out(from);
  if (!is_utf8(out))
    for (char& c : out)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  return json::string(out);
}

std::string nanos(SystemTime time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

json::object attribute(std::string_view key, json::object value) {
  return {{"key", text(key)}, {"value", std::move(value)}};
}

json::object value_of(const std::variant<std::string, int64_t, double, bool>& value) {
  struct Visitor {
    json::object operator()(const std::string& v) const { return {{"stringValue", text(v)}}; }
    json::object operator()(int64_t v) const { return {{"intValue", std::to_string(v)}}; }
    json::object operator()(double v) const { return {{"doubleValue", v}}; }
    json::object operator()(bool v) const { return {{"boolValue", v}}; }
  };
  return std::visit(Visitor{}, value);
}

json::object span_object(const obs::SpanData& span) {
  json::object out{{"traceId", span.context.trace_id()},
                   {"spanId", span.context.span_id()},
                   {"name", text(span.name)},
                   {"kind", static_cast<int>(span.kind)},
                   {"startTimeUnixNano", nanos(span.start)},
                   {"endTimeUnixNano", nanos(span.end)}};
  if (span.parent != 0) out["parentSpanId"] = obs::span_id_text(span.parent);
  if (!span.context.state.empty()) out["traceState"] = span.context.state;
  json::array attributes;
  for (const obs::Attribute& one : span.attributes) attributes.push_back(attribute(one.key, value_of(one.value)));
  if (!attributes.empty()) out["attributes"] = std::move(attributes);
  if (span.failed) out["status"] = json::object{{"code", kStatusError}, {"message", text(span.message)}};
  return out;
}

}  // namespace

std::string export_request(const Resource& resource, const std::vector<obs::SpanData>& spans) {
  json::array list;
  for (const obs::SpanData& span : spans) list.push_back(span_object(span));
  const json::array about{attribute("service.name", {{"stringValue", text(resource.service_name)}}),
                          attribute("service.version", {{"stringValue", text(resource.version)}}),
                          attribute("service.instance.id", {{"stringValue", text(resource.instance)}})};
  const json::object scope{{"scope", json::object{{"name", "twinstep"}, {"version", text(resource.version)}}},
                           {"spans", std::move(list)}};
  return json::write(
      json::object{{"resourceSpans", json::array{json::object{{"resource", json::object{{"attributes", about}}},
                                                              {"scopeSpans", json::array{scope}}}}}});
}

std::optional<PartialSuccess> partial_success(std::string_view body, const std::vector<std::string>& hidden) {
  const auto value = json::parse(body, "the collector's answer");
  if (!value || !value->is_object()) return std::nullopt;
  const json::object* partial = json::object_at(value->get_object(), "partialSuccess");
  if (!partial) return std::nullopt;
  PartialSuccess out;
  // As text by the specification, as a number by some.
  const std::string_view digits = json::string_or(*partial, "rejectedSpans");
  if (digits.empty())
    out.rejected = static_cast<uint64_t>(std::max<int64_t>(0, json::int_or(*partial, "rejectedSpans", 0)));
  else
    std::from_chars(digits.data(), digits.data() + digits.size(), out.rejected);
  std::string message(json::string_or(*partial, "errorMessage"));
  for (const std::string& secret : hidden)
    for (size_t at = 0; (at = message.find(secret, at)) != std::string::npos; at += kHidden.size())
      message.replace(at, secret.size(), kHidden);
  // For one line of the log.
  for (const char c : std::string_view(message).substr(0, kMostMessage))
    out.message += static_cast<unsigned char>(c) < 0x20 || c == '"' ? ' ' : c;
  if (out.rejected == 0 && out.message.empty()) return std::nullopt;
  return out;
}

}  // namespace twinstep::otlp
