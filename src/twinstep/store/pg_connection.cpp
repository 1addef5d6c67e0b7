#include "twinstep/store/pg_connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "twinstep/base/encoding.h"
#include "twinstep/plan/exact_json.h"
#include "twinstep/store/pg_error.h"

namespace twinstep::store {
namespace {

constexpr Oid kInt8 = 20, kText = 25;  // pg_type.dat
constexpr Millis kSilence{60'000};     // an exchange that takes longer is a lost connection
constexpr int kOldest = 140000;        // pipelines, and noticing that a client is gone

/// What a connection is told when it is new: do not work for who is gone, keep no lock for who sleeps in a transaction,
/// notice a client whose machine vanished, and acknowledge nothing that is not on disk.
constexpr const char* kSession =
    "SELECT set_config('client_connection_check_interval', '1s', false), "
    "set_config('idle_in_transaction_session_timeout', '10s', false), set_config('idle_session_timeout', '0', false), "
    "set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false), "
    "set_config('tcp_keepalives_count', '3', false), "
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' "
    "ELSE current_setting('synchronous_commit') END, false)";

/// PostgreSQL takes neither broken UTF-8 nor a zero byte; what people and remotes send may have both.
std::string storable(std::string_view text) {
  std::string out = plan::as_utf8(text);
  for (size_t at = 0; (at = out.find('\0', at)) != std::string::npos;) out.replace(at, 1, "\xEF\xBF\xBD");
  return out;
}

/// The values of one request as libpq wants them.
struct Parameters {
  explicit Parameters(std::span<const Value> values) {
    texts.reserve(values.size());
    for (const Value& value : values) {
      Oid type = 0;
      const char* data = nullptr;
      int length = 0;
      if (const auto* number = std::get_if<int64_t>(&value)) {
        type = kInt8;
        data = texts.emplace_back(std::to_string(*number)).c_str();
      } else if (const auto* text = std::get_if<std::string_view>(&value)) {
        type = kText;
        const bool good = text->find('\0') == std::string_view::npos && is_utf8(*text);
        const std::string_view kept = good ? *text : std::string_view(texts.emplace_back(storable(*text)));
        data = kept.empty() ? "" : kept.data();
        length = static_cast<int>(kept.size());
      }
      types.push_back(type);
      pointers.push_back(data);
      lengths.push_back(length);
      formats.push_back(type == kText ? 1 : 0);  // a text's binary form is its bytes, with their count
    }
  }
  int count() const { return static_cast<int>(types.size()); }

  std::vector<std::string> texts;
  std::vector<Oid> types;
  std::vector<const char*> pointers;
  std::vector<int> lengths, formats;
};

Rows rows_of(const PGresult* answer) {
  Rows rows;
  const int height = PQntuples(answer), width = PQnfields(answer);
  rows.cells.resize(static_cast<size_t>(height));
  for (int row = 0; row < height; ++row) {
    auto& cells = rows.cells[static_cast<size_t>(row)];
    cells.reserve(static_cast<size_t>(width));
    for (int column = 0; column < width; ++column) {
      if (PQgetisnull(answer, row, column))
        cells.emplace_back();
      else
        cells.emplace_back(std::in_place, PQgetvalue(answer, row, column),
                           static_cast<size_t>(PQgetlength(answer, row, column)));
    }
  }
  rows.affected = std::atoll(PQcmdTuples(const_cast<PGresult*>(answer)));
  return rows;
}

}  // namespace

Result<std::unique_ptr<PgConnection>> PgConnection::open(const PgAddress& address, Clock& clock, const Call& call) {
  std::unique_ptr<PgConnection> out(new PgConnection(address, clock));
  TRY(out->connect(call));
  TRY(out->prepare_session(call));
  return out;
}

PgConnection::~PgConnection() {
  if (connection_) PQfinish(connection_);
}

Status PgConnection::connect(const Call& call) {
  std::vector<const char*> names, values;
  std::vector<std::string> texts;
  texts.reserve(address_.settings().size());
  for (const auto& [keyword, value] : address_.settings()) {
    names.push_back(keyword.c_str());
    values.push_back(texts.emplace_back(value.reveal()).c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  connection_ = PQconnectStartParams(names.data(), values.data(), 0);
  for (std::string& text : texts) std::fill(text.begin(), text.end(), '\0');
  if (!connection_) throw std::bad_alloc();
  PQsetNoticeProcessor(
      connection_, [](void*, const char*) {}, nullptr);
  // Only in this form does libpq give the SQLSTATE of a refused connection.
  PQsetErrorVerbosity(connection_, PQERRORS_VERBOSE);
  const SteadyTime limit = clock_.steady_now() + address_.connect_timeout();
  const Call patient = call.sooner(limit);
  PostgresPollingStatusType next = PGRES_POLLING_WRITING;
  while (PQstatus(connection_) != CONNECTION_BAD && next != PGRES_POLLING_OK) {
    if (next == PGRES_POLLING_FAILED) break;
    auto ready = wait(next == PGRES_POLLING_READING ? POLLIN : POLLOUT, patient);
    if (!ready) {
      usable_ = false;
      if (ready.error().kind == ErrorKind::kTimeout && limit < call.deadline)
        return fail(ErrorKind::kUnavailable, "store.postgresql",
                    fmt::format("{} did not answer within {} ms", address_.name(), address_.connect_timeout().count()));
      return fail(std::move(ready).error());
    }
    next = PQconnectPoll(connection_);
  }
  if (PQstatus(connection_) != CONNECTION_OK) {
    usable_ = false;
    Error error = pg_connect_error(PQerrorMessage(connection_), PQconnectionNeedsPassword(connection_) != 0);
    error.what = address_.redact(std::move(error.what));
    return fail(std::move(error).within(address_.name()));
  }
  PQsetErrorVerbosity(connection_, PQERRORS_DEFAULT);
  PQsetnonblocking(connection_, 1);
  return {};
}

Status PgConnection::prepare_session(const Call& call) {
  if (PQserverVersion(connection_) < kOldest)
    return fail(ErrorKind::kInvalid, "store.server",
                fmt::format("{} is of version {}; twinstep needs 14 or newer", address_.name(),
                            PQserverVersion(connection_) / 10000));
  const char* encoding = PQparameterStatus(connection_, "server_encoding");
  if (!encoding || std::string_view(encoding) != "UTF8")
    return fail(ErrorKind::kInvalid, "store.encoding",
                fmt::format("{} has the encoding {}; make a database with ENCODING 'UTF8'", address_.name(),
                            encoding ? encoding : "unknown"));
  return script(kSession, call);
}

Result<Rows> PgConnection::run(std::string_view sql, std::initializer_list<Value> values, const Call& call) {
  const PgRequest request{sql, {values.begin(), values.size()}};
  TRY_ASSIGN(auto rows, run({&request, 1}, call));
  return std::move(rows.front());
}

Result<std::vector<Rows>> PgConnection::run(std::span<const PgRequest> requests, const Call& call) {
  std::vector<std::string> prepared;  // of each request the statement that is prepared with it, or empty
  TRY(send(requests, prepared));
  std::vector<Rows> out;
  std::optional<Error> failure;
  const auto keep_first = [&](Error error) {
    if (!failure) failure = std::move(error);
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!prepared[i].empty()) {
      auto done = receive_rows(call);
      if (!usable_) return fail(std::move(done).error());
      if (!done) {
        statements_.erase(prepared[i]);
        keep_first(std::move(done).error());
      }
    }
    auto rows = receive_rows(call);
    if (!usable_ && !rows) return fail(failure ? std::move(*failure) : std::move(rows).error());
    if (rows)
      out.push_back(std::move(*rows));
    else
      keep_first(std::move(rows).error());
  }
  TRY_ASSIGN(const Answer sync, receive(call));
  if (PQresultStatus(sync.get()) != PGRES_PIPELINE_SYNC || !PQexitPipelineMode(connection_)) return lost();
  if (!failure) return out;
  if (pg_is_bug(failure->remote_code)) throw std::logic_error(failure->what);
  return fail(std::move(*failure));
}

Status PgConnection::send(std::span<const PgRequest> requests, std::vector<std::string>& prepared) {
  if (!usable_ || !PQenterPipelineMode(connection_)) return lost();
  for (const PgRequest& request : requests) {
    const Parameters parameters(request.values);
    std::string key(request.sql);
    for (const Oid type : parameters.types) key += type == kInt8 ? 'i' : type == kText ? 't' : 'n';
    const auto [found, is_new] = statements_.try_emplace(key);
    if (is_new) {
      found->second = fmt::format("s{}", ++named_);
      if (!PQsendPrepare(connection_, found->second.c_str(), std::string(request.sql).c_str(), parameters.count(),
                         parameters.types.data()))
        return lost();
    }
    prepared.push_back(is_new ? std::move(key) : std::string());
    if (!PQsendQueryPrepared(connection_, found->second.c_str(), parameters.count(), parameters.pointers.data(),
                             parameters.lengths.data(), parameters.formats.data(), 0))
      return lost();
  }
  if (!PQpipelineSync(connection_)) return lost();
  return {};
}

Result<Rows> PgConnection::receive_rows(const Call& call) {
  TRY_ASSIGN(const Answer answer, receive(call));
  TRY_ASSIGN(const Answer end, receive(call));
  if (!answer || end) return lost();
  switch (PQresultStatus(answer.get())) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
      return rows_of(answer.get());
    case PGRES_PIPELINE_ABORTED:
      return fail(ErrorKind::kUnavailable, "store.postgresql", "a statement before it failed");
    default:
      return fail(error_of(answer.get()));
  }
}

Status PgConnection::script(const std::string& sql, const Call& call) {
  if (!usable_ || !PQsendQuery(connection_, sql.c_str())) return lost();
  std::optional<Error> failure;
  for (;;) {
    TRY_ASSIGN(const Answer answer, receive(call));
    if (!answer) break;
    const auto status = PQresultStatus(answer.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && !failure) failure = error_of(answer.get());
  }
  if (!failure) return {};
  if (pg_is_bug(failure->remote_code)) throw std::logic_error(failure->what);
  return fail(std::move(*failure));
}

Result<PgConnection::Answer> PgConnection::receive(const Call& call) {
  for (;;) {
    const int unsent = PQflush(connection_);
    if (unsent < 0) return lost();
    // What has come already is taken before anything is sent or waited for: both sides may be full.
    if (unsent == 0 && !PQisBusy(connection_)) return Answer(PQgetResult(connection_), PQclear);
    TRY(wait(unsent ? POLLIN | POLLOUT : POLLIN, call));
    if (!PQconsumeInput(connection_)) return lost();
  }
}

Status PgConnection::wait(short events, const Call& call, const Waker* also) {
  const std::stop_callback wake(call.stop, [this] { waker_.wake(); });
  const SteadyTime limit = also ? call.deadline : std::min(call.deadline, clock_.steady_now() + kSilence);
  for (;;) {
    if (call.stop.stop_requested()) {
      waker_.rest();
      usable_ = false;
      return fail(ErrorKind::kCancelled, "store.cancelled", fmt::format("stopped before {} answered", address_.name()));
    }
    int patience = -1;
    if (limit != SteadyTime::max()) {
      const auto left = std::chrono::ceil<Millis>(limit - clock_.steady_now());
      patience = static_cast<int>(std::clamp<Millis::rep>(left.count(), 0, 3'600'000));
    }
    pollfd watched[3] = {
        {PQsocket(connection_), events, 0}, {waker_.fd(), POLLIN, 0}, {also ? also->fd() : -1, POLLIN, 0}};
    const int ready = ::poll(watched, 3, patience);
    if (ready < 0 && errno != EINTR) return lost();
    if (ready > 0 && (watched[0].revents != 0 || watched[2].revents != 0)) return {};
    if (ready == 0) {
      usable_ = false;
      if (limit != call.deadline)
        return fail(ErrorKind::kUnavailable, "store.postgresql",
                    fmt::format("{} has not answered for a minute", address_.name()));
      return fail(ErrorKind::kTimeout, "store.busy",
                  fmt::format("{} did not answer in time; it is not known what was done", address_.name()));
    }
  }
}

Status PgConnection::listen(const Waker& also, const Call& call) {
  TRY(wait(POLLIN, call, &also));
  if (!PQconsumeInput(connection_)) return lost();
  return {};
}

std::vector<std::string> PgConnection::take_hints() {
  std::vector<std::string> out;
  using Notify = std::unique_ptr<PGnotify, decltype(&PQfreemem)>;
  while (const Notify notify{PQnotifies(connection_), PQfreemem})
    if (notify->be_pid != PQbackendPID(connection_)) out.emplace_back(notify->extra);
  return out;
}

bool PgConnection::still_there() {
  if (!usable_ || !PQconsumeInput(connection_) || PQstatus(connection_) != CONNECTION_OK || PQisBusy(connection_))
    usable_ = false;
  return usable_;
}

bool PgConnection::idle() const { return usable_ && PQtransactionStatus(connection_) == PQTRANS_IDLE; }

tl::unexpected<Error> PgConnection::lost() {
  usable_ = false;
  Error error{.kind = ErrorKind::kUnavailable,
              .what = fmt::format("the connection was lost: {}", pg_first_line(PQerrorMessage(connection_))),
              .code = "store.postgresql"};
  error.what = address_.redact(std::move(error.what));
  return fail(std::move(error).within(address_.name()));
}

Error PgConnection::error_of(const PGresult* answer) {
  const char* code = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
  const char* text = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
  Error error = pg_error(code ? code : "", text ? text : PQresultErrorMessage(answer));
  if (PQstatus(connection_) != CONNECTION_OK || pg_ends_connection(error.remote_code)) usable_ = false;
  error.what = address_.redact(std::move(error.what));
  return std::move(error).within(address_.name());
}

}  // namespace twinstep::store
