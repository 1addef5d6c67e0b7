#include "twinstep/store/workflow_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>

#include "twinstep/base/crash_point.h"

#include "twinstep/store/answer_store.h"
#include "twinstep/store/workflow_rows.h"

namespace twinstep::store {
namespace {

constexpr std::array<std::string_view, 7> kStates{"queued", "waiting", "running",  "blocked",
                                                  "done",   "failed",  "cancelled"};

constexpr std::string_view kRememberSeen =
    "INSERT INTO seen (id, workflow, at) VALUES ($1, $2, {now}) ON CONFLICT (id) DO NOTHING";
constexpr std::string_view kSeenBy = "SELECT workflow FROM seen WHERE id = $1";
constexpr std::string_view kJoinSeen = "UPDATE seen SET workflow = $2 WHERE id = $1";
constexpr std::string_view kInsert =
    "INSERT INTO workflow (id, kind, lane, key, state, due, input, status, error_code, created, updated, ended, trace) "
    "VALUES ($1, $2, $3, $4, $5, {now} + $6, $7, $8, $9, {now}, {now}, CASE WHEN $10 = 1 THEN {now} END, $11) "
    "ON CONFLICT DO NOTHING";
constexpr std::string_view kActive =
    "SELECT id, input FROM workflow WHERE key = $1 AND state IN ('waiting', 'running', 'blocked') {for update}";
constexpr std::string_view kQueuedOf = "SELECT id FROM workflow WHERE key = $1 AND state = 'queued'";
constexpr std::string_view kMerge =
    "UPDATE workflow SET input = $2, lane = $5, generation = generation + 1, attempt = 0, waited = 0, updated = {now}, "
    "trace = CASE WHEN $4 = '' THEN trace ELSE $4 END, "
    "due = CASE WHEN state = 'waiting' AND due > {now} + $3 THEN {now} + $3 ELSE due END WHERE id = $1";
// Materialized: the rows are chosen, and locked, once.
constexpr std::string_view kClaim =
    "WITH chosen AS MATERIALIZED (SELECT id FROM workflow WHERE lane = $1 AND state = 'waiting' AND due <= {now} "
    "AND NOT EXISTS (SELECT 1 FROM pause WHERE pause.lane = $1 AND until > {now}) ORDER BY due LIMIT $4 {skip locked}) "
    "UPDATE workflow SET state = 'running', owner = $2, epoch = epoch + 1, lease_until = {now} + $3, updated = {now} "
    "WHERE id IN (SELECT id FROM chosen) RETURNING " TWINSTEP_WORKFLOW_COLUMNS;
constexpr std::string_view kRenew =
    "UPDATE workflow SET lease_until = {now} + $3 WHERE id = $1 AND owner = $2 AND state = 'running'";
constexpr std::string_view kOurs =
    "UPDATE workflow SET updated = {now} WHERE id = $1 AND epoch = $2 AND state = 'running'";
constexpr std::string_view kSaveStep =
    "INSERT INTO step (workflow, name, output, at) VALUES ($1, $2, $3, {now}) "
    "ON CONFLICT (workflow, name) DO UPDATE SET output = excluded.output, at = excluded.at";
constexpr std::string_view kSteps = "SELECT name, output FROM step WHERE workflow = $1";
constexpr std::string_view kForgetSteps = "DELETE FROM step WHERE workflow = $1";
// A cancel that was asked for wins over waiting; a newer hint wins over everything else.
constexpr std::string_view kFinish =
    "UPDATE workflow SET owner = '', lease_until = 0, updated = {now}, status = $5, error_code = $6, "
    "state = CASE WHEN cancel_asked = 1 AND $3 IN ('waiting', 'blocked') THEN 'cancelled' "
    "             WHEN cancel_asked = 0 AND generation > $8 THEN 'waiting' ELSE $3 END, "
    "due = CASE WHEN generation > $8 THEN {now} ELSE {now} + $4 END, "
    "attempt = CASE WHEN generation > $8 THEN 0 ELSE $7 END, waited = CASE WHEN generation > $8 THEN 0 ELSE $9 END, "
    "ended = CASE WHEN cancel_asked = 0 AND generation > $8 THEN NULL "
    "             WHEN $3 IN ('waiting', 'blocked') AND cancel_asked = 0 THEN NULL ELSE {now} END "
    "WHERE id = $1 AND epoch = $2 AND state = 'running' RETURNING state, generation, due";
constexpr std::string_view kAddHistory =
    "INSERT INTO history (workflow, seq, at, what, detail) "
    "SELECT $1, coalesce(max(seq), 0) + 1, {now}, $2, $3 FROM history WHERE workflow = $1";
constexpr std::string_view kHistory = "SELECT at, what, detail FROM history WHERE workflow = $1 ORDER BY seq";
constexpr std::string_view kNextQueued =
    "UPDATE workflow SET state = 'waiting', due = {now}, updated = {now} WHERE id = "
    "(SELECT id FROM workflow WHERE key = $1 AND state = 'queued' ORDER BY created, id LIMIT 1) "
    "AND NOT EXISTS (SELECT 1 FROM workflow o WHERE o.key = $1 AND o.state IN ('waiting', 'running', 'blocked')) "
    "RETURNING lane";
constexpr std::string_view kAskedToCancel =
    "SELECT id FROM workflow WHERE state = 'running' AND owner = $1 AND cancel_asked = 1";
constexpr std::string_view kRescue =
    "WITH chosen AS MATERIALIZED (SELECT id FROM workflow WHERE state = 'running' AND lease_until < {now} "
    "{skip locked}) UPDATE workflow SET state = 'waiting', due = {now}, owner = '', lease_until = 0, updated = {now} "
    "WHERE id IN (SELECT id FROM chosen) RETURNING lane";
constexpr std::string_view kRescueAll =
    "UPDATE workflow SET state = 'waiting', due = {now}, owner = '', lease_until = 0, updated = {now} "
    "WHERE state = 'running'";
constexpr std::string_view kMoveBack = "UPDATE workflow SET due = due - $1 WHERE state IN ('waiting', 'blocked')";
constexpr std::string_view kExpire =
    "WITH chosen AS MATERIALIZED (SELECT id FROM workflow WHERE state = 'blocked' AND due <= {now} {skip locked}) "
    "UPDATE workflow SET state = 'cancelled', status = 'not approved in time', ended = {now}, updated = {now} "
    "WHERE id IN (SELECT id FROM chosen) RETURNING " TWINSTEP_WORKFLOW_COLUMNS;
// A limit instead of min(): PostgreSQL then takes the first entry of the index whatever it knows of the table.
constexpr std::string_view kNextDue =
    "SELECT (SELECT due FROM workflow WHERE lane = $1 AND state = 'waiting' ORDER BY due LIMIT 1) - {now}, "
    "(SELECT until - {now} FROM pause WHERE lane = $1)";
constexpr std::string_view kFind = "SELECT " TWINSTEP_WORKFLOW_COLUMNS " FROM workflow WHERE id = $1";
constexpr std::string_view kCancel =
    "UPDATE workflow SET cancel_asked = 1, updated = {now}, "
    "status = CASE WHEN state = 'running' THEN status ELSE $2 END, "
    "ended = CASE WHEN state = 'running' THEN NULL ELSE {now} END, "
    "state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END "
    "WHERE id = $1 AND state IN ('queued', 'waiting', 'running', 'blocked') RETURNING state, key";
constexpr std::string_view kRetry =
    "UPDATE workflow SET state = 'waiting', due = {now}, attempt = 0, waited = 0, cancel_asked = 0, ended = NULL, "
    "error_code = '', updated = {now} WHERE id = $1 AND state IN ('waiting', 'failed', 'cancelled') "
    "AND NOT EXISTS (SELECT 1 FROM workflow o WHERE o.key = workflow.key AND o.id <> workflow.id "
    "AND o.state IN ('waiting', 'running', 'blocked')) RETURNING lane";
constexpr std::string_view kUnblock =
    "UPDATE workflow SET state = 'waiting', due = {now}, updated = {now} WHERE id = $1 AND state = 'blocked' "
    "AND due > {now} RETURNING lane";
constexpr std::string_view kPutLedger =
    "INSERT INTO ledger (link, key, device, present, tags, updated) VALUES ($1, $2, $3, $4, $5, {now}) "
    "ON CONFLICT (link, key) DO UPDATE SET device = excluded.device, present = excluded.present, "
    "tags = excluded.tags, updated = excluded.updated";
std::map<std::string, std::string> steps_of(const Rows& rows) {
  std::map<std::string, std::string> out;
  for (size_t row = 0; row < rows.size(); ++row) out[rows.text(row, 0)] = rows.text(row, 1);
  return out;
}

tl::unexpected<Error> lease_lost(const Workflow& claim) {
  return fail(ErrorKind::kConflict, "store.lease-lost",
              fmt::format("workflow {}: another worker has taken over", claim.id.value));
}

Status start_next_queued(Transaction& transaction, std::string_view key) {
  TRY_ASSIGN(const Rows next, transaction.run(kNextQueued, {key}));
  if (!next.empty()) transaction.notify(next.text(0, 0));
  return {};
}

std::vector<Value> insert_values(const NewWorkflow& want, State state) {
  return {want.id.value,       want.kind,  want.lane,   want.key,        to_string(state),
          micros(want.due_in), want.input, want.status, want.error_code, int64_t{ended(state)},
          want.trace};
}

/// For one that found its key taken.
Result<Started> join_or_start(Transaction& transaction, const NewWorkflow& want) {
  for (int tries = 0; tries < 10; ++tries) {
    // Locked, so that it cannot end before our hint is in it or our queued one is there to follow it.
    TRY_ASSIGN(const Rows active, transaction.run(kActive, {want.key}));
    if (active.empty()) {  // it ended meanwhile: another replica's commit
      TRY_ASSIGN(const Rows inserted, transaction.run(kInsert, insert_values(want, want.state)));
      if (inserted.affected == 0) continue;
      transaction.notify(want.lane);
      return Started{Started::kStarted, want.id};
    }
    if (want.on_busy == OnBusy::kQueue) {
      TRY_ASSIGN(const Rows queued, transaction.run(kInsert, insert_values(want, State::kQueued)));
      if (queued.affected == 1) return Started{Started::kQueued, want.id};
      TRY_ASSIGN(const Rows first, transaction.run(kQueuedOf, {want.key}));
      if (first.empty()) continue;
      if (!want.seen_id.empty()) TRY(transaction.run(kJoinSeen, {want.seen_id, first.text(0, 0)}));
      return Started{Started::kSkipped, WorkflowId(first.text(0, 0))};
    }
    const WorkflowId joined(active.text(0, 0));
    if (want.on_busy == OnBusy::kMerge) {
      const std::string input = want.merge ? want.merge(active.text(0, 1)) : want.input;
      TRY(transaction.run(kMerge, {joined.value, input, micros(want.due_in), want.trace, want.lane}));
      transaction.notify(want.lane);
    }
    if (!want.seen_id.empty()) TRY(transaction.run(kJoinSeen, {want.seen_id, joined.value}));
    return Started{want.on_busy == OnBusy::kMerge ? Started::kMerged : Started::kSkipped, joined};
  }
  return fail(ErrorKind::kUnavailable, "store.contended", fmt::format("{}: too many replicas at once", want.key));
}

/// The values of one statement for each of the workflows at `order`.
template <class Values>
std::vector<std::vector<Value>> values_of(const std::vector<size_t>& order, Values values) {
  std::vector<std::vector<Value>> out;
  out.reserve(order.size());
  for (const size_t at : order) out.push_back(values(at));
  return out;
}

std::vector<const NewWorkflow*> pointers_to(const std::vector<NewWorkflow>& workflows) {
  std::vector<const NewWorkflow*> out;
  out.reserve(workflows.size());
  for (const NewWorkflow& one : workflows) out.push_back(&one);
  return out;
}

}  // namespace

Result<std::vector<Started>> start_all(Transaction& transaction, std::span<const NewWorkflow* const> wants) {
  std::vector<Started> out(wants.size());
  // Every replica takes the keys in the same order: then two that start the same ones wait for each other, and there is
  // no deadlock, which would take PostgreSQL a second to find.
  std::vector<size_t> order(wants.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return wants[a]->key < wants[b]->key; });

