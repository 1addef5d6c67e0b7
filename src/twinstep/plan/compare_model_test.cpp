#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <random>

#include "twinstep/plan/compare.h"
#include "twinstep/plan/fake_mapper.h"

/// Random pairs of registries, compared by twinstep and by a model that keeps everything in maps.
namespace twinstep::plan {
namespace {

struct HubDevice {
  std::string id;
  std::map<std::string, std::string> tags;  // JSON text by name: "a", "b"
  std::string mark;                         // "", "lora", "other", "odd"
  bool ref = false, edge = false, certificate = false;
  int disabled = 0;  // 1 = for being absent, 2 = by a person
};
struct Item {
  std::string id;
  std::map<std::string, std::string> tags;
  bool bad = false;
};
struct World {
  Rules rules;
  std::vector<HubDevice> hub;
  std::vector<std::string> modules, hub_broken;  // ids
  std::vector<Item> items;
  std::vector<std::string> external_broken;  // ids
  bool stray = false;                        // a broken line without an id in the hub's list
  bool complete = true;
};

struct Outcome {
  Counts counts;
  std::map<std::string, std::string> changes;  // "op id tags" by canonical id
};

std::string_view name_of(Op op) {
  switch (op) {
    case Op::kCreate:
      return "create";
    case Op::kUpdate:
      return "update";
    case Op::kDelete:
      return "delete";
    case Op::kDisable:
      return "disable";
    case Op::kAdopt:
      return "adopt";
  }
  return "?";
}

std::string shown(const Counts& c) {
  return fmt::format(
      "create {} update {} (enable {}) delete {} disable {} adopt {} unchanged {} (disabled {}) foreign {} "
      "excluded {}={}+{}+{} conflict {} invalid {} kept {} withheld {} {} hub {} external {} owned {}",
      c.creates, c.updates, c.enables, c.deletes, c.disables, c.adopts, c.unchanged, c.already_disabled, c.foreign,
      c.excluded, c.excluded_edge, c.excluded_modules, c.excluded_certificates, c.conflicts, c.invalid, c.kept,
      c.withheld, c.withheld_changes, c.hub_devices, c.external_devices, c.owned);
}

World random_world(unsigned seed) {
  std::mt19937 random(seed);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  World world;
  world.rules.link = "lora";
  world.rules.external = "ext";
  world.rules.tags = {{{"a"}, false, one_in(10)}, {{"n", "b"}, false, false}};
  world.rules.scope = one_in(5) ? config::Scope::kWholeHub : config::Scope::kOwned;
  world.rules.deletes =
      std::array{config::Deletes::kDelete, config::Deletes::kDisable, config::Deletes::kNever}[random() % 3];
  world.rules.id_spelling =
      std::array{config::IdSpelling::kAsListed, config::IdSpelling::kUpper, config::IdSpelling::kLower}[random() % 3];
  world.rules.include_edge = one_in(4);
  world.rules.include_modules = one_in(4);
  world.rules.include_certificates = one_in(4);
  world.stray = one_in(12);
  world.complete = !one_in(12);

  const size_t size = one_in(10) ? 1500 : random() % 30;
  const auto id = [&] {
    const auto number = static_cast<unsigned>(random() % (size + 1));
    switch (number % 4) {
      case 0: {
        std::string eui = fmt::format("{:016X}", number * 2654435761u);
        if (one_in(3)) std::transform(eui.begin(), eui.end(), eui.begin(), ::tolower);
        if (one_in(4)) {
          std::string dashed;
          for (size_t i = 0; i < eui.size(); i += 2) dashed += (i > 0 ? "-" : "") + eui.substr(i, 2);
          return dashed;
        }
        return eui;
      }
      case 1:
        return fmt::format("device-with-a-long-name-{}", number);
      case 2:
        return fmt::format("{}-{}", one_in(6) ? "Dev" : "dev", number);
      default:
        return fmt::format("{:c}${}'(%_)", static_cast<char>('a' + number % 26), number);
    }
  };
  const auto tags = [&] {
    std::map<std::string, std::string> out;
    static constexpr std::array<std::string_view, 5> kValues = {"\"x\"", "\"\\u0078\"", "5", "5.0", "{\"q\":1}"};
    if (!one_in(4)) out["a"] = kValues[random() % kValues.size()];
    if (!one_in(3)) out["b"] = kValues[random() % kValues.size()];
    return out;
  };
  for (size_t i = 0; i < size; ++i) {
    if (!one_in(4)) {
      HubDevice device{id(), tags(), "", one_in(6), one_in(15), one_in(15), 0};
      device.mark = one_in(6) ? "" : one_in(8) ? "other" : one_in(20) ? "odd" : "lora";
      if (one_in(6)) device.disabled = one_in(2) ? 1 : 2;
      world.hub.push_back(device);
      if (one_in(20)) world.modules.push_back(device.id);
    }
    if (!one_in(4)) world.items.push_back({id(), tags(), one_in(25)});
    if (one_in(40)) world.modules.push_back(id());
    if (one_in(40)) world.hub_broken.push_back(id());
    if (one_in(40)) world.external_broken.push_back(id());
  }
  if (size == 1500 && one_in(2)) {
    // Nearly equal registries, as they are in real life.
    world.items.clear();
    for (const HubDevice& device : world.hub) {
      if (!one_in(50)) world.items.push_back({device.id, one_in(30) ? tags() : device.tags, false});
    }
  }
  return world;
}

std::string canonical_value(const std::string& json) { return json::canonical(json::parse(json, "value").value()); }

std::string item_text(const Item& item) {
  std::string out = fmt::format(R"({{"id":"{}","tags":{{)", item.id);
  if (item.tags.contains("a")) out += "\"a\":" + item.tags.at("a") + (item.tags.contains("b") ? "," : "");
  if (item.tags.contains("b")) out += R"("n":{"b":)" + item.tags.at("b") + "}";
  return out + (item.bad ? R"(},"bad":1})" : "}}");
}

std::string hub_text(const HubDevice& device) {
  std::string tags = R"("z":1)";
  if (device.tags.contains("a")) tags += ",\"a\":" + device.tags.at("a");
  if (device.tags.contains("b")) tags += R"(,"n":{"c":2,"b":)" + device.tags.at("b") + "}";
  if (device.ref) tags += R"(,"ref":"r")";
  if (device.mark == "odd") {
    tags += R"(,"twinstep":{"links":[]})";
  } else if (!device.mark.empty()) {
    tags += fmt::format(R"(,"twinstep":{{"link":"{}"}})", device.mark);
  }
  return fmt::format(
      R"({{"id":"{}","eTag":"e","status":"{}","statusReason":{},"authentication":{{"type":"{}"}},"tags":{{{}}},)"
      R"("capabilities":{{"iotEdge":{}}}}})",
      device.id, device.disabled != 0 ? "disabled" : "enabled",
      device.disabled == 1 ? "\"twinstep: absent from ext\"" : "null", device.certificate ? "selfSigned" : "sas", tags,
      device.edge);
}

Outcome by_model(const World& world) {
  const Rules& rules = world.rules;
  std::map<std::string, std::vector<const HubDevice*>> hub;
  std::map<std::string, std::vector<const Item*>> external;
  std::map<std::string, int> modules, hub_broken, external_broken;
  std::map<std::string, int> all;
  for (const auto& d : world.hub) hub[canonical_device_id(d.id)].push_back(&d), ++all[canonical_device_id(d.id)];
  for (const auto& i : world.items) external[canonical_device_id(i.id)].push_back(&i), ++all[canonical_device_id(i.id)];
  for (const auto& id : world.modules) ++modules[canonical_device_id(id)], ++all[canonical_device_id(id)];
  for (const auto& id : world.hub_broken) ++hub_broken[canonical_device_id(id)], ++all[canonical_device_id(id)];
  for (const auto& id : world.external_broken)
    ++external_broken[canonical_device_id(id)], ++all[canonical_device_id(id)];

  Outcome out;
  Counts& counts = out.counts;
  bool withheld = world.stray || !world.complete || world.items.empty();
  const auto repeated = [](const auto& group, auto text) {
    for (size_t i = 0; i < group.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (text(*group[i]) == text(*group[j])) return true;
      }
    }
    return false;
  };
  std::map<std::string, std::string> removals;
  for (const auto& [id, ignored] : all) {
    const auto& of_hub = hub[id];
    const auto& items = external[id];
    if (repeated(of_hub, hub_text) || repeated(items, item_text)) withheld = true;
    const bool in_external = !items.empty() || external_broken.contains(id);
    if (of_hub.size() > 1) {
      ++counts.conflicts;
      continue;
    }
    if (hub_broken.contains(id)) {
      ++counts.invalid;
      continue;
    }
    if (of_hub.empty() && modules.contains(id)) {
      if (in_external) ++counts.excluded, ++counts.excluded_modules;
      continue;
    }
    bool owned = false;
    if (!of_hub.empty()) {
      const HubDevice& device = *of_hub[0];
      if (device.edge && !rules.include_edge) {
        ++counts.excluded, ++counts.excluded_edge;
        continue;
      }
      if (modules.contains(id) && !rules.include_modules) {
        ++counts.excluded, ++counts.excluded_modules;
        continue;
      }
      if (device.certificate && !rules.include_certificates) {
        ++counts.excluded, ++counts.excluded_certificates;
        continue;
      }
      owned = rules.scope == config::Scope::kWholeHub || device.mark == "lora" || (device.mark.empty() && device.ref);
      if (owned) ++counts.owned;
    }
    if (!in_external) {
      const HubDevice& device = *of_hub[0];
      if (!owned) {
        ++counts.foreign;
      } else if (rules.deletes == config::Deletes::kNever) {
        ++counts.kept;
      } else if (rules.deletes == config::Deletes::kDisable) {
        if (device.disabled != 0) {
          ++counts.unchanged, ++counts.already_disabled;
        } else {
          ++counts.disables;
          removals[id] = "disable " + device.id + " {}";
        }
      } else {
        ++counts.deletes;
        removals[id] = "delete " + device.id + " {}";
      }
      continue;
    }
    if (items.size() > 1) {
      ++counts.conflicts;
      continue;
    }
    if (external_broken.contains(id) || items[0]->bad || (rules.tags[0].required && !items[0]->tags.contains("a"))) {
      ++counts.invalid;
      continue;
    }
    const Item& item = *items[0];
    json::object tags;
    for (const auto& [name, text] : item.tags) {
      const std::string value = canonical_value(text);
      if (!of_hub.empty() && of_hub[0]->tags.contains(name) && canonical_value(of_hub[0]->tags.at(name)) == value) {
        continue;
      }
      if (name == "a") tags["a"] = json::parse(value, "value").value();
      if (name == "b") tags["n"] = json::object{{"b", json::parse(value, "value").value()}};
    }
    const auto tags_text = [&] { return json::canonical(tags); };
    const json::object mark{{"link", "lora"}};
    if (of_hub.empty()) {
      tags["twinstep"] = mark;
      std::string created = item.id;
      if (id.size() == 16 && rules.id_spelling != config::IdSpelling::kAsListed &&
          id.find_first_not_of("0123456789ABCDEF") == std::string::npos) {
        created = id;
        if (rules.id_spelling == config::IdSpelling::kLower) {
          std::transform(created.begin(), created.end(), created.begin(), ::tolower);
        }
      }
      ++counts.creates;
      out.changes[id] = "create " + created + " " + tags_text();
    } else if (!owned && !of_hub[0]->mark.empty()) {
      ++counts.conflicts;
    } else if (!owned) {
      tags["twinstep"] = mark;
      ++counts.adopts;
      out.changes[id] = "adopt " + of_hub[0]->id + " " + tags_text();
    } else if (!tags.empty() || of_hub[0]->disabled == 1) {
      ++counts.updates;
      if (of_hub[0]->disabled == 1) ++counts.enables;
      out.changes[id] = (of_hub[0]->disabled == 1 ? "update+enable " : "update ") + of_hub[0]->id + " " + tags_text();
    } else {
      ++counts.unchanged;
    }
  }
  if (world.stray) ++counts.invalid;
  if (withheld) {
    counts.withheld = counts.deletes + counts.disables;
    counts.deletes = counts.disables = 0;
  } else {
    out.changes.merge(removals);
  }
  counts.hub_devices = world.hub.size();
  counts.external_devices = world.items.size();
  return out;
}

Outcome by_twinstep(const World& world, unsigned seed) {
  std::mt19937 random(seed + 1);
  std::vector<std::string> lines;
  for (const HubDevice& device : world.hub) lines.push_back(hub_text(device));
  for (const std::string& id : world.modules) lines.push_back(fmt::format(R"({{"id":"{}","moduleId":"m"}})", id));
  for (const std::string& id : world.hub_broken) lines.push_back(fmt::format(R"({{"id":"{}","tags":[)", id));
  std::shuffle(lines.begin(), lines.end(), random);
  if (world.stray) lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(random() % (lines.size() + 1)), "{\"i");
  std::string text = random() % 2 == 0 ? "Keys are left out.\n" : "";
  for (const std::string& line : lines) text += line + (random() % 3 == 0 ? "\r\n\n" : "\n");

