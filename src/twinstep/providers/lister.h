#pragma once

#include <cstdint>
#include <vector>

#include "twinstep/providers/connection.h"

namespace twinstep::providers {

/// Remembers 64-bit hashes up to a limit; beyond it, new ones are only looked up. A wrong alarm is as rare as two equal
/// hashes among a million, and only blocks deletes.
class SeenHashes {
 public:
  explicit SeenHashes(size_t limit) : limit_(limit) {}
  /// True when `hash` was there before.
  bool check_and_add(uint64_t hash);

 private:
  void grow();
  size_t limit_;
  size_t count_ = 0;
  std::vector<uint64_t> slots_;  // open addressing, 0 = free
};

/// Reads a whole list page by page and says whether it is surely complete.
///
/// How a list ends counts: by a rule that proves it (total reached, no cursor, `more` false, a page under a declared
/// size); or by 404 or an empty page after a page that was shorter than the others; or, when the last page was full,
/// after a probe of the page behind the end found nothing there either. Anything else is an incomplete list: a page
/// that repeats, a page after a short one, an item on two pages, a total that differs, a page that stays unreadable.
///
/// Threads  one thread at a time; one Lister per listing.
class Lister {
 public:
  Lister(Connection& connection, const ItemSink& items, const BrokenSink& broken);

  Result<ListProof> run(bool first_page_only, const Call& call);

 private:
  struct Page {
    int status = 200;
    bool end_by_status = false;
    uint64_t items = 0;
    uint64_t hash = 0;
    std::optional<uint64_t> total;
    std::optional<bool> more;
    std::string next;  ///< cursor, last item's field or next address
  };
  struct Walk;  // where one list stands

  /// Takes one element of a page.
  using Take = std::function<Status(std::string_view item, const ItemPlace& place)>;

  Result<Page> read_page(const PageSource& source, Walk& walk, const Take& take, const Call& call);
  Result<Page> parse_page(const PageSource& source, const http::Response& response, const std::string& url,
                          const Take& take);
  /// Reads one list to its end; the reason when it is incomplete, else empty.
  Result<std::string> walk_list(const PageSource& source, const Scope& scope, const Take& take, bool first_page_only,
                                const Call& call);
  Result<std::string> probe(const PageSource& source, Walk& walk, const Call& call);
  Status take_item(std::string_view item, const ItemPlace& place);

  Connection& connection_;
  const Definition& definition_;
  const ItemSink& items_;
  const BrokenSink& broken_;
  Definition unique_;  // maps what no two items share
  std::unique_ptr<Mapper> unique_mapper_;
  SeenHashes seen_;
  ListProof proof_;
  int page_ = 0;         // pages read, over all parents
  std::string doubled_;  // where an item came a second time
  bool sink_failed_ = false;
};

}  // namespace twinstep::providers
