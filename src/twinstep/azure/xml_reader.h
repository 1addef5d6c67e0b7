#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "twinstep/base/result.h"

namespace twinstep::azure {

/// One element, given when it ends.
struct XmlElement {
  std::string_view path;  ///< names from the root on: "EnumerationResults/Blobs/Blob/Name"
  std::string_view text;  ///< directly inside, decoded
  const std::vector<std::pair<std::string, std::string>>& attributes;

  std::string_view attribute(std::string_view name) const;  ///< decoded value, else empty
};

/// Calls `visit` for every element of a whole document, children before parents. A document type declaration is
/// refused, so there is nothing to expand and nothing to load.
/// Shape   UTF-8, a byte order mark is allowed; at most 32 levels.
/// Errors  kCorrupt "xml.malformed" with the byte offset, also when the document stops early; and what `visit` returns.
Status read_xml(std::string_view document, const std::function<Status(const XmlElement&)>& visit);

}  // namespace twinstep::azure
