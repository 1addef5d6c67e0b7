#include "twinstep/workflows/import_file.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "twinstep/workflows/job_container.h"

namespace twinstep::workflows {
namespace {

using plan::Op;

constexpr std::string_view kErrorLog = "importErrors.log";
constexpr size_t kLongestText = 300;

/// The text's beginning, for people. Never ends inside a character.
std::string beginning(std::string_view text) {
  size_t size = std::min(text.size(), kLongestText);
  if (size < text.size())
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  return std::string(text.substr(0, size));
}

bool goes_by_job(const plan::Change& change) { return change.op == Op::kCreate || change.op == Op::kDelete; }

/// The id inside the text of a line that could not be parsed: `... {\"id\":\"lora-03\",...`.
std::string id_in_text(std::string_view text) {
  for (const std::string_view start : {std::string_view(R"("id":")"), std::string_view(R"(\"id\":\")")}) {
    const size_t at = text.find(start);
    if (at == std::string_view::npos) continue;
    const size_t begin = at + start.size();
    return std::string(text.substr(begin, text.find_first_of("\"\\", begin) - begin));
  }
  return {};
}

struct Problems {
  std::unordered_map<std::string, ImportProblem> by_device;
  uint64_t unattributed = 0;
  std::string first_unattributed;
};

Result<Problems> read_problems(LinkContext& context, const std::string& container, const Call& call) {
  Problems out;
  std::string rest;
  const auto line = [&](std::string_view text) {
    if (text.find_first_not_of(" \r\t") == std::string_view::npos) return;
    auto problem = parse_import_problem(text);
    if (!problem || problem->device.empty()) {
      ++out.unattributed;
      if (out.first_unattributed.empty()) out.first_unattributed = problem ? problem->text : beginning(text);
      return;
    }
    std::string id = problem->device;
    out.by_device.emplace(std::move(id), std::move(*problem));
  };
  auto read = context.blobs->read_blob(
      container, kErrorLog,
      [&](std::string_view piece) -> Status {
        rest.append(piece);
        size_t begin = 0;
        for (size_t end; (end = rest.find('\n', begin)) != std::string::npos; begin = end + 1)
          line(std::string_view(rest).substr(begin, end - begin));
        rest.erase(0, begin);
        return {};
      },
      call);
  if (!read) {
    if (read.error().kind != ErrorKind::kNotFound) return fail_within(std::move(read), "reading importErrors.log");
    spdlog::info("import.no_error_log container={}", container);
  }
  line(rest);
  return out;
}

}  // namespace

Result<ImportProblem> parse_import_problem(std::string_view line) {
  TRY_ASSIGN(const json::value value, json::parse(line, "a line of importErrors.log"));
  const json::object* o = value.if_object();
  if (!o) return fail(ErrorKind::kCorrupt, "hub.import-log", "a line of importErrors.log is not an object");
  ImportProblem out;
  const json::value* id = json::find_ignoring_case(*o, "deviceId");
  if (id && id->is_string()) out.device = std::string(id->get_string());
  if (const json::value* code = json::find_ignoring_case(*o, "errorCode"))
    out.code = code->is_string() ? std::string(code->get_string()) : json::write(*code);
  const json::value* text = json::find_ignoring_case(*o, "errorStatus");
  if (text && text->is_string()) {
    const std::string_view full(text->get_string().data(), text->get_string().size());
    if (out.device.empty()) out.device = id_in_text(full);
    // The text may embed the whole line of the import file, tags included: only its beginning is kept.
    out.text = beginning(full.substr(0, full.find('{')));
  }
  return out;
}

Status import_changes(LinkContext& context, const PlanId& plan, DeviceWriter& writer, const ChangeSource& changes,
                      const Call& call) {
  TRY_ASSIGN(JobContainer container, JobContainer::create(context, plan, true, call));
  std::unordered_set<std::string> left_out;  // deletes that were not confirmed
  uint64_t lines = 0;
  {
    auto blob = context.blobs->write_blob(container.name(), container.blob(), call);
    TRY(changes([&](const plan::Change& change) -> Status {
      if (!goes_by_job(change)) return {};
      if (change.op == Op::kDelete) {
        TRY_ASSIGN(const bool may, writer.may_delete(change));
        if (!may) left_out.insert(change.id.value);
        if (!may) return {};
      }
      TRY_ASSIGN(const azure::BulkEntry entry, bulk_entry(change));
      ++lines;
      return blob->write(azure::import_line(entry) + "\n");
    }));
    TRY(blob->finish());
  }

  azure::ImportJob job;
  TRY_ASSIGN(job.input_container_uri, container.address());
  job.output_container_uri = job.input_container_uri;
  job.blob_name = container.blob();
  if (context.config.storage && context.config.storage->identity_based_jobs) {
    job.identity_based = true;
    job.user_assigned_identity = context.config.storage->user_assigned_identity;
  }
  JobRunner runner(context, {.polling = context.config.import_polling, .lines = lines});
  auto ran = runner.run_import(
      job, [&](const JobId& id) { return container.remember_job(id); }, call);
  if (!ran) {
    // Stopped while the hub works: it goes on without us, and the next run waits for it and cleans up.
    if (ran.error().kind == ErrorKind::kCancelled) container.keep();
    return fail(std::move(ran).error());
  }
  // Whoever works on the link now reads the log, and removes the container.
  if (call.guard && !call.guard->holds()) {
    container.keep();
    return fail(ErrorKind::kCancelled, "call.not-ours",
                fmt::format("link {}: another process took over while the import job ran", context.link.name));
  }
  TRY_ASSIGN(const Problems problems, read_problems(context, container.name(), call));
  if (problems.unattributed > 0)
    context.progress.note(fmt::format("{} failed lines of the import name no device ({}); every device is looked at",
                                      problems.unattributed, problems.first_unattributed));
  TRY(changes([&](const plan::Change& change) -> Status {
    if (!goes_by_job(change) || left_out.contains(change.id.value)) return {};
    const auto problem = problems.by_device.find(change.id.value);
    if (problem == problems.by_device.end() && problems.unattributed == 0) return writer.done(change);
    TRY_ASSIGN(const bool so, writer.already_so(change));
    if (so) return writer.done(change);
    if (problem == problems.by_device.end()) return writer.failed(change, "the import could not read its line");
    return writer.failed(change, fmt::format("import error {}: {}", problem->second.code, problem->second.text));
  }));
  return container.remove();
}

}  // namespace twinstep::workflows
