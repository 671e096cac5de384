/* An RPC server for devices without Python: TVM's runtime, and what survives the candidates that it runs.
 *
 * Whoever can connect may run code as the user of the server: it listens on the loopback interface unless it is told
 * otherwise. Clients are served one after the other, because two that measure would disturb each other. */
#include <poll.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "client.h"
#include "network.h"
#include "options.h"
#include "signals.h"
#include "temporary_folder.h"
#include "tracker.h"

namespace {

constexpr int kRetrySeconds = 5;

enum class Event { kClient, kNothing, kEnd };

/* What happens first; nothing: some seconds are over. A negative number waits for ever. */
Event WaitFor(const irnn::Socket& listening, int signals, int seconds) {
  pollfd waiting[] = {{listening.fd(), POLLIN, 0}, {signals, POLLIN, 0}};
  poll(waiting, 2, seconds < 0 ? -1 : seconds * 1000);
  const int number = irnn::TakeSignal(signals);
  if (number && number != SIGCHLD) return Event::kEnd;
  return waiting[0].revents ? Event::kClient : Event::kNothing;
}

/* Serves the next client that says the word by which it has to be recognized. Returns false when the server shall end. */
bool ServeNext(const irnn::Options& options, irnn::Socket* listening, int signals,
               std::unique_ptr<irnn::Tracker>* tracker) {
  std::string word = *tracker ? (*tracker)->Offer() : options.key;
  while (true) {
    const Event event = WaitFor(*listening, signals, *tracker ? irnn::Tracker::kPeriod : -1);
    if (event == Event::kEnd) return false;
    if (event == Event::kNothing) {
      if (*tracker) word = (*tracker)->Wait();
      continue;
    }
    irnn::Client client;
    try {
      client = irnn::Welcome(irnn::Accept(*listening), word, options.key);
    } catch (const irnn::NetworkError& error) {
      // Somebody who looked whether anything listens here, or who is no client.
      std::fprintf(stderr, "no client: %s\n", error.what());
      continue;
    }
    irnn::ServeInProcess(std::move(client), signals, [&] {
      listening->Close();
      tracker->reset();
    });
    return true;
  }
}

void Serve(const irnn::Options& options) {
  irnn::RemoveAbandonedFolders();
  const int signals = irnn::BlockSignals();
  int port = options.port;
  irnn::Socket listening = irnn::Listen(options.host, &port);
  // The word that others wait for, as TVM's own server says it.
  std::printf("bind to %s:%d\n", options.host.c_str(), port);
  std::fflush(stdout);
  std::unique_ptr<irnn::Tracker> tracker;
  while (true) {
    try {
      if (!options.tracker_host.empty() && !tracker) tracker = std::make_unique<irnn::Tracker>(options, port);
      if (!ServeNext(options, &listening, signals, &tracker)) return;
    } catch (const irnn::NetworkError& error) {
      std::fprintf(stderr, "%s; tried again in %d s\n", error.what(), kRetrySeconds);
      tracker.reset();
      if (irnn::EndsWithin(signals, kRetrySeconds)) return;
    }
  }
}

}  // namespace

int main(int count, char** words) {
  try {
    Serve(irnn::ParseOptions(count, words));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
