// Looking for workflows by what they are, and changing many of them.
#include <fmt/format.h>

#include <algorithm>

#include "twinstep/store/workflow_rows.h"

namespace twinstep::store {
namespace {

constexpr std::string_view kFirst = "SELECT " TWINSTEP_WORKFLOW_COLUMNS " FROM workflow";
constexpr std::string_view kCount = "SELECT state, count(*) FROM workflow";
constexpr std::string_view kStateNow = "SELECT state FROM workflow WHERE id = $1";
constexpr std::string_view kRemove = "DELETE FROM workflow WHERE id = $1 AND state IN ('done', 'failed', 'cancelled')";
constexpr std::string_view kNote =
    "INSERT INTO history (workflow, seq, at, what, detail) "
    "SELECT w.id, (SELECT coalesce(max(seq), 0) + 1 FROM history WHERE workflow = w.id), {now}, $2, $3 "
    "FROM workflow w WHERE w.id = $1";

// Each by the index that holds what has not ended.
constexpr std::string_view kMoveActive =
    "UPDATE workflow SET lane = $3 WHERE key >= $1 AND key < $2 AND lane <> $3 "
    "AND state IN ('waiting', 'running', 'blocked')";
constexpr std::string_view kMoveQueued =
    "UPDATE workflow SET lane = $3 WHERE key >= $1 AND key < $2 AND lane <> $3 AND state = 'queued'";

/// A filter as SQL: only the conditions that are set, so that an index can serve them.
class Query {
 public:
  /// `among` is a condition on the state for a filter that names none; may be empty.
  explicit Query(const WorkflowFilter& filter, std::string_view among = {}) {
    equal("kind", filter.kind);
    equal("lane", filter.lane);
    equal("key", filter.key);
    if (!filter.key_prefix.empty()) {
      // The first key that does not begin with the prefix any more; keys are never that high.
      beyond_ = filter.key_prefix + "\xF4\x8F\xBF\xBF";
      add(fmt::format("key >= ${} AND key < ${}", values_.size() + 1, values_.size() + 2));
      values_.emplace_back(std::string_view(filter.key_prefix));
      values_.emplace_back(std::string_view(beyond_));
    }
    if (filter.state)
      equal("state", to_string(*filter.state));
    else if (!among.empty())
      add(among);
    equal("error_code", filter.error_code);
    if (filter.before.empty()) return;
    values_.emplace_back(std::string_view(filter.before.value));
    add(fmt::format("(created, id) < (SELECT created, id FROM workflow WHERE id = ${})", values_.size()));
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Result<Rows> counts(Transaction& transaction) const {
    return transaction.run(fmt::format("{}{} GROUP BY state", kCount, where_), values_);
  }
  Result<Rows> newest(Transaction& transaction, int limit) {
    values_.emplace_back(int64_t{std::clamp(limit, 1, 1000)});
    return transaction.run(fmt::format("{}{} ORDER BY created DESC, id DESC LIMIT ${}", kFirst, where_, values_.size()),
                           values_);
  }

 private:
  void add(std::string_view condition) {
    where_ += fmt::format("{}{}", where_.empty() ? " WHERE " : " AND ", condition);
  }
  void equal(std::string_view column, std::string_view value) {
    if (value.empty()) return;
    values_.emplace_back(value);
    add(fmt::format("{} = ${}", column, values_.size()));
  }

  std::string where_;
  std::string beyond_;
  std::vector<Value> values_;
};

std::map<State, int64_t> counts_of(const Rows& rows) {
  std::map<State, int64_t> out;
  for (size_t row = 0; row < rows.size(); ++row)
    if (const auto state = state_of(rows.text(row, 0))) out[*state] = rows.number(row, 1);
  return out;
}

/// One page: what cannot be changed is counted, everything else that fails undoes the page.
Result<Bulk> change_page(Database& database, const WorkflowFilter& filter, std::string_view among,
                         const std::function<Status(Transaction&, const WorkflowId&)>& change, const Call& call) {
  const auto limit = static_cast<size_t>(std::clamp(filter.limit, 1, 1000));
  Bulk out;
  TRY(database.write(
      [&](Transaction& transaction) -> Status {
        out = {};
        Query query(filter, among);
        TRY_ASSIGN(const Rows rows, query.newest(transaction, filter.limit));
        for (size_t row = 0; row < rows.size(); ++row) {
          Status changed = change(transaction, WorkflowId(rows.text(row, 0)));
          if (!changed && changed.error().kind != ErrorKind::kConflict) return changed;
          ++(changed ? out.changed : out.skipped);
        }
        if (rows.size() == limit) out.last = WorkflowId(rows.text(rows.size() - 1, 0));
        return {};
      },
      call));
  return out;
}

}  // namespace

Result<std::vector<Workflow>> WorkflowStore::list(const WorkflowFilter& filter, const Call& call) {
  std::vector<Workflow> out;
  TRY(database_.read(
      [&](Transaction& transaction) -> Status {
        out.clear();
        Query query(filter);
        TRY_ASSIGN(const Rows rows, query.newest(transaction, filter.limit));
        for (size_t row = 0; row < rows.size(); ++row) out.push_back(workflow_at(rows, row));
        return {};
      },
      call));
  return out;
}

Result<std::map<State, int64_t>> WorkflowStore::count(std::string_view kind, const Call& call) {
  WorkflowFilter filter;
  filter.kind = kind;
  return count(filter, call);
}

Result<std::map<State, int64_t>> WorkflowStore::count(const WorkflowFilter& filter, const Call& call) {
  std::map<State, int64_t> out;
  TRY(database_.read(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows, Query(filter).counts(transaction));
        out = counts_of(rows);
        return {};
      },
      call));
  return out;
}

Result<Bulk> WorkflowStore::cancel_all(WorkflowFilter filter, std::string_view why, const Call& call) {
  return change_page(
      database_, filter, "state IN ('queued', 'waiting', 'running', 'blocked')",
      [&](Transaction& transaction, const WorkflowId& id) { return cancel_one(transaction, id, why); }, call);
}

Result<Bulk> WorkflowStore::retry_all(WorkflowFilter filter, const Call& call) {
  return change_page(
      database_, filter, "state = 'failed'",
      [](Transaction& transaction, const WorkflowId& id) { return retry_one(transaction, id); }, call);
}

Result<int64_t> WorkflowStore::move_to_lane(std::string_view key, std::string_view lane, const Call& call) {
  const bool many = key.ends_with('/');
  const std::string first(key), beyond = first + (many ? "\xF4\x8F\xBF\xBF" : "\x01");
  int64_t moved = 0;
  for (const std::string_view statement : {kMoveActive, kMoveQueued}) {
    TRY_ASSIGN(const Rows rows, database_.change(statement, {first, beyond, lane}, call));
    moved += rows.affected;
  }
  return moved;
}

Status WorkflowStore::remove(const WorkflowId& id, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows removed, transaction.run(kRemove, {id.value}));
        if (removed.affected > 0) return {};
        TRY_ASSIGN(const Rows there, transaction.run(kStateNow, {id.value}));
        if (there.empty()) return unknown(id);
        return fail(ErrorKind::kConflict, "store.active",
                    fmt::format("{} is {}: only what has ended can be removed", id.value, there.text(0, 0)));
      },
      call);
}

Status WorkflowStore::note(const WorkflowId& id, std::string_view what, std::string_view detail, const Call& call) {
  TRY_ASSIGN(const Rows added, database_.change(kNote, {id.value, what, detail}, call));
  return added.affected > 0 ? Status{} : unknown(id);
}

}  // namespace twinstep::store
