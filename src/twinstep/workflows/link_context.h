#pragma once

#include <functional>
#include <string>

#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/iothub_client.h"
#include "twinstep/config/config.h"
#include "twinstep/obs/event.h"
#include "twinstep/plan/snapshot.h"
#include "twinstep/providers/external_registry.h"
#include "twinstep/store/link_lock.h"
#include "twinstep/store/state_file.h"
#include "twinstep/workflows/progress.h"

namespace twinstep::workflows {

/// What a durable run hears and keeps of its work; a command has none.
///
/// Threads   record() from any thread, one at a time; the others from the thread that plans and applies.
class RunWatch {
 public:
  virtual ~RunWatch() = default;
  /// True once this process gives the run up, for another one to go on: the hub's jobs are then left to that one
  /// instead of being cancelled.
  virtual bool leaving() const = 0;
  /// A job was looked at and is not complete.
  virtual void job_not_complete(const azure::Job& job) = 0;
  /// A job failed, or was not done in time.
  virtual void job_failed(const JobId& job) = 0;
  /// Keeps what became of these devices, in place of the state file's journal. Errors  those of the store.
  virtual Status record(const std::vector<store::JournalEntry>& entries) = 0;
};

/// How events and people call a hub: the first part of its host name, or its name here when it is no Azure host.
std::string hub_label(const config::Hub& hub);

/// Everything that work on one link needs. All references outlive the work.
struct LinkContext {
  const config::Config& config;
  const config::Link& link;
  const config::Hub& hub_config;
  azure::IotHubClient& hub;
  azure::BlobClient* blobs = nullptr;  ///< null without storage: queries and bulk calls, no jobs
  providers::ExternalRegistry& external;
  store::StateFile& state;
  Clock& clock;
  Rng& rng;
  Progress& progress;
  std::string temporary_folder = "/tmp";
  store::LinkLocks* locks = nullptr;  ///< of a durable run; null: whoever made this holds the link already
  RunWatch* watch = nullptr;
  /// Why a device must not be deleted or disabled yet; an empty text = it may. Errors  those of the store.
  std::function<Result<std::string>(const DeviceId&, const Call&)> spared{};
  obs::EventSink* events = nullptr;  ///< null: nobody wants to know
};

}  // namespace twinstep::workflows
