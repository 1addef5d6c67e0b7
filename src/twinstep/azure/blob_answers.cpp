#include "twinstep/azure/blob_answers.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "twinstep/azure/answer.h"
#include "twinstep/azure/xml_reader.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

std::string without_quotes(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::optional<SystemTime> http_date(std::string_view text) {
  const auto time = parse_http_date(text);
  return time ? std::optional(*time) : std::nullopt;
}

// Names with characters that XML cannot carry come percent-encoded and say so.
std::string name_of(const XmlElement& element) {
  return element.attribute("Encoded") == "true" ? percent_decode(element.text) : std::string(element.text);
}

tl::unexpected<Error> bad_list(std::string_view why) {
  return fail(ErrorKind::kCorrupt, "blob.bad-list",
              fmt::format("the answer is not a list of the blob service: {}", why));
}

// Reads the frame that both lists share; `field` sees the rest.
template <class Field>
Result<std::string> read_list(std::string_view xml, Field field) {
  constexpr std::string_view kRoot = "EnumerationResults";
  std::string next;
  bool right_root = false;
  const Status read = read_xml(xml, [&](const XmlElement& element) -> Status {
    if (element.path == kRoot) {
      right_root = true;
      return {};
    }
    if (!element.path.starts_with(kRoot) || element.path.size() < kRoot.size() + 2) return {};
    const std::string_view path = element.path.substr(kRoot.size() + 1);
    if (path == "NextMarker") {
      next = std::string(element.text);
      return {};
    }
    return field(path, element);
  });
  if (!read) return bad_list(read.error().what);
  if (!right_root) return bad_list("its root element is not EnumerationResults");
  return next;
}

// One word such as "ContainerNotFound"; anything else is no code of the service.
std::string symbolic(std::string_view text) {
  const bool good = !text.empty() && text.size() <= 80 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
  return good ? std::string(text) : std::string();
}

struct ServerText {
  std::string code;
  std::string message;  // first line; the others are request id and time
};

ServerText server_text(const http::Response& response) {
  ServerText out;
  const Status read = read_xml(response.body, [&](const XmlElement& element) -> Status {
    if (element.path == "Error/Code") out.code = symbolic(element.text);
    if (element.path == "Error/Message") {
      out.message = std::string(element.text.substr(0, std::min<size_t>(element.text.find_first_of("\r\n"), 300)));
    }
    return {};
  });
  if (!read) out = {};  // a proxy's page, or the empty body of HEAD
  if (const std::string code = symbolic(response.header("x-ms-error-code")); !code.empty()) out.code = code;
  return out;
}

ErrorKind kind_of(int status) {
  switch (status) {
    case 401:
    case 403:
      return ErrorKind::kDenied;
    case 404:
      return ErrorKind::kNotFound;
    case 408:
      return ErrorKind::kTimeout;
    case 409:
    case 412:
      return ErrorKind::kConflict;
    case 429:
      return ErrorKind::kThrottled;
    default:
      break;
  }
  if (status >= 500) return ErrorKind::kUnavailable;
  if (status < 300) return ErrorKind::kCorrupt;
  return ErrorKind::kInvalid;
}

std::string advice(int status, std::string_view code, const http::Response& response, SystemTime now) {
  if (status == 401 || status == 403) {
    if (code == "AuthorizationPermissionMismatch" || code == "AuthorizationResourceTypeMismatch" ||
        code == "AuthorizationServiceMismatch") {
      return "the credentials lack the right for this; a SAS needs read, add, create, write, delete and list, and "
             "making or deleting containers takes an account key; an identity needs the role Storage Blob Data "
             "Contributor";
    }
    if (code == "AuthorizationSourceIPMismatch") return "the SAS does not allow this machine's address";
    if (code == "AuthorizationProtocolMismatch") return "the SAS demands https";
    if (code == "AccountIsDisabled") return "the storage account is disabled";
    if (code == "KeyBasedAuthenticationNotPermitted")
      return "the storage account forbids account keys; use storage.account with entra instead of a connection string";
    std::string text =
        "check that the key or SAS of the storage connection string belongs to this account and is still "
        "valid, and that the account's firewall lets this machine in";
    if (const auto skew = clock_skew(response, now); skew && std::abs(skew->count()) > 300) {
      text += fmt::format("; this machine's clock is {} s {} the service's", std::abs(skew->count()),
                          skew->count() > 0 ? "ahead of" : "behind");
    }
    return text;
  }
  if (code == "ContainerNotFound") return "the container does not exist";
  if (code == "BlobNotFound") return "the blob does not exist";
  if (code == "ContainerAlreadyExists") return "the container exists already";
  if (code == "ContainerBeingDeleted")
    return "the container is still being deleted; try again in a minute or take another name";
  if (status == 412) return "the blob changed meanwhile";
  if (status >= 300 && status < 400) return "a redirect; check the endpoint in the storage connection string";
  return {};
}

}  // namespace

