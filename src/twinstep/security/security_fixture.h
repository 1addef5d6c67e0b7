#pragma once

#include <gtest/gtest.h>

#include "twinstep/base/fake_clock.h"
#include "twinstep/security/key_cache.h"
#include "twinstep/security/key_store.h"

namespace twinstep::security {

/// A store in memory that can be away, and keys in it.
class SecurityFixture : public ::testing::Test {
 protected:
  /// The database, which answers nothing while `away`, and counts.
  class Switch final : public store::Database {
   public:
    explicit Switch(store::Database& inner) : inner_(inner) {}
    Status write(const Body& body, const Call& call) override { return away ? gone() : inner_.write(body, call); }
    Status read(const Body& body, const Call& call) override {
      ++reads;
      return away ? gone() : inner_.read(body, call);
    }
    void listen(Listener listener) override { inner_.listen(std::move(listener)); }
    bool shared() const override { return inner_.shared(); }
    Millis went_back() const override { return inner_.went_back(); }
    bool away = false;
    int reads = 0;

   private:
    static Status gone() { return fail(ErrorKind::kUnavailable, "store.away", "the store is away"); }
    store::Database& inner_;
  };

  static Rights facade() {
    Rights out;
    out.scopes = {Scope::kFacade};
    out.actions = {DeviceAction::kCreate};
    return out;
  }
  static Rights with(std::vector<Scope> scopes) {
    Rights out;
    out.scopes = std::move(scopes);
    if (out.has(Scope::kFacade)) out.actions = all_actions();
    return out;
  }
  MadeKey make(const std::string& name, Rights rights, std::optional<Millis> expires_in = {}) {
    return keys.create({name, std::move(rights), expires_in}, "a test", {}).value();
  }
  Verdict look_up(const Secret& text) { return cache.look_up(text.reveal()); }

  FakeClock clock;
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  Switch switched{*database};
  KeyStore keys{switched};
  KeyCache cache{clock};
};

}  // namespace twinstep::security