  std::vector<size_t> named, known, fresh;
  std::copy_if(order.begin(), order.end(), std::back_inserter(named),
               [&](size_t at) { return !wants[at]->seen_id.empty(); });
  TRY_ASSIGN(const auto remembered,
             transaction.run_each(kRememberSeen, values_of(named, [&](size_t at) {
                                    return std::vector<Value>{wants[at]->seen_id, wants[at]->id.value};
                                  })));
  std::vector<bool> is_known(wants.size());
  for (size_t i = 0; i < named.size(); ++i) is_known[named[i]] = remembered[i].affected == 0;
  for (const size_t at : order) (is_known[at] ? known : fresh).push_back(at);

  TRY_ASSIGN(const auto inserted, transaction.run_each(kInsert, values_of(fresh, [&](size_t at) {
                                                         return insert_values(*wants[at], wants[at]->state);
                                                       })));
  for (size_t i = 0; i < fresh.size(); ++i) {
    const NewWorkflow& want = *wants[fresh[i]];
    if (inserted[i].affected == 1) {
      out[fresh[i]] = {Started::kStarted, want.id};
      if (!ended(want.state)) transaction.notify(want.lane);
    } else {
      TRY_ASSIGN(out[fresh[i]], join_or_start(transaction, want));
    }
  }
  std::vector<std::vector<Value>> lines;
  for (const size_t at : fresh)
    if (out[at].what == Started::kStarted)
      for (const HistoryLine& line : wants[at]->history) lines.push_back({wants[at]->id.value, line.what, line.detail});
  if (!lines.empty()) TRY(transaction.run_each(kAddHistory, lines));
  // At the end: an event that is here twice is answered with what its first one became.
  TRY_ASSIGN(const auto by, transaction.run_each(kSeenBy, values_of(known, [&](size_t at) {
                                                   return std::vector<Value>{wants[at]->seen_id};
                                                 })));
  for (size_t i = 0; i < known.size(); ++i)
    out[known[i]] = {Started::kKnown, WorkflowId(by[i].empty() ? "" : by[i].text(0, 0))};
  return out;
}

