/* What TVM's sources say of the protocol. */
#ifndef IRNN_SERVER_PROTOCOL_H_
#define IRNN_SERVER_PROTOCOL_H_

// By its path in the package.
#include <src/runtime/rpc/rpc_endpoint.h>

#endif  // IRNN_SERVER_PROTOCOL_H_
