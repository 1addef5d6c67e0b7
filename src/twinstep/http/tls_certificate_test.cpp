#include "twinstep/http/tls_certificate.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>

namespace twinstep::http {
namespace {

using Cert = std::unique_ptr<X509, decltype(&X509_free)>;

Cert read(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  Cert cert(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), &X509_free);
  BIO_free(bio);
  return cert;
}

/// What a strict client finds wrong, or X509_V_OK.
int verify(const std::string& ca_pem, const std::string& leaf_pem, SystemTime when) {
  const Cert ca = read(ca_pem);
  const Cert leaf = read(leaf_pem);
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, ca.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), nullptr);
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM_set_time(param, std::chrono::system_clock::to_time_t(
                                        std::chrono::time_point_cast<std::chrono::system_clock::duration>(when)));
  X509_verify_cert(context);
  const int found = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return found;
}

class TlsCertificateTest : public testing::Test {
 protected:
  const SystemTime now{std::chrono::seconds{1'790'000'000}};
  CertificateAuthority ca = CertificateAuthority::create("test authority", now).value();
};

TEST_F(TlsCertificateTest, AStrictVerifierAcceptsWhatTheAuthorityIssued) {
  const auto identity = ca.issue({"hub.test", "127.0.0.1", "::1"}, now);
  ASSERT_TRUE(identity);
  EXPECT_EQ(verify(ca.certificate(), identity->certificate, now), X509_V_OK);
}

TEST_F(TlsCertificateTest, AnotherAuthorityDoesNotVouchForIt) {
  const auto other = CertificateAuthority::create("other authority", now).value();
  EXPECT_NE(verify(other.certificate(), ca.issue({"hub.test"}, now)->certificate, now), X509_V_OK);
}

TEST_F(TlsCertificateTest, ItEndsWhenItsValidityEnds) {
  const auto identity = ca.issue({"hub.test"}, now, std::chrono::days{10});
  EXPECT_EQ(verify(ca.certificate(), identity->certificate, now + std::chrono::days{9}), X509_V_OK);
  EXPECT_EQ(verify(ca.certificate(), identity->certificate, now + std::chrono::days{11}), X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST_F(TlsCertificateTest, NamesAndAddressesMatchAndOthersDoNot) {
  const Cert cert = read(ca.issue({"hub.test", "*.wild.test", "127.0.0.1", "::1"}, now)->certificate);
  EXPECT_EQ(X509_check_host(cert.get(), "hub.test", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(cert.get(), "a.wild.test", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(cert.get(), "evil.test", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(cert.get(), "127.0.0.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(cert.get(), "::1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(cert.get(), "127.0.0.2", 0), 0);
}

TEST_F(TlsCertificateTest, WhatIsNoHostIsRefusedByName) {
  const auto bad = ca.issue({"hub.test", "a,DNS:evil.test"}, now);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, "tls.bad-host");
  EXPECT_NE(bad.error().what.find("a,DNS:evil.test"), std::string::npos);
  EXPECT_FALSE(ca.issue({}, now));
}

}  // namespace
}  // namespace twinstep::http
