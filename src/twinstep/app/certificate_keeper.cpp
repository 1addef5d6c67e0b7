#include "twinstep/app/certificate_keeper.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "twinstep/base/time_format.h"

namespace twinstep::app {
namespace {

constexpr std::chrono::seconds kLookEvery{5};
constexpr std::chrono::days kSoon{14};
constexpr std::chrono::days kWarnEvery{1};

Result<std::string> read_pem(const char* key, const std::string& path) {
  if (path.empty()) return std::string();
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty())
    return fail(ErrorKind::kInvalid, "config.tls",
                fmt::format("serve.{}: {} cannot be read{}{}; give a PEM file that twinstep's user may read", key, path,
                            errno ? ": " : " or is empty", errno ? std::strerror(errno) : ""));
  return text.str();
}

bool same(const http::TlsMaterial& a, const http::TlsMaterial& b) {
  return a.certificate == b.certificate && a.key == b.key && a.client_ca == b.client_ca;
}

}  // namespace

Result<std::unique_ptr<CertificateKeeper>> CertificateKeeper::open(Files files, obs::Metrics& metrics, Clock& clock) {
  std::unique_ptr<CertificateKeeper> out(new CertificateKeeper(std::move(files), metrics, clock));
  out->taken_ = out->seen_ = out->stamps();
  TRY_ASSIGN(out->material_, out->read());
  auto usable = http::make_tls_context(out->material_);
  if (!usable) return fail_within(std::move(usable), fmt::format("serve.tls_certificate {}", out->files_.certificate));
  struct stat status {};
  if (::stat(out->files_.key.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0)
    spdlog::warn(
        "certificate.key_exposed file={} reason=\"every user of this machine can read the key\" next=\"chmod "
        "o-r\"",
        out->files_.key);
  out->warn(out->material_);
  return out;
}

CertificateKeeper::~CertificateKeeper() = default;

http::TlsMaterial CertificateKeeper::material() {
  std::scoped_lock lock(mutex_);
  return material_;
}

void CertificateKeeper::keep(Use use) {
  {
    std::scoped_lock lock(mutex_);
    use_ = std::move(use);
  }
  thread_ = std::jthread([this](std::stop_token stop) {
    while (clock_.sleep_for(kLookEvery, stop)) look();
  });
}

void CertificateKeeper::renew() {
  std::scoped_lock lock(mutex_);
  take(stamps());
}

void CertificateKeeper::look() {
  std::scoped_lock lock(mutex_);
  if (clock_.system_now() - warned_at_ >= kWarnEvery) warn(material_);
  const Stamps now = stamps();
  const bool settled = now == std::exchange(seen_, now);
  if (now != taken_ && settled) take(now);
}

CertificateKeeper::Stamps CertificateKeeper::stamps() const {
  Stamps out;
  size_t at = 0;
  for (const std::string* path : {&files_.certificate, &files_.key, &files_.client_ca}) {
    struct stat status {};  // a file that is away has the stamp of none
    if (!path->empty() && ::stat(path->c_str(), &status) == 0)
      out[at] = {status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
                 int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
    ++at;
  }
  return out;
}

Result<http::TlsMaterial> CertificateKeeper::read() const {
  http::TlsMaterial out;
  TRY_ASSIGN(out.certificate, read_pem("tls_certificate", files_.certificate));
  TRY_ASSIGN(out.key, read_pem("tls_key", files_.key));
  TRY_ASSIGN(out.client_ca, read_pem("client_ca", files_.client_ca));
  return out;
}

void CertificateKeeper::take(const Stamps& stamps) {
  taken_ = stamps;
  auto fresh = read();
  if (fresh && same(*fresh, material_)) return;
  Status used = fresh ? use_ ? use_(*fresh) : Status() : Status(fail(fresh.error()));
  if (!used) {
    spdlog::error("certificate.refused file={} reason=\"{}\" next=\"the one before stays in force\"",
                  files_.certificate, used.error().what);
    return;
  }
  material_ = std::move(*fresh);
  if (const auto facts = http::certificate_facts(material_.certificate))
    spdlog::info("certificate.loaded file={} subject=\"{}\" until={}", files_.certificate, facts->subject,
                 format_iso_seconds(facts->not_after));
  warn(material_);
}

void CertificateKeeper::warn(const http::TlsMaterial& material) {
  const SystemTime now = clock_.system_now();
  warned_at_ = now;
  const auto facts = http::certificate_facts(material.certificate);
  if (!facts) return;
  metrics_.certificate_ends(facts->not_after);
  const char* what = now >= facts->not_after          ? "certificate.expired"
                     : now < facts->not_before        ? "certificate.not_yet_valid"
                     : facts->not_after - now < kSoon ? "certificate.expires_soon"
                                                      : nullptr;
  if (what)
    spdlog::warn("{} file={} subject=\"{}\" from={} until={} next=\"put a new one into the files, it is picked up\"",
                 what, files_.certificate, facts->subject, format_iso_seconds(facts->not_before),
                 format_iso_seconds(facts->not_after));
}

}  // namespace twinstep::app
