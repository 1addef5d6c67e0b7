// What stands beside the workflows: the ledger, schedules, lanes at rest, the replicas that there are, and the removal
// of what is old.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "twinstep/store/answer_store.h"
#include "twinstep/store/workflow_rows.h"

namespace twinstep::store {
namespace {

constexpr std::string_view kBeSeen =
    "INSERT INTO replica (owner, seen) VALUES ($1, {now}) ON CONFLICT (owner) DO UPDATE SET seen = excluded.seen";
constexpr std::string_view kForgetReplicas = "DELETE FROM replica WHERE seen < {now} - $1";
constexpr std::string_view kCountReplicas = "SELECT count(*) FROM replica WHERE seen >= {now} - $1";
constexpr std::string_view kLeave = "DELETE FROM replica WHERE owner = $1";
constexpr Millis kForgotten{24 * 3'600'000};
// What a paused or vanished replica has locked is left for the next time: it must not hold up all the others.
constexpr std::string_view kLedger = "SELECT device, present, tags FROM ledger WHERE link = $1 AND key = $2";
constexpr std::string_view kLedgerCount = "SELECT count(*) FROM ledger WHERE link = $1 AND present = 1";
constexpr size_t kKeysAtOnce = 100;
constexpr std::string_view kSchedule = "SELECT cron, next FROM schedule WHERE link = $1";
constexpr std::string_view kPutSchedule =
    "INSERT INTO schedule (link, cron, next) VALUES ($1, $2, $3) "
    "ON CONFLICT (link) DO UPDATE SET cron = excluded.cron, next = excluded.next "
    "WHERE schedule.cron <> excluded.cron OR schedule.next > $4";
constexpr std::string_view kSchedules = "SELECT link FROM schedule";
constexpr std::string_view kForgetSchedule = "DELETE FROM schedule WHERE link = $1";
constexpr std::string_view kFire = "UPDATE schedule SET next = $3 WHERE link = $1 AND next = $2";
constexpr std::string_view kPause =
    "INSERT INTO pause (lane, until, tries, reason, since) VALUES ($1, {now} + $2, 1, $3, {now}) "
    "ON CONFLICT (lane) DO UPDATE SET until = excluded.until, tries = pause.tries + 1, reason = excluded.reason";
constexpr std::string_view kResume = "DELETE FROM pause WHERE lane = $1";
constexpr std::string_view kPauses =
    "SELECT lane, until, tries, reason, since, CASE WHEN until > {now} THEN 1 ELSE 0 END FROM pause ORDER BY lane";
constexpr std::string_view kPurgeWorkflows =
    "DELETE FROM workflow WHERE id IN (SELECT id FROM workflow WHERE ended < {now} - $1 LIMIT $2)";
constexpr std::string_view kPurgeSeen =
    "DELETE FROM seen WHERE id IN (SELECT id FROM seen WHERE at < {now} - $1 LIMIT $2)";
// Of another value each time: SQLite writes nothing when a row stays as it is.
constexpr std::string_view kProbe =
    "INSERT INTO meta (name, value) VALUES ('probe', CAST({now} AS TEXT)) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value";
constexpr std::string_view kPurgeAnswers =
    "DELETE FROM answer WHERE id IN (SELECT id FROM answer WHERE at < {now} - $1 LIMIT $2)";
constexpr std::string_view kPurgeLedger = "DELETE FROM ledger WHERE present = 0 AND updated < {now} - $1";

/// One text for any number of keys, so that it is prepared once: $2 and following are kKeysAtOnce of them.
std::string made_outside_sql() {
  std::string out = "SELECT key, device FROM ledger WHERE link = $1 AND present = 1 AND key IN (";
  for (size_t i = 0; i < kKeysAtOnce; ++i) out += fmt::format("{}${}", i > 0 ? ", " : "", i + 2);
  return out + ")";
}

}  // namespace

Result<int> WorkflowStore::be_seen(std::string_view owner, Millis ttl, const Call& call) {
  if (!database_.shared()) return 1;
  int count = 1;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run(kBeSeen, {owner}));
        TRY(transaction.run(kForgetReplicas, {micros(kForgotten)}));
        TRY_ASSIGN(const Rows rows, transaction.run(kCountReplicas, {micros(ttl)}));
        count = std::max(1, static_cast<int>(rows.number(0, 0)));
        return {};
      },
      call));
  return count;
}

Status WorkflowStore::leave(std::string_view owner, const Call& call) {
  if (!database_.shared()) return {};
  TRY(database_.change(kLeave, {owner}, call));
  return {};
}

Result<std::optional<LedgerEntry>> WorkflowStore::ledger(std::string_view link, std::string_view key,
                                                         const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kLedger, {link, key}, call));
  if (rows.empty()) return std::optional<LedgerEntry>{};
  return std::optional{LedgerEntry{std::string(link), std::string(key), DeviceId(rows.text(0, 0)),
                                   rows.number(0, 1) != 0, rows.text(0, 2)}};
}

