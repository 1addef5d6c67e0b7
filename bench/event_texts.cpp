#include "event_texts.h"

#include <fmt/format.h>

#include "sims/hub_event.h"
#include "twinstep/base/clock.h"

namespace twinstep::bench {

std::string device_id(uint64_t n) { return fmt::format("sensor-{:08}", n); }

std::string device_eui(uint64_t n) { return fmt::format("0004A30B{:08X}", n); }

std::string device_tags(uint64_t n) {
  return fmt::format(R"({{"EUI":"{}","activationType":"OTAA","deviceProfileId":"LORA/GenericA.1.0.2a_ETSI",)"
                     R"("applicationEUI":"70B3D57ED0000001","applicationKey":"{:032X}"}})",
                     device_eui(n), n);
}

std::vector<std::string> created_events(uint64_t first, uint64_t count, uint64_t batch) {
  const sims::EventSource source = sims::event_source(std::string(kHubName) + ".azure-devices.net");
  std::vector<std::string> out;
  std::vector<std::string> texts;
  for (uint64_t n = first; n < first + count; ++n) {
    sims::HubEvent event;
    event.id = sims::new_guid();
    event.device_id = device_id(n);
    event.time = real_clock().system_now();
    sims::Entity entity;
    entity.tags = device_tags(n);
    event.entity = sims::shown_in_event(sims::HubChange::kCreated, entity, true);
    texts.push_back(json::write(sims::event_json(event, sims::EventSchema::kEventGrid, source)));
    if (texts.size() < batch && n + 1 < first + count) continue;
    out.push_back(sims::notification(texts, sims::EventSchema::kEventGrid, batch > 1).body);
    texts.clear();
  }
  return out;
}

}  // namespace twinstep::bench
