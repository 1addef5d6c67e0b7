#include "twinstep/workflows/check.h"

#include <algorithm>

#include "twinstep/azure/connection_string.h"
#include "twinstep/workflows/job_container.h"

namespace twinstep::workflows {
namespace {

constexpr std::string_view kProbeBlob = "check.txt";

/// What to do about an error, from its kind; `denied` is what to do about missing rights.
std::string mend_for(const Error& error, std::string denied) {
  switch (error.kind) {
    case ErrorKind::kDenied:
      return denied;
    case ErrorKind::kUnavailable:
    case ErrorKind::kTimeout:
      return "check the address, the network, the proxy and, for a private authority, ca_file";
    case ErrorKind::kThrottled:
      return "the remote is busy; check tier and units, or try later";
    default:
      return "see the message";
  }
}

/// A right at the hub, and what came of using it.
struct Probe {
  std::string_view what;
  std::string_view policy_right;  ///< of a shared access policy
  std::string_view role;          ///< the smallest built-in role that has it
  bool needed = true;
  Status status{};
  bool refused_for_another_reason = false;  ///< so the right is there
  std::string detail{};

  bool allowed() const { return status || status.error().kind == ErrorKind::kNotFound || refused_for_another_reason; }
  bool denied() const { return !status && status.error().kind == ErrorKind::kDenied && !refused_for_another_reason; }
};

template <class T>
Status status_of(const Result<T>& result) {
  if (result) return {};
  return fail(result.error());
}

class Checks {
 public:
  explicit Checks(LinkContext& context) : context_(context) {}

  void hub(const Call& call) {
    const DeviceId nobody(fmt::format("twinstep-check-{}", context_.rng.hex_id().substr(0, 12)));
    std::vector<Probe> probes;
    const auto probe = [&](std::string_view what, std::string_view right, std::string_view role, bool needed,
                           Status status) -> Probe& {
      return probes.emplace_back(Probe{what, right, role, needed, std::move(status)});
    };
    constexpr std::string_view kReader = "IoT Hub Data Reader", kRegistry = "IoT Hub Registry Contributor",
                               kTwins = "IoT Hub Twin Contributor", kAll = "IoT Hub Data Contributor";
    azure::IotHubClient& hub = context_.hub;
    Probe& read = probe("read devices", "RegistryRead", kReader, true, status_of(hub.get_device(nobody, call)));
    read.detail = hub.host();
    if (!read.allowed() && !read.denied()) return report(probes);  // not reachable: no more words

    probe("change devices", "RegistryWrite", kRegistry, writes(), change_nobody(nobody, call));
    probe("delete devices", "RegistryWrite", kRegistry, writes(), hub.delete_device(nobody, Etag("*"), call));
    probe("read twins", "ServiceConnect", kReader, true, status_of(hub.get_twin(nobody, call)));
    const json::object no_mark{{"twinstep", nullptr}};
    probe("write twins", "ServiceConnect", kTwins, writes(),
          status_of(hub.patch_tags(nobody, no_mark, Etag("*"), call)));
    probe("query", "ServiceConnect", kReader, true, status_of(hub.query("SELECT * FROM devices", 1, "", call)));
    if (jobs()) {
      const auto listed = hub.list_jobs(call);
      Probe& list = probe("read jobs", "RegistryRead", kReader, true, status_of(listed));
      if (listed &&
          std::any_of(listed->begin(), listed->end(), [](const auto& j) { return !azure::is_final(j.state); }))
        list.detail = "a job is running now";
      Probe& start = probe("start jobs", "RegistryWrite", kAll, true, start_no_job(nobody, call));
      // What it asked for cannot be done; whoever is told that, or that another job is running, may start jobs.
      start.refused_for_another_reason =
          !start.status && (start.status.error().remote_status == 400 || start.status.error().remote_status == 403);
    }
    report(probes);
    excess(probes);
  }

