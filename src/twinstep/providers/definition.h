#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "twinstep/providers/template.h"

/// A definition file, typed and checked: how to talk to one kind of external system. docs/providers.md explains the
/// language to authors. What the engine cannot execute is refused at load, never ignored.
namespace twinstep::providers {

struct SettingSpec {
  std::string name;
  std::string env;  ///< environment variable that fills it when the configuration does not
  std::string description;
  std::optional<std::string> fallback;
  bool secret = false;
  bool required = true;  ///< false when a fallback is given or the definition says so
};

struct NamedTemplate {
  std::string name;
  TextTemplate value;
  bool optional = false;  ///< `name?`: left out when its value is missing
};

struct RequestSpec {
  std::string method = "GET";
  std::string endpoint;             ///< name of an endpoint, or
  std::optional<TextTemplate> url;  ///< a whole address; a path may follow either
  std::optional<TextTemplate> path;
  std::vector<NamedTemplate> query;
  std::vector<NamedTemplate> headers;
  std::vector<NamedTemplate> form;
  std::optional<JsonTemplate> json;
};

enum class Outcome { kOk, kExists, kMissing, kRetry, kThrottled, kRenewAuth, kInvalid, kFatal };

struct StatusSet {
  std::vector<std::pair<int, int>> ranges;  ///< both ends included
  bool contains(int status) const;
};

struct OutcomeRule {
  StatusSet status;
  std::optional<std::string> pointer;  ///< place in a JSON body, tested by compare
  std::string header;                  ///< or a header
  Compare compare;
  std::optional<Regex> body_matches;
  Outcome is = Outcome::kOk;
};

struct Expectation {
  std::string items;                                       ///< pointer to the list that is counted
  int64_t count = 1;                                       ///< none = missing, any other number = conflict
  std::vector<std::pair<std::string, TextTemplate>> same;  ///< pointer in the item, what stands there if anything
};

enum class RepeatClass { kSafe, kVerify, kOnce };

struct StepSpec {
  std::string id;
  std::optional<Condition> when;
  RequestSpec request;
  std::vector<OutcomeRule> outcomes;
  std::optional<Expectation> expect;
  std::vector<std::pair<std::string, std::string>> capture;  ///< name, pointer
  RepeatClass repeat = RepeatClass::kSafe;
};

struct OperationSpec {
  std::vector<StepSpec> steps;
  std::string item;  ///< of `get`: pointer to the device in the last step's answer
};

enum class AuthKind { kNone, kHeader, kQuery, kBasic, kOauth2, kLogin };
enum class TimeUnit { kSeconds, kMillis, kEpochSeconds, kEpochMillis };

struct Lifetime {
  std::string pointer;
  TimeUnit unit = TimeUnit::kSeconds;
  Millis margin{60'000};
  std::optional<Millis> ceiling;
  Millis fallback{3'600'000};  ///< when the answer does not tell
};

struct AuthSpec {
  AuthKind kind = AuthKind::kNone;
  std::string name;             ///< header, query parameter or cookie that carries the credential
  TextTemplate prefix;          ///< "Bearer "
  TextTemplate value;           ///< of header and query
  TextTemplate user, password;  ///< of basic, and of client authentication by basic
  bool basic_client = false;
  bool in_query = false;
  RequestSpec request;  ///< token or login request
  std::string token;    ///< pointer
  Lifetime lifetime;
  std::optional<std::string> success_pointer;
  Compare success;
  std::vector<int> renew_on;
  std::vector<NamedTemplate> renew_query, renew_form;  ///< added to the request of a forced renewal
};

enum class PagingKind { kNone, kPageNumber, kOffset, kCursor, kLastItem, kNextUrl, kLinkHeader };

struct Paging {
  PagingKind kind = PagingKind::kNone;
  int64_t first = 0;
  int64_t size = 0;     ///< 0 = not told: the first page shows it
  std::string pointer;  ///< cursor or next address in the body, or the field of the last item
  std::string header;   ///< cursor in a header
  int64_t max_pages = 100'000;
};

struct EndRules {
  bool empty_page = false;
  bool no_cursor = false;
  int64_t short_page = 0;  ///< 0 = no such rule
  std::string total_header;
  std::optional<std::string> total_pointer;
  std::optional<std::string> flag_pointer;  ///< false there = end
  std::vector<int> statuses;
};

struct PageSource {
  RequestSpec request;
  std::string items;
  bool missing_is_empty = false;
  Paging paging;
  EndRules end;
};

struct Parents {
  std::string as;
  std::string setting;               ///< comma-separated values; empty or absent = listed
  std::optional<PageSource> listed;  ///< `otherwise`
  std::string id;                    ///< pointer in a listed parent
};

struct ItemFilter {
  std::string pointer;
  Compare compare;
};

struct ListSpec {
  PageSource pages;
  std::optional<Parents> parents;
  std::vector<std::string> unique;  ///< pointers of what no two items share; empty = the device id's
};

/// Where a value of an item comes from: the first of these places that has one, then filters.
struct ValueSource {
  std::vector<std::string> from;
  std::vector<Filter> filters;
};

struct TagMapping {
  TagSpec spec;
  ValueSource source;
};

/// A tag that a hub device must have before it can be created outside.
struct RequiredTag {
  std::string name;
  size_t length = 0;  ///< 0 = any
  std::optional<Regex> pattern;
  std::vector<std::string> one_of;
  bool secret = false;
  std::optional<Condition> when;
};

struct WaitHeader {
  std::string name;
  TimeUnit unit = TimeUnit::kSeconds;
};

struct RateSpec {
  TextTemplate per_second;
  double burst = 1;
};

struct LimitSpec {
  std::optional<RateSpec> all;
  std::vector<std::pair<std::string, RateSpec>> operations;  ///< list, get, create, delete
  std::vector<WaitHeader> wait_headers;
};

struct FileSpec {
  TextTemplate path;
  TextTemplate items;
};

/// A recorded exchange and what the engine must make of it.
struct DefinitionTest {
  struct Exchange {
    std::string method, url;
    std::vector<std::pair<std::string, std::string>> headers;  ///< name, value; "-" = must be absent
    std::optional<std::string> body;                           ///< exact text, or
    std::optional<json::value> body_json;
    int status = 200;
    std::vector<std::pair<std::string, std::string>> answer_headers;
    std::string answer;
  };
  std::string name;
  std::string run;  ///< list, get, create, delete
  std::vector<std::pair<std::string, std::string>> settings;
  DeviceInput device;
  std::vector<Exchange> exchanges;
  std::vector<std::string> ids;  ///< of list
  std::optional<bool> complete;  ///< of list
  std::string outcome;           ///< done, already-there, already-gone, found, or an error code
  int line = 0;
};

struct Definition {
  std::string name;
  std::string file;  ///< for messages
  std::vector<SettingSpec> settings;
  std::vector<std::pair<std::string, TextTemplate>> endpoints;
  AuthSpec auth;
  std::optional<ListSpec> list;
  std::optional<FileSpec> from_file;  ///< the registry is a local file
  std::optional<ItemFilter> item_filter;
  ValueSource device_id;
  std::vector<TagMapping> tags;
  std::vector<RequiredTag> required_tags;
  std::optional<OperationSpec> get, create, remove;
  LimitSpec limits;
  std::vector<DefinitionTest> tests;
  std::vector<std::string> warnings;  ///< for `provider check`
  std::string text;                   ///< the definition as it was read

  std::vector<TagSpec> tag_specs() const;
  /// tag_specs(), and the tags that only a create needs. A tag that is secret in either place is secret.
  std::vector<TagSpec> known_tags() const;
  const SettingSpec* find_setting(std::string_view setting) const;
};

/// Reads and checks one definition. `file` names the source in messages.
/// Errors  kInvalid with one line "file:line:column: ..." for each fault; codes "definition.*" and "yaml.*".
Result<Definition> parse_definition(std::string_view text, const std::string& file);

/// True for "" and "/a/b" with well-formed escapes (RFC 6901).
bool is_pointer(std::string_view text);

}  // namespace twinstep::providers
