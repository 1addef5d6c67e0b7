#pragma once

#include <string>
#include <vector>

#include "twinstep/json/json.h"
#include "twinstep/providers/external_registry.h"

namespace twinstep::workflows {

/// The tags as they may be shown: "***" stands for what the provider's definition calls secret, and for what everybody
/// knows by its name to be one, at any depth: the keys of LoRaWAN, passwords, tokens, connection strings.
json::object shown_tags(json::object tags, const std::vector<providers::TagSpec>& specs);

/// Is a tag of that name a secret whatever the provider? "AppKey", "app_key" and "appkey" are one name.
bool is_secret_name(std::string_view name);

}  // namespace twinstep::workflows
