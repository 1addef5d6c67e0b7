#include "sims/hub_query.h"

#include <cctype>
#include <charconv>

namespace twinstep::sims {
namespace {

using Path = std::vector<std::string>;

struct Token {
  enum class Kind { kEnd, kWord, kText, kNumber, kSign } kind = Kind::kEnd;
  std::string text;
};

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

bool tokenize(std::string_view s, std::vector<Token>& out) {
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$'; };
  for (size_t i = 0; i < s.size();) {
    const char c = s[i];
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      ++i;
    } else if (c == '\'' || c == '"') {
      std::string text;
      for (++i;; ++i) {
        if (i >= s.size()) return false;
        if (s[i] == '\\' && i + 1 < s.size())
          text += s[++i];
        else if (s[i] == c && i + 1 < s.size() && s[i + 1] == c)
          text += s[++i];
        else if (s[i] == c)
          break;
        else
          text += s[i];
      }
      ++i;
      out.push_back({Token::Kind::kText, std::move(text)});
    } else if (std::isdigit(static_cast<unsigned char>(c)) != 0 ||
               (c == '-' && i + 1 < s.size() && std::isdigit(static_cast<unsigned char>(s[i + 1])) != 0)) {
      const size_t from = i++;
      while (i < s.size() &&
             (std::isdigit(static_cast<unsigned char>(s[i])) != 0 || s[i] == '.' || s[i] == 'e' || s[i] == 'E'))
        ++i;
      out.push_back({Token::Kind::kNumber, std::string(s.substr(from, i - from))});
    } else if (word(c)) {
      const size_t from = i;
      while (i < s.size() && word(s[i])) ++i;
      out.push_back({Token::Kind::kWord, std::string(s.substr(from, i - from))});
    } else {
      const std::string two(s.substr(i, 2));
      if (two == "!=" || two == "<>" || two == "<=" || two == ">=") {
        out.push_back({Token::Kind::kSign, two == "<>" ? "!=" : two});
        i += 2;
      } else if (std::string_view("=<>()[],.*").find(c) != std::string_view::npos) {
        out.push_back({Token::Kind::kSign, std::string(1, c)});
        ++i;
      } else {
        return false;
      }
    }
  }
  out.push_back({});
  return true;
}

const json::value* look(const json::object& twin, const Path& path) {
  const json::object* at = &twin;
  const json::value* v = nullptr;
  for (const std::string& step : path) {
    if (at == nullptr) return nullptr;
    v = at->if_contains(step);
    if (v == nullptr) return nullptr;
    at = v->if_object();
  }
  return v;
}

/// -1, 0, 1, or nothing when the two cannot be compared.
std::optional<int> compare(const json::value& a, const json::value& b) {
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_number() && b.is_number()) return order(a.to_number<double>(), b.to_number<double>());
  if (a.is_string() && b.is_string()) return order(a.as_string(), b.as_string());
  if (a.is_bool() && b.is_bool()) return order(a.as_bool(), b.as_bool());
  if (a.is_null() && b.is_null()) return 0;
  return std::nullopt;
}

}  // namespace

struct HubQuery::Node {
  std::string op;  ///< AND OR NOT = != < <= > >= IN NIN or a function's name
  std::vector<std::shared_ptr<const Node>> children;
  Path path;
  std::vector<json::value> values;

  /// Comparing what is not there is neither true nor false.
  std::optional<bool> eval(const json::object& twin) const {
    if (op == "NOT") {
      const auto inner = children[0]->eval(twin);
      return inner ? std::optional(!*inner) : std::nullopt;
    }
    if (op == "AND" || op == "OR") {
      const bool decisive = op == "OR";
      const auto a = children[0]->eval(twin);
      if (a == decisive) return decisive;
      const auto b = children[1]->eval(twin);
      if (b == decisive) return decisive;
      return a && b ? std::optional(!decisive) : std::nullopt;
    }
    const json::value* v = look(twin, path);
    if (op == "IS_DEFINED") return v != nullptr;
    if (op.starts_with("IS_")) {
      if (v == nullptr) return false;
      if (op == "IS_STRING") return v->is_string();
      if (op == "IS_NUMBER") return v->is_number();
      if (op == "IS_BOOL") return v->is_bool();
      if (op == "IS_NULL") return v->is_null();
      if (op == "IS_OBJECT") return v->is_object();
      return v->is_array();
    }
    if (v == nullptr) return std::nullopt;
    if (op == "IN" || op == "NIN") {
      bool in = false;
      for (const json::value& item : values) in = in || compare(*v, item) == 0;
      return in == (op == "IN");
    }
    if (op == "STARTSWITH" || op == "ENDSWITH" || op == "CONTAINS") {
      if (!v->is_string()) return std::nullopt;
      const std::string_view text(v->as_string());
      const std::string_view part(values[0].as_string());
      return op == "STARTSWITH" ? text.starts_with(part)
             : op == "ENDSWITH" ? text.ends_with(part)
                                : text.find(part) != std::string_view::npos;
    }
    const auto c = compare(*v, values[0]);
    if (!c) return op == "!=" ? std::optional(true) : std::nullopt;
    if (op == "=") return *c == 0;
    if (op == "!=") return *c != 0;
    if (op == "<") return *c < 0;
    if (op == "<=") return *c <= 0;
    return op == ">" ? *c > 0 : *c >= 0;
  }
};

