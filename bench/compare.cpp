// Times `twinstep diff` on data of its own making, beside what others would do with the same two files: DuckDB's full
// outer join, and jq, sort and comm.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <thread>

#include "arguments.h"
#include "bench_data.h"
#include "child.h"
#include "scenarios.h"
#include "temp_folder.h"
#include "twinstep/json/json.h"

namespace twinstep::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kUsage =
    "usage: twinstep-bench [compare] [--devices N] [--runs N] [--folder DIR] [--keep] [--skip-duckdb] [--skip-jq]\n"
    "  --devices N    on each side (default 1000000; 1.2 GB of files)\n"
    "  --runs N       of twinstep and DuckDB; the best of each counts (default 3)\n"
    "  --folder DIR   for the files (default: a new folder in TMPDIR or /tmp)\n"
    "  --keep         leave the files there\n";

struct Options {
  uint64_t devices = 1'000'000;
  uint64_t runs = 3;
  std::string folder;
  bool keep = false, skip_duckdb = false, skip_jq = false;
};

Result<Options> options_of(const std::vector<std::string>& arguments) {
  Options out;
  Arguments bound(kUsage);
  bound.bind("--devices", &out.devices);
  bound.bind("--runs", &out.runs);
  bound.bind("--folder", &out.folder);
  bound.bind("--keep", &out.keep);
  bound.bind("--skip-duckdb", &out.skip_duckdb);
  bound.bind("--skip-jq", &out.skip_jq);
  TRY(bound.read(arguments));
  return out;
}

/// The folder of the two files; takes them away at the end unless they are to stay.
class DataFolder {
 public:
  explicit DataFolder(const Options& options) : keep_(options.keep), folder_(options.folder) {
    std::error_code ignored;
    if (options.folder.empty()) {
      temporary_.emplace();
      if (keep_) temporary_->keep();
      folder_ = temporary_->path();
    } else {
      fs::create_directories(folder_, ignored);
    }
  }
  ~DataFolder() {
    if (keep_) return;
    std::error_code ignored;
    fs::remove(hub(), ignored);
    fs::remove(listing(), ignored);
  }
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;
  std::string hub() const { return (folder_ / "bench-devices.txt").string(); }
  std::string listing() const { return (folder_ / "bench-listing.json").string(); }

 private:
  const bool keep_;
  fs::path folder_;
  std::optional<TempFolder> temporary_;
};

Status write_file(const std::string& path, const std::function<bool(std::string&)>& more) {
  constexpr size_t kPiece = 1 << 20;
  std::ofstream file(path, std::ios::binary);
  std::string piece;
  piece.reserve(kPiece + 4096);
  for (bool left = true; left && file;) {
    left = more(piece);
    if (left && piece.size() < kPiece) continue;
    file.write(piece.data(), static_cast<std::streamsize>(piece.size()));
    piece.clear();
  }
  file.close();
  if (!file) return fail(ErrorKind::kUnavailable, "bench.write", path + ": cannot be written; is the disk full?");
  // What is still to be written would disturb the first program that is timed.
  if (const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0) {
    ::fdatasync(fd);
    ::close(fd);
  }
  return {};
}

Status write_data(const BenchData& data, const DataFolder& folder) {
  uint64_t row = 0;
  TRY(write_file(folder.hub(), [&](std::string& out) {
    if (row == 0) out += BenchData::export_head();
    data.append_hub_line(row, out);
    return ++row < data.devices();
  }));
  row = 0;
  return write_file(folder.listing(), [&](std::string& out) {
    out += row == 0 ? "[" : ",";
    data.append_listed(row, out);
    if (++row < data.devices()) return true;
    out += "]\n";
    return false;
  });
}

json::object figures_of(const ChildRun& run, const std::vector<double>& all) {
  json::object out;
  out["seconds"] = run.seconds;
  out["cpuSeconds"] = run.cpu_seconds;
  out["peakMb"] = run.peak_mb;
  json::array each(all.begin(), all.end());
  if (all.size() > 1) out["everyRun"] = std::move(each);
  return out;
}

Error ended(std::string_view name, const ChildRun& run) {
  return {ErrorKind::kUnavailable,
          fmt::format("{} ended with {}: {}", name, run.exit_code, run.err.substr(0, 500)),
          "bench.failed",
          {},
          0,
          {},
          {}};
}

