#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "twinstep/azure/blob_client.h"

/// What the blob service says: lists, properties, refusals.
namespace twinstep::azure {

template <class Item>
struct BlobPage {
  std::vector<Item> items;
  std::string next_marker;  ///< opaque; empty on the last page
};

/// Errors  kCorrupt "blob.bad-list" when the text is not a whole list, for example cut off or a page of a proxy.
/// Source  azure.md 3.2
Result<BlobPage<ContainerInfo>> parse_container_list(std::string_view xml);
Result<BlobPage<BlobInfo>> parse_blob_list(std::string_view xml);

/// From the answer's headers. Errors  kCorrupt without a readable Content-Length.
Result<BlobInfo> parse_properties(std::string_view blob, const http::Response& response);

/// An answer that is not the expected success. `context` is "blob storage acct: list blobs of job1".
/// Server texts of refused credentials are left out: they hold signatures.
/// Source  azure.md 3.1, 3.2
Error blob_error(const http::Response& response, std::string_view context, SystemTime now);

}  // namespace twinstep::azure
