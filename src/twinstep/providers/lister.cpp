#include "twinstep/providers/lister.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "twinstep/providers/mapper.h"

namespace twinstep::providers {

namespace {

constexpr size_t kRememberedItems = 1u << 20;
constexpr int kUnreadableTries = 3;  // of a page that came, but is not JSON
constexpr size_t kMostParents = 100'000;

uint64_t hash_of(std::string_view text) {  // FNV-1a with a final mix
  uint64_t h = 1469598103934665603ull;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  h ^= h >> 32;
  h *= 0x9E3779B97F4A7C15ull;
  return h ^ (h >> 29);
}

std::optional<uint64_t> as_count(const json::value* v) {
  const auto text = v ? as_text(*v) : std::nullopt;
  uint64_t count = 0;
  if (!text || text->empty()) return {};
  const auto r = std::from_chars(text->data(), text->data() + text->size(), count);
  if (r.ec != std::errc{} || r.ptr != text->data() + text->size()) return {};
  return count;
}

/// The address with rel=next of a Link header; empty when there is none.
std::string next_link(std::string_view header) {
  for (size_t at = 0; (at = header.find('<', at)) != std::string_view::npos;) {
    const size_t end = header.find('>', at);
    if (end == std::string_view::npos) return {};
    const size_t following = header.find('<', end);
    const std::string_view parameters =
        header.substr(end, following == std::string_view::npos ? following : following - end);
    if (parameters.find("rel=\"next\"") != std::string_view::npos || parameters.find("rel=next") != std::string_view::npos) {
      return std::string(header.substr(at + 1, end - at - 1));
    }
    at = end;
  }
  return {};
}

bool by_number(PagingKind kind) { return kind == PagingKind::kPageNumber || kind == PagingKind::kOffset; }
bool by_address(PagingKind kind) { return kind == PagingKind::kNextUrl || kind == PagingKind::kLinkHeader; }

}  // namespace

bool SeenHashes::check_and_add(uint64_t hash) {
  if (hash == 0) hash = 1;
  if (slots_.empty()) slots_.resize(1024);
  size_t at = hash & (slots_.size() - 1);
  for (; slots_[at] != 0; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at] == hash) return true;
  }
  if (count_ >= limit_) return false;
  slots_[at] = hash;
  if (++count_ * 2 > slots_.size()) grow();
  return false;
}

