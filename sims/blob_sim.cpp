#include "sims/blob_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "sims/text.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/rng.h"
#include "twinstep/base/time_format.h"

namespace twinstep::sims {
namespace {

using http::ServerRequest;
using http::ServerResponse;

std::string trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return std::string(text);
}

std::string xml(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

std::multimap<std::string, std::string> query_of(const ServerRequest& request) {
  std::multimap<std::string, std::string> out;
  std::string_view rest = request.query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (pair.empty()) continue;
    const size_t eq = std::min(pair.find('='), pair.size());
    out.emplace(lower(percent_decode(pair.substr(0, eq))),
                percent_decode(eq < pair.size() ? pair.substr(eq + 1) : std::string_view{}));
  }
  return out;
}

uint64_t number(std::string_view text, uint64_t otherwise) {
  uint64_t n = 0;
  const auto [end, bad] = std::from_chars(text.data(), text.data() + text.size(), n);
  return bad == std::errc{} && end == text.data() + text.size() ? n : otherwise;
}

bool valid_container_name(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos &&
         name.front() != '-' && name.back() != '-' && name.find("--") == std::string_view::npos;
}

}  // namespace

BlobSim::BlobSim(BlobSimOptions options, Clock& clock) : options_(std::move(options)), clock_(clock) {
  if (!options_.identity_token.empty()) bearers_.insert(options_.identity_token);
}

void BlobSim::grant(std::set<std::string> bearers) {
  std::scoped_lock lock(mutex_);
  bearers_ = std::move(bearers);
}

std::string BlobSim::next_etag() { return fmt::format("0x{:X}", ++etags_); }

ServerResponse BlobSim::refuse(int status, std::string_view code, std::string_view text) const {
  ServerResponse r;
  r.status = status;
  r.headers = {{"x-ms-error-code", std::string(code)}, {"Content-Type", "application/xml"}};
  r.body = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<Error><Code>{}</Code><Message>{}\n"
      "RequestId:{}\nTime:{}</Message></Error>",
      code, text, Rng::real().hex_id(), format_iso_millis(clock_.system_now()));
  return r;
}

bool BlobSim::shared_key_ok(const ServerRequest& request) const {
  const std::string_view given = request.header("Authorization");
  const std::string prefix = fmt::format("SharedKey {}:", options_.account);
  if (given.substr(0, prefix.size()) != prefix) return false;
  const std::string_view date =
      request.header("x-ms-date").empty() ? request.header("Date") : request.header("x-ms-date");
  const auto sent = parse_http_date(date);
  if (!sent || std::chrono::abs(*sent - clock_.system_now()) > std::chrono::minutes{15}) return false;
  std::string text = request.method + "\n";
  for (const char* name : {"Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type",
                           "Date", "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"}) {
    std::string value(request.header(name));
    if (std::string_view(name) == "Content-Length" && value == "0") value.clear();
    if (std::string_view(name) == "Date" && !request.header("x-ms-date").empty()) value.clear();
    text += value + "\n";
  }
  std::map<std::string, std::string> own;
  for (const http::Header& h : request.headers)
    if (lower(h.name).starts_with("x-ms-")) own[lower(h.name)] = trim(h.value);
  for (const auto& [name, value] : own) text += name + ":" + value + "\n";
  text += "/" + options_.account + request.path;
  const auto query = query_of(request);
  for (auto it = query.begin(); it != query.end();) {
    std::vector<std::string> values;
    const std::string name = it->first;
    for (; it != query.end() && it->first == name; ++it) values.push_back(it->second);
    std::sort(values.begin(), values.end());
    text += fmt::format("\n{}:{}", name, fmt::join(values, ","));
  }
  return given.substr(prefix.size()) == base64_encode(hmac_sha256(base64_decode(options_.key).value_or(""), text));
}

