// What callers show: lines are path, query, x-functions-key, Authorization, and the rest a text around a key.
#include <memory>

#include "check.h"
#include "twinstep/api/key_gate.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/base/redact.h"

using namespace twinstep;
using fuzz::check;

namespace {

constexpr std::string_view kSecret = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

/// One key of every scope, read from a store in memory.
struct Keys {
  Keys() {
    security::KeyStore store(*database);
    const auto made = store.create(
        {"only", {.scopes = {api::Scope::kRead}, .hubs = {}, .ids = {}, .actions = {}, .rate = {}}, {}}, "fuzz", {});
    check(made.has_value(), "the key is made");
    text = std::string(made->text.reveal());
    cache.open(*database);
    check(cache.refresh({}).has_value(), "the keys are read");
  }
  FakeClock clock;
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  security::KeyCache cache{clock};
  api::Authenticator authenticator{cache, clock};
  std::string text;
};

/// Does the input hold a secret that is used below? libFuzzer watches what is compared with what and so learns them:
/// that is neither a guess nor a leak.
bool holds(std::string_view input, std::string_view secret) {
  std::string text(input);
  for (int round = 0; round < 5; ++round, text = percent_decode(text))
    if (text.find(secret) != std::string::npos) return true;
  return false;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Keys keys;
  std::string_view rest = fuzz::text_of(data, size);
  if (holds(rest, kSecret) || holds(rest, keys.text.substr(keys.text.find('_', 4) + 1))) return 0;
  http::ServerRequest request;
  request.method = "GET";
  request.path = std::string(fuzz::take_line(rest));
  request.query = std::string(fuzz::take_line(rest));
  request.headers.push_back({"x-functions-key", std::string(fuzz::take_line(rest))});
  request.headers.push_back({"Authorization", std::string(fuzz::take_line(rest))});
  request.remote_address = "192.0.2.1";

  for (const api::Scope scope : security::all_scopes()) {
    const auto admitted = keys.authenticator.admit(request, scope);
    check(!admitted, "nobody guesses a key");
    const int status = admitted.error().status;
    check(status == 400 || status == 401 || status == 503, "one of the answers that there are");
    const bool shows = api::shows_credentials(request);
    check(scope == api::Scope::kEvents || shows || status == 401, "who shows nothing is asked for a key");
  }
  request.headers = {{"x-functions-key", keys.text}};
  const auto admitted = keys.authenticator.admit(request, api::Scope::kRead);
  check(admitted.has_value() || admitted.error().status == 400, "the key opens, unless another one is beside it");

  const std::string around(rest);
  const size_t middle = around.size() / 2;
  for (const std::string_view sign : {"tsk_", "tsi_"}) {
    std::string shown =
        without_keys(around.substr(0, middle) + std::string(sign) + std::string(kSecret) + around.substr(middle));
    for (int round = 0; round < 4; ++round, shown = percent_decode(shown))
      check(shown.find(kSecret) == std::string::npos, "no key is repeated");
    check(!fuzz::has_control(for_log(around)), "a value of a log line has no end in it");
  }
  return 0;
}
