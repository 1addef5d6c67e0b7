#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "postgres_subject.h"
#include "twinstep/store/lease_contract.h"
#include "twinstep/store/link_lock.h"
#include "twinstep/store/migrations.h"
#include "twinstep/store/notice_contract.h"
#include "twinstep/store/pg_address.h"
#include "twinstep/store/pg_connection.h"
#include "twinstep/store/run_contract.h"
#include "twinstep/store/sql_words.h"
#include "twinstep/store/sqlite.h"
#include "twinstep/store/state_contract.h"
#include "twinstep/store/state_file.h"
#include "twinstep/store/workflow_contract.h"
#include "twinstep/store/workflow_store.h"

namespace twinstep::store {
namespace {

using namespace std::chrono_literals;
using twinstep::testing::PostgresServer;

const auto kPostgres = ::testing::Values(Kind{"postgresql", PostgresSubject::make});
const auto kName = [](const auto& which) { return std::string(which.param.name); };

INSTANTIATE_TEST_SUITE_P(Postgres, WorkflowContract, kPostgres, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, StateContract, kPostgres, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, RunContract, kPostgres, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, LeaseContract, kPostgres, kName);
INSTANTIATE_TEST_SUITE_P(Postgres, NoticeContract, kPostgres, kName);

Call within(Millis span, std::stop_token stop = {}) { return {real_clock().steady_now() + span, std::move(stop)}; }

/// Hears hints and waits for them.
class Ear {
 public:
  Database::Listener listener() {
    return [this](std::string_view channel) {
      std::scoped_lock lock(mutex_);
      heard_.emplace_back(channel);
      changed_.notify_all();
    };
  }
  /// True as soon as it was heard since the last forget().
  bool hears(std::string_view channel) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 30s, [&] { return std::count(heard_.begin(), heard_.end(), channel) > 0; });
  }
  void forget() {
    std::scoped_lock lock(mutex_);
    heard_.clear();
  }

 private:
  std::mutex mutex_;  // guards heard_
  std::condition_variable changed_;
  std::vector<std::string> heard_;
};

/// Two replicas over one schema.
class Postgres : public ::testing::Test {
 protected:
  ~Postgres() override { server.start(); }
  std::unique_ptr<Database> open() { return open_database(uri, real_clock()).value(); }
  static NewWorkflow task(const std::string& id, const std::string& key) {
    NewWorkflow out;
    out.id = WorkflowId(id);
    out.kind = "device";
    out.lane = "lane";
    out.key = key;
    out.input = "{}";
    return out;
  }
  int64_t count(Database& database) {
    return database.ask("SELECT count(*) FROM workflow", {}, within(30s)).value().number(0, 0);
  }

  PostgresServer& server = PostgresServer::shared();
  const std::string uri = server.fresh();
  std::unique_ptr<Database> one = open(), two = open();
  WorkflowStore first{*one}, second{*two};
};

TEST_F(Postgres, ReplicasClaimEachWorkflowOnce) {
  std::vector<NewWorkflow> all;
  for (int i = 0; i < 500; ++i) all.push_back(task(std::to_string(i), "k" + std::to_string(i)));
  ASSERT_TRUE(first.start(all, {}));
  std::mutex mutex;
  std::vector<std::string> claimed;
  {
    std::vector<std::jthread> workers;
    for (int t = 0; t < 8; ++t)
      workers.emplace_back([&, t] {
        WorkflowStore& mine = t % 2 ? first : second;
        for (;;) {
          const auto got = mine.claim("lane", "worker" + std::to_string(t), 7, 1h, {}).value();
          if (got.empty()) return;  // what others hold at this moment they have claimed
          std::scoped_lock lock(mutex);
          for (const Claimed& each : got) claimed.push_back(each.workflow.id.value);
        }
      });
  }
  EXPECT_EQ(claimed.size(), 500u);
  EXPECT_EQ(std::set(claimed.begin(), claimed.end()).size(), 500u);
}

