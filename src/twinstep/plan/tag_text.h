#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "twinstep/plan/rules.h"

namespace twinstep::plan {

/// The JSON object of the picked values at their places, canonical; with `link` also the owner mark. "{}" for none.
std::string tags_object(const std::vector<providers::TagSpec>& specs, std::span<const std::string_view> values,
                        const std::function<bool(size_t)>& pick, const std::string* link);

/// What a hub would not take of a device's values, for people; empty = nothing. The mark counts in.
/// Source  azure.md 1.7: 8 KB in all, texts 4 KB, names 1 KB without control characters . $ # and space, ten levels,
///         whole numbers of 52 bits, no null in arrays.
std::string why_refused(const Rules& rules, std::span<const std::string_view> values);

/// The same for a whole tags object as canonical JSON that is written with the mark of `link`.
std::string why_tags_refused(std::string_view canonical, std::string_view link);

/// A value for people: at most 64 characters; "absent" for none.
std::string shown_value(std::string_view json);
/// "tags.lorawan.devEui"
std::string shown_name(const providers::TagSpec& spec);

}  // namespace twinstep::plan