Result<BlobPage<ContainerInfo>> parse_container_list(std::string_view xml) {
  BlobPage<ContainerInfo> page;
  ContainerInfo item;
  auto next = read_list(xml, [&](std::string_view path, const XmlElement& element) -> Status {
    if (path == "Containers/Container/Name") {
      item.name = name_of(element);
    } else if (path == "Containers/Container/Properties/Last-Modified") {
      item.last_modified = http_date(element.text);
    } else if (path == "Containers/Container") {
      if (item.name.empty()) return fail(ErrorKind::kCorrupt, "blob.bad-list", "a container has no name");
      page.items.push_back(std::exchange(item, {}));
    }
    return {};
  });
  TRY_ASSIGN(page.next_marker, std::move(next));
  return page;
}

Result<BlobPage<BlobInfo>> parse_blob_list(std::string_view xml) {
  BlobPage<BlobInfo> page;
  BlobInfo item;
  auto next = read_list(xml, [&](std::string_view path, const XmlElement& element) -> Status {
    if (path == "Blobs/Blob/Name") {
      item.name = name_of(element);
    } else if (path == "Blobs/Blob/Properties/Content-Length") {
      const auto size = number(element.text);
      if (!size) return fail(ErrorKind::kCorrupt, "blob.bad-list", "a blob's Content-Length is no number");
      item.size = *size;
    } else if (path == "Blobs/Blob/Properties/Etag") {
      item.etag = without_quotes(element.text);
    } else if (path == "Blobs/Blob/Properties/Last-Modified") {
      item.last_modified = http_date(element.text);
    } else if (path == "Blobs/Blob") {
      if (item.name.empty()) return fail(ErrorKind::kCorrupt, "blob.bad-list", "a blob has no name");
      page.items.push_back(std::exchange(item, {}));
    }
    return {};
  });
  TRY_ASSIGN(page.next_marker, std::move(next));
  return page;
}

Result<BlobInfo> parse_properties(std::string_view blob, const http::Response& response) {
  const auto size = number(response.header("Content-Length"));
  if (!size) return fail(ErrorKind::kCorrupt, "blob.bad-properties", "the answer has no readable Content-Length");
  return BlobInfo{std::string(blob), *size, without_quotes(response.header("ETag")),
                  http_date(response.header("Last-Modified"))};
}

Error blob_error(const http::Response& response, std::string_view context, SystemTime now) {
  const ServerText server = server_text(response);
  Error error;
  error.kind = kind_of(response.status);
  error.remote_status = response.status;
  error.remote_code = server.code;
  error.request_id = std::string(response.header("x-ms-request-id"));
  error.retry_after = http::retry_after(response, now);
  error.code = server.code.empty() ? fmt::format("blob.http-{}", response.status) : "blob." + server.code;
  error.what = fmt::format("{}: {}", context, response.status);
  if (!server.code.empty()) error.what += " " + server.code;
  std::string why = advice(response.status, server.code, response, now);
  if (why.empty()) why = server.message;
  if (why.empty() && server.code.empty()) why = "the answer does not look like one of the blob service";
  if (!why.empty()) error.what += ": " + why;
  return error;
}

}  // namespace twinstep::azure
