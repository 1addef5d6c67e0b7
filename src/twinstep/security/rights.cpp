#include "twinstep/security/rights.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace twinstep::security {
namespace {

constexpr double kHighestRate = 1'000'000;

template <class Value>
std::string names(const std::vector<Value>& all) {
  std::string out;
  for (const Value one : all) out += fmt::format("{}{}", out.empty() ? "" : ", ", to_string(one));
  return out;
}

template <class Value>
const Value* by_name(const std::vector<Value>& all, std::string_view text) {
  const auto found = std::find_if(all.begin(), all.end(), [&](Value one) { return to_string(one) == text; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace

const std::vector<Scope>& all_scopes() {
  static const std::vector<Scope> all{Scope::kEvents, Scope::kFacade, Scope::kRead, Scope::kOperate, Scope::kAdmin};
  return all;
}

const std::vector<DeviceAction>& all_actions() {
  static const std::vector<DeviceAction> all{DeviceAction::kCreate, DeviceAction::kDelete, DeviceAction::kRead};
  return all;
}

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::kEvents:
      return "events";
    case Scope::kFacade:
      return "facade";
    case Scope::kRead:
      return "read";
    case Scope::kOperate:
      return "operate";
    case Scope::kAdmin:
      break;
  }
  return "admin";
}

std::string_view to_string(DeviceAction action) {
  switch (action) {
    case DeviceAction::kCreate:
      return "create";
    case DeviceAction::kDelete:
      return "delete";
    case DeviceAction::kRead:
      break;
  }
  return "read";
}

Result<Scope> scope_of(std::string_view text) {
  if (const Scope* found = by_name(all_scopes(), text)) return *found;
  return fail(ErrorKind::kInvalid, "key.scope",
              fmt::format("there is no scope '{}'; known are {}", text, names(all_scopes())));
}

Result<DeviceAction> action_of(std::string_view text) {
  if (const DeviceAction* found = by_name(all_actions(), text)) return *found;
  return fail(ErrorKind::kInvalid, "key.action",
              fmt::format("a key cannot allow '{}'; known are {}", text, names(all_actions())));
}

Result<double> parse_rate(std::string_view text) {
  const auto refused = [&] {
    return fail(ErrorKind::kInvalid, "key.rate",
                fmt::format("'{}' is no rate; write a number from 1 and /s, /m or /h, such as 10/s", text));
  };
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return refused();
  uint32_t count = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + slash, count);
  if (bad != std::errc{} || end != text.data() + slash || count == 0) return refused();
  const std::string_view unit = text.substr(slash + 1);
  const double seconds = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (seconds == 0 || count / seconds > kHighestRate) return refused();
  return count / seconds;
}

bool Rights::has(Scope scope) const { return std::find(scopes.begin(), scopes.end(), scope) != scopes.end(); }

Status check(const Rights& rights) {
  if (rights.scopes.empty())
    return fail(ErrorKind::kInvalid, "key.scope",
                fmt::format("a key needs at least one scope of {}", names(all_scopes())));
  const bool facade = rights.has(Scope::kFacade);
  if (!facade && !(rights.hubs.empty() && rights.ids.empty() && rights.actions.empty()))
    return fail(ErrorKind::kInvalid, "key.not-facade",
                "hubs, ids and what may be done to devices limit the scope facade only; this key does not have it");
  if (facade && rights.actions.empty())
    return fail(ErrorKind::kInvalid, "key.action",
                fmt::format("a key with the scope facade must allow something of {}", names(all_actions())));
  for (const auto* list : {&rights.hubs, &rights.ids})
    for (const std::string& one : *list)
      if (one.empty() || one.size() > 256)
        return fail(ErrorKind::kInvalid, "key.pattern", "names of hubs and patterns of ids have 1 to 256 characters");
  for (const std::string& one : rights.hubs)
    if (one.find_first_of("*?") != std::string::npos)
      return fail(ErrorKind::kInvalid, "key.pattern",
                  fmt::format("'{}' is no hub: hubs are named in full; name none for all of them", one));
  if (!rights.rate.empty()) TRY(parse_rate(rights.rate));
  return {};
}

}  // namespace twinstep::security
