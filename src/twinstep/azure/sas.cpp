#include "twinstep/azure/sas.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "twinstep/base/encoding.h"
#include "twinstep/base/time_format.h"

namespace twinstep::azure {
namespace {

constexpr std::string_view kBlobVersion = "2021-12-02";
constexpr std::chrono::seconds kTokenLife{3600};  // not hours: three quarters of one hour would round to none

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

void set_header(http::Request& request, std::string_view name, std::string value) {
  for (auto& h : request.headers) {
    if (lower(h.name) == lower(name)) {
      h.value = std::move(value);
      return;
    }
  }
  request.headers.push_back({std::string(name), std::move(value)});
}

Result<std::string> sign_with(const Secret& key, std::string_view text) {
  const auto bytes = base64_decode(key.reveal());
  if (!bytes) return fail(ErrorKind::kInvalid, "azure.bad-key", "the access key is not base64; copy the whole key");
  return base64_encode(hmac_sha256(*bytes, text));
}

class HubSas final : public http::Authenticator {
 public:
  HubSas(HubConnection connection, Clock& clock) : connection_(std::move(connection)), clock_(clock) {}

  Status sign(http::Request& request, const Call&) override {
    if (!connection_.signature.empty()) {
      set_header(request, "Authorization", std::string(connection_.signature.reveal()));
      return {};
    }
    std::scoped_lock lock(mutex_);
    const SystemTime now = clock_.system_now();
    // A clock that was set back makes the token's birth lie in the future: sign anew then too.
    if (token_.empty() || now >= born_ + kTokenLife * 3 / 4 || now < born_) {
      const auto expiry = std::chrono::floor<std::chrono::seconds>(now + kTokenLife).time_since_epoch().count();
      // The port is the transport's business; the token names the hub.
      const std::string resource = connection_.host.substr(0, connection_.host.find(':'));
      TRY_ASSIGN(token_, hub_sas_token(resource, connection_.key_name, connection_.key, expiry));
      born_ = now;
    }
    set_header(request, "Authorization", std::string(token_.reveal()));
    return {};
  }

  // The same key gives an equally refused token unless the cached one is old.
  Result<bool> renew(const http::Response&, const Call&) override {
    std::scoped_lock lock(mutex_);
    const bool old = !token_.empty() && clock_.system_now() - born_ > std::chrono::minutes{5};
    if (old) token_ = Secret();
    return old;
  }

 private:
  const HubConnection connection_;
  Clock& clock_;
  std::mutex mutex_;  // guards all below
  Secret token_;
  SystemTime born_{};
};

class BlobAuth final : public http::Authenticator {
 public:
  BlobAuth(StorageAccount account, Clock& clock) : account_(std::move(account)), clock_(clock) {}

  Status sign(http::Request& request, const Call&) override {
    set_header(request, "x-ms-version", std::string(kBlobVersion));
    set_header(request, "x-ms-date", format_http_date(clock_.system_now()));
    if (!account_.sas.empty()) {
      const std::string sas(account_.sas.reveal());
      // Signing happens per try; with_auth hands over a fresh copy, but a repeated one must not grow.
      if (request.url.find(sas) == std::string::npos) {
        request.url += (request.url.find('?') == std::string::npos ? "?" : "&") + sas;
      }
      return {};
    }
    const uint64_t length = request.body_source ? request.body_source->size() : request.body.size();
    TRY_ASSIGN(const std::string signature, sign_with(account_.key, shared_key_text(request, account_.name, length)));
    set_header(request, "Authorization", fmt::format("SharedKey {}:{}", account_.name, signature));
    return {};
  }
  Result<bool> renew(const http::Response&, const Call&) override { return false; }

 private:
  const StorageAccount account_;
  Clock& clock_;
};

class BlobTokenAuth final : public http::Authenticator {
 public:
  BlobTokenAuth(std::shared_ptr<TokenSource> tokens, Clock& clock)
      : bearer_(make_bearer_authenticator(std::move(tokens))), clock_(clock) {}

  Status sign(http::Request& request, const Call& call) override {
    set_header(request, "x-ms-version", std::string(kBlobVersion));
    set_header(request, "x-ms-date", format_http_date(clock_.system_now()));
    return bearer_->sign(request, call);
  }
  Result<bool> renew(const http::Response& refused, const Call& call) override { return bearer_->renew(refused, call); }