void SeenHashes::grow() {
  std::vector<uint64_t> old(slots_.size() * 2);
  old.swap(slots_);
  for (uint64_t hash : old) {
    if (hash == 0) continue;
    size_t at = hash & (slots_.size() - 1);
    while (slots_[at] != 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = hash;
  }
}

struct Lister::Walk {
  Scope scope;
  int64_t number = 0;       // page number or offset of the next request
  std::string cursor;       // or address
  std::string first_url;    // the origin that later addresses must keep
  int pages = 0;
  uint64_t items = 0;
  uint64_t page_size = 0;   // declared, or what the first page held
  uint64_t last_size = 0;   // of the last page with items
  int last_page = 0;        // its number
  std::optional<uint64_t> total;
};

Lister::Lister(Connection& connection, const ItemSink& items, const BrokenSink& broken)
    : connection_(connection), definition_(connection.definition()), items_(items), broken_(broken), seen_(kRememberedItems) {
  unique_.device_id = definition_.device_id;
  if (!definition_.list->unique.empty()) {
    unique_.device_id = {definition_.list->unique, {}};
    unique_.device_id.filters.push_back(parse_filter("to-text", {}).value());
  }
  unique_mapper_ = make_mapper(unique_);
}

Status Lister::take_item(std::string_view item, const ItemPlace& place) {
  ++proof_.items;
  const auto mapped = unique_mapper_->map(item);
  const std::string_view id = mapped ? mapped->id : unique_mapper_->failed_id();
  if (!id.empty() && seen_.check_and_add(hash_of(id)) && doubled_.empty()) {
    doubled_ = fmt::format("{} holds a device that an earlier item held already ({})", to_string(place), id);
  }
  const Status taken = items_(item, place);
  if (!taken) sink_failed_ = true;
  return taken;
}

Result<Lister::Page> Lister::parse_page(const PageSource& source, const http::Response& response, const std::string& url,
                                        const Take& take) {
  Page out;
  const auto unreadable = [&](std::string_view why) {
    return fail(ErrorKind::kCorrupt, "external.bad-page",
                fmt::format("{}: {} is not a list: {}", definition_.name, url.substr(0, url.find('?')), why));
  };
  // The whole page is checked before any of it is given away: a page cut in the middle must not count as read.
  simdjson::dom::parser whole;
  simdjson::dom::element root;
  const simdjson::padded_string padded(response.body);
  if (const auto e = whole.parse(padded).get(root)) return unreadable(simdjson::error_message(e));
  simdjson::dom::element list;
  const bool there = !root.at_pointer(source.items).get(list) && !list.is_null();
  if (!there && !source.missing_is_empty) return unreadable(fmt::format("there is nothing at '{}'", source.items));
  if (there && !list.is_array()) return unreadable(fmt::format("'{}' is not an array", source.items));

  const auto scalar = [&](const std::string& pointer) -> std::optional<json::value> {
    simdjson::dom::element found;
    if (root.at_pointer(pointer).get(found)) return {};
    auto text = json::parse(simdjson::minify(found), "page");
    if (!text) return {};
    return std::move(*text);
  };
  if (source.end.total_pointer) {
    const auto v = scalar(*source.end.total_pointer);
    out.total = as_count(v ? &*v : nullptr);
  }
  if (!source.end.total_header.empty()) {
    const json::value header = json::string(response.header(source.end.total_header));
    out.total = as_count(&header);
  }
  if (source.end.flag_pointer) {
    const auto v = scalar(*source.end.flag_pointer);
    if (v && v->is_bool()) out.more = v->get_bool();
  }
  const Paging& paging = source.paging;
  if (paging.kind == PagingKind::kCursor || paging.kind == PagingKind::kNextUrl) {
    if (!paging.header.empty()) {
      out.next = response.header(paging.header);
    } else if (const auto v = scalar(paging.pointer)) {
      out.next = as_text(*v).value_or("");
    }
  }
  if (paging.kind == PagingKind::kLinkHeader) out.next = next_link(response.header("Link"));
  if (!there) return out;

  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  simdjson::ondemand::array array;
  if (const auto e = parser.iterate(padded).get(document)) return unreadable(simdjson::error_message(e));
  if (source.items.empty() ? document.get_array().get(array) : document.at_pointer(source.items).get_array().get(array)) {
    return unreadable("the array cannot be walked");
  }
  ++page_;
  std::string last;
  for (auto element : array) {
    simdjson::ondemand::value v;
    if (std::move(element).get(v)) return unreadable("an element cannot be read");
    const ItemPlace place{page_, ++out.items};
    simdjson::ondemand::json_type type;
    if (v.type().get(type)) return unreadable("an element cannot be read");
    std::string_view text;
    if (type == simdjson::ondemand::json_type::object) {
      simdjson::ondemand::object object;
      if (v.get_object().get(object) || object.raw_json().get(text)) return unreadable("an element cannot be read");
      out.hash = out.hash * 31 + hash_of(text);
      if (paging.kind == PagingKind::kLastItem) last = text;
      TRY(take(text, place));
    } else {
      text = v.raw_json_token();
      out.hash = out.hash * 31 + hash_of(text);
      const Status told = broken_(text.substr(0, 200), place, "not a JSON object");
      if (!told) {
        sink_failed_ = true;
        return fail(told.error());
      }
    }
  }
  if (!last.empty()) {
    const auto item = json::parse(last, "last item");
    const json::value* v = item ? json::at(*item, paging.pointer) : nullptr;
    out.next = v ? as_text(*v).value_or("") : "";
  }
  return out;
}

Result<Lister::Page> Lister::read_page(const PageSource& source, Walk& walk, const Take& take, const Call& call) {
  const Paging& paging = source.paging;
  Scope& scope = walk.scope;
  if (paging.kind == PagingKind::kPageNumber) scope.values["page"] = walk.number;
  if (paging.kind == PagingKind::kOffset) scope.values["offset"] = walk.number;
  if (paging.size > 0) scope.values["size"] = paging.size;
  if (!walk.cursor.empty()) scope.values["cursor"] = json::string(walk.cursor);
  TRY_ASSIGN(http::Request request, connection_.build(source.request, scope));
  if (walk.first_url.empty()) walk.first_url = request.url;
  if (by_address(paging.kind) && !walk.cursor.empty()) {
    const std::string origin = origin_of(walk.first_url);
    std::string next = walk.cursor;
    if (next.starts_with("/") && !next.starts_with("//")) {
      next = origin + next;
    } else if (next.starts_with("?")) {
      next = walk.first_url.substr(0, walk.first_url.find('?')) + next;
    }
    if (origin_of(next) != origin) {
      return fail(ErrorKind::kCorrupt, "external.foreign-address",
                  fmt::format("{}: the list goes on at another host than {}, which is not followed", definition_.name, origin));
    }
    request.url = next;
  }
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(const http::Response response, connection_.send(request, Operation::kList, {}, true, call));
    const auto& ends = source.end.statuses;
    if (std::find(ends.begin(), ends.end(), response.status) != ends.end()) {
      Page end;
      end.status = response.status;
      end.end_by_status = true;
      return end;
    }
    const Outcome outcome = classify(response, {}, Operation::kList);
    if (outcome != Outcome::kOk) return fail(connection_.refusal(request, response, outcome));
    auto page = parse_page(source, response, request.url, take);
    if (page || sink_failed_ || attempt == kUnreadableTries || page.error().code != "external.bad-page") return page;
    if (!connection_.pause(attempt, call)) return page;
  }
}

