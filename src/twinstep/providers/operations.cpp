#include "twinstep/providers/operations.h"

#include <algorithm>

#include "twinstep/providers/mapper.h"

namespace twinstep::providers {

namespace {

constexpr int kVerifiedTries = 3;

const json::value* tag_of(const DeviceInput& device, const std::string& name) {
  const json::object* at = &device.tags;
  for (size_t from = 0;;) {
    const size_t slash = name.find('/', from);
    const json::value* v = at->if_contains(name.substr(from, slash == std::string::npos ? slash : slash - from));
    if (!v || slash == std::string::npos) return v;
    at = v->if_object();
    if (!at) return nullptr;
    from = slash + 1;
  }
}

tl::unexpected<Error> unsupported(const Definition& definition, std::string_view what) {
  return fail(ErrorKind::kInvalid, "external.not-possible",
              fmt::format("{}: the definition has no '{}' operation", definition.name, what));
}

}  // namespace

Result<bool> Operations::applies(const StepSpec& step, const Scope& scope) const {
  if (!step.when) return true;
  return step.when->holds(scope);
}

Result<Operations::Answer> Operations::run(const StepSpec& step, Scope& scope, Operation operation, const Call& call) {
  TRY_ASSIGN(const http::Request request, connection_.build(step.request, scope));
  TRY_ASSIGN(const http::Response response,
             connection_.send(request, operation, step.outcomes, step.repeat == RepeatClass::kSafe, call));
  Answer out;
  out.outcome = classify(response, step.outcomes, operation);
  const std::string asked = fmt::format("{} ({})", request.method, step.id.empty() ? to_string(operation) : step.id);
  const size_t first = response.body.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  const char begin = first == std::string::npos ? '\0' : response.body[first];
  // A proxy's or a portal's page may say 200 too, and 404 of a device that is there; no interface that definitions
  // describe answers so.
  const bool page = begin == '<' &&
                    (out.outcome == Outcome::kOk || (out.outcome == Outcome::kMissing && step.request.method == "GET"));
  if (out.outcome != Outcome::kOk && !page) {
    out.refusal = connection_.refusal(request, response, out.outcome, scope.device);
    return out;
  }
  if (page) {
    return fail(ErrorKind::kCorrupt, "external.bad-answer",
                fmt::format("{}: the answer to {} is a page, not data; is the address right, and is a proxy between?",
                            definition_.name, asked));
  }
  const bool needs_body = step.expect || !step.capture.empty() || operation == Operation::kGet;
  // An answer that breaks off in the middle comes from something that broke: what it says it did may not have been
  // done.
  if (!needs_body && begin != '{' && begin != '[') return out;
  auto body = json::parse(response.body, fmt::format("{}: answer to {}", definition_.name, asked));
  if (!body) return fail(std::move(body).error());
  if (!needs_body) return out;
  out.body = std::move(*body);
  if (step.expect) {
    const json::value* items = json::at(out.body, step.expect->items);
    if (!items || !items->is_array()) {
      return fail(ErrorKind::kCorrupt, "external.bad-answer",
                  fmt::format("{}: the look-up's answer holds no list at '{}'", definition_.name, step.expect->items));
    }
    const size_t count = items->get_array().size();
    if (count == 0) {
      out.outcome = Outcome::kMissing;
      out.refusal = Error{.kind = ErrorKind::kNotFound,
                          .what = definition_.name + ": the look-up found no such device",
                          .code = "external.not-found"};
      return out;
    }
    if (static_cast<int64_t>(count) != step.expect->count) {
      return fail(
          ErrorKind::kConflict, "external.ambiguous",
          fmt::format("{}: the look-up returned {} devices, expected {}", definition_.name, count, step.expect->count));
    }
    for (const auto& [place, wanted] : step.expect->same) {
      TRY_ASSIGN(const std::string text, wanted.expand(scope));
      const json::value* there = json::at(items->get_array().at(0), place);
      if (!there || there->is_null()) continue;  // thin answers leave fields out
      const auto have = as_text(*there);
      if (!have) {  // no other device, but nonsense: whose it is cannot be told
        return fail(ErrorKind::kCorrupt, "external.bad-answer",
                    fmt::format("{}: the look-up's answer has no text at '{}'", definition_.name, place));
      }
      if (canonical_device_id(*have) != canonical_device_id(text)) {
        return fail(ErrorKind::kConflict, "external.other-device",
                    fmt::format("{}: the look-up returned another device: {} differs", definition_.name, place));
      }
    }
  }
  if (!step.capture.empty()) {
    json::object captured;
    for (const auto& [name, place] : step.capture) {
      const json::value* v = json::at(out.body, place);
      if (!v || v->is_null()) {
        return fail(ErrorKind::kCorrupt, "external.bad-answer",
                    fmt::format("{}: the answer of step '{}' has nothing at '{}'", definition_.name, step.id, place));
      }
      captured[name] = *v;
    }
    scope.values[step.id] = std::move(captured);
  }
  return out;
}

bool Operations::can_look_up(const DeviceInput& device) const {
  if (!definition_.get) return false;
  const Scope scope = connection_.scope(&device);
  for (const StepSpec& step : definition_.get->steps) {
    const auto wanted = applies(step, scope);
    if (!wanted) return false;
    if (*wanted) return connection_.build(step.request, scope).has_value();  // later steps may need captures
  }
  return false;
}

Result<FoundDevice> Operations::look_up(const DeviceInput& device, const Call& call) {
  if (!definition_.get) return unsupported(definition_, "get");
  Scope scope = connection_.scope(&device);
  json::value body;
  for (const StepSpec& step : definition_.get->steps) {
    TRY_ASSIGN(const bool wanted, applies(step, scope));
    if (!wanted) continue;
    TRY_ASSIGN(Answer answer, run(step, scope, Operation::kGet, call));
    if (answer.refusal) return fail(std::move(*answer.refusal));
    body = std::move(answer.body);
  }
  const json::value* item = json::at(body, definition_.get->item);
  if (!item || !item->is_object()) {
    return fail(
        ErrorKind::kCorrupt, "external.bad-answer",
        fmt::format("{}: the look-up's answer holds no device at '{}'", definition_.name, definition_.get->item));
  }
  FoundDevice out;
  out.item = item->get_object();
  // An item that maps only in part still says whose it is.
  const auto mapper = make_mapper(definition_);
  const auto mapped = mapper->map(json::write(*item));
  out.id = std::string(mapped ? mapped->id : mapper->failed_id());
  if (out.id.empty()) return fail_within(Result<MappedDevice>(mapped), definition_.name + ": the looked-up device");
  return out;
}

Result<Operations::Ours> Operations::whose(const DeviceInput& device, const Call& call) {
  const auto found = look_up(device, call);
  if (found) return canonical_device_id(found->id) == canonical_device_id(device.id.value) ? Ours::kYes : Ours::kNo;
  if (found.error().kind == ErrorKind::kNotFound) return Ours::kAbsent;
  if (found.error().kind == ErrorKind::kConflict) return Ours::kNo;
  return fail(found.error());
}

Result<Outcome> Operations::create_step(const StepSpec& step, Scope& scope, const Call& call) {
  for (int attempt = 1;; ++attempt) {
    Result<Answer> answer = run(step, scope, Operation::kCreate, call);
    if (answer && answer->outcome == Outcome::kOk) return Outcome::kOk;
    Error error = answer ? *answer->refusal : answer.error();
    // What the remote surely did not do, or what nobody can mend by looking, is reported as it is.
    const bool unsure = !answer ? error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kTimeout
                                : answer->outcome == Outcome::kRetry;
    const bool perhaps_there = answer && (answer->outcome == Outcome::kExists ||
                                          (answer->outcome == Outcome::kInvalid && error.kind == ErrorKind::kInvalid) ||
                                          (answer->outcome == Outcome::kFatal && error.kind == ErrorKind::kInvalid));
    const bool look = perhaps_there ? answer->outcome == Outcome::kExists || step.repeat == RepeatClass::kVerify
                                    : unsure && step.repeat == RepeatClass::kVerify;
    if (!look) return fail(std::move(error));
    if (!definition_.get) {
      error.what += "; the definition has no 'get' operation that could show whether that device is ours";
      return fail(std::move(error));
    }
    const auto owner = whose(*scope.device, call);
    if (!owner) {
      error.what += "; looking the device up failed too: " + owner.error().what;
      return fail(std::move(error));
    }
    if (*owner == Ours::kYes) return perhaps_there ? Outcome::kExists : Outcome::kOk;
    if (*owner == Ours::kNo) {
      error.kind = ErrorKind::kConflict;
      error.code = "external.other-device";
      error.what += "; a different device holds that identity there";
      return fail(std::move(error));
    }
    if (!unsure || attempt == kVerifiedTries || !connection_.pause(attempt, call)) return fail(std::move(error));
  }
}

Result<WriteOutcome> Operations::create(const DeviceInput& device, const Call& call) {
  if (!definition_.create) return unsupported(definition_, "create");
  const auto missing = missing_for_create(device);
  if (!missing.empty()) {
    std::string list;
    for (const TagFault& one : missing) list += (list.empty() ? "" : ", ") + one.text;
    return fail(ErrorKind::kInvalid, "external.missing-tags",
                fmt::format("{}: {} cannot be created; its tags: {}", definition_.name, device.id.value, list));
  }
  Scope scope = connection_.scope(&device);
  int ran = 0;
  bool made = false;
  for (const StepSpec& step : definition_.create->steps) {
    TRY_ASSIGN(const bool wanted, applies(step, scope));
    if (!wanted) continue;
    auto outcome = create_step(step, scope, call);
    if (!outcome) return fail_within(std::move(outcome), fmt::format("create {}", device.id.value));
    ++ran;
    made = made || *outcome == Outcome::kOk;
  }
  if (ran == 0) {
    return fail(ErrorKind::kInvalid, "external.no-step",
                fmt::format("{}: no step of 'create' applies to {}", definition_.name, device.id.value));
  }
  return made ? WriteOutcome::kDone : WriteOutcome::kAlreadyThere;
}

Result<WriteOutcome> Operations::remove(const DeviceInput& device, const Call& call) {
  if (!definition_.remove) return unsupported(definition_, "delete");
  Scope scope = connection_.scope(&device);
  bool removed = false;
  for (const StepSpec& step : definition_.remove->steps) {
    TRY_ASSIGN(const bool wanted, applies(step, scope));
    if (!wanted) continue;
    auto answer = run(step, scope, Operation::kDelete, call);
    if (!answer) return fail_within(std::move(answer), fmt::format("delete {}", device.id.value));
    if (answer->outcome == Outcome::kOk) {
      removed = removed || step.request.method != "GET";
    } else if (answer->outcome == Outcome::kMissing) {
      if (!step.capture.empty()) break;  // what the next steps would address was not found
    } else {
      return fail(std::move(*answer->refusal).within(fmt::format("delete {}", device.id.value)));
    }
  }
  return removed ? WriteOutcome::kDone : WriteOutcome::kAlreadyGone;
}

std::vector<TagFault> Operations::missing_for_create(const DeviceInput& device) const {
  std::vector<TagFault> out;
  const Scope scope = connection_.scope(&device);
  for (const RequiredTag& tag : definition_.required_tags) {
    if (tag.when) {
      const auto wanted = tag.when->holds(scope);
      if (!wanted || !*wanted) continue;
    }
    const json::value* v = tag_of(device, tag.name);
    const auto text = v ? as_text(*v) : std::nullopt;
    if (!v || v->is_null() || (text && text->empty())) {
      out.push_back({tag.name + " is missing", true});
    } else if (tag.length > 0 && (!text || text->size() != tag.length)) {
      out.push_back({fmt::format("{} must have {} characters", tag.name, tag.length), false});
    } else if (tag.pattern && (!text || !tag.pattern->search(*text))) {
      out.push_back({tag.name + " has the wrong form", false});
    } else if (!tag.one_of.empty() &&
               (!text || std::find(tag.one_of.begin(), tag.one_of.end(), *text) == tag.one_of.end())) {
      out.push_back({tag.name + " is not one of the allowed values", false});
    }
  }
  return out;
}

}  // namespace twinstep::providers
