#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace twinstep::store {

/// `sql` with each of our words (Transaction) replaced by what a database says for it.
inline std::string with_words(std::string_view sql,
                              std::initializer_list<std::pair<std::string_view, std::string_view>> words) {
  std::string out(sql);
  for (const auto& [word, with] : words)
    for (size_t at = 0; (at = out.find(word, at)) != std::string::npos; at += with.size())
      out.replace(at, word.size(), with);
  return out;
}

}  // namespace twinstep::store
