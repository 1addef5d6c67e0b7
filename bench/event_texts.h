#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twinstep::bench {

constexpr const char* kHubName = "bench";
constexpr const char* kListenerPath = "/api/ExternalRegistrySynchronizer_EventGridListener";

std::string device_id(uint64_t n);
std::string device_eui(uint64_t n);
/// All that ThingPark needs of the n-th device, as JSON object.
std::string device_tags(uint64_t n);

/// Bodies of deliveries as Event Grid sends them: `count` events, each of a device of its own from `first` on,
/// "created" with all tags, `batch` in each body.
std::vector<std::string> created_events(uint64_t first, uint64_t count, uint64_t batch);

}  // namespace twinstep::bench