/// Names of counts in what a program printed, and what must stand there.
bool agrees(const json::object& counts, const BenchData::Counts& expected, json::object& shown) {
  bool same = true;
  for (const auto& [name, count] :
       {std::pair("create", expected.creates), std::pair("update", expected.updates),
        std::pair("delete", expected.deletes), std::pair("adopt", expected.adopts),
        std::pair("unchanged", expected.unchanged), std::pair("foreign", expected.foreign)}) {
    const int64_t found = json::int_or(counts, name, -1);
    shown[name] = found;
    same = same && found == static_cast<int64_t>(count);
  }
  return same;
}

/// Runs a program several times and keeps the best.
Result<ChildRun> best_of(uint64_t runs, const std::vector<std::string>& command,
                         const std::function<Result<double>(const ChildRun&)>& seconds, std::vector<double>& all) {
  ChildRun best;
  for (uint64_t i = 0; i < runs; ++i) {
    TRY_ASSIGN(ChildRun run, run_child(command));
    TRY_ASSIGN(const double took, seconds(run));
    const bool faster = all.empty() || took < *std::min_element(all.begin(), all.end());
    all.push_back(took);
    const double peak = std::max(run.peak_mb, best.peak_mb);  // of memory the worst counts
    if (faster) best = std::move(run);
    best.peak_mb = peak;
  }
  return best;
}

Result<json::object> time_twinstep(const Options& options, const DataFolder& folder, const BenchData& data,
                                   bool& agree) {
  const std::vector<std::string> command{program("twinstep"), "diff",           "--summary",  "--hub",   folder.hub(),
                                         "--external",        folder.listing(), "--provider", "actility"};
  std::vector<double> all;
  TRY_ASSIGN(const ChildRun run, best_of(
                                     options.runs, command,
                                     [](const ChildRun& one) -> Result<double> {
                                       if (one.exit_code != 0) return fail(ended("twinstep diff", one));
                                       return one.seconds;
                                     },
                                     all));
  TRY_ASSIGN(const json::value printed, json::parse(run.out, "the answer of twinstep diff"));
  const json::object* counts = printed.is_object() ? json::object_at(printed.get_object(), "summary") : nullptr;
  json::object out = figures_of(run, all);
  json::object shown;
  const bool same = counts != nullptr && agrees(*counts, data.counts(), shown);
  agree = agree && same;
  out["counts"] = std::move(shown);
  return out;
}

Result<json::object> time_duckdb(const Options& options, const DataFolder& folder, const BenchData& data, bool& agree) {
  json::object out;
  const auto answer = [](const ChildRun& run) { return json::parse(run.out, "the answer of duckdb_join.mjs"); };
  std::vector<double> all;
  const auto run = best_of(
      options.runs, {"node", TWINSTEP_DUCKDB_JOIN, folder.hub(), folder.listing()},
      [&](const ChildRun& one) -> Result<double> {
        if (one.exit_code != 0) return fail(ended("duckdb_join.mjs", one));
        TRY_ASSIGN(const json::value printed, answer(one));
        // The query alone, so that starting node does not count against DuckDB.
        const json::value* took = json::at(printed, "/seconds");
        return took && took->is_number() ? took->to_number<double>() : one.seconds;
      },
      all);
  if (!run && (run.error().what.find("not installed") != std::string::npos ||
               run.error().what.find("ended with 127") != std::string::npos)) {
    out["skipped"] = "node or @duckdb/node-api is not installed";
    return out;
  }
  if (!run) return fail(run.error());
  TRY_ASSIGN(const json::value printed, answer(*run));
  out = figures_of(*run, all);
  out["wholeProgramSeconds"] = run->seconds;
  out["seconds"] = *std::min_element(all.begin(), all.end());
  if (const json::value* version = json::at(printed, "/version")) out["version"] = *version;
  const json::object* counts = printed.is_object() ? json::object_at(printed.get_object(), "counts") : nullptr;
  json::object shown;
  const bool same = counts != nullptr && agrees(*counts, data.counts(), shown);
  agree = agree && same;
  out["counts"] = std::move(shown);
  return out;
}