  SnapshotOptions options;
  options.sort_bytes = 1;
  FakeMapper mapper(world.rules.tags);
  HubSnapshotBuilder hub(world.rules, options);
  for (std::string_view rest = text; !rest.empty();) {
    const size_t size = std::min<size_t>(rest.size(), random() % 5000 + 1);
    EXPECT_TRUE(hub.feed(rest.substr(0, size)));
    rest.remove_prefix(size);
  }
  std::vector<std::string> items;
  for (const Item& item : world.items) items.push_back(item_text(item));
  for (const std::string& id : world.external_broken) items.push_back(fmt::format(R"({{"id":"{}","tags":[)", id));
  std::shuffle(items.begin(), items.end(), random);
  ExternalSnapshotBuilder external(world.rules, mapper, options);
  uint64_t index = 0;
  for (const std::string& item : items) EXPECT_TRUE(external.add(item, {0, ++index}));

  const Snapshot left = std::move(hub.finish().value());
  const Snapshot right = std::move(external.finish({world.complete, "cut off", index, 1, {}}).value());
  const Comparison comparison = std::move(compare(left, right, world.rules, options, {}).value());
  Outcome out;
  out.counts = comparison.counts();
  std::string last;
  EXPECT_TRUE(comparison.changes({},
                                 [&](const Change& change) -> Status {
                                   const std::string id = canonical_device_id(change.id.value);
                                   EXPECT_LT(last, id) << "changes come in canonical id order";
                                   last = id;
                                   out.changes[id] =
                                       fmt::format("{}{} {} {}", name_of(change.op), change.enable ? "+enable" : "",
                                                   change.id.value, change.tags);
                                   EXPECT_FALSE(change.reason.empty());
                                   return {};
                                 },
                                 {}));
  return out;
}

TEST(CompareModel, RandomRegistriesCompareAsTheModelSays) {
  for (unsigned seed = 0; seed < 600; ++seed) {
    const World world = random_world(seed);
    const Outcome wanted = by_model(world);
    const Outcome found = by_twinstep(world, seed);
    EXPECT_EQ(found.changes, wanted.changes) << "seed " << seed;
    EXPECT_EQ(shown(found.counts), shown(wanted.counts)) << "seed " << seed;
    EXPECT_TRUE(found.counts == wanted.counts) << "seed " << seed;
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace twinstep::plan