TEST_F(Postgres, WhoseLeaseRanOutIsRefusedAndTheOtherReplicaTakesOver) {
  ASSERT_TRUE(first.start({task("a", "k")}, {}));
  const auto mine = first.claim("lane", "one", 1, 30s, {}).value();
  ASSERT_EQ(mine.size(), 1u);
  EXPECT_EQ(second.rescue({}).value(), 0);
  ASSERT_TRUE(one->change("UPDATE workflow SET lease_until = {now} - 1", {}, {}));
  EXPECT_EQ(second.rescue({}).value(), 1);
  const auto theirs = second.claim("lane", "two", 1, 30s, {}).value();
  ASSERT_EQ(theirs.size(), 1u);
  EXPECT_EQ(first.save_step(mine[0].workflow, "s", "", "", {}).error().code, "store.lease-lost");
  EXPECT_EQ(first.finish(mine[0].workflow, {}, {}).error().code, "store.lease-lost");
  EXPECT_TRUE(first.renew("one", {mine[0].workflow.id}, 30s, {})->empty());
  EXPECT_EQ(second.renew("two", {mine[0].workflow.id}, 30s, {})->size(), 1u);
  EXPECT_EQ(second.finish(theirs[0].workflow, {}, {}).value(), State::kDone);
}

TEST_F(Postgres, WhatAVanishedReplicaHasLockedDoesNotHoldUpTheRescueOfTheRest) {
  ASSERT_TRUE(first.start({task("a", "a"), task("b", "b")}, {}));
  ASSERT_EQ(first.claim("lane", "one", 2, 30s, {})->size(), 2u);
  ASSERT_TRUE(one->change("UPDATE workflow SET lease_until = {now} - 1", {}, {}));
  // The first one is stopped in the middle of a transaction.
  ASSERT_TRUE(one->write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run("UPDATE workflow SET status = 'half' WHERE id = 'a'", {}));
        const auto rescued = second.rescue(within(10s));
        EXPECT_TRUE(rescued && *rescued == 1) << (rescued ? "" : rescued.error().what);
        return {};
      },
      {}));
  EXPECT_EQ(second.rescue(within(10s)).value(), 1);
}

TEST_F(Postgres, ReplicasThatStartTheSameKeysInOppositeOrderBothGetThrough) {
  std::vector<std::jthread> threads;
  std::atomic<int> started{0}, merged{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 10; ++round) {
        std::vector<NewWorkflow> batch;
        for (int i = 0; i < 20; ++i)
          batch.push_back(task(fmt::format("{}-{}-{}", t, round, i), fmt::format("{}-{}", round, t % 2 ? i : 19 - i)));
        const auto done = (t % 2 ? first : second).start(batch, within(60s));
        ASSERT_TRUE(done) << done.error().what;
        for (const Started& each : *done) (each.what == Started::kStarted ? started : merged)++;
      }
    });
  threads.clear();
  EXPECT_EQ(started, 200);
  EXPECT_EQ(merged, 600);
}

TEST_F(Postgres, NoHintIsLostWhileTheOneItIsMergedIntoEndsElsewhere) {
  constexpr int kThreads = 3, kEach = 60;
  std::set<std::string> seen;
  const auto work = [&](WorkflowStore& mine) {
    const auto all = mine.claim("lane", "worker", 5, 1h, {}).value();
    for (const Claimed& claimed : all) {
      std::string_view rest = claimed.workflow.input;
      for (size_t end; (end = rest.find(' ')) != std::string_view::npos; rest.remove_prefix(end + 1))
        seen.emplace(rest.substr(0, end));
      ASSERT_TRUE(mine.finish(claimed.workflow, {}, {}));
    }
  };
  std::atomic<int> at_work{kThreads};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) {
          auto hint = task(fmt::format("{}-{}", t, i), "k");
          hint.input = hint.id.value + " ";
          hint.merge = [&](std::string_view active) { return std::string(active) + hint.input; };
          ASSERT_TRUE((t % 2 ? first : second).start({hint}, within(60s)));
        }
        --at_work;
      });
    while (at_work > 0) work(second);
  }
  work(second);
  EXPECT_EQ(seen.size(), static_cast<size_t>(kThreads * kEach));
}

TEST_F(Postgres, AQueuedOneFollowsThoughTheOneBeforeItEndsAtTheSameMoment) {
  for (int round = 0; round < 40; ++round) {
    const std::string key = std::to_string(round);
    ASSERT_TRUE(first.start({task(key + "a", key)}, {}));
    const auto claimed = first.claim("lane", "me", 1, 1h, {}).value();
    ASSERT_EQ(claimed.size(), 1u);
    {
      const std::jthread ending([&] { EXPECT_TRUE(first.finish(claimed[0].workflow, {}, {})); });
      auto next = task(key + "b", key);
      next.on_busy = OnBusy::kQueue;
      EXPECT_TRUE(second.start({next}, {}));
    }
    const auto following = first.claim("lane", "me", 1, 1h, {}).value();
    ASSERT_EQ(following.size(), 1u) << "round " << round;
    ASSERT_TRUE(first.finish(following[0].workflow, {}, {}));
  }
}

