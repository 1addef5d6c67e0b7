#include "postgres_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace twinstep::testing {
namespace {

namespace fs = std::filesystem;

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string find_bin() {
  int newest = 0;
  std::error_code none;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", none))
    if (fs::exists(version.path() / "bin/postgres"))
      newest = std::max(newest, std::atoi(version.path().filename().c_str()));
  if (newest > 0) return "/usr/lib/postgresql/" + std::to_string(newest) + "/bin";
  std::string path = ::getenv("PATH") ? ::getenv("PATH") : "";
  for (size_t at = 0; at < path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    if (fs::exists(path.substr(at, end - at) + "/postgres")) return path.substr(at, end - at);
    at = end + 1;
  }
  throw std::runtime_error("no PostgreSQL server is installed (scripts/setup --for test)");
}

/// Below the ports that the system gives to clients: one of those would be taken while the server is stopped, be it by
/// a client that tries to reach it and so connects to itself.
int free_port() {
  for (int tries = 0; tries < 1000; ++tries) {
    const int port = 15'000 + (::getpid() * 7 + tries) % 15'000;
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool free = ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    if (free) return port;
  }
  throw std::runtime_error("no free port on 127.0.0.1");
}

/// The processes whose parent is `parent`.
std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> out;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    const std::string stat = text_of(entry.path() / "stat");  // "PID (NAME) STATE PARENT ..."
    const size_t name_end = stat.rfind(") ");
    if (name_end != std::string::npos && std::atoi(stat.c_str() + name_end + 4) == parent) out.push_back(pid);
  }
  return out;
}

/// The first line of postmaster.pid, or 0.
pid_t postmaster_of(const std::string& folder) {
  const pid_t pid = std::atoi(text_of(folder + "/data/postmaster.pid").c_str());
  return pid > 0 && fs::exists("/proc/" + std::to_string(pid)) ? pid : 0;
}

