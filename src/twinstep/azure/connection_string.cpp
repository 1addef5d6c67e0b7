#include "twinstep/azure/connection_string.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>
#include <vector>

#include "twinstep/azure/blob_client.h"
#include "twinstep/base/encoding.h"
#include "twinstep/base/units.h"

namespace twinstep::azure {
namespace {

using Names = std::vector<std::string_view>;
using Parts = std::map<std::string_view, std::string, std::less<>>;  // keyed by the known spelling

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.front()))) s.remove_prefix(1);
  while (!s.empty() && std::isspace(static_cast<unsigned char>(s.back()))) s.remove_suffix(1);
  return s;
}

struct Kind {
  std::string_view code;
  std::string_view title;
};
constexpr Kind kHub{"hub.bad-connection-string", "IoT Hub connection string"};
constexpr Kind kStorage{"storage.bad-connection-string", "storage connection string"};

tl::unexpected<Error> bad(const Kind& kind, std::string_view why) {
  return fail(ErrorKind::kInvalid, std::string(kind.code), fmt::format("{}: {}", kind.title, why));
}

/// A part's name is shown only when it looks like a name: of a mangled string, any piece may be a secret.
bool looks_like_name(std::string_view s) {
  return !s.empty() && s.size() <= 32 &&
         std::all_of(s.begin(), s.end(), [](unsigned char c) { return std::isalpha(c) != 0; });
}

Result<Parts> split(std::string_view text, const Names& names, const Kind& kind) {
  text = trim(text);
  if (text.empty()) return bad(kind, "is empty");
  // A line break in a part would end a header or an address that the part goes into.
  if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return bad(kind, "holds a line break or another control character; it must be one line");
  }
  Parts parts;
  size_t position = 0;
  while (!text.empty()) {
    ++position;
    const size_t semicolon = text.find(';');
    const std::string_view piece = trim(text.substr(0, semicolon));
    text = semicolon == std::string_view::npos ? std::string_view{} : text.substr(semicolon + 1);
    if (piece.empty()) continue;
    const size_t equals = piece.find('=');
    if (equals == std::string_view::npos) {
      return bad(kind, fmt::format("part {} has no '='; expected Name=value parts separated by ';'", position));
    }
    const std::string_view name = trim(piece.substr(0, equals));
    const auto known = std::find_if(names.begin(), names.end(), [&](auto n) { return same_name(n, name); });
    if (known == names.end()) {
      if (!looks_like_name(name)) return bad(kind, fmt::format("part {} has no readable name", position));
      const std::string guess = nearest(name, names);
      // A name that resembles no known one may be a piece of a key.
      if (guess.empty()) {
        return bad(kind, fmt::format("part {} has an unknown name; known are {}", position, fmt::join(names, ", ")));
      }
      return bad(kind, fmt::format("unknown part '{}'; did you mean '{}'?", name, guess));
    }
    if (!parts.emplace(*known, trim(piece.substr(equals + 1))).second) {
      return bad(kind, fmt::format("'{}' is given twice", *known));
    }
  }
  return parts;
}

std::string take(Parts& parts, std::string_view name) {
  const auto it = parts.find(name);
  return it == parts.end() ? std::string() : it->second;
}

bool all_of(std::string_view text, std::string_view extra) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c < 128 && std::isalnum(c) != 0) || extra.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool good_host(std::string_view host) {
  const size_t colon = host.find(':');
  if (colon != std::string_view::npos) {
    const std::string_view digits = host.substr(colon + 1);
    int port = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port < 1 || port > 65535) return false;
    host = host.substr(0, colon);
  }
  return all_of(host, "_-.");
}

bool good_key(std::string_view key) {
  const auto bytes = base64_decode(key);
  return bytes && !bytes->empty();
}

}  // namespace

Result<HubConnection> HubConnection::parse(std::string_view text) {
  static const Names names{"HostName", "SharedAccessKeyName", "SharedAccessKey", "SharedAccessSignature", "DeviceId",
                           "ModuleId", "GatewayHostName"};
  TRY_ASSIGN(Parts parts, split(text, names, kHub));
  if (parts.contains("DeviceId") || parts.contains("ModuleId")) {
    return bad(kHub,
               "belongs to a device ('DeviceId'); take the one of a shared access policy of the hub, for example "
               "iothubowner");
  }
  HubConnection out;
  out.host = take(parts, "HostName");
  if (out.host.empty()) return bad(kHub, "'HostName' is missing");
  if (!good_host(out.host)) {
    return bad(kHub, "'HostName' must be a host such as contoso.azure-devices.net, without https://");
  }
  out.key_name = take(parts, "SharedAccessKeyName");
  out.key = Secret(take(parts, "SharedAccessKey"));
  out.signature = Secret(take(parts, "SharedAccessSignature"));
  if (!out.signature.empty()) {
    if (!out.key.empty()) return bad(kHub, "holds both 'SharedAccessKey' and 'SharedAccessSignature'; give one");
    return out;
  }
  if (out.key.empty()) return bad(kHub, "'SharedAccessKey' is missing");
  if (out.key_name.empty()) return bad(kHub, "'SharedAccessKeyName' is missing");
  if (!all_of(out.key_name, "_-@.") || out.key_name.size() > 256) {
    return bad(kHub, "'SharedAccessKeyName' is not a policy name");
  }
  if (!good_key(out.key.reveal()))
    return bad(kHub, "'SharedAccessKey' is not base64; copy the whole key, with its '='");
  return out;
}

