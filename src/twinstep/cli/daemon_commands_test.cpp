// The commands that talk to the daemon, against a server with the daemon's routes.
#include <cstdlib>

#include "twinstep/api/api_fixture.h"
#include "twinstep/cli/commands.h"
#include "twinstep/cli/daemon_client.h"
#include "twinstep/cli/table.h"

namespace twinstep::cli {
namespace {

using namespace std::chrono_literals;

class DaemonCommands : public api::ApiFixture {
 protected:
  DaemonCommands() {
    ::unsetenv("COLUMNS");
    server = http::Server::start({}, [this](const http::ServerRequest& request) {
               return router.handle(request, *gate);
             }).value();
    url = "http://127.0.0.1:" + std::to_string(server->port());
  }

  /// Runs a command line as a shell would; `out` and `err` are what it printed.
  int run_line(std::vector<std::string> words) {
    words.insert(words.begin(), "twinstep");
    words.insert(words.end(), {"--url", url});
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    const CommandLine line = parse_command_line(static_cast<int>(argv.size()), argv.data());
    if (line.ended) {
      err = line.text;
      return line.exit;
    }
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Hangup hangup;
    const int code = run(line, {}, hangup);
    err = testing::internal::GetCapturedStderr();
    out = testing::internal::GetCapturedStdout();
    return code;
  }
  bool printed(std::string_view text) const { return out.find(text) != std::string::npos; }

