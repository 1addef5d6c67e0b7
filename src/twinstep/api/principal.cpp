#include "twinstep/api/principal.h"

#include <algorithm>

#include "twinstep/http/text.h"

namespace twinstep::api {
namespace {

/// '*' stands for any text, '?' for one character; everything else for itself, with its case.
bool fits(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, tried = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      tried = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++tried;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

class OpenGate final : public Gate {
 public:
  explicit OpenGate(std::string name)
      : who_(std::make_shared<const Principal>(Principal::everything(std::move(name)))) {}
  tl::expected<PrincipalPtr, http::ServerResponse> admit(const http::ServerRequest&, Scope) override { return who_; }

 private:
  const PrincipalPtr who_;
};

}  // namespace

bool Principal::has(Scope scope) const { return std::find(scopes.begin(), scopes.end(), scope) != scopes.end(); }

bool Principal::may(DeviceAction action, std::string_view hub, std::string_view device) const {
  const auto any = [](const auto& list, const auto& takes) {
    return list.empty() || std::any_of(list.begin(), list.end(), takes);
  };
  return has(Scope::kFacade) && std::find(actions.begin(), actions.end(), action) != actions.end() &&
         any(hubs, [&](const std::string& one) { return http::same_name(one, hub); }) &&
         any(ids, [&](const std::string& one) { return fits(one, device); });
}

Principal Principal::everything(std::string name) {
  Principal out;
  out.name = std::move(name);
  out.scopes = {Scope::kEvents, Scope::kFacade, Scope::kRead, Scope::kOperate, Scope::kAdmin};
  out.actions = {DeviceAction::kCreate, DeviceAction::kDelete, DeviceAction::kRead};
  return out;
}

std::unique_ptr<Gate> open_gate(std::string name) { return std::make_unique<OpenGate>(std::move(name)); }

}  // namespace twinstep::api
