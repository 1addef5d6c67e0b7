#include "twinstep/security/key_cache.h"

#include <openssl/crypto.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "twinstep/base/encoding.h"

namespace twinstep::security {
namespace {

constexpr Millis kReadTime{2'000};
constexpr Millis kUnknownEvery{1'000};  // a flood of unknown keys costs the store one read in that time
constexpr Millis kNoteUseEvery{60'000};
// What an unknown key is compared with, so that it takes as long as a known one.
constexpr std::string_view kNobodysSalt = "00000000000000000000000000000000";
constexpr std::string_view kNobodysHash = "0000000000000000000000000000000000000000000000000000000000000000";

bool equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

std::chrono::nanoseconds KeyUse::take() {
  if (!bucket) return {};
  std::scoped_lock lock(mutex);
  const auto wait = bucket->wait_for(1);
  if (wait.count() == 0) (void)bucket->acquire(1, {});  // it is there, and nobody else takes from this bucket
  return wait;
}

void KeyUse::charge(size_t more, SteadyTime now) {
  if (!bucket || more == 0) return;
  std::scoped_lock lock(mutex);
  const std::chrono::duration<double> span(static_cast<double>(more) / bucket->rate_per_second());
  bucket->pause_until(now + std::chrono::duration_cast<SteadyTime::duration>(span));
}

void KeyCache::open(store::Database& database) {
  std::scoped_lock lock(mutex_);
  database_ = &database;
}

std::shared_ptr<const KeyCache::Snapshot> KeyCache::snapshot() const {
  std::scoped_lock lock(mutex_);
  return snapshot_;
}

Status KeyCache::refresh(const Call& call) {
  std::scoped_lock lock(load_mutex_);
  return load(call);
}

Status KeyCache::load(const Call& call) {
  store::Database* database = nullptr;
  {
    std::scoped_lock lock(mutex_);
    database = database_;
  }
  tried_at_ = clock_.steady_now();
  readable_ = false;
  if (database == nullptr) return fail(ErrorKind::kUnavailable, "store.away", "the store is not open yet");
  TRY_ASSIGN(auto keys, KeyStore(*database).list(call));
  readable_ = true;
  const auto before = snapshot();
  auto next = std::make_shared<Snapshot>();
  for (Key& key : keys) {
    auto one = std::make_shared<CachedKey>();
    if (before)
      if (const auto found = before->keys.find(key.id); found != before->keys.end()) one->use = found->second->use;
    if (!one->use || one->use->rate != key.rights.rate) {
      one->use = std::make_shared<KeyUse>();
      one->use->rate = key.rights.rate;
      if (!key.rights.rate.empty()) {
        TRY_ASSIGN(const double rate, parse_rate(key.rights.rate));
        one->use->bucket = std::make_unique<TokenBucket>(rate, std::max(1.0, rate), clock_);
      }
    }
    if (!next->first_made || key.created < *next->first_made) next->first_made = key.created;
    one->key = std::move(key);
    next->keys.emplace(one->key.id, std::move(one));
  }
  std::scoped_lock lock(mutex_);
  snapshot_ = std::move(next);
  return {};
}

bool KeyCache::renew(SteadyTime came, bool& readable) {
  const std::unique_lock lock(load_mutex_, std::try_to_lock);
  // Somebody reads at this moment: nobody waits for that, or a slow store would hold up every handler.
  readable = known();
  if (!lock.owns_lock()) return false;
  if (tried_at_ == SteadyTime{} || clock_.steady_now() - tried_at_ >= kUnknownEvery)
    if (const Status loaded = load({clock_.steady_now() + kReadTime, {}}); !loaded)
      spdlog::debug("keys.unreadable reason=\"{}\"", loaded.error().what);
  readable = readable_;
  return readable_ && tried_at_ >= came;
}

Verdict KeyCache::look_up(std::string_view text) {
  const SteadyTime came = clock_.steady_now();
  const auto parsed = KeyText::parse(text);
  CachedKeyPtr found = parsed ? by_id(parsed->id) : nullptr;
  bool certain = true;
  if (parsed && !found) {
    bool readable = false;
    certain = renew(came, readable);
    if (!readable) return {.what = Verdict::kNotKnowable};
    found = by_id(parsed->id);
  }
  if (!known()) return {.what = Verdict::kNotKnowable};
  const Key* key = found ? &found->key : nullptr;
  const std::string hash = hash_of(parsed ? parsed->secret : text, key ? std::string_view(key->salt) : kNobodysSalt);
  const bool now = equal(hash, key ? std::string_view(key->hash) : kNobodysHash);
  const bool before =
      equal(hash, key && !key->previous_hash.empty() ? std::string_view(key->previous_hash) : kNobodysHash);
  if (key == nullptr || (!now && !before)) return {.what = Verdict::kUnknown, .certain = certain};
  const SystemTime time = clock_.system_now();
  if (key->revoked) return {.what = Verdict::kRevoked, .key = found, .since = *key->revoked};
  if (key->expires && *key->expires <= time) return {.what = Verdict::kExpired, .key = found, .since = *key->expires};
  if (!now && key->previous_until <= time)
    return {.what = Verdict::kReplaced, .key = found, .since = key->previous_until};
  found->use->last.store(store::micros(time), std::memory_order_relaxed);
  return {.what = Verdict::kGood, .key = std::move(found)};
}

CachedKeyPtr KeyCache::by_id(std::string_view id) const {
  const auto all = snapshot();
  if (!all) return nullptr;
  const auto found = all->keys.find(std::string(id));
  return found == all->keys.end() ? nullptr : found->second;
}

bool KeyCache::known() const { return snapshot() != nullptr; }

bool KeyCache::any() const {
  const auto all = snapshot();
  return all && !all->keys.empty();
}

bool KeyCache::usable() const {
  const auto all = snapshot();
  const SystemTime now = clock_.system_now();
  return all && std::any_of(all->keys.begin(), all->keys.end(),
                            [&](const auto& one) { return state_of(one.second->key, now) == "active"; });
}

std::optional<SystemTime> KeyCache::first_made() const {
  const auto all = snapshot();
  return all ? all->first_made : std::nullopt;
}

void KeyCache::write_uses(const Call& call) {
  const auto all = snapshot();
  if (!all) return;
  std::vector<std::pair<std::string, SystemTime>> used;
  for (const auto& [id, one] : all->keys) {
    const SystemTime last = store::time_of(one->use->last.load(std::memory_order_relaxed));
    if (last > SystemTime{} && (!one->key.last_used || last - *one->key.last_used >= kNoteUseEvery))
      used.emplace_back(id, last);
  }
  if (used.empty()) return;
  store::Database* database = nullptr;
  {
    std::scoped_lock lock(mutex_);
    database = database_;
  }
  // For people's eyes only: what cannot be written now is written the next time.
  if (const Status written = KeyStore(*database).touch(used, call); !written)
    spdlog::debug("keys.use_unwritten reason=\"{}\"", written.error().what);
}

void KeyCache::watch(std::function<void()> after) {
  watcher_ = std::jthread([this, after = std::move(after)](std::stop_token stop) {
    bool readable = true;
    while (clock_.sleep_for(kPoll, stop)) {
      const Call call{clock_.steady_now() + kReadTime, stop};
      const Status loaded = refresh(call);
      if (!loaded && readable && known())
        spdlog::warn("keys.unreadable reason=\"{}\" next=\"the keys that were read go on working\"",
                     loaded.error().what);
      readable = loaded.has_value();
      if (loaded) write_uses(call);
      after();
    }
  });
}

void KeyCache::stop() {
  watcher_.request_stop();
  if (watcher_.joinable() && watcher_.get_id() != std::this_thread::get_id()) watcher_.join();
}

}  // namespace twinstep::security
