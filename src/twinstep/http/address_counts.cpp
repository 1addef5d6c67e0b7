#include "twinstep/http/address_counts.h"

#include <algorithm>

namespace twinstep::http {

AddressBlock::AddressBlock(const boost::asio::ip::address& address) {
  using boost::asio::ip::address_v6;
  const bool mapped = address.is_v6() && address.to_v6().is_v4_mapped();
  if (address.is_v6() && !mapped) {
    const auto bytes = address.to_v6().to_bytes();
    local_ = address.is_loopback();
    std::copy_n(bytes.begin(), 8, bytes_.begin());
    // ::1 is loopback, but the rest of its /64 is not.
    if (local_) bytes_.back() = 1;
    return;
  }
  const auto v4 = mapped ? make_address_v4(boost::asio::ip::v4_mapped, address.to_v6()) : address.to_v4();
  local_ = v4.is_loopback();
  bytes_ = make_address_v6(boost::asio::ip::v4_mapped, v4).to_bytes();
}

bool AddressCounts::take(const AddressBlock& who) {
  if (!counts(who)) return true;
  const auto at = counts_.try_emplace(who, 0).first;
  if (at->second >= most_) return false;
  ++at->second;
  return true;
}

void AddressCounts::give(const AddressBlock& who) {
  if (!counts(who)) return;
  const auto at = counts_.find(who);
  if (at != counts_.end() && --at->second <= 0) counts_.erase(at);
}

}  // namespace twinstep::http