 private:
  const std::unique_ptr<http::Authenticator> bearer_;
  Clock& clock_;
};

}  // namespace

Result<Secret> hub_sas_token(std::string_view resource, std::string_view key_name, const Secret& key, int64_t expiry) {
  const std::string sr = percent_encode(resource);
  TRY_ASSIGN(const std::string signature, sign_with(key, fmt::format("{}\n{}", sr, expiry)));
  std::string token = fmt::format("SharedAccessSignature sr={}&sig={}&se={}", sr, percent_encode(signature), expiry);
  if (!key_name.empty()) token += fmt::format("&skn={}", percent_encode(key_name));
  return Secret(std::move(token));
}

std::unique_ptr<http::Authenticator> make_hub_sas_authenticator(HubConnection connection, Clock& clock) {
  return std::make_unique<HubSas>(std::move(connection), clock);
}

std::string shared_key_text(const http::Request& request, std::string_view account, uint64_t content_length) {
  std::map<std::string, std::string> headers;
  for (const auto& h : request.headers) {
    std::string_view v = h.value;
    while (!v.empty() && v.front() == ' ') v.remove_prefix(1);
    while (!v.empty() && v.back() == ' ') v.remove_suffix(1);
    headers[lower(h.name)] = std::string(v);
  }
  headers["content-length"] = content_length == 0 ? "" : std::to_string(content_length);
  if (headers.contains("x-ms-date")) headers["date"] = "";
  std::string out = request.method + "\n";
  for (const char* name : {"content-encoding", "content-language", "content-length", "content-md5", "content-type",
                           "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"}) {
    const auto it = headers.find(name);
    out += (it == headers.end() ? std::string() : it->second) + "\n";
  }
  for (const auto& [name, value] : headers) {
    if (name.starts_with("x-ms-")) out += fmt::format("{}:{}\n", name, value);
  }
  std::string_view url = request.url;
  if (const size_t scheme = url.find("://"); scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  const size_t query_at = url.find('?');
  const std::string_view place = url.substr(0, query_at);
  const size_t slash = place.find('/');
  out += fmt::format("/{}{}", account, slash == std::string_view::npos ? std::string_view("/") : place.substr(slash));
  if (query_at == std::string_view::npos) return out;
  std::map<std::string, std::vector<std::string>> parameters;
  std::string_view query = url.substr(query_at + 1);
  while (!query.empty()) {
    const size_t amp = query.find('&');
    const std::string_view pair = query.substr(0, amp);
    query = amp == std::string_view::npos ? std::string_view{} : query.substr(amp + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1);
    parameters[lower(percent_decode(pair.substr(0, equals)))].push_back(percent_decode(value));
  }
  for (auto& [name, values] : parameters) {
    std::sort(values.begin(), values.end());
    out += fmt::format("\n{}:{}", name, fmt::join(values, ","));
  }
  return out;
}

std::unique_ptr<http::Authenticator> make_blob_authenticator(StorageAccount account, Clock& clock) {
  return std::make_unique<BlobAuth>(std::move(account), clock);
}

std::unique_ptr<http::Authenticator> make_blob_token_authenticator(std::shared_ptr<TokenSource> tokens, Clock& clock) {
  return std::make_unique<BlobTokenAuth>(std::move(tokens), clock);
}

Result<Secret> container_sas(const StorageAccount& account, std::string_view container, std::string_view permissions,
                             std::string_view start, std::string_view expiry) {
  const std::string text = fmt::format("{}\n{}\n{}\n/blob/{}/{}\n\n\n\n{}\nc\n\n\n\n\n\n\n", permissions, start, expiry,
                                       account.name, container, kBlobVersion);
  TRY_ASSIGN(const std::string signature, sign_with(account.key, text));
  std::string query = fmt::format("sv={}", kBlobVersion);
  if (!start.empty()) query += fmt::format("&st={}", percent_encode(start));
  query += fmt::format("&se={}&sr=c&sp={}&sig={}", percent_encode(expiry), permissions, percent_encode(signature));
  return Secret(std::move(query));
}

}  // namespace twinstep::azure