/// jq, sort and comm tell lines apart, not owners: a changed device shows on both sides.
Result<json::object> time_jq(const DataFolder& folder, const BenchData& data, bool& agree) {
  constexpr const char* kScript = R"(set -e
command -v jq >/dev/null || exit 127
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; export LC_ALL=C
tail -n +2 "$1" | jq -r '[.id, .tags.EUI, .tags.activationType, .tags.deviceProfileId, .tags.applicationEUI] | @tsv' |
  sort >"$dir/hub"
jq -r '.[] | [.name, .EUI, .activationType, .deviceProfileId, .applicationEUI] | @tsv' "$2" | sort >"$dir/listing"
echo "{\"hubOnly\":$(comm -23 "$dir/hub" "$dir/listing" | wc -l),\"listingOnly\":$(comm -13 "$dir/hub" "$dir/listing" | wc -l)}"
)";
  TRY_ASSIGN(const ChildRun run, run_child({"sh", "-c", kScript, "sh", folder.hub(), folder.listing()}));
  json::object out;
  if (run.exit_code == 127) {
    out["skipped"] = "jq is not installed";
    return out;
  }
  if (run.exit_code != 0) return fail(ended("jq | sort | comm", run));
  TRY_ASSIGN(const json::value printed, json::parse(run.out, "the answer of jq, sort and comm"));
  out = figures_of(run, {});
  const BenchData::Counts& expected = data.counts();
  agree = agree && printed.is_object() &&
          json::int_or(printed.get_object(), "hubOnly", -1) ==
              static_cast<int64_t>(expected.deletes + expected.foreign + expected.updates) &&
          json::int_or(printed.get_object(), "listingOnly", -1) ==
              static_cast<int64_t>(expected.creates + expected.updates);
  out["counts"] = printed;
  return out;
}

/// How often our figure goes into the other's: above 1 twinstep is better.
void add_ratios(const json::object& ours, const json::object& other, std::string_view name, json::object& out) {
  const auto number = [](const json::object& from, std::string_view member) {
    const json::value* v = json::find(from, member);
    return v && v->is_number() ? v->to_number<double>() : 0.0;
  };
  for (const std::string_view member : {"seconds", "peakMb"}) {
    const double mine = number(ours, member);
    const double theirs = number(other, member);
    if (mine > 0 && theirs > 0) out[fmt::format("{}{}", name, member == "seconds" ? "Time" : "Memory")] = theirs / mine;
  }
}

Result<bool> run(const Options& options) {
  const BenchData data(options.devices);
  const DataFolder folder(options);
  TRY(write_data(data, folder));

  json::object report;
  report["devices"] = options.devices;
  std::error_code ignored;
  report["hubBytes"] = static_cast<uint64_t>(fs::file_size(folder.hub(), ignored));
  report["listingBytes"] = static_cast<uint64_t>(fs::file_size(folder.listing(), ignored));
  report["processors"] = std::thread::hardware_concurrency();
  bool agree = true;
  TRY_ASSIGN(json::object ours, time_twinstep(options, folder, data, agree));
  json::object ratios;
  if (!options.skip_duckdb) {
    TRY_ASSIGN(json::object duckdb, time_duckdb(options, folder, data, agree));
    add_ratios(ours, duckdb, "duckdb", ratios);
    report["duckdb"] = std::move(duckdb);
  }
  if (!options.skip_jq) {
    TRY_ASSIGN(json::object jq, time_jq(folder, data, agree));
    add_ratios(ours, jq, "jq", ratios);
    report["jq"] = std::move(jq);
  }
  report["twinstep"] = std::move(ours);
  report["ratios"] = std::move(ratios);
  report["countsAgree"] = agree;
  if (options.keep) report["files"] = json::array{json::string(folder.hub()), json::string(folder.listing())};
  std::cout << json::write(report) << '\n';
  return agree;
}

}  // namespace

Result<bool> compare(const std::vector<std::string>& arguments) {
  TRY_ASSIGN(const Options options, options_of(arguments));
  TRY_ASSIGN(const bool agree, run(options));
  if (!agree) std::cerr << "twinstep-bench: the counts differ from those of the generated data\n";
  return agree;
}

}  // namespace twinstep::bench
