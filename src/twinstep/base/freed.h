#pragma once

namespace twinstep {

/// The deleter of a C library's objects, as a type: `std::unique_ptr<BIO, Freed<BIO_free>>`.
template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* one) const {
    Free(one);
  }
};

}  // namespace twinstep
