#include "twinstep/workflows/check.h"

#include "twinstep/workflows/job_container.h"

namespace twinstep::workflows {
namespace {

/// What to do about an error, from its kind.
std::string mend_for(const Error& error, std::string_view right) {
  switch (error.kind) {
    case ErrorKind::kDenied:
      return fmt::format("check the key, and that its policy or role may {}", right);
    case ErrorKind::kUnavailable:
    case ErrorKind::kTimeout:
      return "check the address, the network, the proxy and, for a private authority, ca_file";
    case ErrorKind::kThrottled:
      return "the remote is busy; check tier and units, or try later";
    default:
      return "see the message";
  }
}

class Checks {
 public:
  explicit Checks(LinkContext& context) : context_(context) {}

  template <class T>
  void add(std::string what, const Result<T>& result, std::string_view right, bool missing_is_good = false,
           std::string detail = {}) {
    if (result || (missing_is_good && result.error().kind == ErrorKind::kNotFound))
      results.push_back({std::move(what), true, std::move(detail), {}});
    else
      results.push_back({std::move(what), false, result.error().what, mend_for(result.error(), right)});
  }

  void hub(const Call& call) {
    const std::string hub = fmt::format("hub {}", context_.link.hub);
    const DeviceId nobody(fmt::format("twinstep-check-{}", context_.rng.hex_id().substr(0, 12)));
    auto read = context_.hub.get_device(nobody, call);
    add(hub + ": read devices", read, "read the registry (RegistryRead)", true, context_.hub.host());
    if (!read && read.error().kind != ErrorKind::kNotFound && read.error().kind != ErrorKind::kDenied)
      return;  // not reachable: no more words
    add(hub + ": write devices", context_.hub.delete_device(nobody, Etag("*"), call),
        "write the registry (RegistryWrite)", true);
    add(hub + ": read twins", context_.hub.get_twin(nobody, call), "read twins (ServiceConnect)", true);
    add(hub + ": query", context_.hub.query("SELECT * FROM devices", 1, "", call), "query (ServiceConnect)");
    auto jobs = context_.hub.list_jobs(call);
    std::string active;
    if (jobs)
      for (const auto& job : *jobs)
        if (!azure::is_final(job.state)) active = "a job is running now";
    add(hub + ": jobs", jobs, "read jobs (RegistryRead)", false, active);
  }

  void storage(const Call& call) {
    if (!context_.blobs) {
      results.push_back({"storage", true, "none; the hub is listed by queries and changed by bulk calls", {}});
      return;
    }
    auto container = JobContainer::create(context_, PlanId(), false, call);
    add("storage: make a container", container, "make containers");
    if (!container) return;
    auto writer = context_.blobs->write_blob(container->name(), "check.txt", call);
    Status written = writer->write("check");
    if (written) written = writer->finish();
    add("storage: write a blob", written, "write blobs");
    std::string back;
    auto read = context_.blobs->read_blob(
        container->name(), "check.txt",
        [&](std::string_view piece) -> Status {
          back += piece;
          return {};
        },
        call);
    add("storage: read a blob", read, "read blobs");
    add("storage: sign for the hub", container->address(), "sign");
    add("storage: remove a container", container->remove(), "delete containers");
  }

  void external(const Call& call) {
    const std::string what = fmt::format("external system {}: first page", context_.link.external);
    const auto mapper = context_.external.mapper();
    uint64_t good = 0, bad = 0;
    std::string first_bad;
    auto proof = context_.external.first_page(
        [&](std::string_view item, const providers::ItemPlace& place) -> Status {
          if (auto mapped = mapper->map(item))
            ++good;
          else if (++bad == 1)
            first_bad = fmt::format("{}: {}", to_string(place), mapped.error().what);
          return {};
        },
        [&](std::string_view, const providers::ItemPlace&, std::string_view) -> Status {
          ++bad;
          return {};
        },
        call);
    add(what, proof, "list devices", false, fmt::format("{} devices, {} invalid", good, bad));
    if (proof && good == 0)
      results.push_back({fmt::format("external system {}: devices", context_.link.external), false,
                         bad ? first_bad
                         : proof->complete || proof->why_incomplete.empty()
                             ? "the list is empty"
                             : "the list is empty: " + proof->why_incomplete,
                         "check the account, its rights and the filter of the list"});
  }

  std::vector<CheckResult> results;

 private:
  LinkContext& context_;
};

}  // namespace

std::vector<CheckResult> check_link(LinkContext& context, const Call& call) {
  Checks checks(context);
  checks.hub(call);
  checks.storage(call);
  checks.external(call);
  return std::move(checks.results);
}

}  // namespace twinstep::workflows