bool ended(State state) { return state == State::kDone || state == State::kFailed || state == State::kCancelled; }

Workflow workflow_at(const Rows& rows, size_t row) {
  Workflow out;
  out.id = WorkflowId(rows.text(row, 0));
  out.kind = rows.text(row, 1);
  out.lane = rows.text(row, 2);
  out.key = rows.text(row, 3);
  out.state = state_of(rows.text(row, 4)).value_or(State::kFailed);
  out.due = rows.time(row, 5);
  out.generation = rows.number(row, 6);
  out.attempt = static_cast<int>(rows.number(row, 7));
  out.waited = Millis{rows.number(row, 8)};
  out.epoch = rows.number(row, 9);
  out.cancel_asked = rows.number(row, 10) != 0;
  out.input = rows.text(row, 11);
  out.status = rows.text(row, 12);
  out.error_code = rows.text(row, 13);
  out.created = rows.time(row, 14);
  out.updated = rows.time(row, 15);
  if (!rows.is_null(row, 16)) out.ended = rows.time(row, 16);
  out.trace = rows.text(row, 17);
  return out;
}

tl::unexpected<Error> unknown(const WorkflowId& id) {
  return fail(ErrorKind::kNotFound, "store.unknown", fmt::format("there is no run or task {}", id.value));
}
Status cancel_one(Transaction& transaction, const WorkflowId& id, std::string_view why) {
  TRY_ASSIGN(const Rows rows, transaction.run(kCancel, {id.value, why}));
  if (rows.empty()) {
    TRY_ASSIGN(const Rows there, transaction.run(kFind, {id.value}));
    if (there.empty()) return unknown(id);
    return fail(ErrorKind::kConflict, "store.ended",
                fmt::format("{} has ended already ({})", id.value, there.text(0, 4)));
  }
  TRY(transaction.run(kAddHistory, {id.value, "cancel", why}));
  return rows.text(0, 0) == "cancelled" ? start_next_queued(transaction, rows.text(0, 1)) : Status{};
}

