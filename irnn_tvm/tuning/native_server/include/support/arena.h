/* Memory for the arguments of one call, which is given back all at once. Stands for a header that TVM's package lacks. */
#ifndef TVM_SUPPORT_ARENA_H_
#define TVM_SUPPORT_ARENA_H_

#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace tvm {
namespace support {

class Arena {
 public:
  /* Room for `count` objects without constructors, which lives until RecycleAll. */
  template <typename T>
  T* allocate_(int count = 1) {
    static_assert(alignof(T) <= alignof(std::max_align_t), "operator new aligns to that");
    if (count < 0) throw std::bad_alloc();
    const size_t bytes = sizeof(T) * static_cast<size_t>(count);
    blocks_.emplace_back(new char[bytes ? bytes : 1]);
    return reinterpret_cast<T*>(blocks_.back().get());
  }
  void RecycleAll() { blocks_.clear(); }

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_ARENA_H_
