/* Streams that write to a string and read from one. Stands for a header that TVM's package lacks. */
#ifndef TVM_SUPPORT_BYTES_IO_H_
#define TVM_SUPPORT_BYTES_IO_H_

#include <tvm/support/io.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace tvm {
namespace support {

class BytesOutStream : public Stream {
 public:
  explicit BytesOutStream(std::string* out) : out_(out) {}
  using Stream::Write;
  size_t Read(void*, size_t) override { return 0; }
  size_t Write(const void* data, size_t size) override {
    out_->append(static_cast<const char*>(data), size);
    return size;
  }

 private:
  std::string* out_;
};

class BytesInStream : public Stream {
 public:
  explicit BytesInStream(std::string bytes) : bytes_(std::move(bytes)) {}
  using Stream::Read;
  size_t Write(const void*, size_t) override { return 0; }
  size_t Read(void* data, size_t size) override {
    const size_t count = std::min(size, bytes_.size() - next_);
    if (count) std::memcpy(data, bytes_.data() + next_, count);
    next_ += count;
    return count;
  }

 protected:
  std::string bytes_;
  size_t next_ = 0;
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_BYTES_IO_H_
