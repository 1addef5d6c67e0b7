#pragma once

#include <memory>

#include "twinstep/providers/definition.h"

namespace twinstep::providers {

/// A Mapper for the definition's identity, tags and item filter. `definition` outlives it.
std::unique_ptr<Mapper> make_mapper(const Definition& definition);

}  // namespace twinstep::providers
