#include "twinstep/store/pg_address.h"

#include <libpq-fe.h>

#include <charconv>
#include <map>
#include <memory>

namespace twinstep::store {
namespace {

/// A server that went away without a word (power, network) is noticed after half a minute on either side, and a list of
/// servers leads to the one that can be written.
constexpr std::pair<const char*, const char*> kUnlessGiven[] = {{"keepalives_idle", "15"},
                                                                {"keepalives_interval", "5"},
                                                                {"keepalives_count", "3"},
                                                                {"tcp_user_timeout", "30000"},
                                                                {"fallback_application_name", "twinstep"},
                                                                {"target_session_attrs", "read-write"}};

}  // namespace

bool PgAddress::is_one(std::string_view store) {
  return store.starts_with("postgresql://") || store.starts_with("postgres://");
}

Result<PgAddress> PgAddress::parse(const std::string& uri) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorKind::kInvalid, "store.name",
                fmt::format("store: {}; expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of "
                            "user and password percent-encoded",
                            why));
  };
  char* complaint = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconninfoParse(uri.c_str(), &complaint),
                                                                             PQconninfoFree);
  // libpq's own words may quote a part of the password.
  if (complaint) PQfreemem(complaint);
  if (!options) return bad("not a PostgreSQL connection URI");
  std::map<std::string, std::string> given;
  for (const PQconninfoOption* option = options.get(); option->keyword; ++option)
    if (option->val) given[option->keyword] = option->val;
  // An '@' or '/' of the password that is not encoded ends up here, and libpq would then quote it in its errors.
  for (const char* part : {"host", "dbname"})
    if (given[part].find('@') != std::string::npos) return bad(fmt::format("its {} has an '@'", part));
  if (given["port"].find_first_not_of("0123456789,") != std::string::npos) return bad("the port is not a number");

  PgAddress out;
  if (const std::string& text = given["connect_timeout"]; !text.empty()) {
    int seconds = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (problem != std::errc{} || end != text.data() + text.size()) return bad("connect_timeout is not a number");
    if (seconds > 0) out.connect_timeout_ = Millis{seconds * 1000};
  }
  out.name_ = fmt::format("PostgreSQL {}{}{}/{}", given["host"], given["port"].empty() ? "" : ":", given["port"],
                          given["dbname"]);
  for (const auto& [keyword, value] : kUnlessGiven)
    if (given[keyword].empty()) given[keyword] = value;
  given["client_encoding"] = "UTF8";
  for (auto& [keyword, value] : given)
    if (!value.empty()) out.settings_.emplace_back(keyword, Secret(std::move(value)));
  return out;
}

std::string PgAddress::redact(std::string text) const {
  for (const auto& [keyword, value] : settings_) {
    if (keyword != "password" && keyword != "sslpassword") continue;
    const std::string_view secret = value.reveal();
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 3)
      text.replace(at, secret.size(), "***");
  }
  return text;
}

}  // namespace twinstep::store
