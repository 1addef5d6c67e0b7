#include "twinstep/config/link_reader.h"

#include "twinstep/config/key_reader.h"
#include "twinstep/cron/cron.h"

namespace twinstep::config {
Link read_link(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
  Link link;
  KeyReader map(node, diagnostics, "link", link_keys());
  link.name = map.text("name").value_or("");
  link.hub = map.text("hub").value_or("");
  link.external = map.text("external").value_or("");
  if (map.choice("master") == 1u) link.master = Master::kHub;
  link.events = link.master == Master::kHub;
  link.schedule = map.text("schedule").value_or("");
  link.zone = map.text("zone").value_or("UTC");
  // One at a time, so that each mistake is shown at its own place.
  const auto check_schedule = [&](std::string_view name, std::string_view cron, std::string_view zone) {
    const yaml::Node* place = map.at(name);
    if (!place || cron.empty()) return;
    if (const auto parsed = Cron::parse(cron, zone); !parsed)
      diagnostics.error(*place, parsed.error().code, parsed.error().what);
  };
  check_schedule("schedule", link.schedule, "UTC");
  check_schedule("zone", "* * * * *", link.zone);
  if (map.choice("scope") == 1u) link.scope = Scope::kWholeHub;
  if (const auto chosen = map.choice("deletes")) link.deletes = static_cast<Deletes>(*chosen);
  if (const yaml::Node* limits = map.section("limits")) {
    KeyReader inner(*limits, diagnostics, "limits", limits_keys());
    link.limits.deletes = inner.limit("deletes").value_or(link.limits.deletes);
    link.limits.updates = inner.limit("updates").value_or(link.limits.updates);
    link.limits.shrink = inner.limit("shrink").value_or(link.limits.shrink);
    inner.finish();
  }
  if (const auto copy = map.boolean("copy_secrets")) link.copy_secrets = *copy;
  const std::set<size_t> include = map.choices("include");
  link.include_edge = include.contains(0);
  link.include_modules = include.contains(1);
  link.include_certificates = include.contains(2);
  if (const auto spelling = map.choice("ids")) link.id_spelling = static_cast<IdSpelling>(*spelling);
  link.facade = map.boolean("facade");
  if (const auto lifetime = map.duration("plan_lifetime")) link.plan_lifetime = *lifetime;
  if (map.choice("overlap") == 1u) link.overlap = Overlap::kQueue;
  map.finish();
  return link;
}

}  // namespace twinstep::config
