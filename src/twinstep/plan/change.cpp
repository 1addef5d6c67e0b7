#include "twinstep/plan/change.h"

#include <array>
#include <utility>

#include "twinstep/plan/exact_json.h"

namespace twinstep::plan {
namespace {

constexpr std::array<std::pair<Op, std::string_view>, 5> kOps{{{Op::kCreate, "create"},
                                                               {Op::kUpdate, "update"},
                                                               {Op::kDelete, "delete"},
                                                               {Op::kDisable, "disable"},
                                                               {Op::kAdopt, "adopt"}}};

/// Puts `more` over `into`, objects member by member. Nulls stay: they are instructions of a merge patch.
void lay_over(json::object& into, const json::object& more) {
  for (const auto& member : more) {
    json::value& place = into[member.key()];
    if (place.is_object() && member.value().is_object())
      lay_over(place.get_object(), member.value().get_object());
    else
      place = member.value();
  }
}

/// RFC 7396.
void merge_patch(json::object& into, const json::object& patch) {
  for (const auto& member : patch) {
    if (member.value().is_null()) {
      into.erase(member.key());
    } else if (const json::object* inner = member.value().if_object()) {
      json::value& place = into[member.key()];
      if (!place.is_object()) place.emplace_object();
      merge_patch(place.get_object(), *inner);
    } else {
      into[member.key()] = member.value();
    }
  }
}

struct CountName {
  std::string_view name;
  uint64_t Counts::*member;
  bool needed;  ///< the nine of diff's summary; the others may be absent in what an older version wrote
};

constexpr std::array<CountName, 21> kCounts{{
    {"create", &Counts::creates, true},
    {"update", &Counts::updates, true},
    {"delete", &Counts::deletes, true},
    {"adopt", &Counts::adopts, true},
    {"unchanged", &Counts::unchanged, true},
    {"foreign", &Counts::foreign, true},
    {"excluded", &Counts::excluded, true},
    {"conflict", &Counts::conflicts, true},
    {"invalid", &Counts::invalid, true},
    {"disable", &Counts::disables, false},
    {"enable", &Counts::enables, false},
    {"alreadyDisabled", &Counts::already_disabled, false},
    {"excludedEdge", &Counts::excluded_edge, false},
    {"excludedModules", &Counts::excluded_modules, false},
    {"excludedCertificates", &Counts::excluded_certificates, false},
    {"kept", &Counts::kept, false},
    {"withheld", &Counts::withheld, false},
    {"withheldChanges", &Counts::withheld_changes, false},
    {"hubDevices", &Counts::hub_devices, false},
    {"externalDevices", &Counts::external_devices, false},
    {"owned", &Counts::owned, false},
}};

}  // namespace

std::string_view to_string(Op op) {
  for (const auto& [value, name] : kOps)
    if (value == op) return name;
  return "unknown";
}

std::optional<Op> op_from(std::string_view name) {
  for (const auto& [value, its_name] : kOps)
    if (its_name == name) return value;
  return {};
}

std::string_view to_string(Problem::Kind kind) {
  switch (kind) {
    case Problem::Kind::kConflict:
      return "conflict";
    case Problem::Kind::kInvalid:
      return "invalid";
    case Problem::Kind::kBroken:
      return "broken";
  }
  return "unknown";
}

Result<json::object> tags_to_write(const Change& change) {
  json::object tags;
  if (!change.tags.empty()) {
    TRY_ASSIGN(tags, parse_object_exactly(change.tags, "the tags of a change"));
  }
  if (!change.secret_values.empty()) {
    TRY_ASSIGN(const json::object secrets,
               parse_object_exactly(change.secret_values.reveal(), "the secret tags of a change"));
    lay_over(tags, secrets);
  }
  return tags;
}

Result<json::object> all_tags_after(const Change& change) {
  json::object tags;
  if (!change.hub_tags.empty()) {
    TRY_ASSIGN(tags, parse_object_exactly(change.hub_tags.reveal(), "the listed tags of a device"));
  } else if (change.op != Op::kCreate) {
    return fail(
        ErrorKind::kInvalid, "plan.tags-not-kept",
        fmt::format("{}: its complete tags are not known, because the listing did not keep them", change.id.value));
  }
  TRY_ASSIGN(const json::object patch, tags_to_write(change));
  merge_patch(tags, patch);
  return tags;
}

json::object to_json(const Counts& counts) {
  json::object o;
  for (const CountName& count : kCounts) o[count.name] = counts.*count.member;
  return o;
}

Result<Counts> counts_from(const json::object& o) {
  Counts counts;
  for (const CountName& count : kCounts) {
    const json::value* v = json::find(o, count.name);
    if (!v && !count.needed) continue;
    const bool good = v && (v->is_uint64() || (v->is_int64() && v->get_int64() >= 0));
    if (!good) {
      return fail(ErrorKind::kCorrupt, "json.field",
                  fmt::format("counts: member '{}' is {}, expected a count", count.name, v ? "no count" : "missing"));
    }
    counts.*count.member = v->is_uint64() ? v->get_uint64() : static_cast<uint64_t>(v->get_int64());
  }
  return counts;
}

}  // namespace twinstep::plan
