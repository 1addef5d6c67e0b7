#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "twinstep/base/result.h"
#include "twinstep/json/json.h"

/// YAML (and so JSON) files read strictly: every complaint names file, line and column, keys may not repeat, and a key
/// that nobody asked for is an error with the nearest known key.
namespace twinstep::yaml {

/// A node with its place. Plain values; the tree owns everything. Lines and columns count from 1.
struct Node {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  std::string scalar;   ///< text of a scalar
  bool quoted = false;  ///< "5" and 'yes' are strings whatever they look like
  std::vector<Node> items;
  std::vector<std::pair<Node, Node>> members;  ///< in file order; keys are scalars, none twice
  int line = 0;
  int column = 0;

  // Defined where Node and pairs of it are complete: clang with this standard library demands it.
  Node();
  ~Node();
  Node(const Node&);
  Node(Node&&) noexcept;
  Node& operator=(const Node&);
  Node& operator=(Node&&) noexcept;

  const Node* find(std::string_view key) const;
  bool is_map() const { return kind == Kind::kMap; }
  bool is_sequence() const { return kind == Kind::kSequence; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_null() const { return kind == Kind::kNull; }

  /// As JSON, scalars by the YAML core schema: unquoted true/false/null/numbers keep their type.
  json::value to_json() const;
};

/// Collects complaints about one file, so that a user sees all of them at once.
class Diagnostics {
 public:
  explicit Diagnostics(std::string file) : file_(std::move(file)) {}
  /// `code` is stable: "config.unknown-key", "definition.bad-pointer", ...
  void error(const Node& where, std::string code, std::string text);
  bool ok() const { return errors_.empty(); }
  const std::vector<Error>& errors() const { return errors_; }
  /// The first error's code with all texts, one per line; call only when !ok().
  Error combined() const;
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::vector<Error> errors_;
};

/// Parses one document. Errors  kInvalid "yaml.syntax", "yaml.duplicate-key", with "file:line:column: ".
Result<Node> parse(std::string_view text, const std::string& file);
/// Reads and parses a file. Errors  kNotFound or kDenied naming the file, and those of parse().
Result<Node> load(const std::string& path);

/// Reads a map key by key; finish() complains about the keys nobody asked for.
///
///   MapReader map(node, diagnostics, "link");
///   link.name = map.text("name").value_or("");
///   map.finish();
class MapReader {
 public:
  /// A node that is not a map is a complaint; every key then counts as absent. A null node is an empty map.
  MapReader(const Node& node, Diagnostics& diagnostics, std::string what);

  /// The member's node, or null when absent. Marks the key as known.
  const Node* get(std::string_view key);
  /// As get, and a missing key is a complaint.
  const Node* need(std::string_view key);
  std::optional<std::string> text(std::string_view key);  ///< any scalar as text
  std::optional<bool> boolean(std::string_view key);      ///< true or false
  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most);
  std::optional<Millis> duration(std::string_view key);  ///< "30s"
  std::optional<uint64_t> size(std::string_view key);    ///< "64MiB"
  /// One of `choices`, compared exactly; returns its index.
  std::optional<size_t> choice(std::string_view key, const std::vector<std::string>& choices);
  std::vector<std::string> texts(std::string_view key);  ///< a sequence of scalars, or one scalar
  const Node& node() const { return node_; }

  void finish();

 private:
  const Node& node_;
  Diagnostics& diagnostics_;
  std::string what_;
  std::vector<std::string> known_;
};

}  // namespace twinstep::yaml