TEST_F(Postgres, StoppedItIsUnavailableAndRestartedItGoesOnByItself) {
  ASSERT_TRUE(first.start({task("a", "a")}, {}));
  server.stop();
  const auto away = first.start({task("b", "b")}, within(20s));
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().kind, ErrorKind::kUnavailable) << away.error().what;
  EXPECT_EQ(open_database(uri, real_clock()).error().kind, ErrorKind::kUnavailable);
  server.start();
  ASSERT_TRUE(first.start({task("b", "b")}, within(20s)));
  EXPECT_EQ(count(*two), 2);
}

TEST_F(Postgres, ATransactionThatTheServerCutsOffIsDoneAgain) {
  int times = 0;
  const auto done = one->write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run("INSERT INTO meta (name, value) VALUES ('x', 'y')", {}));
        if (++times == 1) TRY(transaction.run("SELECT pg_terminate_backend(pg_backend_pid())", {}));
        return {};
      },
      within(20s));
  EXPECT_TRUE(done) << done.error().what;
  EXPECT_EQ(times, 2);
}

TEST_F(Postgres, FrozenItIsGivenUpAtTheDeadlineAndWhenStopped) {
  const auto frozen_count = [&](const Call& call) { return one->ask("SELECT count(*) FROM workflow", {}, call); };
  ASSERT_TRUE(frozen_count({}));
  server.freeze();
  auto begun = real_clock().steady_now();
  const auto late = frozen_count(within(300ms));
  const auto took = real_clock().steady_now() - begun;
  std::stop_source stop;
  std::jthread stopping([&] { stop.request_stop(); });
  begun = real_clock().steady_now();
  const auto stopped = frozen_count(within(30s, stop.get_token()));
  const auto stop_took = real_clock().steady_now() - begun;
  server.thaw();
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, "store.busy");
  EXPECT_EQ(late.error().kind, ErrorKind::kTimeout);
  EXPECT_GE(took, 300ms);
  EXPECT_LT(took, 1s);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, "store.cancelled");
  EXPECT_LT(stop_took, 100ms);
  EXPECT_TRUE(frozen_count(within(20s)));
}

TEST_F(Postgres, WhatWasGivenUpInAWaitForALockIsForgottenByTheServer) {
  ASSERT_TRUE(first.start({task("a", "k")}, {}));
  const auto outcome = one->write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run("UPDATE workflow SET status = 'held' WHERE id = 'a'", {}));
        EXPECT_EQ(second.start({task("b", "k")}, within(300ms)).error().code, "store.busy");
        return {};
      },
      {});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(first.find(WorkflowId("a"), {})->generation, 0);
  EXPECT_TRUE(second.start({task("b", "k")}, within(20s)));
}

TEST_F(Postgres, ADemotedServerIsLeftForTheOneThatCanBeWritten) {
  ASSERT_TRUE(first.start({task("a", "a")}, {}));
  server.sql("ALTER ROLE twinstep SET default_transaction_read_only = on");
  server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'twinstep'");
  const auto refused = first.start({task("b", "b")}, within(20s));
  server.sql("SET TRANSACTION READ WRITE; ALTER ROLE twinstep RESET default_transaction_read_only");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable) << refused.error().what;
  EXPECT_TRUE(first.start({task("b", "b")}, within(20s)));
}

TEST_F(Postgres, AHintReachesTheOtherReplica) {
  Ear here, there;
  one->listen(here.listener());
  two->listen(there.listener());
  ASSERT_TRUE(there.hears("")) << "it listens now";
  ASSERT_TRUE(first.start({task("a", "a")}, {}));
  EXPECT_TRUE(here.hears("lane"));
  EXPECT_TRUE(there.hears("lane"));
  one->listen({});
  two->listen({});
}

TEST_F(Postgres, WhoListensIsToldToLookAtAllAfterARestart) {
  Ear ear;
  two->listen(ear.listener());
  ASSERT_TRUE(ear.hears(""));
  ear.forget();
  server.restart();
  EXPECT_TRUE(ear.hears(""));
  ASSERT_TRUE(first.start({task("a", "a")}, within(20s)));
  EXPECT_TRUE(ear.hears("lane"));
  two->listen({});
}

