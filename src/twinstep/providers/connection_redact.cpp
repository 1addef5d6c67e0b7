// What of a remote's text may be shown: secrets of the settings, of the token and of the device are hidden.
#include <algorithm>

#include "twinstep/base/encoding.h"
#include "twinstep/json/canonical.h"
#include "twinstep/providers/connection.h"

namespace twinstep::providers {

namespace {

constexpr size_t kShownBody = 300;

/// Cuts at a character's border.
std::string shortened(std::string text) {
  if (text.size() <= kShownBody) return text;
  size_t end = kShownBody;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

void replace_all(std::string& text, std::string_view what) {
  if (what.size() < 4) return;  // shorter ones would tear ordinary words apart
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += 3) text.replace(at, what.size(), "***");
}

/// Hides the value of a JSON member of that name, wherever it stands.
void hide_member(std::string& text, const std::string& name) {
  const std::string key = "\"" + name + "\"";
  for (size_t at = 0; (at = text.find(key, at)) != std::string::npos;) {
    at += key.size();
    size_t from = text.find_first_not_of(" \t\r\n", at);
    if (from == std::string::npos || text[from] != ':') continue;
    from = text.find_first_not_of(" \t\r\n", from + 1);
    if (from == std::string::npos) return;
    size_t end = from + 1;
    if (text[from] == '"') {
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, text.size());
    } else {
      end = std::min(text.find_first_of(",}]", from), text.size());
    }
    text.replace(from, end - from, "\"***\"");
    at = from;
  }
}

}  // namespace

std::string Connection::redact(std::string_view text, const DeviceInput* device) const {
  std::string out = hide(text.substr(0, 16 * kShownBody), device);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return shortened(std::move(out));
}

std::string Connection::hide(std::string_view text, const DeviceInput* device) const {
  std::string out(text);
  const auto hide_value = [&out](std::string_view secret) {
    replace_all(out, secret);
    replace_all(out, percent_encode(secret));
    // As it stands in JSON, and in JSON that a remote put into a text of its own.
    std::string inside(secret);
    for (int depth = 0; depth < 2; ++depth) {
      std::string quoted;
      json::append_canonical_string(inside, quoted);
      inside = quoted.substr(1, quoted.size() - 2);
      replace_all(out, inside);
    }
  };
  for (const SettingSpec& setting : definition_.settings) {
    const auto value = settings_.find(setting.name);
    if (!setting.secret || value == settings_.end()) continue;
    hide_value(value->second.reveal());
  }
  if (const AuthSpec& auth = definition_.auth; auth.kind == AuthKind::kBasic || auth.basic_client) {
    const Scope plain = scope();
    const auto user = auth.user.expand(plain);
    const auto password = auth.password.expand(plain);
    if (user && password) hide_value(base64_encode(*user + ":" + *password));
  }
  {
    std::scoped_lock lock(mutex_);
    hide_value(token_.value);
  }
  const auto hide_tag = [&](const std::vector<std::string>& path) {
    hide_member(out, path.back());
    if (!device) return;
    const json::object* at = &device->tags;
    for (size_t i = 0; at && i < path.size(); ++i) {
      const json::value* v = at->if_contains(path[i]);
      if (v && v->is_string()) hide_value(v->get_string());
      at = v ? v->if_object() : nullptr;
    }
  };
  for (const TagMapping& tag : definition_.tags) {
    if (tag.spec.secret) hide_tag(tag.spec.path);
  }
  for (const RequiredTag& tag : definition_.required_tags) {
    if (tag.secret) hide_tag({tag.name});
  }
  for (const char* name : {"access_token", "client_secret", "refresh_token", "password"}) hide_member(out, name);
  return out;
}

}  // namespace twinstep::providers