Result<std::string> Lister::probe(const PageSource& source, Walk& walk, const Call& call) {
  const int64_t ended = walk.number;
  walk.number += source.paging.kind == PagingKind::kOffset ? static_cast<int64_t>(std::max<uint64_t>(walk.page_size, 1)) : 1;
  const int pages_before = page_;
  const auto nothing = [](std::string_view, const ItemPlace&) -> Status { return {}; };
  const auto page = read_page(source, walk, nothing, call);
  page_ = pages_before;
  const std::string what = source.paging.kind == PagingKind::kOffset ? "offset" : "page";
  if (!page) {
    if (page.error().kind == ErrorKind::kCancelled) return fail(page.error());
    return fmt::format("the list ended at {} {} after a full page, and the one behind could not be checked: {}", what, ended, page.error().what);
  }
  if (page->items > 0) return fmt::format("{} {} is empty or answered 404, but {} {} has devices", what, ended, what, walk.number);
  return std::string{};
}

Result<std::string> Lister::walk_list(const PageSource& source, const Scope& scope, const Take& take, bool first_page_only,
                                      const Call& call) {
  Walk walk;
  walk.scope = scope;
  walk.number = source.paging.first;
  walk.page_size = static_cast<uint64_t>(source.paging.size);
  const PagingKind kind = source.paging.kind;
  SeenHashes page_hashes(kRememberedItems);
  SeenHashes cursors(kRememberedItems);
  const auto totals_agree = [&]() -> std::string {
    if (!walk.total || walk.items == *walk.total) return {};
    return fmt::format("the remote states {} devices, but {} came", *walk.total, walk.items);
  };
  while (true) {
    auto read = read_page(source, walk, take, call);
    if (!read) {
      const ErrorKind bad = read.error().kind;
      if (sink_failed_ || bad == ErrorKind::kCancelled || proof_.pages == 0) return fail(std::move(read).error());
      return fmt::format("page {} could not be read: {}", walk.pages + 1, read.error().what);
    }
    const Page& page = *read;
    if (page.total && walk.total && *page.total != *walk.total) {
      return fmt::format("the stated total changed from {} to {} while the list was read", *walk.total, *page.total);
    }
    if (page.total) proof_.stated_total = walk.total = page.total;
    if (page.end_by_status && walk.pages == 0 && walk.items == 0) {
      ++proof_.pages;  // an answer, though a doubtful one: an empty list that proves nothing
      return fmt::format("the first page answered {}: nothing is listed there, or the address is wrong", page.status);
    }
    if (page.end_by_status || page.items == 0) {
      if (!page.end_by_status) {
        ++walk.pages;
        ++proof_.pages;
      }
      if (walk.total) return totals_agree();
      if (page.more && *page.more) return fmt::format("page {} is empty, although the remote says that there is more", walk.pages);
      if (!page.next.empty() && kind != PagingKind::kLastItem) return fmt::format("page {} is empty, but names a page that follows", walk.pages);
      // After a full page the end may as well be a hole; a short one ended the list by itself.
      const bool full = walk.items > 0 && walk.last_size >= walk.page_size;
      if (by_number(kind) && full && !page.more && !first_page_only) return probe(source, walk, call);
      return std::string{};
    }
    ++walk.pages;
    ++proof_.pages;
    walk.items += page.items;
    if (kind != PagingKind::kNone && page_hashes.check_and_add(page.hash)) return fmt::format("page {} repeats an earlier page", walk.pages);
    if (kind == PagingKind::kPageNumber) {
      if (walk.page_size == 0) walk.page_size = page.items;
      if (walk.last_page > 0 && walk.last_size < walk.page_size) {
        return fmt::format("page {} has only {} of {} devices, but page {} has devices too", walk.last_page, walk.last_size,
                           walk.page_size, walk.pages);
      }
      if (page.items > walk.page_size && walk.last_page > 0) {
        return fmt::format("page {} has {} devices, more than a page before it ({}): a page was not full", walk.pages, page.items, walk.page_size);
      }
    }
    if (walk.page_size == 0) walk.page_size = page.items;
    walk.last_size = page.items;
    walk.last_page = walk.pages;
    if (first_page_only) return std::string("only the first page was read");

    if (walk.total && walk.items >= *walk.total) return totals_agree();
    if (page.more && !*page.more) return totals_agree();
    if (source.end.short_page > 0 && page.items < static_cast<uint64_t>(source.end.short_page)) return totals_agree();
    if (kind == PagingKind::kNone) return totals_agree();
    if (kind == PagingKind::kPageNumber) {
      ++walk.number;
    } else if (kind == PagingKind::kOffset) {
      walk.number += static_cast<int64_t>(page.items);
    } else {
      if (page.next.empty()) {
        if (kind == PagingKind::kLastItem) return fmt::format("the last item of page {} has nothing at '{}' to go on from", walk.pages, source.paging.pointer);
        if (page.more && *page.more) return fmt::format("page {} says that there is more, but names no page that follows", walk.pages);
        return totals_agree();
      }
      if (cursors.check_and_add(hash_of(page.next))) return fmt::format("page {} leads back to a page that was read already", walk.pages);
      walk.cursor = page.next;
    }
    if (walk.pages >= source.paging.max_pages) return fmt::format("the list has more than {} pages", source.paging.max_pages);
  }
}

