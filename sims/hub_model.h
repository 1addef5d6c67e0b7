#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "twinstep/base/clock.h"
#include "twinstep/json/json.h"

/// What a hub stores about a device or module, and how it is shown: identity, twin, export line.
/// Source  azure.md 1.4 to 1.7 and 1.11; recorded traffic for the member sets and the forms of times.
namespace twinstep::sims {

/// A refusal by the hub: HTTP status, symbolic code, number, text.
struct HubError {
  int status = 400;
  std::string code;
  int number = 0;
  std::string text;
};
template <class T>
using Answer = tl::expected<T, HubError>;

HubError argument_invalid(std::string text);

/// What happened to a device in the registry; only these two make events.
enum class HubChange : uint8_t { kCreated, kDeleted };

enum class AuthType : uint8_t { kSas, kSelfSigned, kCertificateAuthority };

struct Entity;

/// What few devices have; kept apart so that a million plain devices stay small.
struct EntityExtras {
  std::string status_reason;
  std::string primary_key, secondary_key;  ///< base64, as the caller gave them; empty = made from key_seed
  std::string primary_thumbprint, secondary_thumbprint;
  std::string device_scope;
  std::string parent_scopes;  ///< JSON array text, empty = none
  std::string desired_meta;   ///< JSON text; empty = the same time and version everywhere
  std::string reported;       ///< JSON text
  std::string managed_by;     ///< of a module
  std::map<std::string, Entity, std::less<>> modules;
};

/// A device, or a module of one. JSON sections are kept as text.
struct Entity {
  uint64_t generation = 0;  ///< .NET ticks
  uint64_t etag = 0;
  uint64_t key_seed = 0;
  int64_t status_updated_us = 0;  ///< 0 = never
  int64_t twin_created_us = 0;
  int64_t desired_updated_us = 0;  ///< 0 = never; what `desired` shows while extras has no desired_meta
  uint64_t twin_etag = 1;
  uint32_t version = 2;
  uint32_t desired_version = 1;
  uint32_t reported_version = 1;
  AuthType auth = AuthType::kSas;
  bool enabled = true;
  bool edge = false;
  std::string tags;     ///< JSON object text; empty = none
  std::string desired;  ///< JSON object text without $metadata and $version; empty = none
  std::unique_ptr<EntityExtras> extras;

  Entity() = default;
  Entity(Entity&&) = default;
  Entity& operator=(Entity&&) = default;
  Entity(const Entity& other);
  Entity& operator=(const Entity& other);
  EntityExtras& more();
};

/// Keys that nobody asked for are computed, not stored.
struct KeyMaker {
  std::string secret;
  std::string key(uint64_t seed, char which) const;  ///< base64 of 32 bytes
};

std::string hub_time(int64_t micros_since_epoch);  ///< 0 = "0001-01-01T00:00:00Z"; trailing zeros of the fraction cut
std::string identity_etag(uint64_t counter);       ///< base64 of the decimal number
std::string twin_etag(uint64_t counter);           ///< base64 of 8 bytes, big-endian
uint64_t dotnet_ticks(SystemTime time);

/// Reads `authentication` of a body into `entity`; null or absent issues new keys from `fresh_seed`.
Answer<void> set_authentication(Entity& entity, const json::value* authentication, uint64_t fresh_seed);
/// Reads status, statusReason, capabilities, deviceScope and parentScopes.
Answer<void> set_identity(Entity& entity, const std::string& id, const json::object& body, int64_t now_us);

json::object authentication_json(const Entity& entity, const KeyMaker& keys, bool hide_keys);
enum class IdentityForm { kCreated, kUpdated, kRead };
json::object device_json(const std::string& id, const Entity& entity, const KeyMaker& keys, IdentityForm form);
json::object module_json(const std::string& id, const std::string& module, const Entity& entity, const KeyMaker& keys,
                         IdentityForm form);
json::object twin_json(const std::string& id, const std::string& module, const Entity& entity, bool with_model);
/// One line of an export; the twin part is there only when the twin has data.
json::object export_json(const std::string& id, const std::string& module, const Entity& entity, const KeyMaker& keys,
                         bool hide_keys);

}  // namespace twinstep::sims
