#include "twinstep/config/link_reader.h"

#include "twinstep/config/values.h"

namespace twinstep::config {
namespace {

void read_limit(yaml::MapReader& map, const char* key, Limit& limit, yaml::Diagnostics& diagnostics) {
  const auto text = map.text(key);
  if (!text) return;
  if (auto parsed = parse_limit(*text)) {
    limit = *parsed;
  } else {
    diagnostics.error(*map.get(key), parsed.error().code, parsed.error().what);
  }
}

}  // namespace

Link read_link(const yaml::Node& node, yaml::Diagnostics& diagnostics) {
  Link link;
  yaml::MapReader map(node, diagnostics, "link");
  for (const char* key : {"name", "hub", "external"}) map.need(key);
  link.name = map.text("name").value_or("");
  link.hub = map.text("hub").value_or("");
  link.external = map.text("external").value_or("");
  if (map.choice("master", {"external", "hub"}) == 1u) link.master = Master::kHub;
  link.schedule = map.text("schedule").value_or("");
  link.zone = map.text("zone").value_or("UTC");
  if (map.choice("scope", {"owned", "whole-hub"}) == 1u) link.scope = Scope::kWholeHub;
  if (map.get("deletes") == nullptr) {
    diagnostics.error(
        node, "config.deletes-missing",
        "a link must say what happens to devices its master lacks; write 'deletes: delete' (remove them), "
        "'deletes: disable' (keep them and their keys, but refuse connections) or 'deletes: never'");
  } else if (const auto chosen = map.choice("deletes", {"delete", "disable", "never"})) {
    link.deletes = static_cast<Deletes>(*chosen);
  }
  if (const yaml::Node* limits = map.get("limits")) {
    yaml::MapReader inner(*limits, diagnostics, "limits");
    read_limit(inner, "deletes", link.limits.deletes, diagnostics);
    read_limit(inner, "updates", link.limits.updates, diagnostics);
    read_limit(inner, "shrink", link.limits.shrink, diagnostics);
    inner.finish();
  }
  if (const auto copy = map.boolean("copy_secrets")) link.copy_secrets = *copy;
  for (const std::string& kind : map.texts("include")) {
    if (kind == "edge")
      link.include_edge = true;
    else if (kind == "modules")
      link.include_modules = true;
    else if (kind == "certificates")
      link.include_certificates = true;
    else
      diagnostics.error(*map.get("include"), "yaml.choice",
                        fmt::format("'include' of link holds '{}'; it may hold edge, modules, certificates", kind));
  }
  if (const auto spelling = map.choice("ids", {"as-listed", "upper", "lower"}))
    link.id_spelling = static_cast<IdSpelling>(*spelling);
  if (const auto lifetime = map.duration("plan_lifetime")) link.plan_lifetime = *lifetime;
  map.finish();
  return link;
}

}  // namespace twinstep::config
