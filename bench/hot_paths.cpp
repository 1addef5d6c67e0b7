// The inner loops of a comparison, one by one. Bytes per second are those of the text that is read.

#include <benchmark/benchmark.h>

#include <filesystem>

#include "bench_data.h"
#include "twinstep/json/item_splitter.h"
#include "twinstep/plan/hub_line.h"
#include "twinstep/plan/snapshot.h"
#include "twinstep/providers/builtin.h"
#include "twinstep/providers/list_cutter.h"
#include "twinstep/providers/mapper.h"

namespace twinstep::bench {
namespace {

constexpr uint64_t kDevices = 20'000;
constexpr size_t kChunk = 512 * 1024;

const std::vector<std::string>& hub_lines() {
  static const std::vector<std::string> lines = [] {
    std::vector<std::string> out(kDevices);
    const BenchData data(kDevices);
    for (uint64_t i = 0; i < kDevices; ++i) {
      data.append_hub_line(i, out[i]);
      out[i].pop_back();
    }
    return out;
  }();
  return lines;
}

const std::vector<std::string>& listed() {
  static const std::vector<std::string> items = [] {
    std::vector<std::string> out(kDevices);
    const BenchData data(kDevices);
    for (uint64_t i = 0; i < kDevices; ++i) data.append_listed(i, out[i]);
    return out;
  }();
  return items;
}

std::string joined(const std::vector<std::string>& items, std::string_view before, char between,
                   std::string_view after) {
  std::string out(before);
  for (const std::string& item : items) {
    if (&item != &items.front()) out += between;
    out += item;
  }
  return out.append(after);
}

const providers::Definition& actility() {
  static const providers::Definition definition = providers::load_definition("actility").value();
  return definition;
}

plan::Rules rules() {
  plan::Rules out;
  out.link = "default";
  out.tags = actility().tag_specs();
  return out;
}

void counted(benchmark::State& state, size_t bytes) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kDevices));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

/// Feeds `text` in chunks to what `make` makes; the items are counted and nothing more.
template <class Make>
void cut(benchmark::State& state, const std::string& text, Make make) {
  for (auto _ : state) {
    uint64_t items = 0;
    const auto item = [&](std::string_view one, const auto&) -> Status {
      benchmark::DoNotOptimize(one.data());
      ++items;
      return {};
    };
    const auto broken = [](std::string_view, const auto&, std::string_view why) -> Status {
      return fail(ErrorKind::kCorrupt, "bench", std::string(why));
    };
    auto cutter = make();
    bool good = true;
    for (size_t at = 0; at < text.size(); at += kChunk) {
      good = good && cutter.feed(std::string_view(text).substr(at, kChunk), item, broken);
    }
    good = good && cutter.finish(item, broken);
    if (!good || items != kDevices) return state.SkipWithError("not every item was found");
  }
  counted(state, text.size());
}

void splitter_lines(benchmark::State& state) {
  cut(state, joined(hub_lines(), "", '\n', "\n"), [] { return json::ItemSplitter(); });
}
void splitter_array(benchmark::State& state) {
  cut(state, joined(listed(), "[", ',', "]"), [] { return json::ItemSplitter(); });
}
void list_cutter_array(benchmark::State& state) {
  cut(state, joined(listed(), "[", ',', "]"), [] { return providers::ListCutter(""); });
}
void list_cutter_pointer(benchmark::State& state) {
  cut(state, joined(listed(), R"({"devices":[)", ',', "]}"), [] { return providers::ListCutter("/devices"); });
}

void hub_line(benchmark::State& state) {
  plan::HubLineReader reader(rules());
  size_t bytes = 0;
  for (const std::string& line : hub_lines()) bytes += line.size();
  for (auto _ : state) {
    for (const std::string& line : hub_lines()) {
      const auto read = reader.read(line);
      if (!read) return state.SkipWithError(read.error().what.c_str());
      benchmark::DoNotOptimize(read->id.data());
    }
  }
  counted(state, bytes);
}

void mapper(benchmark::State& state) {
  const auto mapper = providers::make_mapper(actility());
  size_t bytes = 0;
  for (const std::string& item : listed()) bytes += item.size();
  for (auto _ : state) {
    for (const std::string& item : listed()) {
      const auto mapped = mapper->map(item);
      if (!mapped) return state.SkipWithError(mapped.error().what.c_str());
      benchmark::DoNotOptimize(mapped->id.data());
    }
  }
  counted(state, bytes);
}

void hub_snapshot(benchmark::State& state) {
  const std::string text = joined(hub_lines(), "", '\n', "\n");
  plan::SnapshotOptions options;
  options.folder = std::filesystem::temp_directory_path().string();
  for (auto _ : state) {
    plan::HubSnapshotBuilder builder(rules(), options);
    if (!builder.feed(text)) return state.SkipWithError("the snapshot failed");
    const auto snapshot = builder.finish();
    if (!snapshot || snapshot->devices() != kDevices) return state.SkipWithError("the snapshot failed");
  }
  counted(state, text.size());
}

BENCHMARK(splitter_lines);
BENCHMARK(splitter_array);
BENCHMARK(list_cutter_array);
BENCHMARK(list_cutter_pointer);
BENCHMARK(hub_line);
BENCHMARK(mapper);
BENCHMARK(hub_snapshot);

}  // namespace
}  // namespace twinstep::bench
