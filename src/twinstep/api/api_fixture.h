#pragma once

#include <gtest/gtest.h>

#include "twinstep/api/api.h"
#include "twinstep/api/facade_routes.h"
#include "twinstep/api/openapi.h"
#include "twinstep/api/schema_check.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/fake_clock.h"
#include "twinstep/workflows/fake_hub.h"
#include "twinstep/workflows/fake_network.h"

namespace twinstep::api {

/// The routes over a store in memory, with two links; every answer is compared with its description.
class ApiFixture : public ::testing::Test {
 protected:
  ApiFixture() {
    config.links.push_back(link("default", config::Master::kExternal));
    config.links.push_back(link("field", config::Master::kHub));
    config.links[0].schedule = "0 * * * *";
    config.hubs.push_back(hub("contoso"));
    facade.add_routes(router);
    add_api_routes(router, deps());
  }

  static config::Hub hub(std::string name) {
    config::Hub out;
    out.host = name + ".azure-devices.net";
    out.name = std::move(name);
    return out;
  }

  static config::Link link(std::string name, config::Master master) {
    config::Link out;
    out.name = std::move(name);
    out.hub = "contoso";
    out.external = "thingpark";
    out.master = master;
    out.deletes = config::Deletes::kDelete;
    return out;
  }
  ApiDeps deps() {
    return {config,
            store,
            RunReader{[this](const store::WorkflowId& run, const auto& sink, const Call&) -> Status {
                        const auto found = plans.find(run.value);
                        if (found == plans.end()) return fail(ErrorKind::kNotFound, "store.no-plan", "run has no plan");
                        TRY(sink(found->second.substr(0, 5)));
                        return sink(found->second.substr(5));
                      },
                      [this](const store::WorkflowId&, std::string_view outcome, const DeviceId& after, int limit,
                             const Call&) -> Result<std::vector<store::DeviceOutcome>> {
                        std::vector<store::DeviceOutcome> out;
                        for (const auto& one : outcomes)
                          if (one.device > after && (outcome.empty() || one.outcome == outcome) &&
                              out.size() < static_cast<size_t>(limit))
                            out.push_back(one);
                        return out;
                      },
                      [this](const DeviceId&, int, const Call&) -> Result<std::vector<store::RunStore::Mention>> {
                        return mentions;
                      }},
            clock,
            rng,
            [this](const config::Link&, const DeviceId& device, const json::object&, const Call&) {
              looked_at = device;
              return sides;
            },
            {},
            Millis{20'000},
            {&keys, [this] { ++keys_changed; },
             [](const Principal& who, std::string_view instance, bool operate) {
               if (who.key_id.empty()) return std::string();
               return fmt::format("{}-{}-{}", operate ? "o" : "r", who.key_id, instance);
             }},
            [this](std::string_view event, const store::Workflow& run, std::string_view by) {
              decisions.push_back(fmt::format("{} {} {}", event, run.id.value, by));
            }};
  }

  store::NewWorkflow task(std::string_view link, std::string_view device) {
    store::NewWorkflow out;
    out.id = store::WorkflowId("t" + std::to_string(++made));
    out.kind = "device";
    out.lane = "external/thingpark";
    out.key = fmt::format("device/{}/{}", link, canonical_device_id(device));
    out.input = R"({"what":"created"})";
    clock.advance(std::chrono::milliseconds{1});
    return out;
  }
  store::WorkflowId start(const store::NewWorkflow& workflow) { return store.start({workflow}, {}).value().at(0).id; }
  store::WorkflowId failed_task(std::string_view link, std::string_view device, std::string code) {
    auto out = task(link, device);
    out.state = store::State::kFailed;
    out.status = "refused";
    out.error_code = std::move(code);
    return start(out);
  }
  store::Claimed claim(std::string_view lane) {
    auto all = store.claim(lane, "me", 1, Millis{60'000}, {}).value();
    return std::move(all.at(0));
  }
  void finish(const store::Claimed& claimed, store::State state, std::string status = {}, Millis due_in = Millis{0}) {
    store::Finish end;
    end.state = state;
    end.status = std::move(status);
    end.due_in = due_in;
    ASSERT_TRUE(store.finish(claimed.workflow, end, {}));
  }
  /// A run of link "default" that the guard blocked with plan "p1".
  store::WorkflowId blocked_run() {
    const std::string id(json_of(post("/api/v1/links/default/runs")).at("id").as_string());
    const auto claimed = claim("run/contoso");
    EXPECT_TRUE(store.save_step(claimed.workflow, "plan",
                                R"({"plan":"p1","counts":{"deletes":700},"verdict":{"tripped":[{"rule":"deletes"}]}})",
                                "compared", {}));
    finish(claimed, store::State::kBlocked, "700 deletes, 100 are allowed", Millis{3'600'000});
    return store::WorkflowId(id);
  }

  http::ServerResponse send(std::string method, std::string target, std::string body = {},
                            std::vector<http::Header> headers = {}) {
    http::ServerRequest request;
    request.method = std::move(method);
    request.target = target;
    const size_t query = target.find('?');
    request.path = target.substr(0, query);
    if (query != std::string::npos) request.query = target.substr(query + 1);
    request.headers = std::move(headers);
    request.headers.push_back({"Host", "sync.example:8080"});
    if (!body.empty()) request.headers.push_back({"Content-Type", "application/json"});
    request.body = std::move(body);
    auto answer = router.handle(request, caller ? *caller : *gate);
    compare_with_description(request, answer);
    return answer;
  }
  http::ServerResponse get(std::string target) { return send("GET", std::move(target)); }
  http::ServerResponse post(std::string target, std::string body = {}, std::vector<http::Header> headers = {}) {
    return send("POST", std::move(target), std::move(body), std::move(headers));
  }
  static json::value json_of(const http::ServerResponse& answer) {
    auto parsed = json::parse(answer.body, "answer");
    EXPECT_TRUE(parsed) << answer.status << " " << answer.body;
    return parsed ? *parsed : json::value();
  }
  static std::string code_of(const http::ServerResponse& answer) {
    return std::string(json::string_or(json_of(answer).as_object(), "code"));
  }
  static std::string header(const http::ServerResponse& answer, std::string_view name) {
    for (const http::Header& one : answer.headers)
      if (one.name == name) return one.value;
    return {};
  }

  FakeClock clock;
  Rng rng{1};
  std::unique_ptr<store::Database> database = store::open_database("sqlite::memory:", clock).value();
  store::WorkflowStore store{*database};
  security::KeyStore keys{*database};
  int keys_changed = 0;
  config::Config config;
  std::map<std::string, std::string> plans;
  std::vector<store::DeviceOutcome> outcomes;
  std::vector<store::RunStore::Mention> mentions;
  DeviceSides sides{HubSide{}, ExternalSide{}};
  DeviceId looked_at;
  std::vector<std::string> decisions;  ///< about runs, as they are told
  std::unique_ptr<Gate> gate = open_gate("test");
  Gate* caller = nullptr;  ///< who asks; null = somebody who may do everything
  workflows::FakeHub fake_hub;
  workflows::FakeNetwork network;
  size_t most_at_once = 50;
  Facade facade{FacadeDeps{config, *database, store, clock, rng, [this](const config::Link& link) {
                             return workflows::FacadeTarget{link, fake_hub, network, [this] { return most_at_once; }};
                           }}};
  Router router;
  int made = 0;
  json::value description = json::parse(openapi_text(), "openapi.json").value();

 private:
  /// The template of the description that the path fits, as the router would match it.
  const json::object* described(const http::ServerRequest& request) const {
    for (const auto& [pattern, operations] : description.at("paths").as_object()) {
      Router one;
      one.add(request.method, std::string(pattern), Scope::kRead,
              [](const auto&, const auto&) { return http::ServerResponse{}; });
      if (one.handle(request, *gate).status != 200) continue;
      const json::value* operation = operations.as_object().if_contains(lower(request.method));
      if (operation) return &operation->as_object();
    }
    return nullptr;
  }
  static std::string lower(std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(c));
    return text;
  }
  void compare_with_description(const http::ServerRequest& request, const http::ServerResponse& answer) {
    const json::object* operation = described(request);
    if (!operation) return;
    SchemaCheck check(description);
    const json::object& answers = operation->at("responses").as_object();
    const json::value* found = answers.if_contains(std::to_string(answer.status));
    if (!found && answer.status >= 400) found = answers.if_contains("default");
    ASSERT_TRUE(found) << request.method << " " << request.target << " answers " << answer.status
                       << ", which is not described: " << answer.body;
    found = check.resolved(*found);
    const json::value* content = found->as_object().if_contains("content");
    if (!content) {
      EXPECT_EQ(answer.body, "") << request.target;
      return;
    }
    if (answer.body.empty() && answer.status == 400) return;  // the switched off synchronizer, as the sample
    std::string type;
    for (const http::Header& one : answer.headers)
      if (one.name == "Content-Type") type = one.value.substr(0, one.value.find(';'));
    const json::value* media = content->as_object().if_contains(type);
    ASSERT_TRUE(media) << request.target << ": " << type << " is not described";
    for (const std::string& wrong : check.check(json_of(answer), media->at("schema")))
      ADD_FAILURE() << request.method << " " << request.target << " " << wrong << "\n" << answer.body;
  }
};

}  // namespace twinstep::api