Status retry_one(Transaction& transaction, const WorkflowId& id) {
  TRY_ASSIGN(const Rows rows, transaction.run(kRetry, {id.value}));
  if (rows.empty()) {
    TRY_ASSIGN(const Rows there, transaction.run(kFind, {id.value}));
    if (there.empty()) return unknown(id);
    const Workflow workflow = workflow_at(there, 0);
    if (workflow.state == State::kFailed || workflow.state == State::kCancelled)
      return fail(ErrorKind::kConflict, "store.busy-key",
                  fmt::format("{}: a newer one of {} is at work", id.value, workflow.key));
    return fail(ErrorKind::kConflict, "store.not-retryable",
                fmt::format("{} is {}: only waiting, failed or cancelled ones can be tried again", id.value,
                            to_string(workflow.state)));
  }
  TRY(transaction.run(kForgetSteps, {id.value}));
  TRY(transaction.run(kAddHistory, {id.value, "retry", ""}));
  transaction.notify(rows.text(0, 0));
  return {};
}

std::string_view to_string(State state) { return kStates[static_cast<size_t>(state)]; }

std::optional<State> state_of(std::string_view text) {
  const auto found = std::find(kStates.begin(), kStates.end(), text);
  if (found == kStates.end()) return std::nullopt;
  return static_cast<State>(found - kStates.begin());
}

