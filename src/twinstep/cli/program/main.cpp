#include <signal.h>

#include <atomic>
#include <cstdio>
#include <stop_token>
#include <thread>

#include "twinstep/cli/commands.h"
#include "twinstep/cli/terminal.h"

namespace {

/// Waits for SIGINT, SIGTERM or SIGHUP in a thread of its own and turns it into a stop request, SIGHUP for a daemon
/// into reading its configuration again. The second stop signal ends at once.
void wait_for_signals(std::stop_source stop, std::atomic<int>& received, twinstep::cli::Hangup& hangup) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGUSR1);  // our own: the command has ended
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0 || signal == SIGUSR1) return;
    if (signal == SIGHUP && hangup.tell()) continue;
    if (received.exchange(signal) != 0) _exit(128 + signal);
    stop.request_stop();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const twinstep::cli::CommandLine line = twinstep::cli::parse_command_line(argc, argv);
  if (line.ended) {
    if (line.exit == 0)
      twinstep::cli::print(line.text);
    else
      std::fputs(line.text.c_str(), stderr);
    return line.exit;
  }
  signal(SIGPIPE, SIG_IGN);  // `| head` must not end a synchronization
  signal(SIGXFSZ, SIG_IGN);  // a file at the limit of its size is an error like a full disk, not the end
  sigset_t set;
  sigemptyset(&set);
  for (int one : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) sigaddset(&set, one);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::stop_source stop;
  std::atomic<int> received{0};
  twinstep::cli::Hangup hangup;
  std::jthread signals([&] { wait_for_signals(stop, received, hangup); });
  const int code = twinstep::cli::run(line, stop.get_token(), hangup);
  pthread_kill(signals.native_handle(), SIGUSR1);
  signals.join();
  // A daemon that was told to end and did has done what it should.
  return received != 0 && line.command != "serve" ? 128 + received : code;
}
