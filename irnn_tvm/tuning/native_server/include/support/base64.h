/* Streams in base64, by the functions of tvm-ffi. Stands for a header that TVM's package lacks; tensors are written so
 * in JSON, which a server never does. */
#ifndef TVM_SUPPORT_BASE64_H_
#define TVM_SUPPORT_BASE64_H_

#include <tvm/ffi/extra/base64.h>
#include <tvm/support/io.h>

#include <string>

#include "bytes_io.h"

namespace tvm {
namespace support {

class Base64OutStream : public BytesOutStream {
 public:
  explicit Base64OutStream(Stream* out) : BytesOutStream(&bytes_), out_(out) {}
  /* Writes what was collected. */
  void Finish() {
    const ffi::String text = ffi::Base64Encode(TVMFFIByteArray{bytes_.data(), bytes_.size()});
    out_->Write(static_cast<const void*>(text.data()), text.size());
    bytes_.clear();
  }

 private:
  std::string bytes_;
  Stream* out_;
};

class Base64InStream : public BytesInStream {
 public:
  explicit Base64InStream(Stream* in) : BytesInStream(""), in_(in) {}
  /* Reads all there is. */
  void InitPosition() {
    std::string text;
    char part[1024];
    while (const size_t count = in_->Read(static_cast<void*>(part), sizeof(part))) text.append(part, count);
    const ffi::Bytes bytes = ffi::Base64Decode(TVMFFIByteArray{text.data(), text.size()});
    bytes_.assign(bytes.data(), bytes.size());
    next_ = 0;
  }

 private:
  Stream* in_;
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_BASE64_H_
