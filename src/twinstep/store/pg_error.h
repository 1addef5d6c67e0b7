#pragma once

#include <string>
#include <string_view>

#include "twinstep/base/error.h"

/// What PostgreSQL's errors mean to twinstep. Source: PostgreSQL 15, appendix A "PostgreSQL Error Codes".
namespace twinstep::store {

/// Of a statement. remote_code holds the SQLSTATE, which is empty when libpq itself found the fault.
Error pg_error(std::string_view sqlstate, std::string_view text);

/// Of an attempt to connect, from libpq's message in its verbose form.
Error pg_connect_error(std::string_view message, bool needs_password);

/// A statement that can never work: our text is broken.
bool pg_is_bug(std::string_view sqlstate);
/// The same transaction may work when it is done again: it met another one.
bool pg_is_worth_repeating(std::string_view sqlstate);
/// The server closes the connection after it, or is no place to write any more.
bool pg_ends_connection(std::string_view sqlstate);

std::string pg_first_line(std::string_view message);

}  // namespace twinstep::store