Result<ListProof> Lister::run(bool first_page_only, const Call& call) {
  const ListSpec& list = *definition_.list;
  const Take take = [this](std::string_view item, const ItemPlace& place) { return take_item(item, place); };
  if (!list.parents) {
    TRY_ASSIGN(proof_.why_incomplete, walk_list(list.pages, connection_.scope(), take, first_page_only, call));
  } else {
    const Parents& parents = *list.parents;
    std::vector<std::string> ids;
    TRY_ASSIGN(const std::string given, TextTemplate::parse(parents.setting.empty() ? "" : "{settings." + parents.setting + "|default:''}", {})->expand(connection_.scope()));
    for (size_t from = 0; from < given.size();) {
      const size_t end = std::min(given.find(',', from), given.size());
      std::string id = given.substr(from, end - from);
      while (!id.empty() && id.back() == ' ') id.pop_back();
      while (!id.empty() && id.front() == ' ') id.erase(0, 1);
      if (!id.empty()) ids.push_back(std::move(id));
      from = end + 1;
    }
    if (ids.empty() && parents.listed) {
      const Take collect = [&](std::string_view item, const ItemPlace& place) -> Status {
        TRY_ASSIGN(const json::value parent, json::parse(item, to_string(place)));
        const json::value* id = json::at(parent, parents.id);
        const std::string text = id ? as_text(*id).value_or("") : "";
        if (text.empty() || ids.size() >= kMostParents) {
          return fail(ErrorKind::kCorrupt, "external.bad-parent",
                      fmt::format("{}: {} of the parents has no id at '{}', or there are too many", definition_.name, to_string(place), parents.id));
        }
        ids.push_back(text);
        return {};
      };
      TRY_ASSIGN(proof_.why_incomplete, walk_list(*parents.listed, connection_.scope(), collect, false, call));
      if (!proof_.why_incomplete.empty()) proof_.why_incomplete = "the list of parents: " + proof_.why_incomplete;
    }
    if (ids.empty()) {
      return fail(ErrorKind::kInvalid, "external.no-parents",
                  fmt::format("{}: there is nothing to list devices in{}", definition_.name,
                              parents.setting.empty() ? "" : fmt::format("; set '{}'", parents.setting)));
    }
    proof_.pages = 0;
    page_ = 0;
    for (const std::string& id : ids) {
      Scope scope = connection_.scope();
      scope.values[parents.as] = json::object{{"id", id}};
      proof_.stated_total.reset();  // each parent states its own
      TRY_ASSIGN(const std::string why, walk_list(list.pages, scope, take, first_page_only, call));
      if (!why.empty() && proof_.why_incomplete.empty()) proof_.why_incomplete = fmt::format("{} {}: {}", parents.as, id, why);
      if (first_page_only && proof_.items > 0) break;
    }
  }
  if (!proof_.why_incomplete.empty() && proof_.pages == 0) {
    return fail(ErrorKind::kCorrupt, "external.no-list", fmt::format("{}: {}", definition_.name, proof_.why_incomplete));
  }
  if (proof_.why_incomplete.empty()) proof_.why_incomplete = doubled_;
  proof_.complete = proof_.why_incomplete.empty();
  return proof_;
}

}  // namespace twinstep::providers
