#include "twinstep/config/values.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace twinstep::config {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

template <class Items>
auto find_named(const Items& items, std::string_view name) -> decltype(items.data()) {
  for (const auto& item : items) {
    if (same_name(item.name, name)) return &item;
  }
  return nullptr;
}

/// The whole text as a number; a rest such as "5x" is not one.
template <class Number>
bool read_all(std::string_view text, Number& number) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  return problem == std::errc{} && end == text.data() + text.size();
}

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

const Hub* Config::find_hub(std::string_view name) const { return find_named(hubs, name); }
const External* Config::find_external(std::string_view name) const { return find_named(externals, name); }
const Link* Config::find_link(std::string_view name) const { return find_named(links, name); }

const Hub* Config::default_hub() const {
  if (const Hub* named = find_hub("default")) return named;
  return hubs.size() == 1 ? &hubs.front() : nullptr;
}

std::vector<const Link*> Config::facade_links(std::string_view hub) const {
  std::vector<const Link*> said, possible;
  const Hub* wanted = find_hub(hub);
  for (const Link& link : links) {
    const Hub* of_link = find_hub(link.hub);
    // Two names of one address are one hub.
    if (!wanted || !of_link || link.master != Master::kExternal || !same_name(of_link->host, wanted->host)) continue;
    if (link.facade.value_or(true)) possible.push_back(&link);
    if (link.facade.value_or(false)) said.push_back(&link);
  }
  return said.empty() ? possible : said;
}

Result<Limit> parse_limit(std::string_view text) {
  if (text.ends_with('%')) {
    double percent = 0;
    // Written so that a NaN, which from_chars accepts, fails the range too.
    if (read_all(text.substr(0, text.size() - 1), percent) && percent >= 0 && percent <= 100) {
      return Limit{percent, {}};
    }
  } else {
    uint64_t count = 0;
    if (read_all(text, count)) return Limit{{}, count};
  }
  return fail(ErrorKind::kInvalid, "config.bad-limit",
              fmt::format("'{}' is not a limit; write a percentage from 0% to 100% or a count such as 500", text));
}

Result<Secret> resolve_secret(std::string_view text, const EnvironmentLookup& environment) {
  constexpr std::string_view kEnv = "env:";
  constexpr std::string_view kFile = "file:";
  if (text.starts_with(kEnv)) {
    std::optional<std::string> value = environment(text.substr(kEnv.size()));
    if (value && !value->empty()) return Secret(std::move(*value));
    return fail(ErrorKind::kInvalid, "config.secret-missing",
                fmt::format("{}: the environment variable is not set or empty; set it, or correct the name", text));
  }
  if (text.starts_with(kFile)) {
    std::ifstream file(std::string(text.substr(kFile.size())), std::ios::binary);
    std::string value{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (value.ends_with('\n')) value.pop_back();
    if (value.ends_with('\r')) value.pop_back();
    if (!value.empty()) return Secret(std::move(value));
    return fail(ErrorKind::kInvalid, "config.secret-missing",
                fmt::format("{}: the file is empty or cannot be read; check the path and its rights", text));
  }
  return Secret(std::string(text));
}

Status check_store(const Secret& store) {
  for (const char* beginning : {"sqlite:", "postgresql://", "postgres://"})
    if (store.reveal().starts_with(beginning) && store.reveal() != beginning) return {};
  return fail(ErrorKind::kInvalid, "config.store",
              "store must be sqlite:PATH or postgresql://USER@HOST/DATABASE, or env:NAME or file:/path that holds it");
}

std::string store_text(const Secret& store) {
  std::string text(store.reveal());
  if (text.starts_with("sqlite:")) return text;
  // Up to the last '@', because a password with one may not be encoded.
  const size_t user = text.find("://") + 3;
  const size_t at = text.rfind('@');
  const size_t colon = text.find(':', user);
  if (at != std::string::npos && colon < at) text.replace(colon + 1, at - colon - 1, "***");
  for (size_t name = 0; (name = text.find("password=", name)) != std::string::npos;) {
    name += std::string_view("password=").size();
    text.replace(name, text.find('&', name) - name, "***");
  }
  return text;
}

Result<std::string> hub_host(const Secret& connection_string) {
  std::string host;
  bool has_policy = false;
  bool has_key = false;
  std::string_view rest = connection_string.reveal();
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find(';'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    // Only the first '=' separates: keys are base64 and end with more of them.
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos || equals + 1 == part.size()) continue;
    const std::string_view name = part.substr(0, equals);
    if (same_name(name, "HostName")) host = part.substr(equals + 1);
    if (same_name(name, "SharedAccessKeyName")) has_policy = true;
    if (same_name(name, "SharedAccessKey")) has_key = true;
  }
  const std::string_view missing = host.empty()  ? "HostName"
                                   : !has_policy ? "SharedAccessKeyName"
                                   : !has_key    ? "SharedAccessKey"
                                                 : "";
  if (missing.empty()) return host;
  return fail(
      ErrorKind::kInvalid, "config.bad-connection-string",
      fmt::format("the IoT Hub connection string has no {}; copy it whole from the hub's shared access policies",
                  missing));
}

bool ListenAddress::loopback() const { return address.starts_with("127.") || address == "::1"; }

Result<ListenAddress> parse_listen(std::string_view text) {
  const size_t colon = text.rfind(':');
  ListenAddress out;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  unsigned port = 0;
  const std::string_view digits = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const bool good_port =
      !digits.empty() && wrong == std::errc{} && end == digits.data() + digits.size() && port < 65536;
  if (host.empty() || !good_port || (!bracketed && host.find(':') != std::string_view::npos))
    return fail(ErrorKind::kInvalid, "config.bad-address",
                fmt::format("'{}' is not ADDRESS:PORT, such as 127.0.0.1:8080 or [::1]:8080", text));
  out.address = host == "localhost" ? "127.0.0.1" : std::string(host);
  out.port = static_cast<uint16_t>(port);
  return out;
}

}  // namespace twinstep::config