Result<std::vector<DeviceId>> WorkflowStore::made_outside(std::string_view link, const std::vector<std::string>& keys,
                                                          const Call& call) {
  static const std::string sql = made_outside_sql();
  std::vector<DeviceId> out;
  TRY(database_.read(
      [&](Transaction& transaction) -> Status {
        out.assign(keys.size(), DeviceId());
        for (size_t begin = 0; begin < keys.size(); begin += kKeysAtOnce) {
          const size_t end = std::min(begin + kKeysAtOnce, keys.size());
          std::vector<Value> values{link};
          for (size_t i = 0; i < kKeysAtOnce; ++i)
            values.emplace_back(std::string_view(keys[std::min(begin + i, end - 1)]));
          TRY_ASSIGN(const Rows rows, transaction.run(sql, values));
          std::map<std::string_view, size_t> found;
          for (size_t row = 0; row < rows.size(); ++row) found[rows.text(row, 0)] = row;
          for (size_t i = begin; i < end; ++i)
            if (const auto at = found.find(keys[i]); at != found.end()) out[i] = DeviceId(rows.text(at->second, 1));
        }
        return {};
      },
      call));
  return out;
}

Result<int64_t> WorkflowStore::ledger_count(std::string_view link, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kLedgerCount, {link}, call));
  return rows.number(0, 0);
}

Result<SystemTime> WorkflowStore::plan_schedule(std::string_view link, std::string_view cron, SystemTime next,
                                                SystemTime latest, const Call& call) {
  SystemTime out = next;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        out = next;
        TRY_ASSIGN(Rows rows, transaction.run(kSchedule, {link}));
        if (rows.empty() || rows.text(0, 0) != cron || rows.time(0, 1) > latest) {
          // Changes nothing when another replica has set it meanwhile: it may have fired already.
          TRY(transaction.run(kPutSchedule, {link, cron, micros(next), micros(latest)}));
          TRY_ASSIGN(rows, transaction.run(kSchedule, {link}));
        }
        out = rows.time(0, 1);
        return {};
      },
      call));
  return out;
}

Result<std::optional<SystemTime>> WorkflowStore::next_firing(std::string_view link, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kSchedule, {link}, call));
  return rows.empty() ? std::optional<SystemTime>{} : std::optional{rows.time(0, 1)};
}

Status WorkflowStore::keep_schedules(const std::vector<std::string>& links, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows, transaction.run(kSchedules, {}));
        for (size_t row = 0; row < rows.size(); ++row)
          if (std::find(links.begin(), links.end(), rows.text(row, 0)) == links.end())
            TRY(transaction.run(kForgetSchedule, {rows.text(row, 0)}));
        return {};
      },
      call);
}

Result<std::optional<Started>> WorkflowStore::fire_schedule(std::string_view link, SystemTime due, SystemTime next,
                                                            const NewWorkflow& workflow, const Call& call) {
  std::optional<Started> out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        out.reset();
        TRY_ASSIGN(const Rows fired, transaction.run(kFire, {link, micros(due), micros(next)}));
        if (fired.affected == 0) return {};
        TRY_ASSIGN(const auto started, start_all(transaction, std::array{&workflow}));
        out = started.front();
        return {};
      },
      call));
  return out;
}

Status WorkflowStore::pause(std::string_view lane, Millis span, std::string_view reason, const Call& call) {
  TRY(database_.change(kPause, {lane, micros(span), reason}, call));
  return {};
}

Status WorkflowStore::resume(std::string_view lane, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run(kResume, {lane}));
        transaction.notify(lane);
        return {};
      },
      call);
}

Result<std::vector<Pause>> WorkflowStore::pauses(const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kPauses, {}, call));
  std::vector<Pause> out;
  for (size_t row = 0; row < rows.size(); ++row)
    out.push_back({rows.text(row, 0), rows.text(row, 3), rows.time(row, 4), rows.time(row, 1),
                   static_cast<int>(rows.number(row, 2)), rows.number(row, 5) != 0});
  return out;
}

Status WorkflowStore::can_write(const Call& call) {
  TRY(database_.change(kProbe, {}, call));
  return {};
}

Result<int64_t> WorkflowStore::purge(Millis older_than, int most, const Call& call) {
  int64_t removed = 0;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        removed = 0;
        for (const std::string_view sql : {kPurgeWorkflows, kPurgeSeen}) {
          TRY_ASSIGN(const Rows rows, transaction.run(sql, {micros(older_than), int64_t{most}}));
          removed += rows.affected;
        }
        TRY_ASSIGN(const Rows answers, transaction.run(kPurgeAnswers, {micros(AnswerStore::kKept), int64_t{most}}));
        removed += answers.affected;
        TRY_ASSIGN(const Rows rows, transaction.run(kPurgeLedger, {micros(older_than)}));
        removed += rows.affected;
        return {};
      },
      call));
  return removed;
}

}  // namespace twinstep::store
