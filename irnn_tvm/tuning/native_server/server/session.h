/* The session of one client, in a process of its own. */
#ifndef IRNN_SERVER_SESSION_H_
#define IRNN_SERVER_SESSION_H_

#include <string>

#include "network.h"

namespace irnn {

/* Serves until the client leaves. The working directory is where files go that it sends. Throws what TVM throws when the
 * connection breaks. */
void ServeClient(Socket client);

/* Tells a client that its time is over, in the place of the answer that it waits for. */
void SendTimeout(Socket* client, const std::string& seconds);

}  // namespace irnn
#endif  // IRNN_SERVER_SESSION_H_
