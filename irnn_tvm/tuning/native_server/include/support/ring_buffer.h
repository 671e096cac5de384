/* Bytes that wait to be read, in the order in which they came. Stands for a header that TVM's package lacks.
 *
 * They lie in one piece: what was read is taken off the front when room is needed, and a large buffer is given back when
 * it is empty, so that the upload of one library does not hold memory for the rest of a session. */
#ifndef TVM_SUPPORT_RING_BUFFER_H_
#define TVM_SUPPORT_RING_BUFFER_H_

#include <tvm/ffi/error.h>

#include <cstddef>
#include <cstring>
#include <vector>

namespace tvm {
namespace support {

class RingBuffer {
 public:
  static constexpr size_t kKept = 4 << 20;

  size_t bytes_available() const { return bytes_.size() - first_; }

  /* Makes room for `size` bytes in all. */
  void Reserve(size_t size) {
    if (bytes_.capacity() - first_ >= size) return;
    Close();
    bytes_.reserve(size);
  }

  void Read(void* data, size_t size) {
    TVM_FFI_ICHECK(size <= bytes_available());
    if (size) std::memcpy(data, bytes_.data() + first_, size);
    Take(size);
  }

  void Write(const void* data, size_t size) {
    const char* from = static_cast<const char*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
  }

  /* send(data, size) takes up to `most` of the waiting bytes and returns how many it took; so does this. */
  template <typename Send>
  size_t ReadWithCallback(Send send, size_t most) {
    TVM_FFI_ICHECK(most <= bytes_available());
    const size_t count = send(bytes_.data() + first_, most);
    Take(count);
    return count;
  }

  /* receive(data, size) gives up to `most` more bytes and returns how many it gave; so does this. */
  template <typename Receive>
  size_t WriteWithCallback(Receive receive, size_t most) {
    const size_t before = bytes_.size();
    bytes_.resize(before + most);
    const size_t count = receive(bytes_.data() + before, most);
    bytes_.resize(before + count);
    return count;
  }

 private:
  void Take(size_t count) {
    first_ += count;
    if (first_ != bytes_.size()) return;
    first_ = 0;
    bytes_.clear();
    if (bytes_.capacity() > kKept) bytes_.shrink_to_fit();
  }
  void Close() {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }

  std::vector<char> bytes_;
  size_t first_ = 0;  // of the bytes that wait
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_RING_BUFFER_H_
