/* Stands for a header that TVM's package lacks; the RPC sources use one function of it. */
#ifndef TVM_SUPPORT_UTILS_H_
#define TVM_SUPPORT_UTILS_H_

#include <tvm/ffi/string.h>

#include <cstring>

namespace tvm {
namespace support {

inline bool StartsWith(const ffi::String& text, const char* head) {
  const size_t size = std::strlen(head);
  return text.size() >= size && std::memcmp(text.data(), head, size) == 0;
}

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_UTILS_H_