TEST_F(Postgres, AWaitToConnectAgainEndsWithTheDatabase) {
  Ear ear;
  two->listen(ear.listener());
  ASSERT_TRUE(ear.hears(""));
  server.stop();
  const auto begun = real_clock().steady_now();
  two.reset();
  EXPECT_LT(real_clock().steady_now() - begun, 1s);
}

TEST_F(Postgres, ReplicasThatStartAtOnceMakeTheTablesOnce) {
  const std::string empty = server.fresh();
  std::vector<std::jthread> replicas;
  for (int i = 0; i < 4; ++i)
    replicas.emplace_back([&] {
      const auto opened = open_database(empty, real_clock());
      EXPECT_TRUE(opened) << opened.error().what;
    });
}

TEST_F(Postgres, ANewerSchemaIsRefused) {
  ASSERT_TRUE(one->change("INSERT INTO twinstep_schema (version, name) VALUES (99, 'later')", {}, {}));
  const auto opened = open_database(uri, real_clock());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "store.newer");
}

TEST_F(Postgres, BrokenSqlIsABugAndTheDatabaseGoesOn) {
  EXPECT_THROW((void)one->ask("SELECT nonsense FROM workflow", {}, {}), std::logic_error);
  EXPECT_THROW((void)one->ask("SELEKT 1", {}, {}), std::logic_error);
  EXPECT_EQ(count(*one), 0);
}

TEST_F(Postgres, AnErrorInTheBodyThatNobodyMindsDoesNotCommitTheRest) {
  const auto done = one->write(
      [&](Transaction& transaction) -> Status {
        TRY(transaction.run("INSERT INTO meta (name, value) VALUES ('x', 'y')", {}));
        (void)transaction.run("INSERT INTO step (workflow, name, output, at) VALUES ('none', '', '', 0)", {});
        return {};
      },
      {});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, "store.refused");
  EXPECT_TRUE(one->ask("SELECT 1 FROM meta WHERE name = 'x'", {}, {})->empty());
}

/// Asks again and again until it is so.
template <class Condition>
bool within_20s(Condition condition) {
  const auto limit = real_clock().steady_now() + 20s;
  while (!condition())
    if (real_clock().steady_now() > limit) return false;
  return true;
}

TEST_F(Postgres, OneOfManyProcessesGetsALink) {
  for (const bool expired : {false, true}) {
    std::mutex mutex;
    std::vector<std::unique_ptr<LinkLease>> taken;
    {
      std::vector<std::jthread> processes;
      for (int t = 0; t < 8; ++t)
        processes.emplace_back([&, t] {
          Rng rng(static_cast<uint64_t>(t + 1));
          auto lease = LinkLease::take(t % 2 ? *one : *two, "a", {fmt::format("{}-{}", t, expired), "somebody"}, 1h,
                                       real_clock(), rng, within(30s));
          std::scoped_lock lock(mutex);
          if (lease) taken.push_back(std::move(*lease));
        });
    }
    EXPECT_EQ(taken.size(), 1u) << expired;
    ASSERT_TRUE(one->change("UPDATE link_lock SET until = {now} - 1", {}, {}));
  }
}

TEST_F(Postgres, ALinkIsHeldForAsLongAsItsProcessLivesAndGivenBackAtItsEnd) {
  LinkLocks here(*one, uri, 300ms, real_clock(), Rng::real()), there(*two, uri, 300ms, real_clock(), Rng::real());
  {
    const auto held = here.take("a", {"x", "twinstep apply (process 17 on alpha)"}, within(30s));
    ASSERT_TRUE(held) << held.error().what;
    EXPECT_TRUE(there.take("b", {"y", "other"}, within(30s)));
    int refused = 0;
    for (const auto until = real_clock().steady_now() + 1s; real_clock().steady_now() < until; ++refused) {
      const auto other = there.take("a", {"y", "other"}, within(30s));
      ASSERT_FALSE(other);
      ASSERT_EQ(other.error().code, "link.busy");
      EXPECT_NE(other.error().what.find("twinstep apply (process 17 on alpha)"), std::string::npos);
    }
    EXPECT_GT(refused, 1);
    EXPECT_TRUE((*held)->holds());
  }
  EXPECT_TRUE(there.take("a", {"y", "other"}, within(30s)));
  const std::string elsewhere = server.fresh();
  const auto other_store = open_database(elsewhere, real_clock()).value();
  const auto kept = here.take("a", {"x", "x"}, within(30s));
  EXPECT_TRUE(LinkLocks(*other_store, elsewhere, 300ms, real_clock(), Rng::real()).take("a", {"y", "y"}, within(30s)))
      << "another schema is another store";
}