Result<int64_t> WorkflowStore::begin(const Call& call) {
  int64_t taken = 0;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        taken = 0;
        if (database_.shared()) return {};
        if (const Millis back = database_.went_back(); back > Millis{0})
          TRY(transaction.run(kMoveBack, {micros(back)}));
        TRY_ASSIGN(const Rows rescued, transaction.run(kRescueAll, {}));
        taken = rescued.affected;
        return {};
      },
      call));
  return taken;
}

Result<std::vector<Started>> WorkflowStore::start(const std::vector<NewWorkflow>& workflows, const Call& call) {
  return start(pointers_to(workflows), call);
}

Result<std::vector<Started>> WorkflowStore::start(const std::vector<const NewWorkflow*>& workflows, const Call& call) {
  std::vector<Started> out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(out, start_all(transaction, workflows));
        crash_point("intake.before-commit");
        return {};
      },
      call));
  return out;
}

Result<std::vector<Claimed>> WorkflowStore::claim(std::string_view lane, std::string_view owner, int max, Millis lease,
                                                  const Call& call) {
  std::vector<Claimed> out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        out.clear();
        TRY_ASSIGN(const Rows rows, transaction.run(kClaim, {lane, owner, micros(lease), int64_t{max}}));
        std::vector<size_t> again;  // of the others there can be no steps: nobody worked on them before
        for (size_t row = 0; row < rows.size(); ++row) {
          out.push_back(Claimed{workflow_at(rows, row), {}});
          if (out.back().workflow.epoch > 1) again.push_back(row);
        }
        TRY_ASSIGN(const auto steps, transaction.run_each(kSteps, values_of(again, [&](size_t at) {
                                                            return std::vector<Value>{out[at].workflow.id.value};
                                                          })));
        for (size_t i = 0; i < again.size(); ++i) out[again[i]].steps = steps_of(steps[i]);
        return {};
      },
      call));
  std::sort(out.begin(), out.end(), [](const Claimed& a, const Claimed& b) { return a.workflow.due < b.workflow.due; });
  return out;
}

Result<std::vector<WorkflowId>> WorkflowStore::renew(std::string_view owner, const std::vector<WorkflowId>& ids,
                                                     Millis lease, const Call& call) {
  std::vector<WorkflowId> ours;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        ours.clear();
        std::vector<std::vector<Value>> values;
        for (const WorkflowId& id : ids) values.push_back({id.value, owner, micros(lease)});
        TRY_ASSIGN(const auto renewed, transaction.run_each(kRenew, values));
        for (size_t i = 0; i < ids.size(); ++i)
          if (renewed[i].affected == 1) ours.push_back(ids[i]);
        return {};
      },
      call));
  return ours;
}

Status WorkflowStore::save_step(const Workflow& claim, std::string_view name, std::string_view output,
                                std::string_view what, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows ours, transaction.run(kOurs, {claim.id.value, claim.epoch}));
        if (ours.affected == 0) return lease_lost(claim);
        TRY(transaction.run(kSaveStep, {claim.id.value, name, output}));
        if (!what.empty()) TRY(transaction.run(kAddHistory, {claim.id.value, what, name}));
        return {};
      },
      call);
}

Result<std::vector<Started>> WorkflowStore::start_with_step(const Workflow& claim, std::string_view name,
                                                            std::string_view output,
                                                            const std::vector<NewWorkflow>& workflows,
                                                            const Call& call) {
  std::vector<Started> out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows ours, transaction.run(kOurs, {claim.id.value, claim.epoch}));
        if (ours.affected == 0) return lease_lost(claim);
        TRY(transaction.run(kSaveStep, {claim.id.value, name, output}));
        TRY_ASSIGN(out, start_all(transaction, pointers_to(workflows)));
        return {};
      },
      call));
  return out;
}

