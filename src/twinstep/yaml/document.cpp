#include "twinstep/yaml/document.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "twinstep/base/units.h"

namespace twinstep::yaml {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxNodes = 100'000;  // a configuration, not a data set; aliases could otherwise multiply without end

struct Convert {
  const std::string& file;
  size_t nodes = 0;

  tl::unexpected<Error> complain(const YAML::Mark& mark, std::string code, std::string_view text) const {
    return fail(ErrorKind::kInvalid, std::move(code),
                fmt::format("{}:{}:{}: {}", file, mark.line + 1, mark.column + 1, text));
  }

  Result<Node> node(const YAML::Node& in, int depth) {
    if (depth > kMaxDepth) return complain(in.Mark(), "yaml.too-deep", "nested too deeply");
    if (++nodes > kMaxNodes) return complain(in.Mark(), "yaml.too-large", "too many values");
    Node out;
    out.line = in.Mark().line + 1;
    out.column = in.Mark().column + 1;
    if (in.IsScalar()) {
      out.kind = Node::Kind::kScalar;
      out.scalar = in.Scalar();
      out.quoted = in.Tag() == "!";  // yaml-cpp's mark of a quoted scalar
    } else if (in.IsSequence()) {
      out.kind = Node::Kind::kSequence;
      for (const auto& item : in) {
        TRY_ASSIGN(Node child, node(item, depth + 1));
        out.items.push_back(std::move(child));
      }
    } else if (in.IsMap()) {
      out.kind = Node::Kind::kMap;
      for (const auto& member : in) {
        if (!member.first.IsScalar()) return complain(member.first.Mark(), "yaml.key", "a key must be a plain text");
        TRY_ASSIGN(Node key, node(member.first, depth + 1));
        if (const Node* before = out.find(key.scalar))
          return complain(
              member.first.Mark(), "yaml.duplicate-key",
              fmt::format("key '{}' is here twice; the first one has its value on line {}", key.scalar, before->line));
        TRY_ASSIGN(Node value, node(member.second, depth + 1));
        out.members.emplace_back(std::move(key), std::move(value));
      }
    }
    return out;
  }
};

}  // namespace

Node::Node() = default;
Node::~Node() = default;
Node::Node(const Node&) = default;
Node::Node(Node&&) noexcept = default;
Node& Node::operator=(const Node&) = default;
Node& Node::operator=(Node&&) noexcept = default;

const Node* Node::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name.scalar == key) return &value;
  return nullptr;
}

json::value Node::to_json() const {
  switch (kind) {
    case Kind::kNull:
      return nullptr;
    case Kind::kSequence: {
      json::array out;
      for (const Node& item : items) out.push_back(item.to_json());
      return out;
    }
    case Kind::kMap: {
      json::object out;
      for (const auto& [name, value] : members) out.emplace(name.scalar, value.to_json());
      return out;
    }
    case Kind::kScalar:
      break;
  }
  if (!quoted) {
    if (scalar == "true") return true;
    if (scalar == "false") return false;
    if (scalar == "null" || scalar == "~") return nullptr;
    const char* end = scalar.data() + scalar.size();
    int64_t whole = 0;
    if (const auto r = std::from_chars(scalar.data(), end, whole); r.ec == std::errc{} && r.ptr == end) return whole;
    double real = 0;
    if (const auto r = std::from_chars(scalar.data(), end, real);
        r.ec == std::errc{} && r.ptr == end && scalar.find_first_of("0123456789") != std::string::npos)
      return real;
  }
  return json::string(scalar);
}

void Diagnostics::error(const Node& where, std::string code, std::string text) {
  errors_.push_back({.kind = ErrorKind::kInvalid,
                     .what = fmt::format("{}:{}:{}: {}", file_, where.line, where.column, text),
                     .code = std::move(code)});
}

Error Diagnostics::combined() const {
  Error out = errors_.front();
  for (size_t i = 1; i < errors_.size(); ++i) out.what += "\n" + errors_[i].what;
  return out;
}

Result<Node> parse(std::string_view text, const std::string& file) {
  Convert convert{file};
  try {
    return convert.node(YAML::Load(std::string(text)), 0);
  } catch (const YAML::Exception& bad) {  // the library's way to report; it goes no further than here
    return convert.complain(bad.mark, "yaml.syntax", bad.msg);
  }
}

Result<Node> load(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (in) text << in.rdbuf();
  if (!in || in.bad())
    return fail(errno == EACCES ? ErrorKind::kDenied : ErrorKind::kNotFound, "file.unreadable",
                fmt::format("{}: cannot be read: {}", path, errno ? std::strerror(errno) : "is it a file?"));
  return parse(text.str(), path);
}

