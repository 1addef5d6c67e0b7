#include "twinstep/config/environment.h"

#include <algorithm>
#include <charconv>

#include "twinstep/base/units.h"

namespace twinstep::config {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

const std::vector<std::string>& known_variables() {
  static const std::vector<std::string> names{
      "iothub", "externalSystemName", "actility_api_token_uri", "actility_api_devices_uri", "actility_api_client_id",
      "actility_api_client_secret", "AzureWebJobsStorage", "AzureWebJobsStorage__accountName",
      "AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage__credential", "AzureWebJobsStorage__clientId",
      "AzureWebJobsStorage__clientSecret", "AzureWebJobsStorage__tenantId", "storage", "useJobToExportIoTHubDevices",
      "devicesChangeJobThreshold", "retryIntervalForIoTHubExportJobInSeconds", "retryAttemptsForIoTHubExportJob",
      "retryIntervalForIoTHubImportJobInSeconds", "retryAttemptsForIoTHubImportJob", "ioTHubSynchronizerEnabled",
      // Read by the daemon, known here so that they raise no warning.
      "twinCheckIntervalInSeconds", "twinCheckMaxIntervalInSeconds", "twinCheckMaxRetryCount",
      "twinCheckRetryTimeoutInMinutes", "externalSystemCallRetryIntervalInSeconds", "externalSystemCallMaxRetryCount",
      "externalSystemCallMaxIntervalInSeconds", "externalSystemCallRetryTimeoutInMinutes",
      "externalSystemDeviceCreationRetryIntervalInSeconds", "externalSystemDeviceCreationMaxRetryCount",
      "externalSystemDeviceCreationMaxIntervalInSeconds", "externalSystemDeviceCreationRetryTimeoutInMinutes",
      "iothubfacadeEnabled", "iotHubFacadeUseSoftDelete", "APPINSIGHTS_INSTRUMENTATIONKEY",
      "APPLICATIONINSIGHTS_CONNECTION_STRING",
      // OpenTelemetry's.
      "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
      "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER_ARG",
      // Our own.
      "actility_api_requests_per_second", "TWINSTEP_CONFIG", "TWINSTEP_CA_FILE", "TWINSTEP_STORE", "TWINSTEP_TIER",
      "TWINSTEP_UNITS", "TWINSTEP_TIME_FACTOR", "TWINSTEP_URL", "TWINSTEP_KEY", "TWINSTEP_STORE_KEY"};
  return names;
}

Environment::Environment(const std::map<std::string, std::string>& all) {
  for (const auto& [name, value] : all) values_[lower(name)] = {name, value};
}

std::optional<std::string> Environment::get(std::string_view name) const {
  const auto found = values_.find(lower(name));
  if (found == values_.end() || found->second.second.empty()) return {};
  return found->second.second;
}

Result<std::optional<int>> Environment::integer(std::string_view name, int least,
                                                std::vector<std::string>& warnings) const {
  const auto text = get(name);
  if (!text) return std::optional<int>{};
  int value = 0;
  const char* end = text->data() + text->size();
  const auto read = std::from_chars(text->data(), end, value);
  if (read.ec != std::errc{} || read.ptr != end)
    return fail(ErrorKind::kInvalid, "config.environment",
                fmt::format("environment variable {} is '{}'; it must be a whole number", name, text->substr(0, 40)));
  if (value < least) {
    warnings.push_back(fmt::format("environment variable {} is {}; {} is the least and is used", name, value, least));
    value = least;
  }
  return std::optional<int>{value};
}

Result<std::optional<bool>> Environment::boolean(std::string_view name) const {
  const auto text = get(name);
  if (!text) return std::optional<bool>{};
  const std::string value = lower(*text);
  if (value == "true" || value == "1") return std::optional<bool>{true};
  if (value == "false" || value == "0") return std::optional<bool>{false};
  return fail(ErrorKind::kInvalid, "config.environment",
              fmt::format("environment variable {} is '{}'; it must be true or false", name, text->substr(0, 40)));
}

std::vector<std::pair<std::string, std::string>> Environment::with_prefix(std::string_view prefix) const {
  const std::string start = lower(prefix);
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [name, set] : values_)
    if (name.size() > start.size() && name.starts_with(start) && !set.second.empty())
      out.emplace_back(set.first.substr(start.size()), set.second);
  return out;
}

std::vector<std::string> Environment::near_misses() const {
  std::vector<std::string> out;
  for (const auto& entry : values_) {  // names of a binding cannot go into the lambda under clang
    const auto& name = entry.first;
    const auto& set = entry.second;
    if (name.starts_with("iothub_") || name.size() < 8) continue;
    const bool known = std::any_of(known_variables().begin(), known_variables().end(),
                                   [&](const std::string& ours) { return lower(ours) == name; });
    if (known) continue;
    // Only names that are nearly ours: the environment is full of other programs' variables.
    const std::string meant = nearest(name, known_variables());
    if (!meant.empty() && meant.size() >= 8 && edit_distance(name, meant) <= 2)
      out.push_back(fmt::format("environment variable {} is not known; did you mean {}?", set.first, meant));
  }
  return out;
}

}  // namespace twinstep::config
