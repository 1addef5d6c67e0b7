#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/azure/iothub_client.h"
#include "twinstep/base/result.h"
#include "twinstep/plan/rules.h"

namespace twinstep::plan {

/// One device (or module) of a hub as its export line or query page tells it. Views are good until the next read().
struct HubLine {
  std::string_view id;
  std::string_view module_id;  ///< empty = a device
  std::string_view etag;       ///< of the identity: eTag of an export, deviceEtag of a twin
  std::string_view twin_etag;  ///< twinETag of an export, etag of a twin
  std::string_view status_reason;
  bool enabled = true;
  bool edge = false;
  azure::AuthKind auth = azure::AuthKind::kSas;
  bool marked = false;                       ///< tags.twinstep is there
  std::string_view owner;                    ///< tags.twinstep.link; empty when that is no string
  bool has_ref = false;                      ///< tags.ref is there
  std::string_view tags;                     ///< the tags object as listed; empty = none
  std::span<const std::string_view> values;  ///< one per TagSpec, canonical JSON; empty = absent or null
};

/// Reads lines of a hub's export and twins of query pages.
///
/// Threads  one thread at a time; make one per thread. Reuses its buffers.
/// Errors   kCorrupt: no JSON object, no id, or a member of the wrong type. Never crashes on any bytes. failed_id()
///          then tells the id when it can be read near the beginning of the text.
/// Source   azure.md 1.7, 1.11; query pages name members differently (deviceId, deviceEtag, etag, authenticationType).
class HubLineReader {
 public:
  /// Values of tags that the rules do not use stay empty.
  explicit HubLineReader(const Rules& rules);
  ~HubLineReader();
  HubLineReader(HubLineReader&&) noexcept;
  HubLineReader& operator=(HubLineReader&&) noexcept;

  Result<HubLine> read(std::string_view text);
  std::string_view failed_id() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace twinstep::plan
