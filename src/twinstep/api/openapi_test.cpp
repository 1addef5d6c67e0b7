#include "twinstep/api/openapi.h"

#include <set>

#include "twinstep/api/api_fixture.h"

namespace twinstep::api {
namespace {

class OpenApi : public ApiFixture {};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::toupper(c));
  return out;
}

TEST_F(OpenApi, DescribesEveryRouteAndNothingElse) {
  std::set<std::string> described, routed;
  for (const auto& [path, operations] : description.at("paths").as_object())
    for (const auto& [method, operation] : operations.as_object())
      described.insert(upper(method) + " " + std::string(path));
  for (const Router::Route& route : router.routes()) routed.insert(route.method + " " + route.pattern);
  EXPECT_EQ(described, routed);
}

TEST_F(OpenApi, NamesTheScopeThatEachRouteNeeds) {
  for (const Router::Route& route : router.routes()) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(c));
    const json::value& operation = description.at("paths").at(route.pattern).at(method);
    EXPECT_EQ(operation.at("x-twinstep-scope"), json::value(json::string(to_string(route.scope))))
        << route.method << " " << route.pattern;
  }
}

void collect_references(const json::value& value, std::set<std::string>& out) {
  if (value.is_array())
    for (const json::value& one : value.get_array()) collect_references(one, out);
  if (!value.is_object()) return;
  for (const auto& [key, inner] : value.get_object()) {
    if (key == "$ref") out.insert(std::string(inner.as_string()));
    collect_references(inner, out);
  }
}

TEST_F(OpenApi, EveryReferenceLeadsSomewhereAndEveryComponentIsUsed) {
  std::set<std::string> used, there;
  collect_references(description, used);
  for (const json::value& one : description.at("security").as_array())
    for (const auto& [scheme, scopes] : one.as_object())
      used.insert("#/components/securitySchemes/" + std::string(scheme));
  for (const auto& [kind, all] : description.at("components").as_object())
    for (const auto& [name, component] : all.as_object())
      there.insert("#/components/" + std::string(kind) + "/" + std::string(name));
  EXPECT_EQ(used, there);
}

TEST_F(OpenApi, PathParametersAreThoseOfThePathAndOperationIdsAreUnique) {
  SchemaCheck check(description);
  std::set<std::string> ids;
  for (const auto& [path, operations] : description.at("paths").as_object())
    for (const auto& [method, operation] : operations.as_object()) {
      EXPECT_TRUE(ids.insert(std::string(operation.at("operationId").as_string())).second) << path;
      std::set<std::string> wanted, named;
      for (size_t at = 0; (at = path.find('{', at)) != std::string::npos; ++at)
        wanted.insert(std::string(path.substr(at + 1, path.find('}', at) - at - 1)));
      if (const json::value* parameters = operation.as_object().if_contains("parameters"))
        for (const json::value& one : parameters->as_array()) {
          const json::value& parameter = *check.resolved(one);
          if (parameter.at("in") == "path") named.insert(std::string(parameter.at("name").as_string()));
        }
      EXPECT_EQ(wanted, named) << method << " " << path;
    }
}

TEST_F(OpenApi, IsServedAtBothPlaces) {
  for (const char* path : {"/openapi.json", "/api/v1/openapi.json"}) {
    const auto answer = get(path);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, openapi_text());
  }
}

/// The check is worth something only when it complains.
TEST_F(OpenApi, TheCheckOfAnswersSeesWhatIsWrong) {
  SchemaCheck check(description);
  const json::value& schema = description.at_pointer("/components/schemas/HistoryLine");
  const json::object good{{"at", "2026-11-25T10:00:00.000Z"}, {"what", "retry"}, {"detail", ""}};
  EXPECT_TRUE(check.check(good, schema).empty());
  for (const auto& [member, wrong] :
       {std::pair<const char*, json::value>{"at", "today"}, {"what", 5}, {"secret", "x"}}) {
    json::object bad = good;
    bad[member] = wrong;
    EXPECT_EQ(check.check(bad, schema).size(), 1u) << member;
  }
  json::object lacking = good;
  lacking.erase("what");
  EXPECT_EQ(check.check(lacking, schema).size(), 1u);
}

}  // namespace
}  // namespace twinstep::api
