/* How TVM's runtime writes values: io.h does all of it here, as what a server sends are plain values. Stands for a header
 * that TVM's package lacks. */
#ifndef TVM_SUPPORT_SERIALIZER_H_
#define TVM_SUPPORT_SERIALIZER_H_

#include <tvm/ffi/endian.h>
#include <tvm/support/io.h>

static_assert(TVM_FFI_IO_NO_ENDIAN_SWAP, "the protocol is little-endian, and so has the device to be");

#endif  // TVM_SUPPORT_SERIALIZER_H_
