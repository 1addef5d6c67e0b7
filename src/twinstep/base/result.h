#pragma once

#include <fmt/format.h>

#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "twinstep/base/error.h"

namespace twinstep {

/// Everything a remote, a user or a file can cause is a value; exceptions are for bugs and a lost local world.
template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// An error of a kind with a stable code: `return fail(ErrorKind::kInvalid, "config.bad-unit", "limits: ...")`.
[[nodiscard]] inline tl::unexpected<Error> fail(ErrorKind kind, std::string code, std::string what) {
  return tl::unexpected<Error>(Error{.kind = kind, .what = std::move(what), .code = std::move(code)});
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

/// Passes an error on with context in front.
template <class T>
[[nodiscard]] tl::unexpected<Error> fail_within(Result<T>&& failed, std::string_view context) {
  return tl::unexpected<Error>(std::move(failed).error().within(context));
}

}  // namespace twinstep

#define TWINSTEP_CONCAT_(a, b) a##b
#define TWINSTEP_CONCAT(a, b) TWINSTEP_CONCAT_(a, b)

#define TWINSTEP_TRY(name, expression)                                                                        \
  do {                                                                                                        \
    if (auto name = (expression); !name) return ::tl::unexpected<::twinstep::Error>(std::move(name).error()); \
  } while (false)
#define TWINSTEP_TRY_ASSIGN(name, declaration, expression)                        \
  auto name = (expression);                                                       \
  if (!name) return ::tl::unexpected<::twinstep::Error>(std::move(name).error()); \
  declaration = std::move(*name)

/// Returns the error of a failed Status or Result from the enclosing function: `TRY(write(x));`
#define TRY(expression) TWINSTEP_TRY(TWINSTEP_CONCAT(try_, __COUNTER__), expression)

/// Declares `name` from a Result, or returns its error: `TRY_ASSIGN(auto page, client.list(...));`
#define TRY_ASSIGN(declaration, expression) \
  TWINSTEP_TRY_ASSIGN(TWINSTEP_CONCAT(try_, __COUNTER__), declaration, expression)
