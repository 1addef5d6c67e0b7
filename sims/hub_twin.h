#pragma once

#include "sims/hub_model.h"

/// The sections of a twin, tags and properties: their rules, changes and how they are shown.
/// Source  azure.md 1.7
namespace twinstep::sims {

json::object tags_json(const Entity& entity);
json::object properties_json(const Entity& entity);  ///< desired and reported, with $metadata and $version

/// Keys, strings, numbers, depth and nulls of one section against azure.md 1.7; sizes are checked on the result.
Answer<void> check_section(const json::value& section, std::string_view name);
size_t section_bytes(const json::value& section);

/// PATCH: merges tags and properties.desired. Nothing changes on error.
Answer<void> merge_twin(Entity& entity, const json::object& patch, int64_t now_us);
/// Replaces the sections named (PUT names all: absent ones are emptied when `whole`).
/// `fresh`: the twin is being made together with its device, so versions do not move.
Answer<void> replace_twin(Entity& entity, const json::object& body, int64_t now_us, bool whole, bool fresh);

}  // namespace twinstep::sims
