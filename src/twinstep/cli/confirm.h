#pragma once

#include <string_view>

#include "twinstep/cli/command_line.h"

namespace twinstep::cli {

/// Asks on the terminal and reads a line; true for "yes". False at once when standard input is no terminal.
bool confirmed(std::string_view question);
/// Says that nothing was done and how to do it without being asked; gives the exit code.
int not_confirmed(const CommandLine& line);

}  // namespace twinstep::cli