Result<StorageAccount> StorageAccount::parse(std::string_view text) {
  static const Names names{"DefaultEndpointsProtocol",
                           "AccountName",
                           "AccountKey",
                           "EndpointSuffix",
                           "BlobEndpoint",
                           "QueueEndpoint",
                           "TableEndpoint",
                           "FileEndpoint",
                           "SharedAccessSignature",
                           "UseDevelopmentStorage",
                           "DevelopmentStorageProxyUri",
                           "BlobSecondaryEndpoint",
                           "QueueSecondaryEndpoint",
                           "TableSecondaryEndpoint",
                           "FileSecondaryEndpoint",
                           "DfsEndpoint"};
  TRY_ASSIGN(Parts parts, split(text, names, kStorage));
  StorageAccount out;
  if (parts.contains("UseDevelopmentStorage")) {
    if (!same_name(take(parts, "UseDevelopmentStorage"), "true")) {
      return bad(kStorage, "'UseDevelopmentStorage' may only be true");
    }
    std::string base = take(parts, "DevelopmentStorageProxyUri");
    if (base.empty()) base = "http://127.0.0.1";
    if (!base.starts_with("http://") && !base.starts_with("https://")) {
      return bad(kStorage, "'DevelopmentStorageProxyUri' must start with http:// or https://");
    }
    while (base.ends_with('/')) base.pop_back();
    out.name = "devstoreaccount1";
    // Public: the same key in every storage emulator.
    out.key = Secret("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==");
    out.endpoint = base + ":10000/devstoreaccount1";
    return out;
  }
  out.name = take(parts, "AccountName");
  out.key = Secret(take(parts, "AccountKey"));
  std::string sas = take(parts, "SharedAccessSignature");
  if (sas.starts_with('?')) sas.erase(0, 1);
  out.sas = Secret(sas);
  out.endpoint = take(parts, "BlobEndpoint");
  while (out.endpoint.ends_with('/')) out.endpoint.pop_back();
  if (out.endpoint.empty()) {
    if (out.name.empty()) return bad(kStorage, "'AccountName' is missing");
    std::string protocol = take(parts, "DefaultEndpointsProtocol");
    if (protocol.empty()) protocol = "https";
    if (!same_name(protocol, "https") && !same_name(protocol, "http")) {
      return bad(kStorage, "'DefaultEndpointsProtocol' must be https or http");
    }
    std::string suffix = take(parts, "EndpointSuffix");
    if (suffix.empty()) suffix = "core.windows.net";
    if (!good_host(suffix)) return bad(kStorage, "'EndpointSuffix' must be a host such as core.windows.net");
    out.endpoint = fmt::format("{}://{}.blob.{}", same_name(protocol, "http") ? "http" : "https", out.name, suffix);
  } else if (!out.endpoint.starts_with("https://") && !out.endpoint.starts_with("http://")) {
    return bad(kStorage, "'BlobEndpoint' must start with https:// or http://");
  } else if (out.endpoint.find_first_of("?#@ ") != std::string::npos) {
    return bad(kStorage, "'BlobEndpoint' must be a plain address without query or user");
  }
  if (!out.name.empty() && !all_of(out.name, "-_")) return bad(kStorage, "'AccountName' is not an account name");
  if (!out.sas.empty()) {
    if (!out.key.empty()) return bad(kStorage, "holds both 'AccountKey' and 'SharedAccessSignature'; give one");
    return out;
  }
  if (out.key.empty()) return bad(kStorage, "'AccountKey' is missing (or 'SharedAccessSignature')");
  if (out.name.empty()) return bad(kStorage, "'AccountName' is missing");
  if (!good_key(out.key.reveal())) return bad(kStorage, "'AccountKey' is not base64; copy the whole key, with its '='");
  return out;
}

Result<StorageAccount> StorageAccount::of_identity(std::string_view account) {
  const auto unusable = [](std::string_view why) {
    return fail(ErrorKind::kInvalid, "storage.bad-account", fmt::format("storage account: {}", why));
  };
  StorageAccount out;
  out.endpoint = trim(account);
  while (out.endpoint.ends_with('/')) out.endpoint.pop_back();
  const size_t scheme = out.endpoint.find("://");
  if (scheme == std::string::npos) {
    if (out.endpoint.find('.') == std::string::npos) {
      const bool good = out.endpoint.size() >= 3 && out.endpoint.size() <= 24 &&
                        std::all_of(out.endpoint.begin(), out.endpoint.end(),
                                    [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
      if (!good) return unusable("a name has 3 to 24 small letters and digits");
      out.endpoint += ".blob.core.windows.net";
    }
    if (!good_host(out.endpoint)) return unusable("it is neither a name nor a host such as acct.blob.core.windows.net");
    out.endpoint = "https://" + out.endpoint;
  }
  const std::string_view place = std::string_view(out.endpoint).substr(out.endpoint.find("://") + 3);
  if (place.find_first_of("?#@ \\") != std::string_view::npos)
    return unusable("the address of the blob service must be plain, without query or user");
  const std::string_view host = place.substr(0, place.find('/'));
  if (!good_host(host)) return unusable("the address of the blob service has no usable host");
  const std::string_view name = host.substr(0, host.find(':'));
  const bool here = name == "127.0.0.1" || name == "localhost";
  if (!out.endpoint.starts_with("https://") && !(here && out.endpoint.starts_with("http://")))
    return unusable("the address of the blob service must begin with https://: tokens go there");
  // Emulators have the account in the path.
  const size_t slash = place.find('/');
  out.name = slash != std::string_view::npos ? place.substr(slash + 1) : host.substr(0, host.find('.'));
  return out;
}

}  // namespace twinstep::azure
