#include "twinstep/providers/external_registry.h"

#include <fmt/format.h>

namespace twinstep::providers {

std::string TagSpec::name() const {
  std::string out;
  for (const std::string& part : path) out += (out.empty() ? "" : "/") + part;
  return out;
}

std::string to_string(const ItemPlace& place) {
  return place.page > 0 ? fmt::format("page {}, item {}", place.page, place.index)
                        : fmt::format("line {}", place.index);
}

}  // namespace twinstep::providers
