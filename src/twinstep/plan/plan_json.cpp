#include "twinstep/plan/plan_json.h"

#include <algorithm>
#include <stdexcept>

#include "twinstep/base/time_format.h"
#include "twinstep/json/canonical.h"
#include "twinstep/plan/exact_json.h"

namespace twinstep::plan {
namespace {

tl::unexpected<Error> bad_member(std::string_view name, std::string_view expected) {
  return fail(ErrorKind::kCorrupt, "json.field", fmt::format("member '{}' is missing or not {}", name, expected));
}

/// Takes the value at `name` ("a/b") out of `o`.
void take_out(json::object& o, std::string_view name) {
  const size_t slash = name.find('/');
  json::value* v = o.if_contains(name.substr(0, slash));
  if (!v) return;
  if (slash == std::string_view::npos) {
    o.stable_erase(name);  // what is left keeps its order
  } else if (json::object* inner = v->if_object()) {
    take_out(*inner, name.substr(slash + 1));
  }
}

Result<SystemTime> time_from(const json::object& o, std::string_view name) {
  TRY_ASSIGN(const std::string text, json::need_string(o, name));
  const auto time = parse_iso(text);
  if (!time) return bad_member(name, "a time");
  return *time;
}

Result<uint64_t> count_from(const json::object& o, std::string_view name) {
  TRY_ASSIGN(const int64_t count, json::need_int(o, name));
  if (count < 0) return bad_member(name, "a count");
  return static_cast<uint64_t>(count);
}

Result<Verdict> verdict_from(const json::object& o) {
  Verdict verdict;
  for (const auto& [name, place] : {std::pair{"deletesPermitted", &verdict.permit.deletes},
                                    std::pair{"updatesPermitted", &verdict.permit.updates}}) {
    const json::value* v = json::find(o, name);
    if (!v || !v->is_bool()) return bad_member(name, "true or false");
    *place = v->get_bool();
  }
  const json::array* tripped = json::array_at(o, "tripped");
  if (!tripped) return bad_member("tripped", "an array");
  for (const json::value& item : *tripped) {
    const json::object* rule = item.if_object();
    if (!rule) return bad_member("tripped", "an array of objects");
    Tripped one;
    TRY_ASSIGN(one.rule, json::need_string(*rule, "rule"));
    TRY_ASSIGN(one.found, count_from(*rule, "found"));
    TRY_ASSIGN(one.limit, count_from(*rule, "limit"));
    TRY_ASSIGN(one.text, json::need_string(*rule, "text"));
    verdict.tripped.push_back(std::move(one));
  }
  return verdict;
}

Result<Problem> problem_from(const json::value& v) {
  const json::object* o = v.if_object();
  if (!o) return bad_member("problems", "an array of objects");
  Problem problem;
  const std::string_view kind = json::string_or(*o, "kind");
  if (kind == "conflict")
    problem.kind = Problem::Kind::kConflict;
  else if (kind == "invalid")
    problem.kind = Problem::Kind::kInvalid;
  else if (kind == "broken")
    problem.kind = Problem::Kind::kBroken;
  else
    return bad_member("kind", "conflict, invalid or broken");
  problem.side = json::string_or(*o, "side");
  problem.id = json::string_or(*o, "deviceId");
  problem.place = json::string_or(*o, "place");
  problem.text = json::string_or(*o, "text");
  return problem;
}

bool is_plan_id(std::string_view id) {
  return id.size() == 32 &&
         std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

Result<json::object> change_object(const Change& change) {
  json::object tags;
  if (!change.tags.empty()) {
    TRY_ASSIGN(tags, parse_object_exactly(change.tags, fmt::format("{}: tags to write", change.id.value)));
  }
  // They belong into secret_values, which never get here; a plan is read by many.
  for (const std::string& name : change.secret_tags) take_out(tags, name);

  json::object o;
  o["op"] = to_string(change.op);
  o["deviceId"] = as_utf8(change.id.value);
  o["reason"] = as_utf8(change.reason);
  if (!change.etag.empty()) o["etag"] = as_utf8(change.etag.value);
  if (!change.twin_etag.empty()) o["twinEtag"] = as_utf8(change.twin_etag.value);
  if (change.enable) o["enable"] = true;
  if (!change.status_reason.empty()) o["statusReason"] = as_utf8(change.status_reason);
  if (!tags.empty()) o["tags"] = std::move(tags);
  if (!change.secret_tags.empty()) {
    json::array& names = o["secretTags"].emplace_array();
    for (const std::string& name : change.secret_tags) names.emplace_back(as_utf8(name));
  }
  return o;
}

json::object to_json(const Change& change) {
  auto o = change_object(change);
  if (!o) throw std::invalid_argument(o.error().what);
  return std::move(*o);
}

Result<Change> change_from(const json::object& o) {
  Change change;
  const auto op = op_from(json::string_or(o, "op"));
  if (!op) return bad_member("op", "an operation that is known");
  change.op = *op;
  TRY_ASSIGN(change.id.value, json::need_string(o, "deviceId"));
  if (change.id.empty()) return bad_member("deviceId", "a device id");
  change.reason = json::string_or(o, "reason");
  change.etag = Etag(std::string(json::string_or(o, "etag")));
  change.twin_etag = Etag(std::string(json::string_or(o, "twinEtag")));
  change.enable = json::bool_or(o, "enable", false);
  change.status_reason = json::string_or(o, "statusReason");
  change.tags = "{}";
  if (const json::value* tags = json::find(o, "tags")) {
    if (!tags->is_object()) return bad_member("tags", "an object");
    change.tags = json::canonical(*tags);
  }
  if (const json::value* names = json::find(o, "secretTags")) {
    if (!names->is_array()) return bad_member("secretTags", "an array");
    for (const json::value& name : names->get_array()) {
      if (!name.is_string()) return bad_member("secretTags", "an array of names");
      change.secret_tags.emplace_back(name.get_string().data(), name.get_string().size());
    }
  }
  return change;
}

json::object verdict_object(const Verdict& verdict) {
  json::object guard;
  guard["ok"] = verdict.ok();
  guard["deletesPermitted"] = verdict.permit.deletes;
  guard["updatesPermitted"] = verdict.permit.updates;
  json::array& tripped = guard["tripped"].emplace_array();
  for (const Tripped& one : verdict.tripped) {
    json::object rule;
    rule["rule"] = one.rule;
    rule["found"] = one.found;
    rule["limit"] = one.limit;
    rule["text"] = as_utf8(one.text);
    tripped.emplace_back(std::move(rule));
  }
  return guard;
}

json::array problems_array(const std::vector<Problem>& problems) {
  json::array out;
  for (const Problem& one : problems) {
    json::object problem;
    problem["kind"] = to_string(one.kind);
    problem["side"] = as_utf8(one.side);
    problem["deviceId"] = as_utf8(one.id);
    problem["place"] = as_utf8(one.place);
    problem["text"] = as_utf8(one.text);
    out.emplace_back(std::move(problem));
  }
  return out;
}

json::array texts_array(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& text : texts) out.emplace_back(as_utf8(text));
  return out;
}

json::object head_object(const PlanHead& head) {
  json::object o;
  o["schema"] = kPlanSchema;
  o["id"] = head.id.value;
  o["link"] = as_utf8(head.link);
  o["hub"] = as_utf8(head.hub);
  o["external"] = as_utf8(head.external);
  o["created"] = format_iso_millis(head.created);
  o["expires"] = format_iso_millis(head.expires);
  json::object& fingerprints = o["fingerprints"].emplace_object();
  fingerprints["hub"] = as_utf8(head.hub_fingerprint);
  fingerprints["external"] = as_utf8(head.external_fingerprint);
  o["counts"] = to_json(head.counts);
  o["withheld"] = texts_array(head.why_withheld);
  o["guard"] = verdict_object(head.verdict);
  o["problems"] = problems_array(head.problems);
  return o;
}

Result<PlanHead> head_from(const json::object& o) {
  PlanHead head;
  TRY_ASSIGN(head.id.value, json::need_string(o, "id"));
  if (!is_plan_id(head.id.value)) return bad_member("id", "32 lower-case hex digits");
  TRY_ASSIGN(head.link, json::need_string(o, "link"));
  TRY_ASSIGN(head.hub, json::need_string(o, "hub"));
  TRY_ASSIGN(head.external, json::need_string(o, "external"));
  TRY_ASSIGN(head.created, time_from(o, "created"));
  TRY_ASSIGN(head.expires, time_from(o, "expires"));
  const json::object* fingerprints = json::object_at(o, "fingerprints");
  if (!fingerprints) return bad_member("fingerprints", "an object");
  TRY_ASSIGN(head.hub_fingerprint, json::need_string(*fingerprints, "hub"));
  TRY_ASSIGN(head.external_fingerprint, json::need_string(*fingerprints, "external"));
  const json::object* counts = json::object_at(o, "counts");
  if (!counts) return bad_member("counts", "an object");
  TRY_ASSIGN(head.counts, counts_from(*counts));
  const json::array* withheld = json::array_at(o, "withheld");
  if (!withheld) return bad_member("withheld", "an array");
  for (const json::value& why : *withheld) {
    if (!why.is_string()) return bad_member("withheld", "an array of texts");
    head.why_withheld.emplace_back(why.get_string().data(), why.get_string().size());
  }
  const json::object* guard = json::object_at(o, "guard");
  if (!guard) return bad_member("guard", "an object");
  TRY_ASSIGN(head.verdict, verdict_from(*guard));
  const json::array* problems = json::array_at(o, "problems");
  if (!problems) return bad_member("problems", "an array");
  for (const json::value& item : *problems) {
    TRY_ASSIGN(Problem problem, problem_from(item));
    head.problems.push_back(std::move(problem));
  }
  return head;
}

}  // namespace twinstep::plan
