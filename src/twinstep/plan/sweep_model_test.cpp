#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "twinstep/plan/fake_mapper.h"
#include "twinstep/plan/sweep.h"

/// Random registries and ledgers, swept by twinstep and by a model that keeps everything in maps.
namespace twinstep::plan {
namespace {

struct HubDevice {
  std::string id, tag;
  bool edge = false, certificate = false;
};
struct Item {
  std::string id, tag;
  bool bad = false;
};
struct World {
  Rules rules;
  std::vector<HubDevice> hub;
  std::vector<std::string> modules, hub_broken, external_broken;
  std::vector<Item> items;
  std::map<std::string, std::string> ledger;
  bool stray = false, hub_complete = true, external_complete = true;
};

struct Outcome {
  SweepCounts counts;
  std::map<std::string, std::string> differences;  // by canonical id
  bool withheld = false;
};

World random_world(unsigned seed) {
  std::mt19937 random(seed);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };
  World world;
  world.rules.link = "lora";
  world.rules.external = "ext";
  world.rules.tags = {{{"a"}, false, false}};
  world.rules.include_edge = one_in(4);
  world.rules.include_modules = one_in(4);
  world.rules.include_certificates = one_in(4);
  world.stray = one_in(12);
  world.hub_complete = !one_in(12);
  world.external_complete = !one_in(12);
  const size_t size = one_in(10) ? 1500 : random() % 30;
  const auto id = [&]() -> std::string {
    const auto number = static_cast<unsigned>(random() % (size + 1));
    if (number % 3 == 0) {
      std::string eui = fmt::format("{:016X}", number * 2654435761u);
      if (one_in(3)) std::transform(eui.begin(), eui.end(), eui.begin(), ::tolower);
      if (!one_in(4)) return eui;
      return eui.substr(0, 8) + ":" + eui.substr(8);
    }
    return number % 3 == 1 ? fmt::format("{}-{}", one_in(6) ? "Dev" : "dev", number)
                           : fmt::format("a-long-name-of-a-device-{}", number);
  };
  const auto tag = [&] { return one_in(4) ? "" : fmt::format("{}", random() % 3); };
  for (size_t i = 0; i < size; ++i) {
    if (!one_in(4)) world.hub.push_back({id(), tag(), one_in(15), one_in(15)});
    if (!one_in(4)) world.items.push_back({id(), tag(), one_in(25)});
    if (one_in(30)) world.modules.push_back(id());
    if (one_in(40)) world.hub_broken.push_back(id());
    if (one_in(40)) world.external_broken.push_back(id());
    if (one_in(3)) {
      const std::string made = id();
      world.ledger[canonical_device_id(made)] = made;
    }
  }
  return world;
}

std::string hub_text(const HubDevice& device) {
  return fmt::format(R"({{"id":"{}","authentication":{{"type":"{}"}},"tags":{{{}}},"capabilities":{{"iotEdge":{}}}}})",
                     device.id, device.certificate ? "selfSigned" : "sas",
                     device.tag.empty() ? "" : "\"a\":" + device.tag, device.edge);
}
std::string item_text(const Item& item) {
  return fmt::format(R"({{"id":"{}","tags":{{{}}}{}}})", item.id, item.tag.empty() ? "" : "\"a\":" + item.tag,
                     item.bad ? ",\"bad\":1" : "");
}

Outcome by_model(const World& world) {
  std::map<std::string, std::vector<const HubDevice*>> hub;
  std::map<std::string, std::vector<const Item*>> items;
  std::set<std::string> modules, hub_broken, external_broken, all;
  const auto note = [&all](const std::string& id) { return *all.insert(canonical_device_id(id)).first; };
  for (const auto& device : world.hub) hub[note(device.id)].push_back(&device);
  for (const auto& item : world.items) items[note(item.id)].push_back(&item);
  for (const auto& id : world.modules) modules.insert(note(id));
  for (const auto& id : world.hub_broken) hub_broken.insert(note(id));
  for (const auto& id : world.external_broken) external_broken.insert(note(id));

  Outcome out;
  SweepCounts& counts = out.counts;
  counts.hub_devices = world.hub.size();
  counts.external_devices = world.items.size();
  out.withheld = world.stray || !world.hub_complete || !world.external_complete || world.hub.empty();
  const auto repeated = [](const auto& group, auto text) {
    std::set<std::string> texts;
    for (const auto* one : group) texts.insert(text(*one));
    return texts.size() < group.size();
  };
  for (const std::string& id : all) {
    const auto& here = hub[id];
    const auto& there = items[id];
    out.withheld = out.withheld || repeated(here, hub_text) || repeated(there, item_text);
    const bool outside = !there.empty() || external_broken.contains(id);
    if (here.size() > 1) {
      ++counts.conflicts;
    } else if (hub_broken.contains(id)) {
      ++counts.invalid;
    } else if (here.empty() && modules.contains(id)) {
      ++counts.excluded;
    } else if (!here.empty() && ((here[0]->edge && !world.rules.include_edge) ||
                                 (modules.contains(id) && !world.rules.include_modules) ||
                                 (here[0]->certificate && !world.rules.include_certificates))) {
      ++counts.excluded;
    } else if (!outside) {
      ++counts.missing_outside;
      out.differences[id] = "missing " + here[0]->id;
    } else if (there.size() > 1) {
      ++counts.conflicts;
    } else if (external_broken.contains(id) || (!here.empty() && there[0]->bad)) {
      ++counts.invalid;
    } else if (here.empty()) {
      ++counts.orphans;
      const auto made = world.ledger.find(id);
      if (made != world.ledger.end()) ++counts.orphans_owned;
      out.differences[id] = made != world.ledger.end() ? "ours " + made->second : "orphan " + there[0]->id;
    } else if (!here[0]->tag.empty() && !there[0]->tag.empty() && here[0]->tag != there[0]->tag) {
      ++counts.differing;
      out.differences[id] = "differs " + here[0]->id;
    } else {
      ++counts.in_step;
    }
  }
  if (world.stray) ++counts.invalid;
  return out;
}

Outcome by_twinstep(const World& world, unsigned seed) {
  std::mt19937 random(seed + 1);
  SnapshotOptions options;
  options.sort_bytes = 1;
  FakeMapper mapper(world.rules.tags);
  std::vector<std::string> lines;
  for (const HubDevice& device : world.hub) lines.push_back(hub_text(device));
  for (const std::string& id : world.modules) lines.push_back(fmt::format(R"({{"id":"{}","moduleId":"m"}})", id));
  for (const std::string& id : world.hub_broken) lines.push_back(fmt::format(R"({{"id":"{}","tags":[)", id));
  std::shuffle(lines.begin(), lines.end(), random);
  if (world.stray) lines.emplace_back("{\"i");
  HubSnapshotBuilder hub(world.rules, options);
  for (const std::string& line : lines) EXPECT_TRUE(hub.feed(line + "\n"));
  if (!world.hub_complete) hub.incomplete("cut off");
  std::vector<std::string> items;
  for (const Item& item : world.items) items.push_back(item_text(item));
  for (const std::string& id : world.external_broken) items.push_back(fmt::format(R"({{"id":"{}","tags":[)", id));
  std::shuffle(items.begin(), items.end(), random);
  ExternalSnapshotBuilder external(world.rules, mapper, options);
  uint64_t index = 0;
  for (const std::string& item : items) EXPECT_TRUE(external.add(item, {0, ++index}));

  const Snapshot left = std::move(hub.finish().value());
  const Snapshot right = std::move(external.finish({world.external_complete, "cut off", index, 1, {}}).value());
  const Sweep found = std::move(sweep(left, right, world.rules, options,
                                      [&](const std::vector<std::string>& keys) -> Result<std::vector<DeviceId>> {
                                        std::vector<DeviceId> out;
                                        for (const std::string& key : keys) {
                                          const auto made = world.ledger.find(key);
                                          out.emplace_back(made == world.ledger.end() ? "" : made->second);
                                        }
                                        return out;
                                      },
                                      {})
                                    .value());
  Outcome out;
  out.counts = found.counts();
  out.withheld = !found.why_withheld().empty();
  std::string last;
  EXPECT_TRUE(found.differences("",
                                [&](const Difference& one) -> Status {
                                  EXPECT_LT(last, one.key) << "differences come in canonical id order";
                                  last = one.key;
                                  const std::string_view kind = one.kind == Difference::Kind::kMissingOutside
                                                                    ? "missing"
                                                                : one.kind == Difference::Kind::kDiffering ? "differs"
                                                                : one.owned                                ? "ours"
                                                                                                           : "orphan";
                                  out.differences[one.key] = fmt::format("{} {}", kind, one.device.value);
                                  EXPECT_FALSE(one.reason.empty());
                                  return {};
                                },
                                {}));
  return out;
}

TEST(SweepModel, RandomRegistriesAreSweptAsTheModelSays) {
  for (unsigned seed = 0; seed < 600; ++seed) {
    const World world = random_world(seed);
    const Outcome wanted = by_model(world);
    const Outcome found = by_twinstep(world, seed);
    EXPECT_EQ(found.differences, wanted.differences) << "seed " << seed;
    EXPECT_EQ(json::write(to_json(found.counts)), json::write(to_json(wanted.counts))) << "seed " << seed;
    EXPECT_EQ(found.withheld, wanted.withheld) << "seed " << seed;
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace twinstep::plan
