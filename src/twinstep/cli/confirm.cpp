#include "twinstep/cli/confirm.h"

#include <unistd.h>

#include "twinstep/cli/terminal.h"

namespace twinstep::cli {

bool confirmed(std::string_view question) {
  if (isatty(STDIN_FILENO) != 1) return false;
  write_to_terminal(fmt::format("{} Type yes: ", question));
  std::string answer;
  for (char c = 0; ::read(STDIN_FILENO, &c, 1) == 1 && c != '\n' && answer.size() < 100;)
    if (c != '\r') answer += c;
  return answer == "yes";
}

int not_confirmed(const CommandLine& line) {
  print_error({.kind = ErrorKind::kInvalid,
               .what = "not confirmed; nothing was changed. Type yes when asked, or add --yes",
               .code = "usage.not-confirmed"},
              line.json);
  return kBlocked;
}

}  // namespace twinstep::cli
