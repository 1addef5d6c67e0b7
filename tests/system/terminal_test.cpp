// What a person at a terminal sees of a long synchronization, and what a pipe gets instead: the built program under a
// pseudo terminal, against the simulator, whose slow answers make the work long.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <vector>

namespace {

using Variables = std::map<std::string, std::string>;

/// In the child after fork: runs a program of ours in place of this one.
[[noreturn]] void become(const std::string& program, std::vector<std::string> arguments, const Variables& variables) {
  const std::string path = std::string(TWINSTEP_BIN "/") + program;
  arguments.insert(arguments.begin(), program);
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) entries.push_back(name + "=" + value);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
  };
  execve(path.c_str(), pointers(arguments).data(), pointers(entries).data());
  _exit(127);
}

/// All that a program writes until nobody holds the other end any more.
std::string read_all(int fd) {
  std::string out;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<size_t>(n));
  return out;  // a pseudo terminal ends with EIO
}

struct Ended {
  int code = -1;
  std::string out;  // standard output and error
};

Ended end_of(pid_t child, int fd) {
  Ended ended;
  ended.out = read_all(fd);
  close(fd);
  int status = 0;
  waitpid(child, &status, 0);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

/// The lines that are drawn over each other: what stands between one "\r\033[K" and the next.
std::vector<std::string> frames(const std::string& out) {
  static const std::string kClear = "\r\033[K";
  std::vector<std::string> all;
  for (size_t at = out.find(kClear); at != std::string::npos;) {
    at += kClear.size();
    const size_t end = out.find_first_of("\r\n", at);
    if (end != std::string::npos && out.compare(end, kClear.size(), kClear) == 0)
      all.push_back(out.substr(at, end - at));
    at = out.find(kClear, at);
  }
  return all;
}

/// What the terminal shows in the end, after all clearing and redrawing.
std::string screen(const std::string& out) {
  std::string text, line;
  size_t column = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out.compare(i, 3, "\033[K") == 0) {
      line.resize(std::min(line.size(), column));
      i += 2;
    } else if (out[i] == '\r') {
      column = 0;
    } else if (out[i] == '\n') {
      text += line + "\n";
      line.clear();
      column = 0;
    } else {
      line.resize(std::max(line.size(), column + 1), ' ');
      line[column++] = out[i];
    }
  }
  return text + line;
}

class Terminal : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "twinstep-terminal-XXXXXX").string();
    folder = mkdtemp(pattern.data());
    int ready[2];
    ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
    sim = fork();
    if (sim == 0) {
      dup2(ready[1], STDOUT_FILENO);
      become("twinstep-sim",
             {"--write-ca", folder + "/ca.pem", "--write-env", folder + "/sim.env", "--devices", "500", "--changed",
              "28%", "--orphaned", "0", "--missing", "0", "--time-factor", "60", "--fault",
              R"({"server":"hub","method":"PATCH","delayMs":150,"times":-1})"},
             {{"PATH", "/usr/bin"}});
    }
    close(ready[1]);
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1) << "the simulator did not start";  // its first output is the ready line
    sim_output = ready[0];
    static const std::regex kExport(R"re((?:export )?(\w+)=['"]?(.*?)['"]?)re");
    std::ifstream file(folder + "/sim.env");
    for (std::string line; std::getline(file, line);)
      if (std::smatch match; std::regex_match(line, match, kExport)) variables[match[1]] = match[2];
    ASSERT_TRUE(variables.contains("iothub"));
    variables.merge(Variables{{"HOME", folder},
                              {"TMPDIR", folder},
                              {"TERM", "xterm"},
                              {"TWINSTEP_STORE", "sqlite:" + folder + "/state.db"},
                              {"TWINSTEP_UNITS", "50"},
                              {"devicesChangeJobThreshold", "100000"},
                              {"retryIntervalForIoTHubExportJobInSeconds", "1"}});
  }
  void TearDown() override {
    if (sim > 0) {
      kill(sim, SIGTERM);
      waitpid(sim, nullptr, 0);
    }
    if (sim_output >= 0) close(sim_output);
    std::filesystem::remove_all(folder);
  }

  Ended on_terminal(unsigned short columns, const Variables& more = {}) {
    Variables all = more;
    all.merge(Variables(variables));
    winsize size{};
    size.ws_col = columns;
    size.ws_row = 25;
    int fd = -1;
    const pid_t child = forkpty(&fd, nullptr, nullptr, &size);
    if (child == 0) become("twinstep", {"sync"}, all);
    return end_of(child, fd);
  }
  Ended piped() {
    int both[2];
    if (pipe2(both, O_CLOEXEC) != 0) return {};
    const pid_t child = fork();
    if (child == 0) {
      dup2(both[1], STDOUT_FILENO);
      dup2(both[1], STDERR_FILENO);
      become("twinstep", {"sync"}, variables);
    }
    close(both[1]);
    return end_of(child, both[0]);
  }

  std::string folder;
  Variables variables;
  pid_t sim = -1;
  int sim_output = -1;
};

TEST_F(Terminal, ALineIsRedrawnWithRateAndTimeLeftAndIsGoneAtTheEnd) {
  const Ended run = on_terminal(100);
  ASSERT_EQ(run.code, 0) << run.out;
  const std::regex expected(R"([\d,]+ of [\d,]+ devices written, [\d,.]+/s, [\d.]+ (s|min|h) left)");
  int redrawn = 0;
  for (const std::string& frame : frames(run.out)) redrawn += std::regex_match(frame, expected);
  EXPECT_GE(redrawn, 3) << run.out;
  const std::string left = screen(run.out);
  EXPECT_EQ(left.find("devices written"), std::string::npos) << left;
  EXPECT_EQ(left.find("devices read"), std::string::npos) << left;
  EXPECT_NE(left.find("update"), std::string::npos) << left;
}

TEST_F(Terminal, TheLineIsNarrowerThanTheTerminal) {
  const Ended run = on_terminal(24);
  ASSERT_EQ(run.code, 0) << run.out;
  size_t widest = 0;
  for (const std::string& frame : frames(run.out)) widest = std::max(widest, frame.size());
  EXPECT_EQ(widest, 23u) << "long lines are cut so that they do not wrap";
}

TEST_F(Terminal, ColumnsWinsOverTheTerminalsOwnWidthAndNoColorLeavesNoColors) {
  const Ended run = on_terminal(100, {{"COLUMNS", "30"}, {"NO_COLOR", "1"}});
  ASSERT_EQ(run.code, 0) << run.out;
  size_t widest = 0;
  for (const std::string& frame : frames(run.out)) widest = std::max(widest, frame.size());
  EXPECT_EQ(widest, 29u);
  EXPECT_FALSE(std::regex_search(run.out, std::regex("\033\\[[0-9;]*m"))) << run.out;
}

TEST_F(Terminal, ATerminalThatCannotClearALineGetsPlainLines) {
  const Ended run = on_terminal(100, {{"TERM", "dumb"}});
  ASSERT_EQ(run.code, 0) << run.out;
  EXPECT_EQ(run.out.find('\033'), std::string::npos) << run.out;
  EXPECT_TRUE(frames(run.out).empty());
}

TEST_F(Terminal, APipeGetsPlainLinesOnly) {
  const Ended run = piped();
  ASSERT_EQ(run.code, 0) << run.out;
  EXPECT_EQ(run.out.find_first_of("\r\033"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find("asked the hub for an export of all devices\n"), std::string::npos) << run.out;
}

}  // namespace