int BlobSim::authorize(const ServerRequest& request, const Target& target, std::string_view needs,
                       std::string& code) const {
  code = "AuthenticationFailed";
  if (!request.header("Authorization").empty()) {
    if (std::string_view bearer = request.header("Authorization"); bearer.starts_with("Bearer ")) {
      bearer.remove_prefix(7);
      if (request.header("x-ms-version").empty()) return 403;  // tokens are known from a version on
      code = "AuthorizationPermissionMismatch";
      std::scoped_lock lock(mutex_);
      return bearers_.contains(std::string(bearer)) ? 0 : 403;
    }
    return shared_key_ok(request) ? 0 : 403;
  }
  const auto field = [&](std::string_view name) { return request.query_value(name); };
  if (field("sig").empty()) return 403;
  const std::string version = field("sv");
  const std::string resource = field("sr");
  std::string path = fmt::format("/blob/{}/{}", options_.account, target.container);
  if (resource == "b") path += "/" + target.blob;
  std::vector<std::string> fields{field("sp"), field("st"),  field("se"),  path,
                                  field("si"), field("sip"), field("spr"), version};
  if (version >= "2018-11-09") fields.insert(fields.end(), {resource, ""});
  if (version >= "2020-12-06") fields.push_back(field("ses"));
  for (const char* name : {"rscc", "rscd", "rsce", "rscl", "rsct"}) fields.push_back(field(name));
  const std::string text = fmt::format("{}", fmt::join(fields, "\n"));
  if (field("sig") != base64_encode(hmac_sha256(base64_decode(options_.key).value_or(""), text))) return 403;
  const SystemTime now = clock_.system_now();
  const auto expiry = parse_iso(field("se"));
  if (!expiry || *expiry <= now) return 403;
  if (const std::string start = field("st"); !start.empty())
    if (const auto from = parse_iso(start); !from || *from > now) return 403;
  if (field("spr") == "https" && !request.tls) {
    code = "AuthorizationProtocolMismatch";
    return 403;
  }
  // Permissions come in one order only, and a service SAS never covers the container itself.
  static constexpr std::string_view kOrder = "racwdxyltmeopi";
  size_t last = 0;
  for (char c : field("sp")) {
    const size_t at = kOrder.find(c, last);
    if (at == std::string_view::npos) return 403;
    last = at + 1;
  }
  code = "AuthorizationPermissionMismatch";
  return !needs.empty() && field("sp").find_first_of(needs) != std::string::npos ? 0 : 403;
}

ServerResponse BlobSim::handle(const ServerRequest& request) {
  ServerResponse response;
  const std::string prefix = "/" + options_.account;
  std::string_view rest = request.path;
  if (!rest.starts_with(prefix) || (rest.size() > prefix.size() && rest[prefix.size()] != '/')) {
    response = refuse(404, "ResourceNotFound", "No such account.");
  } else {
    rest.remove_prefix(prefix.size());
    if (!rest.empty()) rest.remove_prefix(1);
    const size_t slash = std::min(rest.find('/'), rest.size());
    Target target{percent_decode(rest.substr(0, slash)),
                  slash < rest.size() ? percent_decode(rest.substr(slash + 1)) : std::string{}};
    const std::string comp = request.query_value("comp");
    std::string_view needs;  // empty: only the account's key will do
    if (!target.blob.empty()) {
      if (request.method == "GET" || request.method == "HEAD") needs = "r";
      if (request.method == "DELETE") needs = "d";
      if (request.method == "PUT") needs = comp.empty() ? "cw" : "w";
    } else if (!target.container.empty() && comp == "list") {
      needs = "l";
    }
    std::string code;
    if (request.header("x-ms-version").empty() && request.query_value("sv").empty())
      response = refuse(400, "MissingRequiredHeader", "x-ms-version is required.");
    else if (const int status = authorize(request, target, needs, code); status != 0)
      response = refuse(status, code, "Server failed to authenticate or authorize the request.");
    else if (target.blob.empty())
      response = container_call(request, target.container);
    else
      response = blob_call(request, target);
  }
  response.headers.push_back({"Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0"});
  response.headers.push_back({"x-ms-request-id", Rng::real().hex_id()});
  if (!request.header("x-ms-version").empty())
    response.headers.push_back({"x-ms-version", std::string(request.header("x-ms-version"))});
  if (!request.header("x-ms-client-request-id").empty())
    response.headers.push_back({"x-ms-client-request-id", std::string(request.header("x-ms-client-request-id"))});
  if (request.method == "HEAD" && response.status >= 400) response.body.clear();
  return response;
}

ServerResponse BlobSim::list(const ServerRequest& request, const std::string& name, const Container& c) const {
  const std::string prefix = request.query_value("prefix");
  const std::string marker = request.query_value("marker");
  const uint64_t most = std::clamp<uint64_t>(number(request.query_value("maxresults"), 5000), 1, 5000);
  std::string blobs, next, last;
  uint64_t count = 0;
  for (auto it = c.blobs.upper_bound(marker); it != c.blobs.end(); ++it) {
    if (!it->first.starts_with(prefix)) continue;
    if (count == most) {
      next = last;
      break;
    }
    ++count;
    last = it->first;
    const std::string when = format_http_date(it->second.modified);
    blobs += fmt::format(
        "<Blob><Name>{}</Name><Properties><Creation-Time>{}</Creation-Time><Last-Modified>{}</Last-Modified><Etag>{}</"
        "Etag>"
        "<Content-Length>{}</Content-Length><Content-Type>{}</Content-Type><BlobType>BlockBlob</BlobType>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties></Blob>",
        xml(it->first), when, when, it->second.etag, it->second.data->size(), xml(it->second.type));
  }
  ServerResponse r;
  r.headers = {{"Content-Type", "application/xml"}};
  r.body = fmt::format(
      "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://{}/{}/\" "
      "ContainerName=\"{}\"><Prefix>{}</Prefix><Marker>{}</Marker><MaxResults>{}</MaxResults><Blobs>{}</Blobs>"
      "<NextMarker>{}</NextMarker></EnumerationResults>",
      request.header("Host"), options_.account, xml(name), xml(prefix), xml(marker), most, blobs, xml(next));
  return r;
}

