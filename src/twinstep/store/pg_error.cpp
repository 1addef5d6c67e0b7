#include "twinstep/store/pg_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace twinstep::store {
namespace {

struct Meaning {
  std::string_view state;  ///< the SQLSTATE or the beginning of it
  ErrorKind kind;
  std::string_view code;
  std::string_view what;  ///< before the server's own text
};

// The first that fits counts.
constexpr Meaning kMeanings[] = {
    {"42501", ErrorKind::kDenied, "store.denied", "the database refuses: "},
    {"28", ErrorKind::kDenied, "store.denied", "the database refuses the login: "},
    {"3D000", ErrorKind::kInvalid, "store.no-database", "make the database first: "},
    {"3F000", ErrorKind::kInvalid, "store.no-database", "make the schema first: "},
    {"XX001", ErrorKind::kCorrupt, "store.corrupt", "the database is damaged: "},
    {"XX002", ErrorKind::kCorrupt, "store.corrupt", "the database is damaged: "},
    {"53100", ErrorKind::kUnavailable, "store.disk-full", "the database cannot grow, its disk is full: "},
    {"25006", ErrorKind::kUnavailable, "store.read-only", "the database cannot be written, it may be a standby: "},
    {"40", ErrorKind::kUnavailable, "store.contended", "another transaction was in the way: "},
    {"23505", ErrorKind::kUnavailable, "store.contended", "another transaction was in the way: "},
    {"22", ErrorKind::kInvalid, "store.refused", "the database does not take a value: "},
    {"23", ErrorKind::kInvalid, "store.refused", "the database does not take a value: "},
};

}  // namespace

Error pg_error(std::string_view sqlstate, std::string_view text) {
  Error error{.kind = ErrorKind::kUnavailable, .what = "the database cannot be used: ", .code = "store.postgresql"};
  const auto found = std::find_if(std::begin(kMeanings), std::end(kMeanings),
                                  [&](const Meaning& one) { return sqlstate.starts_with(one.state); });
  if (found != std::end(kMeanings)) {
    error.kind = found->kind;
    error.code = found->code;
    error.what = found->what;
  }
  error.what += pg_first_line(text);
  error.remote_code = sqlstate;
  return error;
}

Error pg_connect_error(std::string_view message, bool needs_password) {
  // "...: FATAL:  28P01: password authentication failed for user "x"" and then lines for PostgreSQL's developers. Words
  // and severity are in the server's language, the code between two colons is not.
  for (size_t at = 0; (at = message.find(":  ", at)) != std::string_view::npos; ++at) {
    const std::string_view state = message.substr(std::min(message.size(), at + 3), 5);
    const std::string_view rest = message.substr(std::min(message.size(), at + 8));
    const bool is_state = state.size() == 5 && std::all_of(state.begin(), state.end(), [](char c) {
                            return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
                          });
    if (is_state && rest.starts_with(": ")) return pg_error(state, rest.substr(2));
  }
  return needs_password ? pg_error("28P01", "it asks for a password, and none was given") : pg_error("", message);
}

bool pg_is_bug(std::string_view sqlstate) { return sqlstate.starts_with("42") && sqlstate != "42501"; }

bool pg_is_worth_repeating(std::string_view sqlstate) {
  constexpr std::array<std::string_view, 3> kStates{"40001", "40P01", "23505"};
  return std::find(kStates.begin(), kStates.end(), sqlstate) != kStates.end();
}

bool pg_ends_connection(std::string_view sqlstate) {
  // 26000: a pooler gave us another server connection, without our prepared statements.
  constexpr std::array<std::string_view, 5> kStates{"08", "57P", "25006", "25P03", "26000"};
  return std::any_of(kStates.begin(), kStates.end(), [&](std::string_view one) { return sqlstate.starts_with(one); });
}

std::string pg_first_line(std::string_view message) {
  std::string_view line = message.substr(0, message.find('\n'));
  return line.empty() ? "no reason given" : std::string(line);
}

}  // namespace twinstep::store
