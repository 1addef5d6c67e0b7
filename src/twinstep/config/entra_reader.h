#pragma once

#include "twinstep/config/config.h"
#include "twinstep/config/environment.h"
#include "twinstep/yaml/document.h"

/// The parts of the configuration that are about Entra ID: who we are, and whom we believe. Complaints go to the
/// diagnostics, with their place.
namespace twinstep::config {

/// An `entra` section of a hub or of the storage; what it leaves out comes from AZURE_* variables, as Microsoft's
/// libraries read them.
Entra read_entra(const yaml::Node& node, yaml::Diagnostics& diagnostics, const Environment& environment);

/// `serve.webhook`.
Webhook read_webhook(const yaml::Node& node, yaml::Diagnostics& diagnostics);

/// Storage without a key, named as Azure Functions name it: AzureWebJobsStorage__accountName, or __blobServiceUri.
struct KeylessStorage {
  std::optional<Storage> storage;  ///< none: it is not named so
  std::string variable;            ///< that named it
};
/// Errors  kInvalid naming the variable.
Result<KeylessStorage> read_keyless_storage(const Environment& environment);

}  // namespace twinstep::config