  void storage(const Call& call) {
    if (!context_.blobs) {
      results.push_back({"storage", true, "none; the hub is listed by queries and changed by bulk calls", {}});
      return;
    }
    auto container = JobContainer::create(context_, PlanId(), false, call);
    add("storage: make a container", container, storage_mend());
    if (!container) return;
    auto writer = context_.blobs->write_blob(container->name(), kProbeBlob, call);
    Status written = writer->write("check");
    if (written) written = writer->finish();
    add("storage: write a blob", written, storage_mend());
    auto read = context_.blobs->read_blob(
        container->name(), kProbeBlob, [](std::string_view) -> Status { return {}; }, call);
    add("storage: read a blob", read, storage_mend());
    add("storage: delete a blob", context_.blobs->delete_blob(container->name(), kProbeBlob, call), storage_mend());
    if (by_identity())
      results.push_back(
          {"storage: jobs",
           true,
           "by the hub's identity, which needs the role Storage Blob Data Contributor; the first job shows "
           "whether it has it",
           {}});
    else
      add("storage: sign for the hub", container->address(), storage_mend());
    add("storage: remove a container", container->remove(), storage_mend());
    if (const auto account = azure::StorageAccount::parse(context_.config.storage->connection_string.reveal());
        account && !account->key.empty() && account->name != "devstoreaccount1")
      warn("storage: credentials", "the account's key may do everything with the whole account",
           "use storage.account with entra and the role Storage Blob Data Contributor, for the hub's identity too");
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
    add(what, proof, "check the key, and that its policy or role may list devices",
        fmt::format("{} devices, {} invalid", good, bad));
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
  template <class T>
  void add(std::string what, const Result<T>& result, std::string denied, std::string detail = {}) {
    if (result)
      results.push_back({std::move(what), true, std::move(detail), {}});
    else
      results.push_back({std::move(what), false, result.error().what, mend_for(result.error(), std::move(denied))});
  }
  void warn(std::string what, std::string detail, std::string mend) {
    results.push_back({std::move(what), true, std::move(detail), std::move(mend), true});
  }

  /// With If-Match it changes what is there and never makes a device. By certificate, so that no key is sent.
  Status change_nobody(const DeviceId& nobody, const Call& call) {
    const json::object document{{"deviceId", json::string(nobody.value)},
                                {"status", "disabled"},
                                {"authentication", json::object{{"type", "certificateAuthority"}}}};
    return status_of(context_.hub.update_device(document, Etag("*"), call));
  }

  /// An export into a container that is not there, without a SAS: no hub can begin it.
  Status start_no_job(const DeviceId& nobody, const Call& call) {
    azure::ExportJob job;
    job.container_uri = Secret(context_.blobs->container_uri(nobody.value));
    auto started = context_.hub.create_export_job(job, call);
    if (started) (void)context_.hub.cancel_job(started->id, call);
    return status_of(started);
  }

  void report(const std::vector<Probe>& probes) {
    const bool nothing = std::all_of(probes.begin(), probes.end(), [](const Probe& p) { return p.denied(); });
    for (const Probe& p : probes) {
      std::string what = fmt::format("hub {}: {}", context_.link.hub, p.what);
      if (p.allowed()) {
        if (p.needed) results.push_back({std::move(what), true, p.detail, {}});
      } else if (!p.denied() || p.needed) {
        const std::string denied = nothing ? nothing_allowed() : missing(p);
        results.push_back({std::move(what), false, p.status.error().what, mend_for(p.status.error(), denied)});
      }
    }
  }

  std::string nothing_allowed() const {
    return context_.hub_config.entra
               ? "the hub accepts nothing from this identity: assign it a role at the hub, which takes some minutes to "
                 "count; Owner and Contributor of the subscription are no such roles"
               : "the hub accepts nothing with these credentials: check the policy's name and key, and this machine's "
                 "clock";
  }

  std::string missing(const Probe& p) const {
    if (context_.hub_config.entra)
      return fmt::format(
          "the identity lacks a role: {} has this right, {} has all that this link needs; new roles take "
          "some minutes to count",
          p.role, writes() || jobs() ? "IoT Hub Data Contributor" : "IoT Hub Data Reader");
    return fmt::format("the shared access policy {}lacks {}: take one that has {}", policy(), p.policy_right,
                       needed_rights());
  }

  /// What the credentials may do that this link does not need.
  void excess(const std::vector<Probe>& probes) {
    const std::string what = fmt::format("hub {}: credentials", context_.link.hub);
    const auto may = [&](std::string_view one) {
      return std::any_of(probes.begin(), probes.end(),
                         [&](const Probe& p) { return p.what == one && p.allowed() && !p.needed; });
    };
    if (context_.hub_config.entra) {
      if (may("change devices") || may("delete devices") || may("write twins"))
        warn(what, "the identity may write to the hub, which this link never does",
             jobs()
                 ? "take a custom role: IoT Hub Data Reader, and jobs/write and jobs/delete. The just-in-time facade "
                   "needs IoT Hub Data Contributor"
                 : "the role IoT Hub Data Reader is enough. The just-in-time facade needs IoT Hub Data Contributor");
      return;
    }
    const std::string name = policy_name();
    if (name == "iothubowner") {
      warn(what, "the policy iothubowner may do everything, also connect as any device",
           fmt::format("make a shared access policy with {} only", needed_rights()));
    } else if (!jobs() && may("delete devices")) {
      warn(what, fmt::format("the policy {}has RegistryWrite, which this link does not need", policy()),
           fmt::format("take a policy with {} only. The just-in-time facade needs RegistryWrite", needed_rights()));
    }
  }

  std::string policy_name() const {
    const auto parsed = azure::HubConnection::parse(context_.hub_config.connection_string.reveal());
    return parsed ? parsed->key_name : std::string();
  }
  std::string policy() const {
    const std::string name = policy_name();
    return name.empty() ? name : name + " ";
  }
  std::string_view needed_rights() const {
    return writes() || jobs() ? "RegistryRead, RegistryWrite and ServiceConnect" : "RegistryRead and ServiceConnect";
  }

  std::string storage_mend() const {
    if (by_identity())
      return "assign the role Storage Blob Data Contributor on the account to the identity of storage.entra; it takes "
             "some minutes to count";
    return "check the key; a SAS must allow containers and blobs to be made, written, read, listed and deleted";
  }

  bool writes() const { return context_.link.master == config::Master::kExternal; }
  /// Exports list the hub whoever is the master; imports change it.
  bool jobs() const { return context_.blobs && (context_.config.use_export_jobs || writes()); }
  bool by_identity() const { return context_.config.storage && context_.config.storage->entra; }

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
