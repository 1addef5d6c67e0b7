#include "twinstep/providers/definition_load.h"

#include <algorithm>
#include <charconv>

namespace twinstep::providers {

using yaml::MapReader;
using yaml::Node;

namespace {

const std::vector<std::string> kUnits{"s", "ms", "epoch-s", "epoch-ms"};

}  // namespace

void PartLoader::not_supported(const Node& where, const std::string& what) {
  diagnostics_.error(where, "definition.not-supported", what + " is not supported yet");
}

TextTemplate PartLoader::text(const Node& node) {
  if (!node.is_scalar()) {
    diagnostics_.error(node, "yaml.type", "a text is needed here");
    return {};
  }
  auto parsed = TextTemplate::parse(node.scalar, tables_);
  if (parsed) return std::move(*parsed);
  diagnostics_.error(node, parsed.error().code, parsed.error().what);
  return {};
}

std::optional<TextTemplate> PartLoader::text(MapReader& map, std::string_view key) {
  const Node* node = map.get(key);
  if (!node) return {};
  return text(*node);
}

std::string PartLoader::checked_pointer(const Node& node) {
  if (node.is_scalar() && is_pointer(node.scalar)) return node.scalar;
  diagnostics_.error(
      node, "definition.bad-pointer",
      fmt::format("'{}' is not a JSON pointer: write \"\" for the whole value or /name/name", node.scalar));
  return {};
}

std::string PartLoader::pointer(MapReader& map, std::string_view key, std::string otherwise) {
  const Node* node = map.get(key);
  return node ? checked_pointer(*node) : otherwise;
}

std::optional<std::string> PartLoader::optional_pointer(MapReader& map, std::string_view key) {
  const Node* node = map.get(key);
  if (!node) return {};
  return checked_pointer(*node);
}

std::vector<NamedTemplate> PartLoader::named(MapReader& map, std::string_view key) {
  std::vector<NamedTemplate> out;
  const Node* node = map.get(key);
  if (!node) return out;
  const auto add = [&](const Node& name, const Node& value) {
    const bool optional = name.scalar.size() > 1 && name.scalar.back() == '?';
    out.push_back({optional ? name.scalar.substr(0, name.scalar.size() - 1) : name.scalar, text(value), optional});
  };
  if (node->is_map()) {
    for (const auto& [name, value] : node->members) add(name, value);
  } else if (node->is_sequence()) {
    for (const Node& pair : node->items) {
      if (pair.is_sequence() && pair.items.size() == 2 && pair.items[0].is_scalar()) {
        add(pair.items[0], pair.items[1]);
      } else {
        diagnostics_.error(pair, "yaml.type", fmt::format("'{}' takes pairs [name, value]", key));
      }
    }
  } else {
    diagnostics_.error(*node, "yaml.type", fmt::format("'{}' must be a map or a list of pairs", key));
  }
  return out;
}

std::vector<int> PartLoader::statuses(MapReader& map, std::string_view key) {
  std::vector<int> out;
  const Node* node = map.get(key);
  if (!node) return out;
  for (const auto& [from, to] : status_set(*node).ranges) {
    for (int status = from; status <= to; ++status) out.push_back(status);
  }
  return out;
}

StatusSet PartLoader::status_set(const Node& node) {
  StatusSet out;
  const auto add = [&](const Node& one) {
    const std::string& s = one.scalar;
    int status = 0;
    const auto r = std::from_chars(s.data(), s.data() + s.size(), status);
    if (s == "any") {
      out.ranges.emplace_back(100, 599);
    } else if (s.size() == 3 && s.substr(1) == "xx" && s[0] >= '1' && s[0] <= '5') {
      out.ranges.emplace_back((s[0] - '0') * 100, (s[0] - '0') * 100 + 99);
    } else if (one.is_scalar() && r.ec == std::errc{} && r.ptr == s.data() + s.size() && status >= 100 &&
               status <= 599) {
      out.ranges.emplace_back(status, status);
    } else {
      diagnostics_.error(one, "definition.bad-status", fmt::format("'{}' is not a status: write 404, 4xx or any", s));
    }
  };
  if (node.is_sequence()) {
    for (const Node& one : node.items) add(one);
  } else {
    add(node);
  }
  return out;
}

RequestSpec PartLoader::request(const Node& node) {
  RequestSpec out;
  MapReader map(node, diagnostics_, "a request");
  out.method = map.text("method").value_or("GET");
  static const std::vector<std::string> kMethods{"GET", "POST", "PUT", "PATCH", "DELETE"};
  if (std::find(kMethods.begin(), kMethods.end(), out.method) == kMethods.end()) {
    diagnostics_.error(node, "yaml.choice",
                       fmt::format("method '{}' must be one of GET, POST, PUT, PATCH, DELETE", out.method));
  }
  out.url = text(map, "url");
  out.endpoint = map.text("endpoint").value_or(out.url ? "" : "main");
  if (out.url && !out.endpoint.empty())
    diagnostics_.error(node, "definition.two-addresses", "a request has 'url' or 'endpoint', not both");
  out.path = text(map, "path");
  out.query = named(map, "query");
  out.headers = named(map, "headers");
  out.form = named(map, "form");
  if (const Node* body = map.get("json")) out.json = JsonTemplate::load(*body, tables_, diagnostics_);
  if (out.json && !out.form.empty())
    diagnostics_.error(node, "definition.two-bodies", "a request has 'json' or 'form', not both");
  map.finish();
  return out;
}

OutcomeRule PartLoader::outcome(const Node& node) {
  OutcomeRule out;
  MapReader map(node, diagnostics_, "an outcome");
  if (const Node* status = map.need("status")) out.status = status_set(*status);
  out.pointer = optional_pointer(map, "pointer");
  out.header = map.text("header").value_or("");
  out.compare = load_compare(map, diagnostics_);
  if (const auto pattern = map.text("bodyMatches")) {
    auto regex = Regex::compile(*pattern);
    if (regex) {
      out.body_matches = std::move(*regex);
    } else {
      diagnostics_.error(node, regex.error().code, regex.error().what);
    }
  }
  static const std::vector<std::string> kNames{"ok",        "exists",     "missing", "retry",
                                               "throttled", "renew-auth", "invalid", "fatal"};
  map.need("is");
  if (const auto is = map.choice("is", kNames)) out.is = static_cast<Outcome>(*is);
  map.finish();
  if ((out.pointer || !out.header.empty()) == out.compare.empty()) {
    diagnostics_.error(node, "definition.bad-outcome",
                       "'pointer' or 'header' goes together with one of: equals, in, matches, present");
  }
  if (out.pointer && !out.header.empty())
    diagnostics_.error(node, "definition.bad-outcome", "a rule tests 'pointer' or 'header', not both");
  return out;
}

StepSpec PartLoader::step(const Node& node, RepeatClass repeat) {
  StepSpec out;
  MapReader map(node, diagnostics_, "a step");
  out.id = map.text("id").value_or("");
  if (const Node* when = map.get("when")) out.when = load_condition(*when, tables_, diagnostics_);
  if (const Node* spec = map.need("request")) out.request = request(*spec);
  if (const Node* rules = map.get("outcomes")) {
    for (const Node& rule : rules->items) out.outcomes.push_back(outcome(rule));
    if (!rules->is_sequence()) diagnostics_.error(*rules, "yaml.type", "'outcomes' must be a list");
  }
  if (const Node* spec = map.get("expect")) {
    MapReader expect(*spec, diagnostics_, "'expect'");
    Expectation wanted;
    wanted.items = pointer(expect, "items");
    wanted.count = expect.integer("count", 1, 1).value_or(1);
    if (const Node* same = expect.get("same")) {
      for (const auto& [place, value] : same->members) wanted.same.emplace_back(checked_pointer(place), text(value));
    }
    expect.finish();
    out.expect = std::move(wanted);
  }
  if (const Node* captures = map.get("capture")) {
    for (const auto& [name, place] : captures->members) out.capture.emplace_back(name.scalar, checked_pointer(place));
    if (out.id.empty())
      diagnostics_.error(*captures, "definition.no-step-id", "a step that captures values needs an 'id'");
  }
  out.repeat = repeat;
  if (const auto chosen = map.choice("repeat", {"safe", "verify", "once"}))
    out.repeat = static_cast<RepeatClass>(*chosen);
  map.finish();
  return out;
}

OperationSpec PartLoader::operation(const Node& node, const std::string& what, RepeatClass repeat) {
  OperationSpec out;
  MapReader map(node, diagnostics_, "'" + what + "'");
  if (what == "get") out.item = pointer(map, "item");
  if (const Node* steps = map.need("steps")) {
    for (const Node& one : steps->items) out.steps.push_back(step(one, repeat));
    if (out.steps.empty())
      diagnostics_.error(*steps, "definition.no-steps", fmt::format("'{}' needs at least one step", what));
  }
  map.finish();
  return out;
}

Lifetime PartLoader::lifetime(const Node& node) {
  Lifetime out;
  MapReader map(node, diagnostics_, "'lifetime'");
  out.pointer = pointer(map, "pointer");
  if (const auto unit = map.choice("unit", kUnits)) out.unit = static_cast<TimeUnit>(*unit);
  out.margin = map.duration("margin").value_or(out.margin);
  out.ceiling = map.duration("ceiling");
  const auto fixed = map.duration("fixed");
  out.fallback = map.duration("fallback").value_or(fixed.value_or(out.fallback));
  map.finish();
  return out;
}

AuthSpec PartLoader::auth(const Node& node) {
  AuthSpec out;
  MapReader map(node, diagnostics_, "'auth'");
  const Node* kind = map.need("kind");
  if (kind && kind->scalar == "aws-sigv4") {
    not_supported(*kind, "auth kind 'aws-sigv4'");
    return out;
  }
  const auto chosen = map.choice("kind", {"none", "header", "query", "basic", "oauth2-client-credentials", "login"});
  if (!chosen) return out;
  out.kind = static_cast<AuthKind>(*chosen);
  out.name = out.kind == AuthKind::kQuery ? "" : "Authorization";
  const bool by_token = out.kind == AuthKind::kOauth2 || out.kind == AuthKind::kLogin;
  if (by_token) out.prefix = TextTemplate::parse("Bearer ", tables_).value();
  const auto need_text = [&](std::string_view key) {
    const Node* value = map.need(key);
    return value ? text(*value) : TextTemplate{};
  };
  if (out.kind == AuthKind::kHeader || out.kind == AuthKind::kQuery) out.value = need_text("value");
  if (out.kind == AuthKind::kQuery) map.need("name");
  if (out.kind != AuthKind::kBasic && out.kind != AuthKind::kNone) {
    out.name = map.text("name").value_or(out.name);
    if (auto prefix = text(map, "prefix")) out.prefix = std::move(*prefix);
  }
  if (out.kind == AuthKind::kBasic) {
    out.user = need_text("user");
    out.password = need_text("password");
  }
  if (out.kind == AuthKind::kOauth2) {
    out.request.method = "POST";
    out.request.url = need_text("tokenUrl");
    map.need("form");
    out.request.form = named(map, "form");
    out.request.query = named(map, "query");
    if (const auto by = map.choice("clientAuth", {"form", "basic"}); by && *by == 1) {
      out.basic_client = true;
      out.user = need_text("user");
      out.password = need_text("password");
    }
    out.token = pointer(map, "token", "/access_token");
  }
  if (out.kind == AuthKind::kLogin) {
    if (const Node* spec = map.need("request")) out.request = request(*spec);
    map.need("token");
    out.token = pointer(map, "token");
    if (const Node* success = map.get("success")) {
      MapReader test(*success, diagnostics_, "'success'");
      out.success_pointer = pointer(test, "pointer");
      out.success = load_compare(test, diagnostics_);
      test.finish();
    }
    if (const auto place = map.choice("placement", {"header", "query", "cookie"})) {
      out.in_query = *place == 1;
      if (*place == 2) not_supported(*map.get("placement"), "a login cookie");
    }
  }
  if (by_token) {
    if (const Node* life = map.get("lifetime")) out.lifetime = lifetime(*life);
    out.renew_on = statuses(map, "renewOn");
    if (!node.find("renewOn")) out.renew_on = {401};
    out.renew_query = named(map, "renewQuery");
    out.renew_form = named(map, "renewForm");
  }
  map.finish();
  return out;
}

PageSource PartLoader::pages(MapReader& map) {
  PageSource out;
  if (const Node* spec = map.need("request")) out.request = request(*spec);
  out.items = pointer(map, "items");
  out.missing_is_empty = map.boolean("missingIsEmpty").value_or(false);
  if (const Node* node = map.get("paging")) {
    MapReader paging(*node, diagnostics_, "'paging'");
    Paging& p = out.paging;
    paging.need("kind");
    static const std::vector<std::string> kKinds{"none",      "page-number", "offset",     "cursor",
                                                 "last-item", "next-url",    "link-header"};
    if (const auto kind = paging.choice("kind", kKinds)) p.kind = static_cast<PagingKind>(*kind);
    p.first = paging.integer("first", 0, 1'000'000).value_or(p.kind == PagingKind::kPageNumber ? 1 : 0);
    p.size = paging.integer("size", 1, 1'000'000).value_or(0);
    p.pointer = pointer(paging, "pointer");
    p.header = paging.text("header").value_or("");
    p.max_pages = paging.integer("maxPages", 1, 100'000'000).value_or(p.max_pages);
    paging.finish();
    const bool needs_place =
        p.kind == PagingKind::kCursor || p.kind == PagingKind::kLastItem || p.kind == PagingKind::kNextUrl;
    if (needs_place && p.pointer.empty() && (p.kind != PagingKind::kCursor || p.header.empty())) {
      diagnostics_.error(*node, "definition.no-cursor", "this kind of paging needs a 'pointer'");
    }
    if (p.kind == PagingKind::kOffset && p.size == 0) {
      diagnostics_.error(*node, "definition.no-size", "paging by offset needs a 'size'");
    }
  }
  if (const Node* rules = map.get("end")) {
    for (const Node& node : rules->items) {
      MapReader rule(node, diagnostics_, "an end rule");
      const auto set = [&](std::optional<bool> given, bool& flag) { flag = flag || given.value_or(false); };
      set(rule.boolean("emptyPage"), out.end.empty_page);
      set(rule.boolean("noCursor"), out.end.no_cursor);
      if (const auto size = rule.integer("shortPage", 1, 1'000'000)) out.end.short_page = *size;
      if (const auto total = optional_pointer(rule, "total")) out.end.total_pointer = total;
      if (const auto header = rule.text("totalHeader")) out.end.total_header = *header;
      if (const auto flag = optional_pointer(rule, "flag")) out.end.flag_pointer = flag;
      for (int status : statuses(rule, "status")) out.end.statuses.push_back(status);
      rule.finish();
    }
    if (!rules->is_sequence()) diagnostics_.error(*rules, "yaml.type", "'end' must be a list of rules");
  }
  return out;
}

ListSpec PartLoader::list(const Node& node) {
  ListSpec out;
  MapReader map(node, diagnostics_, "'list'");
  out.pages = pages(map);
  if (const Node* unique = map.get("unique")) out.unique = value_source(*unique, nullptr).from;
  if (const Node* detail = map.get("detail")) not_supported(*detail, "'detail' (a request per item)");
  if (const Node* spec = map.get("parents")) {
    MapReader parents(*spec, diagnostics_, "'parents'");
    Parents p;
    parents.need("as");
    p.as = parents.text("as").value_or("parent");
    p.setting = parents.text("setting").value_or("");
    if (const Node* otherwise = parents.get("otherwise")) {
      MapReader listed(*otherwise, diagnostics_, "'otherwise'");
      p.listed = pages(listed);
      listed.need("id");
      p.id = pointer(listed, "id");
      listed.finish();
    }
    parents.finish();
    if (!p.listed && p.setting.empty()) {
      diagnostics_.error(*spec, "definition.no-parents", "'parents' needs a 'setting', or 'otherwise' with a list");
    }
    out.parents = std::move(p);
  }
  map.finish();
  return out;
}

ValueSource PartLoader::value_source(const Node& node, MapReader* map) {
  ValueSource out;
  const Node* from = map ? map->need("from") : &node;
  if (from) {
    if (from->is_sequence()) {
      for (const Node& place : from->items) out.from.push_back(checked_pointer(place));
    } else {
      out.from.push_back(checked_pointer(*from));
    }
  }
  if (map) {
    for (const std::string& name : map->texts("filters")) {
      auto filter = parse_filter(name, tables_);
      if (filter) {
        out.filters.push_back(std::move(*filter));
      } else {
        diagnostics_.error(*map->get("filters"), filter.error().code, filter.error().what);
      }
    }
  }
  return out;
}

RateSpec PartLoader::rate(const Node& node) {
  RateSpec out;
  MapReader map(node, diagnostics_, "a rate");
  if (const Node* rate = map.need("requestsPerSecond")) out.per_second = text(*rate);
  out.burst = static_cast<double>(map.integer("burst", 1, 100'000).value_or(1));
  map.finish();
  return out;
}

LimitSpec PartLoader::limits(const Node& node) {
  LimitSpec out;
  MapReader map(node, diagnostics_, "'limits'");
  if (const Node* all = map.get("all")) out.all = rate(*all);
  if (const Node* operations = map.get("operations")) {
    for (const auto& [name, spec] : operations->members) {
      static const std::vector<std::string> kNames{"list", "get", "create", "delete"};
      if (std::find(kNames.begin(), kNames.end(), name.scalar) == kNames.end()) {
        diagnostics_.error(name, "yaml.unknown-key",
                           fmt::format("unknown operation '{}'; known are: list, get, create, delete", name.scalar));
      }
      out.operations.emplace_back(name.scalar, rate(spec));
    }
  }
  if (const Node* headers = map.get("waitHeaders")) {
    for (const Node& one : headers->items) {
      MapReader header(one, diagnostics_, "a wait header");
      header.need("name");
      WaitHeader wait{header.text("name").value_or(""), TimeUnit::kSeconds};
      if (const auto unit = header.choice("unit", kUnits)) wait.unit = static_cast<TimeUnit>(*unit);
      header.finish();
      out.wait_headers.push_back(std::move(wait));
    }
  }
  for (const char* later : {"device", "concurrency", "settle"}) {
    if (const Node* found = map.get(later)) not_supported(*found, fmt::format("limit '{}'", later));
  }
  map.finish();
  return out;
}

DefinitionTest PartLoader::test(const Node& node) {
  DefinitionTest out;
  out.line = node.line;
  MapReader map(node, diagnostics_, "a test");
  map.need("name");
  map.need("run");
  out.name = map.text("name").value_or("");
  static const std::vector<std::string> kRuns{"list", "get", "create", "delete"};
  if (const auto run = map.choice("run", kRuns)) out.run = kRuns[*run];
  const auto pairs = [](const Node* from) {
    std::vector<std::pair<std::string, std::string>> list;
    if (from) {
      for (const auto& [key, value] : from->members) list.emplace_back(key.scalar, value.scalar);
    }
    return list;
  };
  out.settings = pairs(map.get("settings"));
  if (const Node* device = map.get("device")) {
    MapReader fields(*device, diagnostics_, "'device'");
    out.device.id = DeviceId(fields.text("deviceId").value_or(""));
    if (const Node* tags = fields.get("tags"); tags && tags->is_map()) out.device.tags = tags->to_json().as_object();
    if (const Node* desired = fields.get("desired"); desired && desired->is_map())
      out.device.desired = desired->to_json().as_object();
    fields.finish();
  }
  if (const Node* exchanges = map.need("exchanges")) {
    for (const Node& one : exchanges->items) {
      MapReader fields(one, diagnostics_, "an exchange");
      DefinitionTest::Exchange exchange;
      fields.need("request");
      const std::string line = fields.text("request").value_or("");
      const size_t space = line.find(' ');
      exchange.method = line.substr(0, space);
      if (space != std::string::npos) exchange.url = line.substr(space + 1);
      if (exchange.url.empty()) diagnostics_.error(one, "definition.bad-test", "'request' is written as METHOD URL");
      exchange.headers = pairs(fields.get("headers"));
      exchange.body = fields.text("body");
      if (const Node* body = fields.get("json")) exchange.body_json = body->to_json();
      exchange.status = static_cast<int>(fields.integer("status", 100, 599).value_or(200));
      exchange.answer_headers = pairs(fields.get("answerHeaders"));
      if (const Node* answer = fields.get("answer"))
        exchange.answer = answer->is_scalar() ? answer->scalar : json::write(answer->to_json());
      fields.finish();
      out.exchanges.push_back(std::move(exchange));
    }
  }
  if (const Node* expect = map.need("expect")) {
    MapReader fields(*expect, diagnostics_, "'expect'");
    out.ids = fields.texts("ids");
    out.complete = fields.boolean("complete");
    out.outcome = fields.text("outcome").value_or("");
    fields.finish();
  }
  map.finish();
  return out;
}

}  // namespace twinstep::providers