  std::unique_ptr<http::Server> server;
  std::string url, out, err;
};

TEST_F(DaemonCommands, RunsAreListedAsATableAndAsJson) {
  EXPECT_EQ(run_line({"runs"}), kDone) << err;
  EXPECT_EQ(out, "no runs\n");
  const auto id = blocked_run();
  EXPECT_EQ(run_line({"runs", "--link", "default", "--state", "blocked"}), kDone) << err;
  EXPECT_TRUE(printed("RUN                               LINK     KIND  STATE    AGE     STATUS\n")) << out;
  EXPECT_TRUE(printed(id.value + "  default  run   blocked  ")) << out;
  EXPECT_TRUE(printed("  700 deletes, 100 are allowed\n")) << out;
  EXPECT_EQ(run_line({"runs", "--output", "json"}), kDone);
  EXPECT_EQ(json::parse(out, "out")->at_pointer("/items/0/id"), json::value(id.value));
}

TEST_F(DaemonCommands, AllPagesAreReadWhenAskedFor) {
  for (int i = 0; i < 7; ++i) failed_task("default", "dev-" + std::to_string(i), "x");
  EXPECT_EQ(run_line({"tasks", "--limit", "3"}), kDone);
  EXPECT_TRUE(printed("there are more: --all shows them")) << out;
  EXPECT_FALSE(printed("dev-3"));
  EXPECT_EQ(run_line({"tasks", "--limit", "3", "--all"}), kDone);
  for (int i = 0; i < 7; ++i) EXPECT_TRUE(printed("dev-" + std::to_string(i))) << out;
  EXPECT_FALSE(printed("there are more"));
}

TEST_F(DaemonCommands, TablesAreCutToTheWidthThatIsStated) {
  blocked_run();
  ::setenv("COLUMNS", "60", 1);
  EXPECT_EQ(run_line({"runs"}), kDone);
  ::unsetenv("COLUMNS");
  for (size_t from = 0; from < out.size();) {
    const size_t end = out.find('\n', from);
    EXPECT_LE(end - from, 60u) << out;
    from = end + 1;
  }
}

TEST_F(DaemonCommands, ARunIsShownWithItsPlanAndTheDevicesThatFailed) {
  const auto id = blocked_run();
  outcomes = {{DeviceId("dev-1"), "delete", "failed", "412 PreconditionFailed \x1b[31m"},
              {DeviceId("dev-2"), "delete", "done", ""}};
  EXPECT_EQ(run_line({"runs", id.value}), kDone) << err;
  EXPECT_TRUE(printed("Run " + id.value + "\n  link      default (run)\n  state     blocked\n")) << out;
  EXPECT_TRUE(printed("  plan      p1\n          700  deletes\n")) << out;
  EXPECT_TRUE(printed("failed:\n  delete dev-1: 412 PreconditionFailed ?[31m\n")) << out;
  EXPECT_FALSE(printed("dev-2"));
  EXPECT_TRUE(printed("compared")) << out;
}

TEST_F(DaemonCommands, ATaskIsShownWithWhatItWaitsForAndItsHistory) {
  const auto id = start(task("default", "dev-1"));
  finish(claim("external/thingpark"), store::State::kWaiting, "waits for the tags EUI", 5min);
  ASSERT_TRUE(store.note(id, "DeviceTwinCheckFail", "EUI is missing", {}));
  EXPECT_EQ(run_line({"tasks", id.value}), kDone) << err;
  EXPECT_TRUE(printed("  device    dev-1\n")) << out;
  EXPECT_TRUE(printed("waits for the tags EUI; due 2023-")) << out;
  EXPECT_TRUE(printed("DeviceTwinCheckFail  EUI is missing\n")) << out;
}

TEST_F(DaemonCommands, ApproveShowsThePlanAndDoesNothingUnconfirmed) {
  const auto id = blocked_run();
  EXPECT_EQ(run_line({"approve", id.value}), kBlocked) << "standard input of a test is no terminal";
  EXPECT_TRUE(printed("700  deletes")) << out;
  EXPECT_NE(err.find("add --yes"), std::string::npos) << err;
  EXPECT_EQ(store.find(id, {})->state, store::State::kBlocked);
  EXPECT_EQ(run_line({"approve", id.value, "--yes", "--plan", "p0"}), kError);
  EXPECT_NE(err.find("is blocked with plan p1, not p0"), std::string::npos) << err;
  EXPECT_EQ(run_line({"approve", id.value, "--yes"}), kDone) << err;
  EXPECT_EQ(store.find(id, {})->state, store::State::kWaiting);
  EXPECT_EQ(run_line({"approve", id.value, "--yes"}), kError);
  EXPECT_NE(err.find("not blocked"), std::string::npos) << err;
}

TEST_F(DaemonCommands, ApproveRejectsWhenAskedTo) {
  const auto id = blocked_run();
  ::setenv("USER", "anna", 1);
  EXPECT_EQ(run_line({"approve", id.value, "--reject", "-y", "--output", "json"}), kDone) << err;
  EXPECT_EQ(json::parse(out, "out")->at("state"), "cancelled");
  EXPECT_EQ(store.find(id, {})->status, "rejected by anna");
}

TEST_F(DaemonCommands, RetryAndCancelTakeTheIdOfARunOrATask) {
  const auto failed = failed_task("default", "dev-1", "x");
  EXPECT_EQ(run_line({"retry", failed.value}), kDone) << err;
  EXPECT_EQ(out, failed.value + " is waiting\n");
  EXPECT_EQ(run_line({"cancel", failed.value}), kDone) << err;
  EXPECT_EQ(out, failed.value + " is cancelled\n");
  const auto id = blocked_run();
  EXPECT_EQ(run_line({"cancel", id.value}), kDone) << err;
  EXPECT_EQ(store.find(id, {})->state, store::State::kCancelled);
  EXPECT_EQ(run_line({"cancel", id.value}), kError);
  EXPECT_NE(err.find("has ended already"), std::string::npos) << err;
  EXPECT_EQ(run_line({"retry", "nope"}), kError);
  EXPECT_NE(err.find("there is no run or task nope"), std::string::npos) << err;
}

TEST_F(DaemonCommands, ManyTasksAreTriedAgainOrCancelledByFilter) {
  for (int i = 0; i < 3; ++i) failed_task("default", "dev-" + std::to_string(i), "x");
  start(task("default", "dev-0"));  // its failed one cannot be tried again
  EXPECT_EQ(run_line({"retry", "--code", "x", "--dry-run"}), kDone);
  EXPECT_EQ(out, "3 tasks\n");
  EXPECT_EQ(run_line({"retry", "--code", "x", "--state", "failed"}), kDone) << err;
  EXPECT_EQ(out, "2 tasks are tried again, 1 could not be changed\n");
  EXPECT_EQ(run_line({"cancel", "--link", "default"}), kBlocked) << "not confirmed";
  EXPECT_EQ(run_line({"cancel", "--link", "default", "--yes"}), kDone) << err;
  EXPECT_EQ(out, "3 tasks are cancelled\n");
  EXPECT_EQ(run_line({"retry"}), kUsage);
  EXPECT_EQ(run_line({"retry", "--state", "broken"}), kUsage);
}

TEST_F(DaemonCommands, ExplainSaysHowADeviceStandsAndWhy) {
  api::HubSide hub;
  hub.exists = hub.enabled = true;
  hub.owner = "default";
  hub.tags = {{"EUI", "00"}, {"applicationKey", "***"}};
  sides = {hub, api::ExternalSide{api::ExternalSide::What::kFound, "dev-1"}};
  mentions.push_back(
      {store::WorkflowId("r1"), {DeviceId("dev-1"), "create", "done", "in thingpark"}, clock.system_now()});
  EXPECT_EQ(run_line({"explain", "dev-1", "--link", "default"}), kDone) << err;
  EXPECT_TRUE(
      printed("dev-1\n\nlink default: in step: both sides have it\n"
              "  hub       present, enabled, owned by link default\n"
              "  tags      {\"EUI\":\"00\",\"applicationKey\":\"***\"}\n"
              "  external  present as dev-1\n"
              "  remembers nothing\n"))
      << out;
  EXPECT_TRUE(printed("create  done     in thingpark")) << out;
  EXPECT_EQ(run_line({"explain", "dev-1", "--link", "defualt"}), kError);
  EXPECT_NE(err.find("did you mean 'default'"), std::string::npos) << err;
}

TEST_F(DaemonCommands, WhoDoesNotReachTheDaemonIsToldWhatToDo) {
  server.reset();
  EXPECT_EQ(run_line({"runs"}), kError);
  EXPECT_NE(err.find("no daemon answers at " + url), std::string::npos) << err;
  EXPECT_NE(err.find("twinstep serve"), std::string::npos) << err;
  url = "localhost:8080";
  EXPECT_EQ(run_line({"runs"}), kUsage) << err;
}

TEST_F(DaemonCommands, AnotherProgramAtTheAddressIsRecognized) {
  using Answer = std::pair<const char*, const char*>;
  for (const Answer& given :
       {Answer{"text/html", "<html>"}, Answer{"application/json", "[]"}, Answer{"application/json", "{}"}}) {
    server = http::Server::start({}, [&](const http::ServerRequest&) {
               http::ServerResponse answer;
               answer.headers.push_back({"Content-Type", given.first});
               answer.body = given.second;
               return answer;
             }).value();
    url = "http://127.0.0.1:" + std::to_string(server->port());
    EXPECT_EQ(run_line({"runs", "--output", "json"}), kError);
    EXPECT_NE(err.find(R"("code":"daemon.answer")"), std::string::npos) << err;
  }
}

TEST(ClientUrl, AnyAddressBecomesThisMachines) {
  config::Serve serve;
  EXPECT_EQ(client_url(serve), "http://127.0.0.1:8081");
  serve.operations = "0.0.0.0:80";
  EXPECT_EQ(client_url(serve), "http://127.0.0.1:80");
  serve.operations = "[::]:81";
  EXPECT_EQ(client_url(serve), "http://[::1]:81");
  serve.operations = "127.0.0.1:0";
  EXPECT_EQ(client_url(serve), "");
}

TEST(Table, AlignsCharactersNotBytesAndShowsNoEscapes) {
  EXPECT_EQ(table_text({"A", "B"}, {{"größer", "x"}, {"b", "\x1b]0;title\x07"}}, {}),
            "A       B\ngrößer  x\nb       ?]0;title?\n");
}

TEST(Table, AgesAreShortAndSayWhichWay) {
  const SystemTime now = SystemTime{1'700'000'000s};  // 2023-11-14T22:13:20Z
  EXPECT_EQ(age_text("2023-11-14T22:13:08Z", now), "12 s");
  EXPECT_EQ(age_text("2023-11-14T22:08:20Z", now), "5 min");
  EXPECT_EQ(age_text("2023-11-14T19:13:20Z", now), "3 h");
  EXPECT_EQ(age_text("2023-11-02T22:13:20Z", now), "12 d");
  EXPECT_EQ(age_text("2023-11-14T22:18:20Z", now), "in 5 min");
  EXPECT_EQ(age_text("soon", now), "");
  EXPECT_EQ(time_text("2023-11-14T22:08:20.5Z", now), "2023-11-14T22:08:20Z (4 min ago)");
}

}  // namespace
}  // namespace twinstep::cli
