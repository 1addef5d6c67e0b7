// key and store: who may use the daemon, and what is sealed in the store. They work on the store itself, also while a
// daemon does, or ask a daemon by --url.
#include <unistd.h>

#include "twinstep/base/encoding.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/session.h"
#include "twinstep/cli/table.h"
#include "twinstep/cli/workflow_text.h"
#include "twinstep/config/values.h"
#include "twinstep/plan/plan_text.h"
#include "twinstep/security/key_json.h"
#include "twinstep/security/sealed_store.h"

namespace twinstep::cli {
namespace {

constexpr Millis kPatience{30'000};

/// Whose hand it was, for the list: there are no names but those of the system.
std::string hand() {
  const char* user = ::getlogin();
  return fmt::format("command line ({})", user != nullptr ? std::string(user) : fmt::format("uid {}", ::getuid()));
}

/// The store of the configuration, and its keys.
struct Opened {
  config::Loaded loaded;
  std::unique_ptr<store::Database> database;
};
Result<Opened> open_store(const CommandLine& line) {
  Opened out;
  TRY_ASSIGN(out.loaded, load_configuration(line));
  const std::string store(app::store_of(out.loaded.config).reveal());
  TRY_ASSIGN(out.database, store::open_database(store, real_clock()));
  return out;
}

json::object wanted(const CommandLine& line) {
  const auto list = [](const std::vector<std::string>& all) {
    json::array out;
    for (const std::string& one : all) out.push_back(json::value(json::string(one)));
    return out;
  };
  json::object out{{"name", line.name}};
  for (const auto& [name, all] : {std::pair<const char*, const std::vector<std::string>&>{"scopes", line.scopes},
                                  {"hubs", line.hubs},
                                  {"ids", line.ids},
                                  {"may", line.may}})
    if (!all.empty()) out[name] = list(all);
  if (!line.rate.empty()) out["rate"] = json::string(line.rate);
  if (!line.expires.empty()) out["expires"] = json::string(line.expires);
  return out;
}

/// What the daemon would answer, from the store itself.
Result<json::value> by_store(const CommandLine& line, const Call& call) {
  TRY_ASSIGN(const Opened opened, open_store(line));
  security::KeyStore keys(*opened.database);
  const SystemTime now = real_clock().system_now();
  if (line.command == "key create") {
    TRY_ASSIGN(const security::NewKey key, security::new_key_of(wanted(line)));
    TRY_ASSIGN(const security::MadeKey made, keys.create(key, hand(), call));
    return json::value(security::to_json(made, now));
  }
  if (line.command == "key revoke") {
    TRY_ASSIGN(const security::Key key, keys.revoke(line.id, call));
    return json::value(security::to_json(key, now));
  }
  if (line.command == "key rotate") {
    TRY_ASSIGN(const Millis overlap, security::parse_span(line.overlap.empty() ? "24h" : line.overlap, "--overlap"));
    TRY_ASSIGN(const security::MadeKey made, keys.rotate(line.id, overlap, call));
    return json::value(security::to_json(made, now));
  }
  TRY_ASSIGN(const auto all, keys.list(call));
  json::array items;
  for (const security::Key& key : all) items.push_back(security::to_json(key, now));
  return json::value{{"items", std::move(items)}, {"next", json::value()}};
}

Result<json::value> by_daemon(const CommandLine& line, std::stop_token stop) {
  TRY_ASSIGN(DaemonClient daemon, DaemonClient::open(line, std::move(stop)));
  const std::string one = "/api/v1/keys/" + percent_encode(line.id);
  if (line.command == "key create") return daemon.post("/api/v1/keys", wanted(line));
  if (line.command == "key revoke") return daemon.post(one + "/revoke", {});
  if (line.command == "key rotate")
    return daemon.post(one + "/rotate",
                       line.overlap.empty() ? json::object{} : json::object{{"overlap", line.overlap}});
  return daemon.get("/api/v1/keys");
}

std::string joined(const json::object& key, std::string_view name) {
  std::string out;
  if (const json::array* all = json::array_at(key, name))
    for (const json::value& one : *all)
      if (one.is_string())
        out += fmt::format("{}{}", out.empty() ? "" : ",", plan::printable(std::string_view(one.get_string())));
  return out;
}

/// "facade: create,delete of lora-* in contoso, 10/s"
std::string rights_text(const json::object& key) {
  std::string out = joined(key, "scopes");
  if (const std::string may = joined(key, "may"); !may.empty()) {
    const std::string ids = joined(key, "ids"), hubs = joined(key, "hubs");
    out += fmt::format(": {} of {} in {}", may, ids.empty() ? "every device" : ids, hubs.empty() ? "every hub" : hubs);
  }
  if (const auto rate = json::string_or(key, "rate"); !rate.empty()) out += fmt::format(", {}", plan::printable(rate));
  return out;
}

std::string list_text(const json::value& page) {
  const json::object* object = page.if_object();
  const json::array* items = object ? json::array_at(*object, "items") : nullptr;
  if (items == nullptr || items->empty()) return "there is no key; twinstep key create makes one\n";
  std::string out;
  for (const json::value& item : *items) {
    if (!item.is_object()) continue;
    const json::object& key = item.get_object();
    const auto text = [&](std::string_view name) { return plan::printable(json::string_or(key, name, "never")); };
    out += fmt::format("{}  {}  {}  {}; made {} by {}, used {}", text("id"), text("name"), text("state"),
                       rights_text(key), text("created"), text("createdBy"), text("lastUsed"));
    if (const auto until = json::string_or(key, "expires"); !until.empty()) out += fmt::format(", ends {}", until);
    out += "\n";
  }
  return out;
}

/// The key alone on standard output, for `KEY=$(twinstep key create ...)`; what people should know beside it.
void show_once(const json::object& made) {
  print(fmt::format("{}\n", json::string_or(made, "key")));
  std::string note = fmt::format("key {} (id {}): {}. It is not shown again.", json::string_or(made, "name"),
                                 json::string_or(made, "id"), rights_text(made));
  if (const auto until = json::string_or(made, "previousUntil"); !until.empty())
    note += fmt::format(" The one before works until {}.", until);
  write_to_terminal(plan::printable(note) + "\n");
}

}  // namespace

int run_key(const CommandLine& line, std::stop_token stop) {
  const Call call{real_clock().steady_now() + kPatience, stop};
  const auto answer = line.url.empty() ? by_store(line, call) : by_daemon(line, stop);
  if (!answer) return fail_with(answer.error(), line, stop);
  if (line.json) {
    print(json::write(*answer) + "\n");
    return kDone;
  }
  const json::object* one = answer->if_object();
  if (one != nullptr && one->contains("key"))
    show_once(*one);
  else if (line.command == "key list")
    print(list_text(*answer));
  else if (one != nullptr)
    print(fmt::format("key {} (id {}) is revoked\n", plan::printable(json::string_or(*one, "name")),
                      plan::printable(json::string_or(*one, "id"))));
  return kDone;
}

namespace {

Result<uint64_t> rekey(const CommandLine& line, const Call& call) {
  TRY_ASSIGN(const Opened opened, open_store(line));
  std::vector<security::SealKey> keys = opened.loaded.config.store_keys;
  if (!line.new_key.empty()) {
    if (!line.new_key.starts_with("env:") && !line.new_key.starts_with("file:"))
      return fail(ErrorKind::kInvalid, "usage.key", "--new-key says where the key is: env:NAME or file:/path");
    const auto environment = config::process_environment();
    auto text = config::resolve_secret(line.new_key, [&](std::string_view name) -> std::optional<std::string> {
      const auto at = environment.find(std::string(name));
      return at == environment.end() ? std::nullopt : std::optional(at->second);
    });
    if (!text) return fail_within(std::move(text), "--new-key");
    TRY_ASSIGN(security::SealKey key, security::SealKey::parse(*text, "--new-key"));
    keys.insert(keys.begin(), std::move(key));
  }
  if (keys.empty())
    return fail(ErrorKind::kInvalid, "config.store-key",
                "there is no key to seal with: write store_key into the configuration, or give --new-key; "
                "`openssl rand -base64 32` makes one");
  return security::SealedStore(*opened.database).rekey(security::Sealer(std::move(keys)), call);
}

}  // namespace

int run_store(const CommandLine& line, std::stop_token stop) {
  const auto done = rekey(line, {SteadyTime::max(), stop});
  if (!done) return fail_with(done.error(), line, stop);
  print(line.json ? json::write(json::object{{"resealed", *done}}) + "\n"
                  : fmt::format("{} sealed anew{}\n", *done, *done == 0 ? ": everything is sealed with that key" : ""));
  return kDone;
}

}  // namespace twinstep::cli
