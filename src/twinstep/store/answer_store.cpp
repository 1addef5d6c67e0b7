#include "twinstep/store/answer_store.h"

namespace twinstep::store {
namespace {

// Takes the key when nobody has it, when its answer is too old, or when whoever had it gave no answer in time. An
// attempt that takes over repeats the same request, so the digest must be the same then.
constexpr std::string_view kTake =
    "INSERT INTO answer (id, request, owner, held, at) VALUES ($1, $2, $3, {now} + $4, {now}) "
    "ON CONFLICT (id) DO UPDATE SET request = excluded.request, owner = excluded.owner, held = excluded.held, "
    "status = 0, head = '', body = '', at = excluded.at "
    "WHERE answer.at < {now} - $5 OR (answer.status = 0 AND answer.held < {now} AND answer.request = excluded.request)";
constexpr std::string_view kLook = "SELECT request, status, head, body FROM answer WHERE id = $1";
constexpr std::string_view kKeep =
    "UPDATE answer SET status = $3, head = $4, body = $5 WHERE id = $1 AND owner = $2 AND status = 0";
constexpr std::string_view kForget = "DELETE FROM answer WHERE id = $1 AND owner = $2 AND status = 0";

}  // namespace

Result<Admission> AnswerStore::admit(std::string_view id, std::string_view request, std::string_view owner, Millis hold,
                                     const Call& call) {
  Admission out;
  TRY(database_.write(
      [&](Transaction& transaction) -> Status {
        out = {};
        TRY_ASSIGN(const Rows taken, transaction.run(kTake, {id, request, owner, micros(hold), micros(kKept)}));
        if (taken.affected == 1) return {};
        TRY_ASSIGN(const Rows found, transaction.run(kLook, {id}));
        if (found.empty())  // forgotten by another replica between the two
          return fail(ErrorKind::kUnavailable, "store.contended", "the key was given back at the same moment");
        if (found.text(0, 0) != request) {
          out.what = Admission::kOther;
        } else if (found.number(0, 1) == 0) {
          out.what = Admission::kAtWork;
        } else {
          out.what = Admission::kAnswered;
          out.answer = {static_cast<int>(found.number(0, 1)), found.text(0, 2), found.text(0, 3)};
        }
        return {};
      },
      call));
  return out;
}

Status AnswerStore::keep(std::string_view id, std::string_view owner, const KeptAnswer& answer, const Call& call) {
  TRY(database_.change(kKeep, {id, owner, int64_t{answer.status}, answer.head, answer.body}, call));
  return {};
}

Status AnswerStore::forget(std::string_view id, std::string_view owner, const Call& call) {
  TRY(database_.change(kForget, {id, owner}, call));
  return {};
}

}  // namespace twinstep::store