TEST_F(Postgres, AHolderThatIsCutOffStopsTrustingItselfAndIsReplaced) {
  LinkLocks here(*one, uri, 500ms, real_clock(), Rng::real()), there(*two, uri, 500ms, real_clock(), Rng::real());
  const auto held = here.take("a", {"x", "x"}, within(30s)).value();
  server.freeze();
  EXPECT_TRUE(within_20s([&] { return !held->holds(); }));
  server.thaw();
  // Either of them may have it now, but never both.
  ASSERT_TRUE(one->change("UPDATE link_lock SET until = {now} - 1, token = 'another'", {}, within(20s)));
  const auto next = there.take("a", {"y", "y"}, within(20s));
  ASSERT_TRUE(next) << next.error().what;
  EXPECT_FALSE(held->holds());
  EXPECT_TRUE((*next)->holds());
}

TEST(PostgresAddress, NoErrorTellsThePassword) {
  PostgresServer& server = PostgresServer::shared();
  const std::string port = std::to_string(server.port());
  for (const std::string& uri : {
           "postgresql://twinstep:hushhush@127.0.0.1:" + port + "/postgres",
           std::string("postgresql://twinstep:hushhush@127.0.0.1:1/postgres"),
           std::string("postgresql://twinstep:x@hushhush@127.0.0.1/postgres"),
           std::string("postgresql://twinstep:/hushhush@127.0.0.1/postgres"),
           std::string("postgresql://twinstep:hush%hush@127.0.0.1/postgres"),
           std::string("postgresql://twinstep@127.0.0.1/postgres?password=hushhush&nonsense=1"),
           std::string("postgresql://twinstep@no.such.host.invalid/postgres?password=hushhush"),
           "postgresql://twinstep@127.0.0.1:" + port + "/postgres?password=hushhush&sslmode=hushhush",
       }) {
    const auto opened = open_database(uri, real_clock());
    ASSERT_FALSE(opened) << uri;
    EXPECT_EQ(opened.error().what.find("hush"), std::string::npos) << opened.error().what;
  }
  const auto opened = open_database("postgresql://twinstep:hush@127.0.0.1:" + port + "/postgres", real_clock());
  EXPECT_EQ(opened.error().kind, ErrorKind::kDenied) << opened.error().what;
  EXPECT_EQ(opened.error().remote_code, "28P01");
  const auto missing = open_database(server.uri().replace(server.uri().rfind('/'), 9, "/none"), real_clock());
  EXPECT_EQ(missing.error().code, "store.no-database") << missing.error().what;
}

/// Rows as each version wrote them, to be there before the next migration.
std::string rows_of(const Migration& migration) {
  if (std::string_view(migration.name) == "0001_state")
    return "INSERT INTO last_run VALUES ('l', 10, 9, 1700000000000000);"
           "INSERT INTO plan VALUES ('p', 'l', 'd', 'applying', 1, 2, 3);"
           "INSERT INTO journal VALUES ('p', 'dev', 'create', 'done', '');"
           "INSERT INTO job VALUES ('c', 'l', 'p', 'import', 'b', 'j', 1);";
  if (std::string_view(migration.name) == "0002_workflows")
    return "INSERT INTO workflow (id, kind, lane, key, state, due, input, created, updated) VALUES "
           "('w', 'device', 'lane', 'k', 'waiting', 1, '{}', 1, 1);"
           "INSERT INTO step VALUES ('w', 's', 'o', 1);"
           "INSERT INTO history VALUES ('w', 1, 1, 'created', 'd');"
           "INSERT INTO seen VALUES ('e', 'w', 1);"
           "INSERT INTO ledger VALUES ('l', 'k', 'K', 1, '{}', 1);"
           "INSERT INTO schedule VALUES ('l', '0 * * * *', 5);"
           "INSERT INTO pause VALUES ('other', 5, 1, '401', 1);"
           "INSERT INTO meta VALUES ('now', '1');";
  if (std::string_view(migration.name) == "0003_runs")
    return "INSERT INTO run_plan VALUES ('w', 1, 1);"
           "INSERT INTO run_plan_piece VALUES ('w', 1, 0, 'plan');"
           "INSERT INTO run_outcome VALUES ('w', 'd', 'd', 'create', 'done', '', 1);";
  if (std::string_view(migration.name) == "0004_replicas") return "INSERT INTO replica VALUES ('r', 1);";
  if (std::string_view(migration.name) == "0005_link_lock")
    return "INSERT INTO link_lock VALUES ('one', 't', 'o', 'w', 1, 9000000000000000);";
  if (std::string_view(migration.name) == "0006_keys")
    return "INSERT INTO api_key (id, name, salt, hash, scopes, hubs, ids, actions, rate, created, created_by) VALUES "
           "('0123456789ab', 'n', 's', 'h', 'read', '[]', '[]', '', '', 1, 'x');"
           "INSERT INTO sealed VALUES ('s', 'v', 1);";
  if (std::string_view(migration.name) == "0007_answers")
    return "INSERT INTO answer (id, request, owner, held, at) VALUES ('a', 'r', 'o', 1, 1);";
  if (std::string_view(migration.name) == "0008_notices")
    return "INSERT INTO notice VALUES ('alarm/x', 'c', 0, '{}', 1, 1, 1);";
  if (std::string_view(migration.name) == "0009_figures")
    return "UPDATE workflow SET trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';";
  return "";
}

