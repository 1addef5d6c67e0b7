#include "twinstep/providers/exchange_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twinstep/providers/builtin.h"

namespace twinstep::providers {
namespace {

using testing::HasSubstr;

TEST(DefinitionTests, ThoseOfTheBuiltInDefinitionsPass) {
  size_t ran = 0;
  for (const std::string& name : builtin_names()) {
    const auto definition = load_definition(name);
    ASSERT_TRUE(definition);
    for (const ExchangeResult& result : run_definition_tests(*definition)) {
      EXPECT_EQ(result.failed, "") << result.place << ": " << result.name;
      ++ran;
    }
  }
  EXPECT_GE(ran, 4u);
}

std::string verdict(const std::string& test) {
  const auto definition = parse_definition(
      "definition: 1\nname: x\nidentity: { deviceId: /id }\ntags: { e: /e }\nlist: { request: { url: 'https://h/d' }, "
      "items: '' }\n"
      "create: { steps: [{ request: { method: POST, url: 'https://h/d', json: { id: '{deviceId}', e: 1 } } }] "
      "}\ntests:\n" +
          test,
      "x.yaml");
  if (!definition) return definition.error().what;
  const auto results = run_definition_tests(*definition);
  return results.size() == 1 ? results[0].failed : "not one test";
}

TEST(DefinitionTests, TellWhatDiffers) {
  const std::string list =
      "  - { name: n, run: list, exchanges: [{ request: 'GET https://h/d', answer: [{ id: a }] }], expect: ";
  EXPECT_EQ(verdict(list + "{ ids: [a], complete: true } }\n"), "");
  EXPECT_EQ(verdict(list + "{ ids: [b] } }\n"), "the list has the ids [a], expected [b]");
  EXPECT_THAT(verdict(list + "{ ids: [a], complete: false } }\n"), HasSubstr("expected an incomplete one"));
  EXPECT_THAT(verdict("  - { name: n, run: list, exchanges: [{ request: 'GET https://h/x' }], expect: { ids: [] } }\n"),
              HasSubstr("request 1 is 'GET https://h/d', expected 'GET https://h/x'"));
  EXPECT_THAT(
      verdict("  - { name: n, run: list, exchanges: [{ request: 'GET https://h/d', answer: [] }, { request: 'GET "
              "https://h/d' }], expect: { ids: [] } }\n"),
      HasSubstr("request 2 was never sent"));
  EXPECT_THAT(verdict("  - { name: n, run: list, exchanges: [], expect: { ids: [] } }\n"),
              HasSubstr("was not expected"));
}

TEST(DefinitionTests, CompareBodiesHeadersAndOutcomes) {
  const std::string create =
      "  - { name: n, run: create, device: { deviceId: a }, exchanges: [{ request: 'POST https://h/d', ";
  EXPECT_EQ(verdict(create + "json: { e: 1.0, id: a }, status: 201 }], expect: { outcome: done } }\n"), "");
  EXPECT_EQ(verdict(create + "body: '{\"id\":\"a\",\"e\":1}' }], expect: { outcome: done } }\n"), "");
  EXPECT_THAT(verdict(create + "body: '{}' }], expect: { outcome: done } }\n"), HasSubstr("has the body"));
  EXPECT_THAT(verdict(create + "json: { id: b } }], expect: { outcome: done } }\n"), HasSubstr("expected the JSON"));
  EXPECT_THAT(verdict(create + "headers: { Content-Type: '-' } }], expect: { outcome: done } }\n"),
              HasSubstr("Content-Type"));
  EXPECT_EQ(verdict(create + "status: 403 }], expect: { outcome: external.403 } }\n"), "");
  EXPECT_THAT(verdict(create + "status: 403 }], expect: { outcome: done } }\n"),
              HasSubstr("the outcome is 'external.403'"));
}

}  // namespace
}  // namespace twinstep::providers