ServerResponse BlobSim::container_call(const ServerRequest& request, const std::string& name) {
  std::scoped_lock lock(mutex_);
  ServerResponse r;
  if (name.empty()) {
    if (request.method != "GET" || request.query_value("comp") != "list")
      return refuse(400, "InvalidQueryParameterValue", "Not a known operation on the account.");
    const std::string prefix = request.query_value("prefix");
    const std::string marker = request.query_value("marker");
    const uint64_t most = std::clamp<uint64_t>(number(request.query_value("maxresults"), 5000), 1, 5000);
    std::string all, next, last;
    uint64_t count = 0;
    for (auto it = containers_.upper_bound(marker); it != containers_.end(); ++it) {
      if (!it->first.starts_with(prefix)) continue;
      if (count++ == most) {
        next = last;
        break;
      }
      last = it->first;
      all += fmt::format(
          "<Container><Name>{}</Name><Properties><Last-Modified>{}</Last-Modified><Etag>\"{}\"</Etag>"
          "</Properties></Container>",
          it->first, format_http_date(it->second.modified), it->second.etag);
    }
    r.headers = {{"Content-Type", "application/xml"}};
    r.body = fmt::format(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Prefix>{}</Prefix><Containers>{}"
        "</Containers><NextMarker>{}</NextMarker></EnumerationResults>",
        xml(prefix), all, next);
    return r;
  }
  if (request.query_value("restype") != "container")
    return refuse(400, "InvalidQueryParameterValue", "restype=container is required.");
  const auto found = containers_.find(name);
  if (request.method == "PUT") {
    if (name.size() < 3 || name.size() > 63)
      return refuse(400, "OutOfRangeInput", "Container names have 3 to 63 characters.");
    if (!valid_container_name(name)) return refuse(400, "InvalidResourceName", "The container name is not valid.");
    if (found != containers_.end())
      return refuse(409, "ContainerAlreadyExists", "The specified container already exists.");
    Container& c = containers_[name];
    c.etag = next_etag();
    c.modified = clock_.system_now();
    r.status = 201;
    r.headers = {{"ETag", "\"" + c.etag + "\""}, {"Last-Modified", format_http_date(c.modified)}};
    return r;
  }
  if (found == containers_.end()) return refuse(404, "ContainerNotFound", "The specified container does not exist.");
  if (request.method == "DELETE") {
    containers_.erase(found);
    r.status = 202;
    return r;
  }
  if (request.method != "GET" && request.method != "HEAD") return refuse(405, "UnsupportedHttpVerb", "Not supported.");
  if (request.query_value("comp") == "list") return list(request, name, found->second);
  r.headers = {{"ETag", "\"" + found->second.etag + "\""}, {"Last-Modified", format_http_date(found->second.modified)}};
  return r;
}

