/* The stream that TVM's runtime writes to and reads from. Stands for a header that TVM's package lacks. */
#ifndef TVM_SUPPORT_IO_H_
#define TVM_SUPPORT_IO_H_

#include <cstddef>
#include <type_traits>

namespace tvm {
namespace support {

class Stream {
 public:
  virtual ~Stream() = default;
  /* Both return the number of bytes that were read or written. */
  virtual size_t Read(void* data, size_t size) = 0;
  virtual size_t Write(const void* data, size_t size) = 0;

  template <typename T>
  bool Write(const T& value) {
    return WriteArray(&value, 1);
  }
  template <typename T>
  bool Read(T* value) {
    return ReadArray(value, 1);
  }
  template <typename T>
  bool WriteArray(const T* values, size_t count) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain values are sent");
    return Write(static_cast<const void*>(values), sizeof(T) * count) == sizeof(T) * count;
  }
  template <typename T>
  bool ReadArray(T* values, size_t count) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain values are received");
    return Read(static_cast<void*>(values), sizeof(T) * count) == sizeof(T) * count;
  }
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_IO_H_
