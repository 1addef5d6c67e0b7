#include "twinstep/config/entra_reader.h"

#include <sstream>

#include "twinstep/azure/blob_client.h"
#include "twinstep/azure/token_verifier.h"
#include "twinstep/config/key_reader.h"

namespace twinstep::config {
namespace {

/// What the platform sets for identities, whoever uses them.
void add_platform(Entra& entra, const Environment& environment) {
  const auto from = [&](const char* variable) { return environment.get(variable).value_or(""); };
  entra.authority = from("AZURE_AUTHORITY_HOST");
  entra.token_file = from("AZURE_FEDERATED_TOKEN_FILE");
  entra.imds = from("AZURE_POD_IDENTITY_AUTHORITY_HOST");
  entra.identity_endpoint = from("IDENTITY_ENDPOINT");
  entra.identity_header = Secret(from("IDENTITY_HEADER"));
}

}  // namespace

Entra read_entra(const yaml::Node& node, yaml::Diagnostics& diagnostics, const Environment& environment) {
  Entra entra;
  KeyReader map(node, diagnostics, "entra", entra_keys());
  entra.kind = static_cast<EntraKind>(map.choice("kind").value_or(0));
  entra.tenant = map.text("tenant").value_or(environment.get("AZURE_TENANT_ID").value_or(""));
  entra.client_id = map.text("client_id").value_or(environment.get("AZURE_CLIENT_ID").value_or(""));
  if (auto value = map.secret("client_secret", [&](std::string_view name) { return environment.get(name); }))
    entra.client_secret = *value;
  else if (auto set = environment.get("AZURE_CLIENT_SECRET"))
    entra.client_secret = Secret(*set);
  if (entra.kind == EntraKind::kClientSecret &&
      (entra.tenant.empty() || entra.client_id.empty() || entra.client_secret.empty()))
    diagnostics.error(node, "config.entra", "a client secret needs tenant, client_id and client_secret");
  add_platform(entra, environment);
  if (entra.kind == EntraKind::kWorkloadIdentity && entra.token_file.empty())
    diagnostics.error(node, "config.entra",
                      "workload identity needs AZURE_FEDERATED_TOKEN_FILE, which the platform sets");
  map.finish();
  return entra;
}

Webhook read_webhook(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
  Webhook out;
  KeyReader map(node, diagnostics, "webhook", webhook_keys());
  if (const yaml::Node* entra = map.section("entra")) {
    KeyReader inner(*entra, diagnostics, "entra", webhook_entra_keys());
    azure::EntraTrust trust;
    trust.tenant = inner.text("tenant").value_or("");
    trust.application = inner.text("application").value_or(trust.application);
    trust.authority = inner.text("authority").value_or(trust.authority);
    while (trust.authority.ends_with('/')) trust.authority.pop_back();  // as it is often written
    std::istringstream audiences(inner.text("audience").value_or(""));
    for (std::string one; audiences >> one;) trust.audiences.push_back(one);
    inner.finish();
    if (inner.at("tenant") && inner.at("audience"))
      if (auto good = azure::check(trust); !good)
        diagnostics.error(*entra, good.error().code, fmt::format("serve.webhook.entra: {}", good.error().what));
    out.entra = {trust.tenant, trust.audiences, trust.application, trust.authority};
  }
  map.finish();
  return out;
}

Result<KeylessStorage> read_keyless_storage(const Environment& environment) {
  const std::string prefix = "AzureWebJobsStorage__";
  const auto get = [&](const char* end) { return environment.get(prefix + end); };
  KeylessStorage out;
  out.variable = prefix + "blobServiceUri";
  auto account = get("blobServiceUri");
  if (!account) {
    out.variable = prefix + "accountName";
    account = get("accountName");
  }
  if (!account) return out;
  if (auto good = azure::StorageAccount::of_identity(*account); !good)
    return fail_within(std::move(good), fmt::format("environment variable {}", out.variable));
  Storage& storage = out.storage.emplace();
  storage.account = *account;
  storage.identity_based_jobs = true;
  Entra& entra = storage.entra.emplace();
  add_platform(entra, environment);
  const auto either = [&](const char* end, const char* otherwise) {
    const auto own = get(end);
    return own ? *own : environment.get(otherwise).value_or("");
  };
  entra.tenant = either("tenantId", "AZURE_TENANT_ID");
  entra.client_id = either("clientId", "AZURE_CLIENT_ID");
  entra.client_secret = Secret(either("clientSecret", "AZURE_CLIENT_SECRET"));
  // In the order of Microsoft's libraries, unless __credential says which.
  const std::string wanted = get("credential").value_or("");
  const bool workload = same_name(wanted, "workloadidentity");
  if (!wanted.empty() && !workload && !same_name(wanted, "managedidentity"))
    return fail(ErrorKind::kInvalid, "config.environment",
                fmt::format("environment variable {}credential is '{}'; it must be managedidentity or workloadidentity",
                            prefix, wanted.substr(0, 40)));
  if (workload && entra.token_file.empty())
    return fail(ErrorKind::kInvalid, "config.environment",
                fmt::format("{}credential is workloadidentity, but AZURE_FEDERATED_TOKEN_FILE is not set", prefix));
  if (wanted.empty() && !entra.client_secret.empty() && !entra.tenant.empty() && !entra.client_id.empty())
    entra.kind = EntraKind::kClientSecret;
  else if (workload || (wanted.empty() && !entra.token_file.empty()))
    entra.kind = EntraKind::kWorkloadIdentity;
  else
    entra.kind = EntraKind::kManagedIdentity;
  return out;
}

}  // namespace twinstep::config
