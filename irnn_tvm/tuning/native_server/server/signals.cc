#include "signals.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stdexcept>

namespace irnn {
namespace {

sigset_t Handled() {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&handled, number);
  return handled;
}

}  // namespace

int BlockSignals() {
  const sigset_t handled = Handled();
  sigprocmask(SIG_BLOCK, &handled, nullptr);
  const int file = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  if (file < 0) throw std::runtime_error("signalfd is not there");
  return file;
}

void UnblockSignals() {
  const sigset_t handled = Handled();
  sigprocmask(SIG_UNBLOCK, &handled, nullptr);
}

int TakeSignal(int signals) {
  signalfd_siginfo signal{};
  return read(signals, &signal, sizeof(signal)) == sizeof(signal) ? static_cast<int>(signal.ssi_signo) : 0;
}

bool EndsWithin(int signals, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waiting{signals, POLLIN, 0};
    poll(&waiting, 1, static_cast<int>(left));
    const int number = TakeSignal(signals);
    if (number && number != SIGCHLD) return true;
  }
}

}  // namespace irnn
