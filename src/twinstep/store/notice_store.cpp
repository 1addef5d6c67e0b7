#include "twinstep/store/notice_store.h"

namespace twinstep::store {
namespace {

constexpr std::string_view kRaise =
    "INSERT INTO notice (key, channel, body, since, due) VALUES ($1, $2, $3, {now}, {now}) ON CONFLICT (key, channel) "
    "DO UPDATE SET resolved = 0, body = excluded.body, since = excluded.since, due = excluded.due, tries = 1 "
    "WHERE notice.resolved = 1";
constexpr std::string_view kForget = "DELETE FROM notice WHERE key = $1 AND resolved = 0 AND tries = 0";
constexpr std::string_view kResolve =
    "UPDATE notice SET resolved = 1, body = $2, due = {now}, tries = 0 WHERE key = $1 AND resolved = 0";
constexpr std::string_view kDue =
    "SELECT key, channel, resolved, body, tries, {now} - since FROM notice WHERE due <= {now} ORDER BY due, key, "
    "channel LIMIT $1 {skip locked}";
constexpr std::string_view kAnyDue = "SELECT 1 FROM notice WHERE due <= {now} LIMIT 1";
constexpr std::string_view kTake =
    "UPDATE notice SET due = {now} + $3, tries = tries + 1 WHERE key = $1 AND channel = $2";
constexpr std::string_view kRemind =
    "UPDATE notice SET due = {now} + $3, tries = 1 WHERE key = $1 AND channel = $2 AND resolved = 0";
constexpr std::string_view kAgain =
    "UPDATE notice SET due = {now} + $3 WHERE key = $1 AND channel = $2 AND resolved = $4";
constexpr std::string_view kDrop = "DELETE FROM notice WHERE key = $1 AND channel = $2 AND resolved = $3";
constexpr std::string_view kOpen =
    "SELECT key, {now} - min(since) FROM notice WHERE resolved = 0 GROUP BY key ORDER BY key";
constexpr std::string_view kBlocked =
    "SELECT id, kind, lane, key, input, status, error_code, updated FROM workflow WHERE state = 'blocked' ORDER BY "
    "updated, id LIMIT $1";
constexpr std::string_view kBacklog =
    "SELECT count(*), {now} - min(due) FROM workflow WHERE state = 'waiting' AND lane = $1 AND due <= {now}";

Millis span_of(const Rows& rows, size_t row, size_t column) {
  return std::chrono::duration_cast<Millis>(std::chrono::microseconds{rows.number(row, column)});
}

int64_t number_of(bool flag) { return flag ? 1 : 0; }

}  // namespace

Status NoticeStore::raise(std::string_view key, const std::vector<std::string>& channels, std::string_view body,
                          const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        for (const std::string& channel : channels) TRY(transaction.run(kRaise, {key, channel, body}));
        return {};
      },
      call);
}

Status NoticeStore::resolve(std::string_view key, std::string_view body, const Call& call) {
  return database_.write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run(kForget, {key}));
        TRY(transaction.run(kResolve, {key, body}));
        return {};
      },
      call);
}

Result<std::vector<NoticeDue>> NoticeStore::claim(int max, Millis lease, const Call& call) {
  std::vector<NoticeDue> out;
  // Mostly there is nothing, and then nothing should be written.
  TRY_ASSIGN(const Rows any, database_.ask(kAnyDue, {}, call));
  if (any.empty()) return out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        out.clear();
        TRY_ASSIGN(const Rows rows, transaction.run(kDue, {int64_t{max}}));
        for (size_t i = 0; i < rows.size(); ++i) {
          out.push_back({rows.text(i, 0), rows.text(i, 1), rows.number(i, 2) == 1, rows.text(i, 3),
                         rows.number(i, 4) + 1, span_of(rows, i, 5)});
          TRY(transaction.run(kTake, {out.back().key, out.back().channel, micros(lease)}));
        }
        return {};
      },
      call));
  return out;
}

Status NoticeStore::said(const NoticeDue& notice, Millis remind, const Call& call) {
  if (notice.resolved) return drop(notice, call);
  TRY(database_.change(kRemind, {notice.key, notice.channel, micros(remind)}, call));
  return {};
}

Status NoticeStore::again(const NoticeDue& notice, Millis wait, const Call& call) {
  TRY(database_.change(kAgain, {notice.key, notice.channel, micros(wait), number_of(notice.resolved)}, call));
  return {};
}

Status NoticeStore::drop(const NoticeDue& notice, const Call& call) {
  TRY(database_.change(kDrop, {notice.key, notice.channel, number_of(notice.resolved)}, call));
  return {};
}

Result<std::vector<NoticeOpen>> NoticeStore::open(const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kOpen, {}, call));
  std::vector<NoticeOpen> out;
  for (size_t i = 0; i < rows.size(); ++i) out.push_back({rows.text(i, 0), span_of(rows, i, 1)});
  return out;
}

Result<std::vector<Workflow>> NoticeStore::blocked(int max, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kBlocked, {int64_t{max}}, call));
  std::vector<Workflow> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    Workflow one;
    one.id = WorkflowId(rows.text(i, 0));
    one.kind = rows.text(i, 1);
    one.lane = rows.text(i, 2);
    one.key = rows.text(i, 3);
    one.state = State::kBlocked;
    one.input = rows.text(i, 4);
    one.status = rows.text(i, 5);
    one.error_code = rows.text(i, 6);
    one.updated = rows.time(i, 7);
    out.push_back(std::move(one));
  }
  return out;
}

Result<Backlog> NoticeStore::backlog(std::string_view lane, const Call& call) {
  TRY_ASSIGN(const Rows rows, database_.ask(kBacklog, {lane}, call));
  return Backlog{rows.number(0, 0), span_of(rows, 0, 1)};
}

}  // namespace twinstep::store
