#include "twinstep/workflows/secret_tags.h"

#include <algorithm>
#include <array>

namespace twinstep::workflows {
namespace {

// LoRaWAN 1.0 and 1.1 by the names of the specification, ChirpStack, TTN and ThingPark; the rest by custom.
constexpr std::array<std::string_view, 30> kSecrets{"accesskey",        "accesstoken",    "apikey",
                                                    "appkey",           "applicationkey", "applicationsessionkey",
                                                    "appskey",          "authtoken",      "clientsecret",
                                                    "connectionstring", "devicekey",      "fnwksintkey",
                                                    "fnwksenckey",      "genappkey",      "jsenckey",
                                                    "jsintkey",         "mcappskey",      "mckey",
                                                    "mcnwkskey",        "networkkey",     "networksessionkey",
                                                    "nwkkey",           "nwksenckey",     "nwkskey",
                                                    "password",         "primarykey",     "secondarykey",
                                                    "secret",           "snwksintkey",    "sharedaccesskey"};

void hide(json::value& value) {
  if (json::array* items = value.if_array()) {
    for (json::value& one : *items) hide(one);
    return;
  }
  json::object* members = value.if_object();
  if (!members) return;
  for (auto& member : *members) {
    if (is_secret_name(member.key()))
      member.value() = "***";
    else
      hide(member.value());
  }
}

}  // namespace

bool is_secret_name(std::string_view name) {
  std::string plain;
  for (const char c : name)
    if (c != '_' && c != '-') plain.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  return std::find(kSecrets.begin(), kSecrets.end(), plain) != kSecrets.end();
}

json::object shown_tags(json::object tags, const std::vector<providers::TagSpec>& specs) {
  for (const providers::TagSpec& spec : specs) {
    if (!spec.secret || spec.path.empty()) continue;
    json::object* place = &tags;
    for (size_t i = 0; place && i + 1 < spec.path.size(); ++i) {
      json::value* next = place->if_contains(spec.path[i]);
      place = next ? next->if_object() : nullptr;
    }
    if (!place) continue;
    if (json::value* secret = place->if_contains(spec.path.back())) *secret = "***";
  }
  for (auto& member : tags) {
    if (is_secret_name(member.key()))
      member.value() = "***";
    else
      hide(member.value());
  }
  return tags;
}

}  // namespace twinstep::workflows
