#pragma once

#include <array>
#include <boost/asio/ip/address.hpp>
#include <cstdint>
#include <map>

namespace twinstep::http {

/// Whom a limit counts as one: an IPv4 address, also when it comes as ::ffff:a.b.c.d, or an IPv6 /64, which is what one
/// subscriber gets; more exact counting would be none at all.
class AddressBlock {
 public:
  explicit AddressBlock(const boost::asio::ip::address& address);
  bool local() const { return local_; }  ///< loopback
  auto operator<=>(const AddressBlock&) const = default;

 private:
  std::array<uint8_t, 16> bytes_{};
  bool local_ = false;
};

/// How many things each address has at once, up to a limit. Remembers only addresses that have some.
///
/// Threads   one at a time.
class AddressCounts {
 public:
  /// `most` 0 = no limit; `spare_local` = none for loopback.
  AddressCounts(int most, bool spare_local) : most_(most), spare_local_(spare_local) {}

  /// False when the address has its most already; otherwise give() follows when the thing ends.
  bool take(const AddressBlock& who);
  void give(const AddressBlock& who);
  size_t addresses() const { return counts_.size(); }

 private:
  bool counts(const AddressBlock& who) const { return most_ > 0 && !(spare_local_ && who.local()); }

  const int most_;
  const bool spare_local_;
  std::map<AddressBlock, int> counts_;
};

}  // namespace twinstep::http