/// Frozen ones too; the postmaster first, or it would replace its children. Returns when all are gone, because a new
/// server refuses to start while one of them still holds the shared memory.
void kill_all(pid_t postmaster) {
  ::kill(postmaster, SIGSTOP);
  std::vector<pid_t> all = children_of(postmaster);
  all.insert(all.begin(), postmaster);
  std::vector<pollfd> ends;
  for (const pid_t pid : all)
    if (const long fd = ::syscall(SYS_pidfd_open, pid, 0); fd >= 0) ends.push_back({static_cast<int>(fd), POLLIN, 0});
  for (const pid_t pid : all) ::kill(pid, SIGKILL);
  for (pollfd& end : ends) {
    while (::poll(&end, 1, 10'000) < 0 && errno == EINTR) {
    }
    ::close(end.fd);
  }
}

void wait_for_end(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

PostgresServer& PostgresServer::shared() {
  static PostgresServer server;
  return server;
}

PostgresServer::PostgresServer(const Options& options) : bin_(find_bin()) {
  std::string pattern = (fs::temp_directory_path() / "twinstep-pg-XXXXXX").string();
  if (!::mkdtemp(pattern.data())) throw std::runtime_error("no scratch folder for PostgreSQL");
  folder_ = pattern;
  user_ = ::getuid();
  group_ = ::getgid();
  if (user_ == 0) {  // PostgreSQL refuses to run as root
    const passwd* other = ::getpwnam("postgres");
    if (!other) other = ::getpwnam("nobody");
    if (!other) throw std::runtime_error("neither of the users postgres and nobody exists");
    user_ = other->pw_uid;
    group_ = other->pw_gid;
    if (::chown(folder_.c_str(), user_, group_) != 0) throw std::runtime_error("cannot give away " + folder_);
  }
  watch_over();
  make_cluster(options);
  start();
}

PostgresServer::~PostgresServer() {
  stop();
  ::close(lifeline_);  // the guard removes the folder
  wait_for_end(guard_);
}

void PostgresServer::watch_over() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  guard_ = ::fork();
  if (guard_ < 0) throw std::runtime_error("no process");
  if (guard_ == 0) {
    ::setsid();  // what ends the test's process group must not end the guard
    ::close(ends[1]);
    char nothing = 0;
    while (::read(ends[0], &nothing, 1) < 0 && errno == EINTR) {
    }
    if (const pid_t pid = postmaster_of(folder_)) kill_all(pid);
    std::error_code ignored;
    for (int tries = 0; tries < 50 && fs::exists(folder_, ignored); ++tries) {
      fs::remove_all(folder_, ignored);
      if (ignored) ::usleep(20'000);  // a dying process may still have made a file
    }
    ::_exit(0);
  }
  ::close(ends[0]);
  lifeline_ = ends[1];
}

pid_t PostgresServer::spawn(const std::vector<std::string>& command, const std::string& output) const {
  std::vector<char*> arguments;
  for (const std::string& one : command) arguments.push_back(const_cast<char*>(one.c_str()));
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  const int in = ::open("/dev/null", O_RDONLY);
  const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  if (::getuid() == 0 && (::setgid(group_) != 0 || ::setuid(user_) != 0)) ::_exit(126);
  if (::chdir(folder_.c_str()) != 0) ::_exit(126);
  ::setenv("PGPASSWORD", password().c_str(), 1);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

std::string PostgresServer::run(const std::vector<std::string>& command) const {
  const std::string output = folder_ + "/output";
  std::error_code none;
  fs::remove(output, none);
  int status = 0;
  const pid_t pid = spawn(command, output);
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  std::string said = text_of(output);
  if (status != 0) throw std::runtime_error(command.front() + ": " + said);
  while (said.ends_with('\n')) said.pop_back();
  return said;
}

void PostgresServer::make_cluster(const Options& options) {
  std::ofstream(folder_ + "/password") << password() << "\n";
  // A default order of text that is not that of the bytes, as many servers have it.
  run({bin_ + "/initdb", "-D", folder_ + "/data", "-U", "twinstep", "--pwfile=" + folder_ + "/password", "--auth-local",
       "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8", "--locale-provider", "icu", "--icu-locale",
       "en-US", "--locale", "C", "--no-sync"});
  port_ = free_port();
  std::ofstream settings(folder_ + "/data/postgresql.conf", std::ios::app);
  settings << "listen_addresses = '127.0.0.1'\nport = " << port_ << "\nunix_socket_directories = '" << folder_
           << "'\nmax_connections = 200\nshared_buffers = 64MB\n";
  if (!options.fsync) settings << "fsync = off\nfull_page_writes = off\n";
}

void PostgresServer::start() {
  if (postmaster_) return;
  postmaster_ = spawn({bin_ + "/postgres", "-D", folder_ + "/data"}, folder_ + "/log");
  for (int tries = 0; tries < 600; ++tries) {
    // Its last line says "ready" as soon as it takes connections.
    if (text_of(folder_ + "/data/postmaster.pid").find("\nready") != std::string::npos) return;
    int status = 0;
    if (::waitpid(postmaster_, &status, WNOHANG) == postmaster_) break;
    ::usleep(20'000);
  }
  postmaster_ = 0;
  throw std::runtime_error("PostgreSQL did not start: " + text_of(folder_ + "/log"));
}

void PostgresServer::stop() {
  if (!postmaster_) return;
  kill_all(postmaster_);
  wait_for_end(postmaster_);
  std::error_code none;
  fs::remove(folder_ + "/data/postmaster.pid", none);
  postmaster_ = 0;
}

std::vector<pid_t> PostgresServer::processes() const {
  std::vector<pid_t> out = children_of(postmaster_);
  out.insert(out.begin(), postmaster_);  // before its children: it makes no new ones then
  return out;
}

void PostgresServer::freeze() {
  ::kill(postmaster_, SIGSTOP);
  for (const pid_t pid : processes()) ::kill(pid, SIGSTOP);
}

void PostgresServer::thaw() {
  for (const pid_t pid : processes()) ::kill(pid, SIGCONT);
}

std::string PostgresServer::uri() const {
  return "postgresql://twinstep:pa55%25word@127.0.0.1:" + std::to_string(port_) + "/postgres";
}

std::string PostgresServer::fresh() {
  const std::string schema = "t" + std::to_string(++schemas_);
  sql("CREATE SCHEMA " + schema);
  return uri() + "?options=-csearch_path%3D" + schema;
}

std::string PostgresServer::sql(const std::string& statements) const {
  return run({bin_ + "/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", folder_, "-p", std::to_string(port_), "-U",
              "twinstep", "-d", "postgres", "-c", statements});
}

}  // namespace twinstep::testing
