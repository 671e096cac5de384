/* A client from its first word to the end of its session. */
#ifndef IRNN_SERVER_CLIENT_H_
#define IRNN_SERVER_CLIENT_H_

#include <functional>
#include <string>

#include "network.h"

namespace irnn {

struct Client {
  Socket socket;
  std::string timeout; /* seconds that it may stay, as it wrote them; empty: as long as it likes */
};

/* Shakes hands with who connected. Throws NetworkError when it is no client, or does not know the word. */
Client Welcome(Socket socket, const std::string& word, const std::string& key);

/* Serves a client in another process, with a temporary folder as its working directory, until it leaves, its time is over
 * or its candidate crashes. `forget` closes, there, what belongs to the server. signals: a signalfd of SIGCHLD and of
 * what ends the server, which ends the session with it. */
void ServeInProcess(Client client, int signals, const std::function<void()>& forget);

}  // namespace irnn
#endif  // IRNN_SERVER_CLIENT_H_