MapReader::MapReader(const Node& node, Diagnostics& diagnostics, std::string what)
    : node_(node), diagnostics_(diagnostics), what_(std::move(what)) {
  if (!node.is_map() && !node.is_null())
    diagnostics.error(node, "yaml.type", fmt::format("{} must be a map of keys and values", what_));
}

const Node* MapReader::get(std::string_view key) {
  known_.emplace_back(key);
  return node_.find(key);
}

const Node* MapReader::need(std::string_view key) {
  const Node* found = get(key);
  if (!found && (node_.is_map() || node_.is_null()))
    diagnostics_.error(node_, "yaml.missing-key", fmt::format("{} lacks the key '{}'", what_, key));
  return found;
}

std::optional<std::string> MapReader::text(std::string_view key) {
  const Node* found = get(key);
  if (!found) return {};
  if (found->is_scalar()) return found->scalar;
  diagnostics_.error(*found, "yaml.type", fmt::format("'{}' of {} must be a text", key, what_));
  return {};
}

std::optional<bool> MapReader::boolean(std::string_view key) {
  const Node* found = get(key);
  if (!found) return {};
  if (found->is_scalar() && found->scalar == "true") return true;
  if (found->is_scalar() && found->scalar == "false") return false;
  diagnostics_.error(*found, "yaml.type", fmt::format("'{}' of {} must be true or false", key, what_));
  return {};
}

std::optional<int64_t> MapReader::integer(std::string_view key, int64_t least, int64_t most) {
  const Node* found = get(key);
  if (!found) return {};
  int64_t out = 0;
  const char* end = found->scalar.data() + found->scalar.size();
  const auto r = std::from_chars(found->scalar.data(), end, out);
  if (found->is_scalar() && r.ec == std::errc{} && r.ptr == end && out >= least && out <= most) return out;
  diagnostics_.error(*found, "yaml.type",
                     fmt::format("'{}' of {} must be a whole number from {} to {}", key, what_, least, most));
  return {};
}

std::optional<Millis> MapReader::duration(std::string_view key) {
  const Node* found = get(key);
  if (!found) return {};
  const auto span = parse_duration(found->scalar);
  if (span) return *span;
  diagnostics_.error(*found, span.error().code, fmt::format("'{}' of {}: {}", key, what_, span.error().what));
  return {};
}

std::optional<uint64_t> MapReader::size(std::string_view key) {
  const Node* found = get(key);
  if (!found) return {};
  const auto bytes = parse_size(found->scalar);
  if (bytes) return *bytes;
  diagnostics_.error(*found, bytes.error().code, fmt::format("'{}' of {}: {}", key, what_, bytes.error().what));
  return {};
}

std::optional<size_t> MapReader::choice(std::string_view key, const std::vector<std::string>& choices) {
  const Node* found = get(key);
  if (!found) return {};
  const auto at = std::find(choices.begin(), choices.end(), found->scalar);
  if (found->is_scalar() && at != choices.end()) return static_cast<size_t>(at - choices.begin());
  std::string list;
  for (const auto& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  const std::string meant = nearest(found->scalar, choices);
  diagnostics_.error(*found, "yaml.choice",
                     fmt::format("'{}' of {} is '{}'; it must be one of {}{}", key, what_, found->scalar, list,
                                 meant.empty() ? "" : fmt::format(" (did you mean '{}'?)", meant)));
  return {};
}

std::vector<std::string> MapReader::texts(std::string_view key) {
  const Node* found = get(key);
  std::vector<std::string> out;
  if (!found) return out;
  if (found->is_scalar()) return {found->scalar};
  for (const Node& item : found->items) {
    if (item.is_scalar())
      out.push_back(item.scalar);
    else
      diagnostics_.error(item, "yaml.type", fmt::format("'{}' of {} must be a list of texts", key, what_));
  }
  if (!found->is_sequence() && !found->is_null())
    diagnostics_.error(*found, "yaml.type", fmt::format("'{}' of {} must be a list of texts", key, what_));
  return out;
}

void MapReader::finish() {
  for (const auto& [key, value] : node_.members) {
    if (std::find(known_.begin(), known_.end(), key.scalar) != known_.end()) continue;
    const std::string meant = nearest(key.scalar, known_);
    std::string list;
    for (const auto& name : known_) list += (list.empty() ? "" : ", ") + name;
    diagnostics_.error(
        key, "yaml.unknown-key",
        fmt::format("unknown key '{}' in {}; {}", key.scalar, what_,
                    meant.empty() ? "known keys are: " + list : fmt::format("did you mean '{}'?", meant)));
  }
}

}  // namespace twinstep::yaml
