#include "twinstep/azure/event_reader.h"

#include "twinstep/http/text.h"
#include "twinstep/json/members.h"

namespace twinstep::azure {
namespace {

namespace ondemand = simdjson::ondemand;
using http::same_name;
using simdjson::error_code;
using Type = ondemand::json_type;

void note(std::string& wrong, std::string_view name, std::string_view expected) {
  if (wrong.empty()) wrong = fmt::format("{} is not {}", name, expected);
}

/// A text; null counts as absent and another type as wrong.
error_code text(ondemand::value v, std::string_view name, std::string_view& out, std::string& wrong) {
  out = {};
  Type type;
  if (const auto error = v.type().get(type)) return error;
  if (type == Type::string) return v.get_string().get(out);
  if (type != Type::null) note(wrong, name, "a text");
  return simdjson::SUCCESS;
}

/// Calls `member` for each member of an object; null counts as absent and another type as wrong.
template <class F>
error_code object(ondemand::value v, std::string_view name, std::string& wrong, F member) {
  Type type;
  if (const auto error = v.type().get(type)) return error;
  if (type == Type::object) {
    ondemand::object o;
    if (const auto error = v.get_object().get(o)) return error;
    return json::each_member(o, member);
  }
  if (type != Type::null) note(wrong, name, "an object");
  return simdjson::SUCCESS;
}

const char* why(error_code error) { return error ? simdjson::error_message(error) : nullptr; }

simdjson::padded_string_view padded(std::string_view text) {
  return simdjson::padded_string_view(text.data(), text.size(), text.size() + simdjson::SIMDJSON_PADDING);
}

}  // namespace

const char* EventReader::read_event(std::string_view text) {
  members_ = {};
  ondemand::document document;
  if (const auto error = parser_.iterate(padded(text)).get(document)) return why(error);
  ondemand::object event;
  if (const auto error = document.get_object().get(event)) return why(error);
  if (const auto error =
          json::each_member(event, [this](std::string_view name, ondemand::value v) { return event_member(name, v); }))
    return why(error);
  const char* rest = nullptr;
  return document.current_location().get(rest) ? nullptr : "text follows the event";
}

const char* EventReader::read_data(std::string_view text) {
  members_ = {};
  ondemand::document document;
  if (const auto error = parser_.iterate(padded(text)).get(document)) return why(error);
  Type type;
  if (const auto error = document.type().get(type)) return why(error);
  if (type != Type::object && type != Type::array) {
    // A lone scalar is no value of this library; every such body is wrong, but for null.
    bool is_null = false;
    if (document.is_null().get(is_null) || !is_null) return "it is neither an object nor null";
  } else {
    ondemand::value v;
    if (const auto error = document.get_value().get(v)) return why(error);
    if (const auto error = data(v)) return why(error);
    if (type == Type::array) return nullptr;
  }
  const char* rest = nullptr;
  return document.current_location().get(rest) ? nullptr : "text follows it";
}

error_code EventReader::event_member(std::string_view name, ondemand::value v) {
  struct Text {
    std::string_view name;
    std::string_view EventMembers::*member;
  };
  static constexpr Text kTexts[] = {
      {"id", &EventMembers::id},
      {"subject", &EventMembers::subject},
      {"eventType", &EventMembers::event_type},
      {"topic", &EventMembers::topic},
      {"specversion", &EventMembers::spec_version},
      {"type", &EventMembers::type},
      {"source", &EventMembers::source},
  };
  if (same_name(name, "data")) return data(v);
  for (const Text& one : kTexts) {
    if (same_name(name, one.name)) return text(v, one.name, members_.*one.member, members_.wrong);
  }
  std::string unimportant;
  if (same_name(name, "eventTime")) return text(v, name, members_.event_time, unimportant);
  if (same_name(name, "time")) return text(v, name, members_.time, unimportant);
  return simdjson::SUCCESS;
}

error_code EventReader::data(ondemand::value v) {
  members_.data = {};
  return object(v, "data", members_.data.wrong,
                [this](std::string_view name, ondemand::value member) { return data_member(name, member); });
}

error_code EventReader::data_member(std::string_view name, ondemand::value v) {
  EventMembers::Data& out = members_.data;
  if (same_name(name, "hubName")) return text(v, "data.hubName", out.hub_name, out.wrong);
  if (same_name(name, "deviceId")) return text(v, "data.deviceId", out.device_id, out.wrong);
  if (same_name(name, "opType")) return text(v, "data.opType", out.op_type, out.wrong);
  if (same_name(name, "validationCode")) return text(v, "data.validationCode", out.validation_code, out.wrong);
  if (same_name(name, "validationUrl")) return text(v, "data.validationUrl", out.validation_url, out.wrong);
  if (same_name(name, "twin")) {
    out.etag = {};
    out.version.reset();
    out.tags.clear();
    out.desired.clear();
    return object(v, "data.twin", out.wrong,
                  [this](std::string_view inner, ondemand::value member) { return twin_member(inner, member); });
  }
  return simdjson::SUCCESS;
}

error_code EventReader::twin_member(std::string_view name, ondemand::value v) {
  EventMembers::Data& out = members_.data;
  if (same_name(name, "tags")) return section(v, "data.twin.tags", out.tags);
  if (same_name(name, "etag")) {
    std::string unimportant;
    return text(v, name, out.etag, unimportant);
  }
  if (same_name(name, "version")) {
    uint64_t version = 0;
    out.version.reset();
    Type type;
    if (const auto error = v.type().get(type)) return error;
    if (type == Type::number && v.get_uint64().get(version) == simdjson::SUCCESS) out.version = version;
    return simdjson::SUCCESS;
  }
  if (same_name(name, "properties")) {
    out.desired.clear();
    return object(v, "data.twin.properties", out.wrong, [&](std::string_view inner, ondemand::value member) {
      if (!same_name(inner, "desired")) return simdjson::SUCCESS;
      return section(member, "data.twin.properties.desired", out.desired);
    });
  }
  return simdjson::SUCCESS;
}

error_code EventReader::section(ondemand::value v, std::string_view name, std::string& out) {
  out.clear();
  Type type;
  if (const auto error = v.type().get(type)) return error;
  if (type == Type::object) {
    // Told here, because the text of the error is lost on the way up.
    if (const Status done = canonicalizer_.append(v, out); !done) {
      members_.data.wrong = fmt::format("{}: {}", name, done.error().what);
      return simdjson::TAPE_ERROR;
    }
  } else if (type != Type::null) {
    note(members_.data.wrong, name, "an object");
  }
  return simdjson::SUCCESS;
}

}  // namespace twinstep::azure