void expect_that_all_is_there(Database& database, size_t version) {
  StateFile state(database);
  WorkflowStore store(database);
  EXPECT_EQ(state.last_run("l").value().has_value(), version >= 1);
  EXPECT_EQ(state.jobs("l")->size(), version >= 1 ? 1u : 0u);
  const auto claimed = store.claim("lane", "me", 1, 1h, {}).value();
  ASSERT_EQ(claimed.size(), version >= 2 ? 1u : 0u);
  if (version >= 2) {
    EXPECT_EQ(store.steps(WorkflowId("w"), {})->at("s"), "o");
    EXPECT_EQ(store.history(WorkflowId("w"), {})->size(), 1u);
    EXPECT_TRUE(store.ledger("l", "k", {}).value());
    EXPECT_EQ(store.pauses({})->size(), 1u);
  }
  EXPECT_EQ(RunStore(database).mentions(DeviceId("d"), 10, {})->size(), version >= 3 ? 1u : 0u);
  const auto lease = LinkLease::take(database, "one", {"a", "a"}, 1min, real_clock(), Rng::real(), {});
  EXPECT_EQ(lease.has_value(), version < 5);
}

TEST(OlderSchema, OfEveryVersionIsBroughtUpToDateWithItsRowsInPostgresql) {
  for (size_t version = 0; version <= migrations().size(); ++version) {
    const std::string uri = PostgresServer::shared().fresh();
    {
      const auto connection = PgConnection::open(PgAddress::parse(uri).value(), real_clock(), {}).value();
      ASSERT_TRUE(connection->script(
          "CREATE TABLE twinstep_schema (version BIGINT PRIMARY KEY, name TEXT NOT NULL, since TIMESTAMPTZ NOT NULL "
          "DEFAULT now())",
          {}));
      for (size_t i = 0; i < version; ++i) {
        const Migration& one = migrations()[i];
        ASSERT_TRUE(connection->script(with_words(one.sql, {{" TEXT", " TEXT COLLATE \"C\""}}), {}));
        ASSERT_TRUE(connection->script(
            fmt::format("INSERT INTO twinstep_schema (version, name) VALUES ({}, '{}')", i + 1, one.name), {}));
        ASSERT_TRUE(connection->script(rows_of(one), {}));
      }
    }
    expect_that_all_is_there(*open_database(uri, real_clock()).value(), version);
  }
}

TEST(OlderSchema, OfEveryVersionIsBroughtUpToDateWithItsRowsInSqlite) {
  const std::string path = std::filesystem::temp_directory_path() / fmt::format("twinstep-old-{}.db", ::getpid());
  for (size_t version = 0; version <= migrations().size(); ++version) {
    {
      Sqlite file = Sqlite::open(path).value();
      for (size_t i = 0; i < version; ++i) {
        ASSERT_TRUE(file.execute(migrations()[i].sql));
        ASSERT_TRUE(file.execute(rows_of(migrations()[i]).c_str()));
      }
      ASSERT_TRUE(file.execute(fmt::format("PRAGMA user_version = {}", version).c_str()));
    }
    expect_that_all_is_there(*open_database("sqlite:" + path, real_clock()).value(), version);
    for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
  }
}

}  // namespace
}  // namespace twinstep::store