ServerResponse BlobSim::blob_call(const ServerRequest& request, const Target& target) {
  std::scoped_lock lock(mutex_);
  const auto found = containers_.find(target.container);
  if (found == containers_.end()) return refuse(404, "ContainerNotFound", "The specified container does not exist.");
  Container& c = found->second;
  const auto blob = c.blobs.find(target.blob);
  const bool exists = blob != c.blobs.end();
  const std::string comp = request.query_value("comp");
  const auto bare = [](std::string_view tag) {
    return tag.size() >= 2 && tag.front() == '"' ? tag.substr(1, tag.size() - 2) : tag;
  };
  const std::string_view match = request.header("If-Match");
  const std::string_view none = request.header("If-None-Match");
  const bool stale = !match.empty() && (!exists || (match != "*" && bare(match) != blob->second.etag));
  const bool taken = !none.empty() && exists && (none == "*" || bare(none) == blob->second.etag);
  ServerResponse r;
  if (request.method == "PUT") {
    if (comp == "block") {
      const std::string id = request.query_value("blockid");
      if (id.empty() || !base64_decode(id)) return refuse(400, "InvalidQueryParameterValue", "blockid must be base64.");
      auto& staged = c.staged[target.blob];
      if (!staged.empty() && staged.begin()->first.size() != id.size())
        return refuse(400, "InvalidBlobOrBlock", "All block ids of a blob must have one length.");
      if (staged.size() >= 50'000) return refuse(409, "BlockCountExceedsLimit", "At most 50,000 blocks.");
      staged[id] = request.body;
      r.status = 201;
      return r;
    }
    if (stale) return refuse(412, "ConditionNotMet", "The condition specified was not met.");
    if (taken) return refuse(409, "BlobAlreadyExists", "The specified blob already exists.");
    Blob made;
    std::map<std::string, std::string> blocks;
    if (comp == "blocklist") {
      std::string all;
      std::string_view body = request.body;
      for (size_t at = 0; (at = body.find('<', at)) != std::string_view::npos;) {
        const size_t close = body.find('>', at);
        if (close == std::string_view::npos) return refuse(400, "InvalidXmlDocument", "The block list is not XML.");
        const std::string_view tag = body.substr(at + 1, close - at - 1);
        at = close + 1;
        if (tag != "Latest" && tag != "Committed" && tag != "Uncommitted") continue;
        const size_t end = body.find('<', at);
        if (end == std::string_view::npos) return refuse(400, "InvalidXmlDocument", "The block list is not XML.");
        const std::string id = trim(body.substr(at, end - at));
        const auto& staged = c.staged[target.blob];
        const auto& old = c.committed[target.blob];
        auto from = staged.find(id);
        if (tag == "Committed" || (tag == "Latest" && from == staged.end())) {
          from = old.find(id);
          if (from == old.end()) return refuse(400, "InvalidBlockList", "The specified block list is invalid.");
        } else if (from == staged.end()) {
          return refuse(400, "InvalidBlockList", "The specified block list is invalid.");
        }
        all += from->second;
        blocks[id] = from->second;
      }
      made.data = std::make_shared<const std::string>(std::move(all));
      made.type = std::string(request.header("x-ms-blob-content-type"));
    } else if (comp.empty()) {
      if (request.header("x-ms-blob-type") != "BlockBlob")
        return refuse(400, "InvalidHeaderValue", "x-ms-blob-type must be BlockBlob.");
      made.data = std::make_shared<const std::string>(request.body);
      made.type = std::string(request.header("x-ms-blob-content-type"));
      if (made.type.empty()) made.type = std::string(request.header("Content-Type"));
    } else {
      return refuse(400, "InvalidQueryParameterValue", "Not a known operation on a blob.");
    }
    if (made.type.empty()) made.type = "application/octet-stream";
    made.etag = next_etag();
    made.modified = clock_.system_now();
    r.status = 201;
    r.headers = {{"ETag", "\"" + made.etag + "\""}, {"Last-Modified", format_http_date(made.modified)}};
    c.blobs[target.blob] = std::move(made);
    c.committed[target.blob] = std::move(blocks);
    c.staged.erase(target.blob);
    return r;
  }
  if (!exists) return refuse(404, "BlobNotFound", "The specified blob does not exist.");
  if (stale) return refuse(412, "ConditionNotMet", "The condition specified was not met.");
  if (request.method == "DELETE") {
    c.committed.erase(target.blob);
    c.blobs.erase(blob);
    r.status = 202;
    return r;
  }
  if (request.method != "GET" && request.method != "HEAD") return refuse(405, "UnsupportedHttpVerb", "Not supported.");
  if (taken) {
    r.status = 304;
    return r;
  }
  const Blob& b = blob->second;
  r.headers = {{"ETag", "\"" + b.etag + "\""},  {"Last-Modified", format_http_date(b.modified)},
               {"Content-Type", b.type},        {"Accept-Ranges", "bytes"},
               {"x-ms-blob-type", "BlockBlob"}, {"x-ms-lease-state", "available"}};
  std::string_view range = request.header("x-ms-range");
  if (range.empty()) range = request.header("Range");
  if (range.starts_with("bytes=")) {
    range.remove_prefix(6);
    const size_t dash = std::min(range.find('-'), range.size());
    const uint64_t total = b.data->size();
    const uint64_t from = number(range.substr(0, dash), UINT64_MAX);
    const uint64_t to = dash + 1 < range.size() ? number(range.substr(dash + 1), 0) : UINT64_MAX;
    if (from >= total || to < from) {
      ServerResponse bad = refuse(416, "InvalidRange", "The range specified is invalid for the size of the resource.");
      bad.headers.push_back({"Content-Range", fmt::format("bytes */{}", total)});
      return bad;
    }
    const uint64_t end = std::min(to, total - 1);
    r.status = 206;
    r.headers.push_back({"Content-Range", fmt::format("bytes {}-{}/{}", from, end, total)});
    r.body = b.data->substr(from, end - from + 1);
  } else {
    r.body = *b.data;
  }
  return r;
}

}  // namespace twinstep::sims
