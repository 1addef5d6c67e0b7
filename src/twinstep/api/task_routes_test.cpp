#include "twinstep/api/task_routes.h"

#include <set>

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

using namespace std::chrono_literals;

class TaskRoutes : public ApiFixture {
 protected:
  std::set<std::string> ids_of(std::string target) {
    std::set<std::string> out;
    const json::value answer = json_of(get(std::move(target)));
    for (const auto& one : answer.at("items").as_array()) out.insert(std::string(one.at("id").as_string()));
    return out;
  }
};

TEST_F(TaskRoutes, AreFoundByLinkStateDeviceAndCode) {
  const auto a = start(task("default", "0004a30b001a2b3c"));
  const auto b = start(task("field", "00-04-A3-0B-00-1A-2B-3C"));
  const auto c = failed_task("default", "dev-2", "external.refused");
  EXPECT_EQ(ids_of("/api/v1/tasks"), (std::set{a.value, b.value, c.value}));
  EXPECT_EQ(ids_of("/api/v1/tasks?link=default"), (std::set{a.value, c.value}));
  EXPECT_EQ(ids_of("/api/v1/tasks?device=0004A30B001A2B3C"), (std::set{a.value, b.value})) << "in any spelling";
  EXPECT_EQ(ids_of("/api/v1/tasks?device=0004A30B001A2B3C&link=field"), (std::set{b.value}));
  EXPECT_EQ(ids_of("/api/v1/tasks?state=failed"), (std::set{c.value}));
  EXPECT_EQ(ids_of("/api/v1/tasks?code=external.refused"), (std::set{c.value}));
  EXPECT_EQ(ids_of("/api/v1/tasks?code=other"), (std::set<std::string>{}));
  EXPECT_EQ(ids_of("/api/v1/tasks?code=tsk_0123456789ab_abc"), ids_of("/api/v1/tasks")) << "the caller's key";
}

TEST_F(TaskRoutes, OfOneDeviceInManyLinksArePagedTogether) {
  std::set<std::string> all;
  for (int i = 0; i < 3; ++i)
    for (const char* name : {"default", "field"}) all.insert(failed_task(name, "dev-1", "x").value);
  std::set<std::string> seen;
  std::string target = "/api/v1/tasks?device=dev-1&limit=2";
  for (int page = 0; page < 5 && !target.empty(); ++page) {
    const auto answer = json_of(get(target));
    for (const auto& one : answer.at("items").as_array())
      EXPECT_TRUE(seen.insert(std::string(one.at("id").as_string())).second);
    target = answer.at("next").is_null() ? "" : std::string(answer.at("next").as_string());
  }
  EXPECT_EQ(seen, all);
}

TEST_F(TaskRoutes, OneTaskShowsWhatItWaitsForAndItsHistory) {
  const auto id = start(task("default", "dev-1"));
  finish(claim("external/thingpark"), store::State::kWaiting, "waits for the tags applicationKey, EUI", 5min);
  const auto shown = json_of(get("/api/v1/tasks/" + id.value));
  EXPECT_EQ(shown.at("device"), "dev-1");
  EXPECT_EQ(shown.at("waitsFor"), "waits for the tags applicationKey, EUI; due 2023-11-14T22:18:20Z");
  EXPECT_EQ(shown.at_pointer("/input/what"), "created");
  const auto again = json_of(post("/api/v1/tasks/" + id.value + "/retry"));
  EXPECT_EQ(again.at_pointer("/history/0/what"), "retry");
  EXPECT_EQ(json_of(post("/api/v1/tasks/" + id.value + "/cancel")).at("state"), "cancelled");
  EXPECT_EQ(code_of(post("/api/v1/tasks/" + id.value + "/cancel")), "store.ended");
}

TEST_F(TaskRoutes, ManyAreTriedAgainByFilterAndADryRunChangesNothing) {
  for (int i = 0; i < 5; ++i) failed_task("default", "dev-" + std::to_string(i), "external.refused");
  const auto other = failed_task("default", "dev-9", "other");
  const auto dry = json_of(post("/api/v1/tasks:retry", R"({"filter":{"code":"external.refused"},"dryRun":true})"));
  EXPECT_EQ(dry.at("matched"), 5);
  EXPECT_EQ(dry.at("changed"), 0);
  EXPECT_EQ(ids_of("/api/v1/tasks?state=failed").size(), 6u);

  const auto first = json_of(post("/api/v1/tasks:retry", R"({"filter":{"code":"external.refused"},"limit":3})"));
  EXPECT_EQ(first.at("changed"), 3);
  ASSERT_TRUE(first.at("next").is_string());
  const auto rest =
      json_of(post("/api/v1/tasks:retry",
                   json::write(json::object{
                       {"filter", {{"code", "external.refused"}}}, {"limit", 3}, {"before", first.at("next")}})));
  EXPECT_EQ(rest.at("changed"), 2);
  EXPECT_TRUE(rest.at("next").is_null());
  EXPECT_EQ(ids_of("/api/v1/tasks?state=failed"), (std::set{other.value}));
}

TEST_F(TaskRoutes, ManyAreCancelledByFilter) {
  const auto a = start(task("default", "dev-1"));
  const auto b = start(task("field", "dev-1"));
  failed_task("default", "dev-2", "x");
  EXPECT_EQ(json_of(post("/api/v1/tasks:cancel", R"({"filter":{"link":"default"},"dryRun":true})")).at("matched"), 1);
  const auto answer = json_of(post("/api/v1/tasks:cancel", R"({"filter":{"link":"default"}})"));
  EXPECT_EQ(answer.at("changed"), 1);
  EXPECT_EQ(store.find(a, {})->state, store::State::kCancelled);
  EXPECT_EQ(store.find(b, {})->state, store::State::kWaiting);
}

TEST_F(TaskRoutes, AllTasksAreMeantOnlyWhenThatIsSaid) {
  start(task("default", "dev-1"));
  for (const char* body : {"", "{}", R"({"filter":{}})", R"({"all":false})"})
    EXPECT_EQ(code_of(post("/api/v1/tasks:cancel", body)), "api.no-filter") << body;
  for (const char* body : {R"({"filter":{"colour":"red"}})", R"({"filter":{"state":"x"}})", R"({"all":true,"limit":0})",
                           R"({"filter":{"code":7}})", R"({"filters":{"code":"x"}})"})
    EXPECT_EQ(post("/api/v1/tasks:cancel", body).status, 400) << body;
  EXPECT_EQ(post("/api/v1/tasks:cancel", R"({"filter":{"link":"nope"}})").status, 404);
  EXPECT_EQ(json_of(post("/api/v1/tasks:cancel", R"({"all":true})")).at("changed"), 1);
}

TEST_F(TaskRoutes, ALargeBacklogIsTakenInPages) {
  std::vector<store::NewWorkflow> many;
  for (int i = 0; i < 1'200; ++i) {
    many.push_back(task("default", "dev-" + std::to_string(i)));
    many.back().state = store::State::kFailed;
  }
  ASSERT_TRUE(store.start(many, {}));
  EXPECT_EQ(json_of(post("/api/v1/tasks:retry", R"({"all":true,"limit":10000})")).at("changed"), 1'200);
}

}  // namespace
}  // namespace twinstep::api
