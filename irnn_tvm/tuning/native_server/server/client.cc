#include "client.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <sstream>
#include <utility>

#include "protocol.h"
#include "session.h"
#include "signals.h"
#include "temporary_folder.h"

namespace irnn {
namespace {

constexpr int kHandshakeSeconds = 10;
constexpr int32_t kMostKey = 1024;
const char kTimeoutOption[] = "-timeout=";

/* The process of a session; returns its exit code. */
int Session(Client client, const std::string& folder, pid_t server) {
  setpgid(0, 0);
  UnblockSignals();
  // Nobody would wait for it when the server is killed.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != server || chdir(folder.c_str())) return 1;
  try {
    ServeClient(std::move(client.socket));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "session: %s\n", error.what());
    return 1;
  }
}

enum class End { kDone, kTimeIsOver, kServerEnds };

/* Waits for the process of a session. seconds: 0: as long as it takes. */
End Wait(pid_t session, int signals, double seconds, int* status) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (true) {
    if (waitpid(session, status, WNOHANG) == session) return End::kDone;
    long long left = -1;
    if (seconds > 0) {
      left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      if (left <= 0) return End::kTimeIsOver;
      left = std::min(left, 1000LL * 3600);
    }
    pollfd waiting{signals, POLLIN, 0};
    poll(&waiting, 1, static_cast<int>(left));
    const int number = TakeSignal(signals);
    if (number && number != SIGCHLD) return End::kServerEnds;
  }
}

}  // namespace

Client Welcome(Socket socket, const std::string& word, const std::string& key) {
  socket.SetTimeout(kHandshakeSeconds);
  if (socket.ReceiveNumber() != tvm::runtime::kRPCMagic) throw NetworkError("it does not speak TVM's RPC");
  std::istringstream words(socket.ReceiveText(kMostKey));
  Client client;
  std::string said;
  words >> said;
  if (said != "client:" + word) {
    socket.SendNumber(tvm::runtime::kRPCMismatch);
    throw NetworkError("it asks for another key");
  }
  const size_t name = std::strlen(kTimeoutOption);
  while (words >> said) {
    if (said.compare(0, name, kTimeoutOption) == 0) client.timeout = said.substr(name);
  }
  socket.SendNumber(tvm::runtime::kRPCSuccess);
  socket.SendText("server:" + key);
  client.socket = std::move(socket);
  return client;
}

void ServeInProcess(Client client, int signals, const std::function<void()>& forget) {
  const TemporaryFolder folder;
  const double seconds = std::strtod(client.timeout.c_str(), nullptr);
  const pid_t server = getpid();
  const pid_t session = fork();
  if (session < 0) throw NetworkError(std::string("fork: ") + std::strerror(errno));
  if (session == 0) {
    forget();
    const int code = Session(std::move(client), folder.path(), server);
    std::fflush(nullptr);
    _exit(code);
  }
  setpgid(session, session);
  int status = 0;
  const End end = Wait(session, signals, seconds, &status);
  // With the process goes whatever it started.
  kill(-session, SIGKILL);
  if (end != End::kDone) waitpid(session, &status, 0);
  if (end == End::kServerEnds) {
    raise(SIGTERM);  // blocked: the loop of the server finds it
  } else if (end == End::kTimeIsOver) {
    std::fprintf(stderr, "a session lasted longer than %s s\n", client.timeout.c_str());
    try {
      client.socket.SetTimeout(kHandshakeSeconds);
      SendTimeout(&client.socket, client.timeout);
    } catch (const NetworkError&) {
      // It does not wait any more.
    }
  } else if (WIFSIGNALED(status)) {
    std::fprintf(stderr, "a session ended by signal %d\n", WTERMSIG(status));
  }
}

}  // namespace irnn
