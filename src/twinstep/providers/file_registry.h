#pragma once

#include <memory>

#include "twinstep/providers/definition.h"

namespace twinstep::providers {

/// Reads a device list from a local file with bounded memory: NDJSON, a JSON array at the root or at the pointer
/// `items`, several pages one after the other, or CSV with a header row. Extension .csv or .tsv, or a first byte that
/// is neither { nor [, means CSV. Any provider's saved list works: `items` empty means the definition's own place.
/// A proof that is not complete says why; a list without a single item is complete.
/// Errors  kNotFound, kDenied naming the file; kInvalid for a CSV header that cannot be read; those of the sinks.
Result<ListProof> list_file(const Definition& definition, const std::string& path, const ItemSink& items,
                            const BrokenSink& broken, std::string_view items_pointer = {}, const Call& call = {});

/// The registry behind a definition with `file`: it can be listed and looked up, not written.
std::unique_ptr<ExternalRegistry> make_file_registry(Definition definition, std::map<std::string, Secret> settings);

}  // namespace twinstep::providers