Result<State> WorkflowStore::finish(const Workflow& claim, const Finish& finish, const Call& call) {
  State now = finish.state;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows,
                   transaction.run(kFinish, {claim.id.value, claim.epoch, to_string(finish.state),
                                             micros(finish.due_in), finish.status, finish.error_code,
                                             int64_t{finish.attempt}, claim.generation, finish.waited.count()}));
        if (rows.empty()) return lease_lost(claim);
        now = state_of(rows.text(0, 0)).value_or(finish.state);
        for (const HistoryLine& line : finish.history)
          TRY(transaction.run(kAddHistory, {claim.id.value, line.what, line.detail}));
        if (finish.ledger)
          TRY(transaction.run(kPutLedger, {finish.ledger->link, finish.ledger->key, finish.ledger->device.value,
                                           int64_t{finish.ledger->present}, finish.ledger->tags}));
        if (rows.number(0, 1) > claim.generation) TRY(transaction.run(kForgetSteps, {claim.id.value}));
        if (now == State::kWaiting) transaction.notify(claim.lane);
        return ended(now) ? start_next_queued(transaction, claim.key) : Status{};
      },
      call));
  return now;
}

Result<std::vector<WorkflowId>> WorkflowStore::asked_to_cancel(std::string_view owner, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kAskedToCancel, {owner}, call));
  std::vector<WorkflowId> out;
  for (size_t row = 0; row < rows.size(); ++row) out.emplace_back(rows.text(row, 0));
  return out;
}

Result<int64_t> WorkflowStore::rescue(const Call& call) {
  int64_t taken = 0;
  if (!database_.shared()) return taken;  // there, begin() has taken over all there can be
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows, transaction.run(kRescue, {}));
        taken = static_cast<int64_t>(rows.size());
        for (size_t row = 0; row < rows.size(); ++row) transaction.notify(rows.text(row, 0));
        return {};
      },
      call));
  return taken;
}

Result<std::optional<Millis>> WorkflowStore::next_due(std::string_view lane, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kNextDue, {lane}, call));
  if (rows.is_null(0, 0)) return std::optional<Millis>{};
  const int64_t wait = std::max({int64_t{0}, rows.number(0, 0), rows.number(0, 1)});
  return std::optional{Millis{(wait + 999) / 1000}};
}

Result<Workflow> WorkflowStore::find(const WorkflowId& id, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kFind, {id.value}, call));
  if (rows.empty()) return unknown(id);
  return workflow_at(rows, 0);
}

Result<std::vector<HistoryLine>> WorkflowStore::history(const WorkflowId& id, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kHistory, {id.value}, call));
  std::vector<HistoryLine> out;
  for (size_t row = 0; row < rows.size(); ++row)
    out.push_back({rows.time(row, 0), rows.text(row, 1), rows.text(row, 2)});
  return out;
}

Result<std::map<std::string, std::string>> WorkflowStore::steps(const WorkflowId& id, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kSteps, {id.value}, call));
  return steps_of(rows);
}

Status WorkflowStore::cancel(const WorkflowId& id, std::string_view why, const Call& call) {
  return database_.write([&](Transaction& transaction) { return cancel_one(transaction, id, why); }, call);
}

Status WorkflowStore::retry(const WorkflowId& id, const Call& call) {
  return database_.write([&](Transaction& transaction) { return retry_one(transaction, id); }, call);
}

Status WorkflowStore::unblock(const WorkflowId& id, std::string_view step, std::string_view output, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows, transaction.run(kUnblock, {id.value}));
        if (rows.empty()) {
          TRY_ASSIGN(const Rows there, transaction.run(kFind, {id.value}));
          if (there.empty()) return unknown(id);
          if (there.text(0, 4) == "blocked")
            return fail(ErrorKind::kConflict, "store.expired",
                        fmt::format("{} was not approved in time; start a new run", id.value));
          return fail(ErrorKind::kConflict, "store.not-blocked",
                      fmt::format("{} is {}, not blocked", id.value, there.text(0, 4)));
        }
        TRY(transaction.run(kSaveStep, {id.value, step, output}));
        TRY(transaction.run(kAddHistory, {id.value, step, output}));
        transaction.notify(rows.text(0, 0));
        return {};
      },
      call);
}

Result<std::vector<Workflow>> WorkflowStore::expire_blocked(const Call& call) {
  std::vector<Workflow> expired;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        TRY_ASSIGN(const Rows rows, transaction.run(kExpire, {}));
        expired.clear();
        for (size_t row = 0; row < rows.size(); ++row) {
          expired.push_back(workflow_at(rows, row));
          TRY(transaction.run(kAddHistory, {expired.back().id.value, "expired", expired.back().status}));
          TRY(start_next_queued(transaction, expired.back().key));
        }
        return {};
      },
      call));
  return expired;
}

}  // namespace twinstep::store
