#include "twinstep/store/backlog.h"

#include <algorithm>
#include <array>
#include <utility>

namespace twinstep::store {
namespace {

// The state is part of each text, not a value: only then is the partial index of that state usable.
constexpr std::string_view kWaiting =
    "SELECT lane, count(*), {now} - min(due) FROM workflow WHERE state = 'waiting' GROUP BY lane";
constexpr std::array<std::pair<State, std::string_view>, 4> kOthers{
    {{State::kQueued, "SELECT lane, count(*) FROM workflow WHERE state = 'queued' GROUP BY lane"},
     {State::kRunning, "SELECT lane, count(*) FROM workflow WHERE state = 'running' GROUP BY lane"},
     {State::kBlocked, "SELECT lane, count(*) FROM workflow WHERE state = 'blocked' GROUP BY lane"},
     {State::kFailed, "SELECT lane, count(*) FROM workflow WHERE state = 'failed' GROUP BY lane"}}};

}  // namespace

Result<std::vector<LaneCount>> count_lanes(Database& database, const Call& call) {
  std::vector<LaneCount> out;
  const auto count = [&](Transaction& transaction) -> Status {
    out.clear();
    TRY_ASSIGN(const Rows waiting, transaction.run(kWaiting, {}));
    for (size_t row = 0; row < waiting.size(); ++row)
      out.push_back({waiting.text(row, 0), State::kWaiting, waiting.number(row, 1),
                     Millis{std::max<int64_t>(0, waiting.number(row, 2) / 1000)}});
    for (const auto& [state, sql] : kOthers) {
      TRY_ASSIGN(const Rows rows, transaction.run(sql, {}));
      for (size_t row = 0; row < rows.size(); ++row)
        out.push_back({rows.text(row, 0), state, rows.number(row, 1), Millis{0}});
    }
    return {};
  };
  TRY(database.read(count, call));
  return out;
}

}  // namespace twinstep::store