namespace {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  bool query(HubQuery& q) {
    if (!word("SELECT")) return false;
    if (!sign("*")) {
      if (word("COUNT")) {
        q.count = true;
        q.count_name = "count";
        if (!sign("(") || !sign(")")) return false;
        if (word("AS") && !name(q.count_name)) return false;
      } else {
        do {
          HubQuery::Field f;
          if (!path(f.path)) return false;
          f.name = f.path.back();
          if (word("AS") && !name(f.name)) return false;
          q.fields.push_back(std::move(f));
        } while (sign(","));
      }
    }
    if (!word("FROM") || !word("DEVICES")) return false;
    if (sign(".")) {
      if (word("MODULES"))
        q.source = HubQuery::Source::kModules;
      else if (word("JOBS"))
        q.source = HubQuery::Source::kJobs;
      else
        return false;
    }
    if (word("WHERE") && !(q.where = either(0))) return false;
    return tokens_[at_].kind == Token::Kind::kEnd;
  }

 private:
  using NodePtr = std::shared_ptr<HubQuery::Node>;

  bool word(std::string_view want) {
    const bool is = tokens_[at_].kind == Token::Kind::kWord && upper(tokens_[at_].text) == want;
    at_ += is ? 1 : 0;
    return is;
  }
  bool sign(std::string_view want) {
    const bool is = tokens_[at_].kind == Token::Kind::kSign && tokens_[at_].text == want;
    at_ += is ? 1 : 0;
    return is;
  }
  bool name(std::string& into) {
    if (tokens_[at_].kind != Token::Kind::kWord) return false;
    into = tokens_[at_++].text;
    return true;
  }
  bool path(Path& into) {
    do {
      std::string step;
      if (!name(step)) return false;
      into.push_back(std::move(step));
    } while (sign("."));
    return true;
  }
  bool literal(json::value& into) {
    const Token& t = tokens_[at_];
    if (t.kind == Token::Kind::kText) {
      into = t.text;
    } else if (t.kind == Token::Kind::kNumber) {
      double n = 0;
      const auto [end, bad] = std::from_chars(t.text.data(), t.text.data() + t.text.size(), n);
      if (bad != std::errc{} || end != t.text.data() + t.text.size()) return false;
      into = n;
    } else if (t.kind == Token::Kind::kWord && (upper(t.text) == "TRUE" || upper(t.text) == "FALSE")) {
      into = upper(t.text) == "TRUE";
    } else if (t.kind == Token::Kind::kWord && upper(t.text) == "NULL") {
      into = nullptr;
    } else {
      return false;
    }
    ++at_;
    return true;
  }
  NodePtr join(const char* op, NodePtr a, NodePtr b) {
    if (!b) return nullptr;
    auto n = std::make_shared<HubQuery::Node>();
    n->op = op;
    n->children = {std::move(a), std::move(b)};
    return n;
  }
  NodePtr either(int depth) {
    if (depth > 50) return nullptr;
    NodePtr left = both(depth);
    while (left && word("OR")) left = join("OR", left, both(depth));
    return left;
  }
  NodePtr both(int depth) {
    NodePtr left = unit(depth);
    while (left && word("AND")) left = join("AND", left, unit(depth));
    return left;
  }
  NodePtr unit(int depth) {
    if (depth > 50) return nullptr;
    if (sign("(")) {
      NodePtr inner = either(depth + 1);
      return inner && sign(")") ? inner : nullptr;
    }
    auto n = std::make_shared<HubQuery::Node>();
    if (word("NOT")) {
      NodePtr inner = unit(depth + 1);
      if (!inner) return nullptr;
      n->op = "NOT";
      n->children = {inner};
      return n;
    }
    if (tokens_[at_].kind == Token::Kind::kWord && tokens_[at_ + 1].text == "(" &&
        tokens_[at_ + 1].kind == Token::Kind::kSign) {
      n->op = upper(tokens_[at_].text);
      const bool type = n->op == "IS_DEFINED" || n->op == "IS_STRING" || n->op == "IS_NUMBER" || n->op == "IS_BOOL" ||
                        n->op == "IS_NULL" || n->op == "IS_OBJECT" || n->op == "IS_ARRAY";
      const bool text = n->op == "STARTSWITH" || n->op == "ENDSWITH" || n->op == "CONTAINS";
      if (!type && !text) return nullptr;
      at_ += 2;
      if (!path(n->path)) return nullptr;
      if (text) {
        n->values.resize(1);
        if (!sign(",") || !literal(n->values[0]) || !n->values[0].is_string()) return nullptr;
      }
      return sign(")") ? n : nullptr;
    }
    if (!path(n->path)) return nullptr;
    if (word("IN") || word("NIN")) {
      n->op = upper(tokens_[at_ - 1].text);
      if (!sign("[")) return nullptr;
      do {
        n->values.emplace_back();
        if (!literal(n->values.back())) return nullptr;
      } while (sign(","));
      return sign("]") ? n : nullptr;
    }
    for (const char* op : {"=", "!=", "<=", ">=", "<", ">"})
      if (sign(op)) {
        n->op = op;
        n->values.resize(1);
        return literal(n->values[0]) ? n : nullptr;
      }
    return nullptr;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace

std::optional<HubQuery> HubQuery::parse(std::string_view text) {
  std::vector<Token> tokens;
  HubQuery q;
  if (text.size() > 16'384 || !tokenize(text, tokens) || !Parser(std::move(tokens)).query(q)) return std::nullopt;
  return q;
}

bool HubQuery::matches(const json::object& twin) const { return !where || where->eval(twin) == true; }

json::object HubQuery::project(json::object twin) const {
  if (fields.empty()) return twin;
  json::object out;
  for (const Field& f : fields)
    if (const json::value* v = look(twin, f.path)) out[f.name] = *v;
  return out;
}

}  // namespace twinstep::sims
