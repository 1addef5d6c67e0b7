#pragma once

#include <string>

#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/iothub_client.h"
#include "twinstep/config/config.h"
#include "twinstep/plan/snapshot.h"
#include "twinstep/providers/external_registry.h"
#include "twinstep/store/state_file.h"
#include "twinstep/workflows/progress.h"

namespace twinstep::workflows {

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
};

}  // namespace twinstep::workflows
